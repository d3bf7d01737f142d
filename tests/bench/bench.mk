# SPDX-License-Identifier: GPL-2.0-or-later
# bench.mk: what tests/bench/run starts. empty.bpf.o: what the kernel's statistics read for a program that does nothing.
TEST_PROGRAMS += $(BUILD)/bench/crowd
BENCH_PROGRAMS += $(BUILD)/bench/load $(BUILD)/bench/crowd $(BUILD)/bench/empty $(BUILD)/bench/empty.bpf.o $(BUILD)/tests/conserve

$(BUILD)/bench/load $(BUILD)/bench/crowd: $(BUILD)/bench/%: tests/bench/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE $(WARNINGS) -O2 -g -o $@ $<

$(BUILD)/bench/empty: tests/bench/empty.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE $(WARNINGS) -O2 -g -o $@ $< -lbpf -lelf -lz

$(BUILD)/bench/empty.bpf.o: tests/bench/empty.bpf.c
	@mkdir -p $(@D)
	$(call say,BPF,$@)
	$(Q)$(CLANG) $(filter-out -MMD -MP,$(BPF_CFLAGS)) -c -o $@ $<
