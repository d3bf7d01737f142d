# SPDX-License-Identifier: GPL-2.0-or-later
# conserve.mk: servers and clients of every bad habit, for test_conserve.py.
TEST_PROGRAMS += $(BUILD)/tests/conserve

$(BUILD)/tests/conserve: tests/integration/conserve.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE $(WARNINGS) -O2 -g -o $@ $< -lpthread
