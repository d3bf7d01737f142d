# SPDX-License-Identifier: GPL-2.0-or-later
"""faultlib.py: the test's half of tests/fault/fault.h: which calls a guard makes, and which of them is to fail once."""
import collections
import functools
import mmap
import os
import struct
import subprocess

from guardlib import BUILD

PROGRAM = f"{BUILD}/fault/pileguardd"
MAGIC, DEPTH, CALLS_MAX = 0x746c7561, 4, 1 << 18
CALL = struct.Struct(f"=I{DEPTH}I")
HEAD = struct.Struct("=IIII")
ARMED_AT = HEAD.size
FIRED_AT = ARMED_AT + CALL.size
CALLS_AT = FIRED_AT + 8
SIZE = CALLS_AT + CALLS_MAX * CALL.size

# in the order of fault.c: name, kind
FUNCTIONS = [
    *((name, "allocation") for name in ("malloc", "calloc", "realloc", "reallocarray", "strndup", "asprintf", "open_memstream",
                                        "cyaml_mem")),
    *((name, "map update") for name in ("bpf_map_update_elem", "bpf_map_delete_elem", "bpf_map__reuse_fd")),
    *((name, "attach") for name in ("bpf_object__open_mem", "bpf_object__load", "bpf_program__attach", "bpf_program__attach_cgroup",
                                    "bpf_program__attach_iter", "bpf_iter_create", "bpf_link_create", "bpf_prog_test_run_opts",
                                    "btf__load_vmlinux_btf")),
    *((name, "write") for name in ("write", "fsync", "ftruncate")),
    *((name, "rename") for name in ("rename", "renameat")),
    *((name, "descriptor") for name in ("open", "openat", "opendir", "socket", "socketpair", "bind", "listen", "fcntl", "eventfd",
                                        "memfd_create", "mmap", "pthread_create", "posix_spawn", "sd_event_new", "sd_event_add_io",
                                        "sd_event_add_signal", "sd_event_add_time")),
    ("read", "read"),
    ("mkdir", "write"), ("pidfd_open", "descriptor"), ("cgroup_create_cgroup", "write"), ("cgroup_modify_cgroup", "write"),
]


class Call(collections.namedtuple("Call", "function at")):
    """A call as the guard made it: which function, and up to DEPTH return addresses, the innermost first."""

    @property
    def name(self):
        return FUNCTIONS[self.function][0]

    @property
    def kind(self):
        return FUNCTIONS[self.function][1]

    def cut(self, depth):
        return Call(self.function, self.at[:depth])

    def __str__(self):
        return f"{self.name}() in {where(self.at)}" if self.name != "cyaml_mem" else f"cyaml_mem() at {self.at[0]:#x}"


@functools.cache
def where(at):
    """The functions around it, innermost first; where the compiler joined several, the source's innermost."""
    # a return address is behind the call
    out = subprocess.run(["addr2line", "-f", "-s", "-e", PROGRAM, *(hex(a - 1) for a in at if a)], capture_output=True, text=True,
                         check=True).stdout.splitlines()
    return " < ".join(f"{function} ({place.split(' ')[0]})" for function, place in zip(out[::2], out[1::2]))


class Page:
    """Shared with one guard: give it to World.guard(prefix=page.prefix, program=PROGRAM)."""

    def __init__(self, path):
        self.path = path
        with open(path, "wb") as f:
            f.truncate(SIZE)
        self.fd = os.open(path, os.O_RDWR)
        self.memory = mmap.mmap(self.fd, SIZE)
        self.prefix = ("env", f"PILE_FAULT_FILE={path}")

    def close(self):
        self.memory.close()
        os.close(self.fd)

    def head(self):
        magic, functions, left, depth = HEAD.unpack_from(self.memory, 0)
        assert (magic, functions) == (MAGIC, len(FUNCTIONS)), "the guard is another program than this test is for"
        return left, depth

    def reset(self):
        """Before another guard shares it."""
        self.memory[:CALLS_AT] = bytes(CALLS_AT)

    @property
    def fired(self):
        return struct.unpack_from("=I", self.memory, FIRED_AT)[0]

    @property
    def n(self):
        n = struct.unpack_from("=I", self.memory, FIRED_AT + 4)[0]
        assert n <= CALLS_MAX, "more calls than there is room for"
        return n

    def calls(self, first=0, last=None):
        """Those made from the first on, to (without) the last."""
        last = self.n if last is None else last
        for i in range(first, last):
            function, *at = CALL.unpack_from(self.memory, CALLS_AT + i * CALL.size)
            yield Call(function, tuple(at))

    def arm(self, call, nth=1):
        """The nth call like this one, from now on, fails. Returns how many had failed before."""
        struct.pack_into("=I", self.memory, 8, 0)
        CALL.pack_into(self.memory, ARMED_AT, call.function, *call.at, *[0] * (DEPTH - len(call.at)))
        struct.pack_into("=I", self.memory, 12, len(call.at))
        struct.pack_into("=I", self.memory, 8, nth)
        return self.fired

    def disarm(self):
        struct.pack_into("=I", self.memory, 8, 0)
