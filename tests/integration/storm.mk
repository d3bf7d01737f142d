# SPDX-License-Identifier: GPL-2.0-or-later
# storm.mk: fork storms, threads and spinners, each bounded, for test_guard_throttle.py and the VM's storms.
TEST_PROGRAMS += $(BUILD)/tests/storm

$(BUILD)/tests/storm: tests/integration/storm.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE $(WARNINGS) -O2 -g -o $@ $< -lpthread
