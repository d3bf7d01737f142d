# SPDX-License-Identifier: GPL-2.0-or-later
# record.mk: the guard that writes down its samples, for tests/unit/traces

$(BUILD)/tests/pileguardd-record: tests/record/tick.c tests/unit/trace.c $(DAEMON_OBJ)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(TEST_CFLAGS) -Wl,--wrap=pile_decide_tick -o $@ $^ $(DAEMON_LIBS)
