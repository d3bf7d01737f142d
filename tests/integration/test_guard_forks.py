#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_guard_forks.py: rung 3 at a limit of tasks: what the kernel would refuse is refused before it copies memory, and nothing else.

Needs fmod_ret (6.1 and 6.12 of Debian have it): `tests/vm/run native --only guard_forks`.
"""
import ctypes
import os
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from guardlib import FIGURES, World, figures_print, missing_here, policy, until
from test_guard_throttle import Box, read, write

LIMIT = 300
LEASE_S = 5
SYS_CLONE3, CLONE_INTO_CGROUP = 435, 0x200000000
LIBC = ctypes.CDLL(None, use_errno=True)


def setUpModule():
    unittest.addModuleCleanup(figures_print)
    if "forks beyond a limit of tasks are refused late" in missing_here():
        raise unittest.SkipTest("this kernel refuses fmod_ret")


class Fixture(unittest.TestCase):
    mode, enforce = "enforce", "[throttle]"

    def setUp(self):
        self.world = World()
        self.addCleanup(self.world.close)
        self.box = Box(self.world)
        self.addCleanup(self.box.close)
        self.guard = self.world.guard(policy({"www": {"cgroup": f"{self.box.name}/storm", "enforce": self.enforce}}, mode=self.mode))
        until(lambda: (self.guard.group("www") or {}).get("present"), 20, "www is followed")
        self.processes = []
        self.addCleanup(self.end)

    def end(self):
        for p in self.processes:
            p.kill()
            p.wait()
            p.stdout.close()

    def start(self, part, *words):
        self.processes.append(self.box.start(part, *words))
        return self.processes[-1]

    def bomb(self, seconds=60, limit=LIMIT):
        """One that has reached its limit, and goes on."""
        if limit:
            write(self.box.file("storm", "pids.max"), limit)
        self.start("storm", "bomb", 5000, seconds)
        until(lambda: self.box.tasks() >= LIMIT - 5, 60, "it is at its limit")

    def refused(self):
        return self.guard.group("www")["forks"]["refused_early_total"]

    def counted(self):
        """How often the kernel itself refused one, for this cgroup's own limit."""
        return int(read(self.box.file("storm", "pids.events")).split()[1])

    def looked_at(self):
        """How long it takes to read what ps and `systemctl status` read, s: all of it, and the longest of one."""
        began, worst = time.monotonic(), 0
        for pid in self.box.pids_in("storm"):
            at = time.monotonic()
            try:
                read(f"/proc/{pid}/cmdline")
            except (FileNotFoundError, ProcessLookupError):
                pass
            worst = max(worst, time.monotonic() - at)
        return time.monotonic() - began, worst


class Early(Fixture):
    def test_at_its_own_limit(self):
        self.bomb()
        until(lambda: self.refused() > 1000, 60, "forks are refused early")
        counted, at = self.counted(), self.refused()
        self.assertGreater(counted, 0, "one a minute goes the kernel's own way")
        whole, worst = self.looked_at()
        until(lambda: self.refused() > at + 1000, 60, "the others do not")
        self.assertLess(self.counted() - counted, 50, "but for those that were under way")
        FIGURES[f"{LIMIT} processes of a bomb at its limit looked at, s, and the slowest of them"] = round(whole, 2), round(worst, 2)
        self.assertLessEqual(self.box.tasks(), LIMIT)
        said = until(lambda: self.guard.events("forks", "www"), 10, "told")
        number = said[0]["explain"]
        self.assertEqual(said[0]["text"],
                         f"www: at a limit of {LIMIT} tasks (its own cgroup's): its forks fail at once. explain {number}")
        told = self.guard.get(f"explain/{number}")
        self.assertEqual((told["kind"], told["state"], told["acted"], told["forks"]["limit"]), ("forks", "refusing forks", True, LIMIT))
        self.assertGreater(told["did"]["forks_refused"], 1000)
        self.assertEqual(self.guard.group("www")["forks"]["explain"], number)
        self.assertTrue(self.guard.group("www")["forks"]["fail"])

    def test_the_neighbour_forks(self):
        self.bomb()
        other = self.start("other", "fork", 50, 20, 3)
        self.assertEqual(other.communicate(timeout=60)[0], "made 20 failed 0\n")

    def test_at_a_limit_further_up(self):
        write(f"{self.box.pids}{self.box.name}/pids.max", LIMIT)
        self.bomb(limit=None)
        until(lambda: self.refused() > 1000, 60, "forks are refused early")
        said = until(lambda: self.guard.events("forks", "www"), 10, "told")
        self.assertIn(f"at a limit of {LIMIT} tasks (of a cgroup above its own)", said[0]["text"])

    def test_a_limit_that_is_lifted(self):
        self.bomb()
        until(lambda: self.refused() > 100, 60, "forks are refused early")
        write(self.box.file("storm", "pids.max"), 2 * LIMIT)
        until(lambda: self.box.tasks() > LIMIT + 20, 20, "there are more")

    def test_a_child_for_another_cgroup(self):
        """Its limits are that one's (clone3, CLONE_INTO_CGROUP), as systemd makes them."""
        if not self.box.v2:
            self.skipTest("of v1 it keeps its parent's")
        self.bomb()
        until(lambda: self.refused() > 100, 60, "forks are refused early")
        reads, writes = os.pipe()
        pid = os.fork()
        if pid == 0:
            os._exit(self.clone_into("other", writes))
        os.close(writes)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)
        with os.fdopen(reads) as f:
            self.assertEqual(f.read(), "born")

    def clone_into(self, part, writes):
        """In a process that joins the storm: makes a child elsewhere. Returns an exit status."""
        write(self.box.file("storm", "pids.max"), LIMIT + 1)
        for root in self.box.roots:     # moving is not forking: no limit is asked
            write(f"{root}{self.box.name}/storm/cgroup.procs", os.getpid())
        home = os.open(f"{self.world.mount}{self.box.name}/{part}", os.O_RDONLY | os.O_DIRECTORY)
        args = (ctypes.c_uint64 * 11)(CLONE_INTO_CGROUP, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, home)
        pid = LIBC.syscall(SYS_CLONE3, args, ctypes.sizeof(args))
        if pid == 0:
            os.write(writes, b"born")
            os._exit(0)
        return 0 if pid > 0 else 1

    def test_a_guard_that_is_frozen_refuses_nothing(self):
        self.bomb(seconds=90)
        until(lambda: self.refused() > 100, 60, "forks are refused early")
        os.kill(self.guard.p.pid, signal.SIGSTOP)
        try:
            at = self.counted()
            until(lambda: self.counted() > at + 50 + 3 * LEASE_S, 4 * LEASE_S, "the kernel refuses them itself")
        finally:
            os.kill(self.guard.p.pid, signal.SIGCONT)
        before = self.refused()
        until(lambda: self.refused() > before + 1000, 60, "early again")

    def test_who_forks_now_and_then_is_left_to_the_kernel(self):
        write(self.box.file("storm", "pids.max"), 1)
        self.start("storm", "fork", 4, 100, 20)     # itself is the one
        until(lambda: self.counted() >= 10, 30, "the kernel refuses them")
        self.assertEqual(self.refused(), 0)

    def test_until_it_is_disarmed(self):
        self.bomb(seconds=90)
        until(lambda: self.refused() > 100, 60, "forks are refused early")
        self.assertEqual(self.guard.post("disarm")[0], 200)
        at = self.counted()
        until(lambda: self.counted() > at + 50, 20, "the kernel refuses them itself")
        before = self.refused()
        until(lambda: self.counted() > at + 100, 20, "the kernel refuses them itself")
        self.assertEqual(self.refused(), before)
        worst = self.guard.get("status")["guard"]["worst_gap_seconds"]
        self.assertLess(worst, 2, "nobody waits for a program to be taken off")
        said = until(lambda: [e for e in self.guard.events("forks", "www") if "any more" in e["text"]], 10, "told")
        self.assertIn("disarmed by hand", said[0]["text"])
        self.assertEqual(self.guard.get(f"explain/{said[0]['explain']}")["state"], "closed")


class Observed(Fixture):
    """Red: the kernel refuses each by itself, after it has copied memory."""
    mode = "observe"

    def test_nothing_is_refused_early(self):
        self.bomb()
        at = self.counted()
        until(lambda: self.counted() > at + 50, 60, "the kernel refuses them")
        FIGURES[f"... refused by the kernel, {LIMIT} processes looked at, s, and the slowest"] = tuple(
            round(t, 2) for t in self.looked_at())
        self.assertEqual(self.refused(), 0)


class NotNamed(Fixture):
    enforce = "[fail_fast]"
    test_nothing_is_refused_early = Observed.test_nothing_is_refused_early


if __name__ == "__main__":
    unittest.main(verbosity=2)
