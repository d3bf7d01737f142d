# SPDX-License-Identifier: GPL-2.0-or-later
# rules.mk: the hard rules on the host and in the kernel, for test_rules.py.
TEST_PROGRAMS += $(BUILD)/tests/rules_compare $(BUILD)/tests/rules.bpf.o

$(BUILD)/tests/rules_compare: tests/integration/rules_compare.c tests/integration/rules_case.h include/pileguard/rules.h include/pileguard/abi.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(TEST_CFLAGS) -Itests/integration -o $@ $< -lbpf

$(BUILD)/tests/rules.bpf.o: tests/integration/rules.bpf.c tests/integration/rules_case.h include/pileguard/rules.h include/pileguard/abi.h
	@mkdir -p $(@D)
	$(call say,BPF,$@)
	$(Q)$(CLANG) $(BPF_CFLAGS) -Itests/integration -c -o $@ $<
