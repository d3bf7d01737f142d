#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_residue.py: pileguardctl residue: what a guard has on the host, what it leaves (nothing), and what would be found.

Other guards may run on this machine at the same time: theirs is told as theirs, so nothing here depends on being alone.
"""
import ctypes
import json
import os
import re
import signal
import struct
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from guardlib import BUILD, Stage, bpf_held_by, for_others, policy, until

CLEAN = "0 programs, 0 links, 0 knobs, 0 drop-ins, 0 cgroups: as before installation\n"
BPF, PROG_GET_FD_BY_ID = {"x86_64": 321, "aarch64": 280}[os.uname().machine], 13


def program_open(number):
    """A descriptor that keeps this program alive."""
    attr = ctypes.create_string_buffer(struct.pack("=I", number), 128)
    fd = ctypes.CDLL(None, use_errno=True).syscall(BPF, PROG_GET_FD_BY_ID, attr, len(attr))
    if fd < 0:
        raise OSError(ctypes.get_errno(), f"program {number}")
    return fd


class Residue(Stage, unittest.TestCase):
    WORKERS = 2

    def setUp(self):
        super().setUp()
        self.cgroup = self.world.cgroup("www")
        self.guard = self.world.guard(policy({"www": {"cgroup": self.world.cgroup_name("www"), "enforce": "[fail_fast]"}}))
        until(lambda: self.guard.group("www")["gate_ready"], 5, "www is guarded")

    def residue(self, *args, **kwargs):
        program = f"{BUILD}/pileguardctl"
        return subprocess.run([for_others(program) if kwargs else program, "--socket", self.guard.socket, *args, "residue"],
                              capture_output=True, text=True, check=False, timeout=30, **kwargs)

    def asked(self):
        run = self.residue("--json")
        return run.returncode, json.loads(run.stdout)

    def test_while_it_runs_and_stopped(self):
        status, found = self.asked()
        self.assertEqual((status, found["left"]), (0, []), found)
        self.assertIn(self.guard.p.pid, found["guards"])
        run = self.residue()
        self.assertRegex(run.stdout.splitlines()[0], rf"^pileguard runs \(pid.*\b{self.guard.p.pid}\b")
        if found["guards"] == [self.guard.p.pid]:
            held = bpf_held_by(self.guard.p.pid)
            for kind, word in (("prog", "programs"), ("map", "maps"), ("link", "links")):
                self.assertIn(f"{sum(k == kind for k, _ in held)} {word}", run.stdout, "all of its objects are known as ours")
        self.guard.stop()
        run = self.residue()   # at once: what the kernel is about to free is waited for
        self.assertEqual(run.returncode, 0, run.stdout)
        self.assertNotRegex(run.stdout, rf"\b{self.guard.p.pid}\b|left:")
        if "pileguard runs" not in run.stdout:
            self.assertEqual(run.stdout, CLEAN)

    def test_what_outlives_it(self):
        """A process that keeps a program of its own, as an inherited descriptor would; a socket; a cgroup."""
        number = min(n for kind, n in bpf_held_by(self.guard.p.pid) if kind == "prog")
        fd = program_open(number)
        try:
            self.assertEqual(self.asked()[0], 0, "as long as it runs, it is the guard's")
            self.guard.stop(signal.SIGKILL)
            # as the unit's ExecStopPost= does: it takes an empty record away
            subprocess.run([f"{BUILD}/pileguardd", "--undo", "--socket", self.guard.socket], check=True)
            cgroup = f"{self.world.mount}/pileguard-test-{os.getpid()}.slice"
            os.mkdir(cgroup)
            self.world.cgroups.append(cgroup)
            run = self.residue()
            self.assertEqual(run.returncode, 1, run.stdout)
            self.assertRegex(run.stdout, rf"(?m)^left: program {number} \w+, held by process {os.getpid()} \(")
            self.assertRegex(run.stdout, r"(?m)^left: map \d+ ")
            self.assertIn(f"left: file {self.guard.socket}\n", run.stdout)
            self.assertIn(f"left: cgroup {cgroup}\n", run.stdout)
            self.assertRegex(run.stdout, r"1 program, .*, 1 cgroup, 1 file")
        finally:
            os.close(fd)
        os.rmdir(cgroup)
        os.unlink(self.guard.socket)
        status, found = self.asked()
        self.assertEqual((status, found["left"]), (0, []))

    def test_not_root(self):
        run = self.residue(user=65534)
        self.assertEqual((run.returncode, run.stdout), (2, ""))
        self.assertTrue(re.search("root", run.stderr), run.stderr)


if __name__ == "__main__":
    unittest.main()
