# SPDX-License-Identifier: GPL-2.0-or-later
# sharers.mk: one table of descriptors that thousands of processes share, for test_guard_hostile.py.
TEST_PROGRAMS += $(BUILD)/tests/sharers

$(BUILD)/tests/sharers: tests/integration/sharers.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE $(WARNINGS) -O2 -g -o $@ $<
