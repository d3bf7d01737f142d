# SPDX-License-Identifier: GPL-2.0-or-later
# fault.mk: the daemon's own objects with calls that can be told to fail, for test_guard_faults.py.
TEST_PROGRAMS += $(BUILD)/fault/pileguardd $(BUILD)/fault/pileguard-api

comma := ,
FAULT_WRAPPED := malloc calloc realloc reallocarray strndup __asprintf_chk open_memstream cyaml_mem \
	bpf_map_update_elem bpf_map_delete_elem bpf_map__reuse_fd bpf_object__open_mem bpf_object__load bpf_program__attach \
	bpf_program__attach_cgroup bpf_program__attach_iter bpf_iter_create bpf_link_create bpf_prog_test_run_opts btf__load_vmlinux_btf \
	write fsync ftruncate rename renameat open openat opendir socket socketpair bind listen fcntl eventfd memfd_create mmap \
	pthread_create posix_spawn sd_event_new sd_event_add_io sd_event_add_signal sd_event_add_time read \
	mkdir pidfd_open cgroup_create_cgroup cgroup_modify_cgroup

$(BUILD)/fault/fault.o: tests/fault/fault.c tests/fault/fault.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(TEST_CFLAGS) -fno-optimize-sibling-calls -fPIE -c -o $@ $<

$(BUILD)/fault/pileguardd: $(DAEMON_OBJ) $(BUILD)/fault/fault.o tests/fault/fault.mk
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(PILE_LDFLAGS) $(LDFLAGS) $(addprefix -Wl$(comma)--wrap=,$(FAULT_WRAPPED)) -o $@ $(DAEMON_OBJ) \
		$(BUILD)/fault/fault.o $(DAEMON_LIBS)

# found beside the daemon
$(BUILD)/fault/pileguard-api: $(BUILD)/pileguard-api
	@mkdir -p $(@D)
	$(Q)ln -f $< $@
