# SPDX-License-Identifier: GPL-2.0-or-later
# moves.mk: act/moves.c with a moment between its look and its write, for test_guard_place.py.
TEST_PROGRAMS += $(BUILD)/tests/moves

$(BUILD)/tests/moves: tests/integration/moves.c $(BUILD)/tests/.changed
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(TEST_CFLAGS) -Wl,--wrap=write,--wrap=pidfd_send_signal -o $@ $< \
		$(addprefix daemon/,act/moves.c act/trees.c groups/match.c groups/proc.c policy/policy.c) -lcgroup
