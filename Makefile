# SPDX-License-Identifier: GPL-2.0-or-later
# One Makefile, plain make. `make help` lists the targets; README.md explains the variables.

prefix ?= /usr
exec_prefix ?= $(prefix)
bindir ?= $(exec_prefix)/bin
sbindir ?= $(exec_prefix)/sbin
libexecdir ?= $(exec_prefix)/libexec
sysconfdir ?= /etc
localstatedir ?= /var
datadir ?= $(prefix)/share
mandir ?= $(datadir)/man
unitdir ?= $(prefix)/lib/systemd/system
catalogdir ?= $(prefix)/lib/systemd/catalog
sysusersdir ?= $(prefix)/lib/sysusers.d
completionsdir ?= $(datadir)/bash-completion/completions
DESTDIR ?=

BUILD ?= build
# make's own default is cc
ifeq ($(origin CC),default)
CC := gcc
endif
CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool /usr/bin/bpftool) bpftool)
CFLAGS ?= -O2 -g
INSTALL ?= install
# V=1 shows the commands
V ?= 0
Q := $(if $(filter 0,$(V)),@)
say = @$(if $(filter 0,$(V)),printf '  %-8s %s\n' '$(1)' '$(2)',:)

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wunused -Werror \
	-Wno-format-truncation # cutting is what snprintf is used for here
HARDENING := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE
PILE_CFLAGS := -std=gnu17 -D_GNU_SOURCE $(WARNINGS) $(HARDENING) -Iinclude -Idaemon -I$(BUILD)/bpf \
	-DPILE_SYSCONFDIR='"$(sysconfdir)"' -DPILE_LOCALSTATEDIR='"$(localstatedir)"' \
	-DPILE_LIBEXECDIR='"$(libexecdir)"' -MMD -MP
PILE_LDFLAGS := -pie -Wl,-z,relro,-z,now -Wl,--as-needed
BPF_CFLAGS := -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -Iinclude -Ibpf -MMD -MP

DAEMON_LIBS := -lbpf -lelf -lz -lcgroup -lcyaml -lyaml -lmd -lsystemd -lpthread
API_LIBS := -lmicrohttpd -ljansson -lcap-ng -lseccomp
CTL_LIBS := -lbpf -ljansson -lcgroup -lcyaml -lyaml -lmd -lsystemd
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

BPF_SRC := $(wildcard bpf/*.bpf.c)
BPF_SKEL := $(patsubst bpf/%.bpf.c,$(BUILD)/bpf/%.skel.h,$(BPF_SRC))
DAEMON_SRC := $(filter-out $(filter-out daemon/api/snapshot.c,$(wildcard daemon/api/*.c)),$(wildcard daemon/*.c daemon/*/*.c))
API_SRC := $(wildcard daemon/api/*.c daemon/record/explain_*.c daemon/util/*.c)
API_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(API_SRC))
DAEMON_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(DAEMON_SRC))
# pileguardctl checks policies itself, without the daemon
# pileguardctl run and unplace put processes into cgroups, and back, as the guard does
CTL_SRC := $(wildcard ctl/*.c daemon/policy/*.c daemon/util/*.c) \
	$(addprefix daemon/,act/trees.c act/moves.c act/placed.c groups/match.c groups/proc.c)
CTL_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(CTL_SRC))

.PHONY: FORCE all deb deps check check-long check-unit demo install uninstall clean bench lint format help
.DELETE_ON_ERROR:
.SECONDARY:

all: $(BUILD)/pileguardd $(BUILD)/pileguard-api $(BUILD)/pileguardctl

$(BUILD)/pileguardd: $(DAEMON_OBJ)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(PILE_LDFLAGS) $(LDFLAGS) -o $@ $^ $(DAEMON_LIBS)

$(BUILD)/pileguard-api: $(API_OBJ)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(PILE_LDFLAGS) $(LDFLAGS) -o $@ $^ $(API_LIBS)

$(BUILD)/pileguardctl: $(CTL_OBJ)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(PILE_LDFLAGS) $(LDFLAGS) -o $@ $^ $(CTL_LIBS)

# what the variables say, so that other ones mean other objects
$(BUILD)/.flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(PILE_CFLAGS) $(CFLAGS)' | cmp -s - $@ || echo '$(CC) $(PILE_CFLAGS) $(CFLAGS)' > $@
FORCE:

$(BUILD)/%.o: %.c $(BUILD)/.flags
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(PILE_CFLAGS) $(CFLAGS) -c -o $@ $<

# the skeletons are headers that kernel.c includes: they must stand before it is compiled the first time
$(BUILD)/daemon/kernel/kernel.o: $(BPF_SKEL)

$(BUILD)/bpf/%.bpf.o: bpf/%.bpf.c
	@mkdir -p $(@D)
	$(call say,BPF,$@)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c -o $@ $<

$(BUILD)/bpf/%.skel.h: $(BUILD)/bpf/%.bpf.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name $*_bpf > $@

include tests/tests.mk

deps:
	./tests/deps

install: all
	$(INSTALL) -d $(DESTDIR)$(sbindir) $(DESTDIR)$(bindir) $(DESTDIR)$(unitdir) $(DESTDIR)$(sysusersdir) $(DESTDIR)$(catalogdir) \
		$(DESTDIR)$(sysconfdir)/pileguard/policy.d $(DESTDIR)$(completionsdir)
	$(INSTALL) -m 755 $(BUILD)/pileguardd $(DESTDIR)$(sbindir)/pileguardd
	$(INSTALL) -d $(DESTDIR)$(libexecdir)/pileguard
	$(INSTALL) -m 755 $(BUILD)/pileguard-api $(DESTDIR)$(libexecdir)/pileguard/pileguard-api
	$(INSTALL) -m 755 $(BUILD)/pileguardctl $(DESTDIR)$(bindir)/pileguardctl
	$(INSTALL) -d -m 700 $(DESTDIR)$(localstatedir)/lib/pileguard
	for unit in pileguard.service pileguard-textfile.service; do \
		sed -e 's,@sbindir@,$(sbindir),g' -e 's,@bindir@,$(bindir),g' -e 's,@localstatedir@,$(localstatedir),g' \
			-e 's,@sysconfdir@,$(sysconfdir),g' dist/$$unit.in > $(DESTDIR)$(unitdir)/$$unit && \
		chmod 644 $(DESTDIR)$(unitdir)/$$unit || exit 1; done
	$(INSTALL) -d $(DESTDIR)$(unitdir)/prometheus-node-exporter.service.wants
	ln -sf ../pileguard-textfile.service $(DESTDIR)$(unitdir)/prometheus-node-exporter.service.wants/
	$(INSTALL) -m 644 dist/pileguard.sysusers $(DESTDIR)$(sysusersdir)/pileguard.conf
	$(INSTALL) -m 644 dist/pileguard.catalog $(DESTDIR)$(catalogdir)/pileguard.catalog
	$(INSTALL) -m 644 dist/completions/pileguardctl.bash $(DESTDIR)$(completionsdir)/pileguardctl
	$(INSTALL) -d $(DESTDIR)$(mandir)/man1 $(DESTDIR)$(mandir)/man5 $(DESTDIR)$(mandir)/man8 \
		$(DESTDIR)$(datadir)/pileguard/prometheus
	$(INSTALL) -m 644 docs/pileguardctl.1 $(DESTDIR)$(mandir)/man1/
	$(INSTALL) -m 644 docs/pileguard.policy.5 $(DESTDIR)$(mandir)/man5/
	$(INSTALL) -m 644 docs/pileguardd.8 $(DESTDIR)$(mandir)/man8/
	$(INSTALL) -m 644 dist/prometheus/pileguard.rules.yml $(DESTDIR)$(datadir)/pileguard/prometheus/
	$(INSTALL) -m 644 dist/policy.schema.json $(DESTDIR)$(datadir)/pileguard/
	test -e $(DESTDIR)$(sysconfdir)/pileguard/policy.yaml || \
		$(INSTALL) -m 644 dist/policy.yaml $(DESTDIR)$(sysconfdir)/pileguard/policy.yaml

uninstall:
	rm -f $(DESTDIR)$(sbindir)/pileguardd $(DESTDIR)$(bindir)/pileguardctl \
		$(DESTDIR)$(libexecdir)/pileguard/pileguard-api $(DESTDIR)$(unitdir)/pileguard.service $(DESTDIR)$(unitdir)/pileguard-textfile.service \
		$(DESTDIR)$(unitdir)/prometheus-node-exporter.service.wants/pileguard-textfile.service \
		$(DESTDIR)$(sysusersdir)/pileguard.conf $(DESTDIR)$(catalogdir)/pileguard.catalog \
		$(DESTDIR)$(completionsdir)/pileguardctl $(DESTDIR)$(mandir)/man1/pileguardctl.1 \
		$(DESTDIR)$(mandir)/man5/pileguard.policy.5 $(DESTDIR)$(mandir)/man8/pileguardd.8 \
		$(DESTDIR)$(datadir)/pileguard/prometheus/pileguard.rules.yml $(DESTDIR)$(datadir)/pileguard/policy.schema.json
	@echo "kept: $(DESTDIR)$(sysconfdir)/pileguard (your policy), $(DESTDIR)$(localstatedir)/lib/pileguard (what was learned)"

# Debian's package, from the sources alone, in $(BUILD)/deb. DEB_VERSION=1.0+2 makes another version of the same.
DEB_VERSION ?=
deb:
	rm -rf $(BUILD)/deb/pileguard && mkdir -p $(BUILD)/deb/pileguard
	cp -a bpf ctl daemon dist docs include tests Makefile LICENSE README.md $(BUILD)/deb/pileguard/
	mv $(BUILD)/deb/pileguard/dist/debian $(BUILD)/deb/pileguard/debian
	test -z "$(DEB_VERSION)" || sed -i '1s/(.*)/($(DEB_VERSION))/' $(BUILD)/deb/pileguard/debian/changelog
	cd $(BUILD)/deb/pileguard && env -u BUILD -u DESTDIR -u CFLAGS MAKEFLAGS= dpkg-buildpackage --build=binary --no-sign > ../build.log 2>&1 || \
		{ tail -n 30 ../build.log >&2; exit 1; }
	@ls $(BUILD)/deb/*.deb

clean:
	rm -rf $(BUILD)

help:
	@echo "make [all]             build pileguardd, pileguard-api and pileguardctl into $(BUILD)/"
	@echo "sudo make deps         install what building, testing and the demo need (Debian 12)"
	@echo "sudo make demo         the incident on a real stack in a VM, without and with the guard (about 15 minutes)"
	@echo "sudo make check        build and pass all tests (about 40 minutes)"
	@echo "make check-unit        only what needs no privilege"
	@echo "sudo make check-kernels  every BPF program on 6.1, 6.12, 7.x in VMs, and here: docs/KERNELS.md (about half an hour)"
	@echo "sudo make check-long   everything: long outages, all seeds, every fault, a thousand deaths (about three hours)"
	@echo "sudo make bench        what the guard costs: nanoseconds an event, requests a second, memory (docs/COST.md)"
	@echo "make lint              clang-format, clang-tidy, shell and Python checks; changes nothing"
	@echo "make format            formats the C files"
	@echo "make deb               Debian's package, in $(BUILD)/deb (tests/deps package brings what it needs)"
	@echo "sudo make install      [DESTDIR=] [prefix=$(prefix)] and the other variables of README.md"
	@echo "sudo make uninstall    with the same variables; keeps your policy"
	@echo "make clean             removes $(BUILD)/"
	@echo "make help              this text"

-include $(DAEMON_OBJ:.o=.d) $(API_OBJ:.o=.d) $(CTL_OBJ:.o=.d) $(patsubst bpf/%.bpf.c,$(BUILD)/bpf/%.bpf.d,$(BPF_SRC))
