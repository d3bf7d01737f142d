# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest shows of itself to somebody who looks from outside the guard; checks that are told as they come."""
import difflib

from . import tables

UNITS = "php8.2-fpm nginx mariadb ssh"
# What can be seen of a host from outside the guard, without what changes by itself: numbers of objects that a restart of
# php-fpm made anew, times, statistics, and what our own logins leave below user.slice.
SEEN = {
    "BPF programs, links and maps": "for kind in prog link map; do bpftool $kind show; done | sed -En 's/^[0-9]+: //p' | "
                                    "sed -E 's/  *frozen//' | sort",
    "programs on cgroups": "bpftool cgroup tree | sed -E 's/^ +[0-9]+ +/  /' | grep -v user.slice",
    "knobs of cgroups": "cd /sys/fs/cgroup && find . -path ./user.slice -prune -o -type f -perm /222 -perm /444 "
                        "! -name cgroup.procs ! -name cgroup.threads ! -name '*.pressure' ! -name '*.peak' -print0 | sort -z | "
                        "xargs -0 grep -H ''",
    "cgroups and their files": "cd /sys/fs/cgroup && find . -path ./user.slice -prune -o -print | sort",
    "properties of units": f"systemctl show {UNITS} | grep -Ev '^(.*(Timestamp|PID|NSec|Current|Bytes|Operations|Packets|"
                           "InvocationID|ControlGroupId|Peak|Available|NRestarts)[A-Za-z]*|Exec[A-Z][A-Za-z]*|StatusText)='",
    "unit files and drop-ins": f"systemctl cat {UNITS}; ls /etc/systemd/system /run/systemd/system "
                                "/run/systemd/transient | grep -v '^session-'",
    "listeners": "ss -Hlntu | awk '{print $1, $5}' | sort; ss -Hlx | awk '{print $1, $5}' | sort",
    "packet filters and namespaces": "iptables-save | grep -v '^[#:]'; ip netns; ip route",
    "runtime files": "ls -A /run /run/motd.d /dev/shm /sys/fs/bpf 2>/dev/null",
}


class Checks(list):
    """(passed, what, figure), printed as they come. None: an aim that is missed and explained."""

    def add(self, passed, what, figure=""):
        self.append((bool(passed), what, str(figure)))
        print(tables.verdict_lines(self[-1:]), flush=True)

    def add_aim(self, value, aim, limit, what, figure=""):
        """Below aim: passed; from limit on: failed; between them: an aim that an emulated host misses."""
        self.append((True if value < aim else None if value < limit else False, what, str(figure)))
        print(tables.verdict_lines(self[-1:]), flush=True)


def out(vm, command, **options):
    return vm.ssh(command, check=False, **options).stdout.strip()


def snapshot(vm):
    """What there is on the host, in lines, by kind."""
    return {kind: [in_order(line) for line in out(vm, command, timeout=120).splitlines()] for kind, command in SEEN.items()}


def in_order(line):
    """A line with the words behind its NAME= sorted: systemd lists sets in any order."""
    name, equals, words = line.partition("=")
    return name + equals + " ".join(sorted(words.split()))


def changed(before, after):
    """Lines that are gone (-) or new (+)."""
    return list(difflib.unified_diff(before, after, lineterm="", n=0))[2:]
