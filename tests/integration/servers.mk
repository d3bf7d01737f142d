# SPDX-License-Identifier: GPL-2.0-or-later
# servers.mk: many processes that have served something, for test_guard_hostile.py.
TEST_PROGRAMS += $(BUILD)/tests/servers

$(BUILD)/tests/servers: tests/integration/servers.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE $(WARNINGS) -O2 -g -o $@ $<
