# SPDX-License-Identifier: GPL-2.0-or-later
# kernels.mk: what each kernel says of the BPF programs (check-kernels); CLANG=clang-19 BUILD=build/clang19 for another compiler.
KERNEL_PROGRAMS := $(BUILD)/tests/verdicts

$(BUILD)/tests/verdicts: tests/kernels/verdicts.c $(filter $(BUILD)/daemon/kernel/% $(BUILD)/daemon/util/%,$(DAEMON_OBJ))
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(TEST_CFLAGS) -I$(BUILD)/bpf -Wl,--wrap=bpf_object__load -o $@ $^ -lbpf -lelf -lz

.PHONY: check-kernels
check-kernels:
	./tests/deps kernels
	$(MAKE) all
	$(MAKE) -s $(KERNEL_PROGRAMS) $(TEST_PROGRAMS)
	./tests/runner --build $(BUILD) kernels
