#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_guard_throttle.py: rung 3 natively: a fork storm is capped, spinners give way to the protected, and all is undone.

Each test has a box of its own: a cgroup with a bound of its own on tasks, in which the group, what is protected and a neighbour
are, on cgroup v2 and, where the controllers are v1's, in those hierarchies under the same name.
"""
import contextlib
import glob
import os
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from guardlib import BUILD, FIGURES, World, figures_print, policy, quantile, until

STORM = f"{BUILD}/tests/storm"
OUTER = 1500        # tasks in the box: the machine itself is never at risk
RATE = 300


def setUpModule():
    unittest.addModuleCleanup(figures_print)


def v1_mount(controller):
    with open("/proc/self/mounts", encoding="utf-8") as f:
        for line in f:
            _, where, kind, options = line.split()[:4]
            if kind == "cgroup" and controller in options.split(","):
                return where
    return None


def read(path):
    with open(path, encoding="ascii") as f:
        return f.read().strip()


def write(path, text):
    with open(path, "w", encoding="ascii") as f:
        f.write(str(text))


class Box:
    """Cgroups of one test, in every hierarchy that matters."""
    PARTS = ("storm", "admin", "other")

    def __init__(self, world):
        self.name = world.cgroup_name("box")
        self.pids, self.cpu = v1_mount("pids") or world.mount, v1_mount("cpu") or world.mount
        self.roots = sorted({world.mount, self.pids, self.cpu})
        self.v2 = self.cpu == world.mount
        for root in self.roots:
            os.makedirs(root + self.name)
            if root == world.mount and self.v2:
                write(f"{root}{self.name}/cgroup.subtree_control", "+cpu +pids")
            for part in self.PARTS:
                os.makedirs(f"{root}{self.name}/{part}")
        write(f"{self.pids}{self.name}/pids.max", OUTER)

    def file(self, part, name):
        """pids.max, or the weight, of a part."""
        root = self.pids if name.startswith("pids") else self.cpu
        if name == "weight":
            name = "cpu.weight" if self.v2 else "cpu.shares"
        return f"{root}{self.name}/{part}/{name}"

    def weigh(self, part, weight):
        """In v2's units; v1 has shares of 1024 for 100."""
        write(self.file(part, "weight"), weight if self.v2 else weight * 1024 // 100)

    def start(self, part, *words):
        """A storm in one of the parts."""
        def enter():
            for root in self.roots:
                write(f"{root}{self.name}/{part}/cgroup.procs", os.getpid())
        # pylint: disable=subprocess-popen-preexec-fn
        return subprocess.Popen([STORM, *map(str, words)], stdout=subprocess.PIPE, text=True, preexec_fn=enter)

    def tasks(self):
        return int(read(self.file("storm", "pids.current")))

    def pids_in(self, part):
        pids = set()
        for root in self.roots:
            with contextlib.suppress(FileNotFoundError):
                pids |= set(read(f"{root}{self.name}/{part}/cgroup.procs").split())
        return pids

    def close(self):
        for part in self.PARTS:
            def gone(part=part):
                for pid in self.pids_in(part):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
                return not self.pids_in(part)
            until(gone, 20, f"{part} is empty")
        for root in self.roots:
            for path in [*glob.glob(f"{root}{self.name}/*/"), root + self.name]:
                until(lambda path=path: not os.path.isdir(path) or not rmdir(path), 10, f"{path} is gone")


def rmdir(path):
    try:
        os.rmdir(path)
    except OSError as e:
        return e
    return None


class Fixture(unittest.TestCase):
    mode, enforce, extra = "enforce", "[throttle]", {}

    def setUp(self):
        self.world = World()
        self.addCleanup(self.world.close)
        self.box = Box(self.world)
        self.addCleanup(self.box.close)
        self.guard = self.world.guard(self.policy(self.enforce))
        until(lambda: (self.guard.group("www") or {}).get("present"), 5, "www is followed")
        self.processes = []
        self.addCleanup(self.end)

    def policy(self, enforce):
        return f"protect: [{self.box.name}/admin]\n" + policy(
            {"www": {"cgroup": f"{self.box.name}/storm", "enforce": enforce, **self.extra}}, mode=self.mode)

    def start(self, part, *words):
        self.processes.append(self.box.start(part, *words))
        return self.processes[-1]

    def end(self):
        for p in self.processes:
            p.kill()
            p.wait()
            p.stdout.close()

    def throttles(self, knob=None):
        return [x for x in self.guard.explains() if x["kind"] == "throttle" and knob in (None, x["throttle"]["knob"])]

    def ticks(self, seconds):
        wanted = self.guard.get("status")["guard"]["ticks_total"] + 10 * seconds
        until(lambda: self.guard.get("status")["guard"]["ticks_total"] >= wanted, 3 * seconds + 20, f"{seconds} s of the guard's")

    def calm(self):
        """What the group has in calm: one process."""
        self.start("storm", "fork", 10, 3, 120)
        self.ticks(3)

    def capped(self):
        return until(lambda: next(iter(self.throttles("tasks_max")), None), 20, "it is throttled")

    def knobs_left(self):
        """By pileguardctl residue, which asks nobody: knobs that are in the record."""
        done = subprocess.run([f"{BUILD}/pileguardctl", "--socket", self.guard.socket, "residue"], capture_output=True, text=True,
                              check=False)
        return [line for line in done.stdout.splitlines() if line.startswith("left: knob")]


POOL = {"workers": "prefork", "workers_max": 200}


class ForkStorm(Fixture):
    """A pool of 200 is declared: beyond that the limit of the box is a bound."""
    extra = POOL

    def test_storm(self):
        """No further forks, long before the bound; nobody is ended; the neighbour forks on; undone when it is disarmed."""
        self.calm()
        self.start("storm", "fork", RATE, 3000, 60)
        x = self.capped()
        self.assertTrue(x["acted"])
        self.assertEqual((x["throttle"]["bound"], x["throttle"]["was"]), ("cgroup", None))
        cap = int(read(self.box.file("storm", "pids.max")))
        self.assertEqual(cap, x["throttle"]["value"])
        self.assertGreaterEqual(cap, x["throttle"]["tasks"] + 8)
        self.ticks(2)
        self.assertEqual(self.box.tasks(), cap, "all that there were, and no more")
        self.assertLess(cap, OUTER - 100)
        self.assertEqual(read(self.box.file("other", "pids.max")), "max")
        other = self.start("other", "fork", 50, 20, 2)
        self.assertIn("made 20 failed 0", other.communicate(timeout=20)[0])
        self.assertRegex(self.guard.events("throttle", "www")[0]["text"],
                         r"^www: \d+ tasks come a second, \d+ now: .* TasksMax=\d+ for \d+ s at most\.")
        self.assertEqual(self.guard.group("www")["throttle"]["tasks_max"], cap)
        self.assertEqual(self.guard.get("status")["throttle"]["throttles"], 1)
        FIGURES[f"fork storm of {RATE}/s, {OUTER} allowed: tasks when it was capped"] = x["throttle"]["tasks"]
        FIGURES["... forks seen for, s"] = round(x["throttle"]["rising_seconds"], 2)
        FIGURES["... it would have been used up in, s"] = round(x["why"]["exhausted_in_seconds"], 2)
        self.assertEqual(self.guard.post("disarm")[0], 200)
        until(lambda: read(self.box.file("storm", "pids.max")) == "max", 2, "undone within 2 s")
        x = until(lambda: next((x for x in self.throttles("tasks_max") if x["throttle"]["undone"]), None), 5, "told")
        self.assertEqual((x["state"], x["throttle"]["ended"]), ("closed", "disarmed"))
        self.assertEqual(x["undo_text"], "undone: TasksMax=infinity again")

    def test_bomb(self):
        """Children that fork children: as fast as this machine can."""
        self.calm()
        began = time.time()
        self.start("storm", "bomb", 3000, 20)
        until(lambda: self.throttles("tasks_max") or self.box.tasks() >= OUTER - 30, 20, "something happens")
        FIGURES["fork bomb: tasks when it was capped (0: at its bound before that)"] = \
            next((x["throttle"]["tasks"] for x in self.throttles("tasks_max")), 0)
        FIGURES["... after, s"] = round(time.time() - began, 2)
        self.assertLessEqual(self.box.tasks(), OUTER)

    def test_threads(self):
        self.calm()
        self.start("storm", "threads", 10000, 20)
        until(lambda: self.throttles("tasks_max") or self.box.tasks() >= OUTER - 30, 20, "something happens")
        FIGURES["10,000 threads: tasks when they were capped (0: at the bound before that)"] = \
            next((x["throttle"]["tasks"] for x in self.throttles("tasks_max")), 0)

    def test_another_hand(self):
        """What somebody else sets meanwhile is his: noticed, told, left alone, also by the guard's end."""
        self.calm()
        self.start("storm", "fork", RATE, 3000, 60)
        self.capped()
        self.ticks(2)
        write(self.box.file("storm", "pids.max"), 1400)
        x = until(lambda: next((x for x in self.throttles("tasks_max") if x["state"] == "closed"), None), 5, "it is over")
        self.assertEqual((x["throttle"]["ended"], x["throttle"]["undone"]), ("taken", False))
        until(lambda: any("left alone" in e["text"] for e in self.guard.events("throttle")), 3, "told")
        self.guard.stop()
        self.assertEqual(read(self.box.file("storm", "pids.max")), "1400")
        self.assertEqual(self.knobs_left(), [])

    def test_killed(self):
        """A guard that is killed leaves the cap; `pileguardd --undo`, or the next start, takes it away."""
        self.calm()
        self.start("storm", "fork", RATE, 3000, 60)
        for again in (False, True):
            self.capped()
            self.ticks(1)
            self.guard.stop(signal.SIGKILL)
            self.assertNotEqual(read(self.box.file("storm", "pids.max")), "max")
            self.assertEqual(len(self.knobs_left()), 1)
            if again:
                break
            done = subprocess.run([f"{BUILD}/pileguardd", "--undo", "--socket", self.guard.socket], capture_output=True, text=True,
                                  check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertRegex(done.stdout, r"^pileguardd: www: TasksMax of .*/pids.max is as it was before\n$")
            self.assertEqual(read(self.box.file("storm", "pids.max")), "max")
            self.assertEqual(self.knobs_left(), [])
            self.end()
            self.processes = []
            until(lambda: self.box.tasks() == 0, 10, "the storm is over")
            self.guard = self.world.guard(self.policy(self.enforce))
            self.calm()
            self.start("storm", "fork", RATE, 3000, 60)
        self.guard = self.world.guard(self.policy("[]"))
        self.assertEqual(read(self.box.file("storm", "pids.max")), "max")
        until(lambda: "is as it was before" in self.guard.said(), 10, "told")   # by the slow thread
        self.assertEqual(self.knobs_left(), [])

    def test_stopped(self):
        self.calm()
        self.start("storm", "fork", RATE, 3000, 60)
        self.capped()
        self.ticks(1)
        self.assertEqual(self.guard.stop(), 0)
        self.assertEqual(read(self.box.file("storm", "pids.max")), "max")
        self.assertFalse(os.path.exists(f"{self.guard.dir}/throttled"))


class Red(Fixture):
    """Without the rung the box is full."""
    enforce, extra = "[]", POOL

    def test_storm(self):
        self.calm()
        self.start("storm", "fork", RATE, 3000, 30)
        until(lambda: self.box.tasks() >= OUTER - 2, 20, "all tasks are used up")
        x = self.capped()
        self.assertEqual((x["acted"], x["blocked"]), (False, "the group's enforce list does not name throttle"))
        self.assertRegex(x["did_text"], r"^nothing: would have set TasksMax=\d+ \(the group's enforce list does not name throttle\)$")
        self.assertEqual(read(self.box.file("storm", "pids.max")), "max")
        other = self.start("other", "fork", 50, 20, 2)
        FIGURES["red: the neighbour in the same box then"] = other.communicate(timeout=20)[0].strip()
        self.assertTrue(FIGURES["red: the neighbour in the same box then"].startswith("made 0 "))


class Calm(Fixture):
    def test_pool(self):
        """A static pool that starts, thrice; a slow growth: nothing."""
        self.calm()
        for _ in range(3):
            self.start("storm", "fork", 2000, 150, 4).wait(10)
        self.start("storm", "fork", 20, 200, 12).wait(20)
        self.assertEqual(self.throttles(), [])
        self.assertEqual(read(self.box.file("storm", "pids.max")), "max")

    def test_compile_job(self):
        """Another cgroup takes the processors from what is protected: not this group's fault."""
        self.box.weigh("other", 2000)
        self.box.weigh("admin", 20)
        self.start("admin", "login", 100, 5, 14)
        self.start("other", "spin", 4, 12)
        self.start("storm", "spin", 1, 12).wait(20)
        self.assertEqual(self.throttles(), [])


class Undeclared(Fixture):
    def test_limit(self):
        """No pool is declared: up to the limit of its own cgroup, or the box's, it is let."""
        self.calm()
        self.start("storm", "fork", RATE, 3000, 10)
        until(lambda: self.box.tasks() >= OUTER - 2, 20, "the box is full")
        self.ticks(2)
        self.assertEqual(self.throttles(), [])


class Declared(Fixture):
    extra = {"workers": "prefork", "workers_max": 1200}

    def test_pool(self):
        """A pool that grows to its declared size."""
        self.calm()
        self.start("storm", "fork", RATE, 1200, 10).wait(20)
        self.assertEqual(self.throttles(), [])


class Spinners(Fixture):
    """Spinners with a large weight, as an operator may have given them, and a login of 5 ms each 100 ms."""
    SPIN = 8

    def setUp(self):
        super().setUp()
        if not self.box.v2:
            write(f"{self.box.cpu}{self.box.name}/cpu.shares", 8192)      # the box against the rest of this machine
        self.box.weigh("storm", 2000)
        self.box.weigh("admin", 20)

    def logins(self, seconds):
        p = self.start("admin", "login", 100, 5, seconds)
        return [float(line) for line in p.communicate(timeout=seconds + 60)[0].split()]

    def test_weight(self):
        idle = self.logins(5)
        was = read(self.box.file("storm", "weight"))
        self.start("storm", "spin", self.SPIN, 60)
        watch = self.start("admin", "login", 100, 5, 45)
        x = until(lambda: next(iter(self.throttles("cpu_weight")), None), 30, "less weight")
        self.assertTrue(x["acted"])
        self.assertIn(read(self.box.file("storm", "weight")), ("10", "102"))
        self.assertEqual(x["throttle"]["protected"], f"{self.box.name}/admin"[:63])
        self.assertGreaterEqual(x["throttle"]["waited_ratio"], 2)
        self.assertGreaterEqual(x["throttle"]["cpu_ratio"], 0.5)
        self.ticks(8)
        after = self.logins(5)
        self.assertEqual(self.throttles("cpu_quota_us"), [], "enough")
        FIGURES["login of 5 ms each 100 ms, idle: p90, ms"] = quantile(idle, 0.9)
        FIGURES["... throttled: p90, ms"] = quantile(after, 0.9)
        FIGURES["waited / ran, when it was decided"] = x["throttle"]["waited_ratio"]
        # what the rung is taken out of the policy for is undone at once
        self.guard.write(self.policy("[]"))
        self.assertEqual(self.guard.post("reload")[0], 200)
        until(lambda: read(self.box.file("storm", "weight")) == was, 3, "undone")
        watch.kill()
        x = until(lambda: next(iter(x for x in self.throttles("cpu_weight") if x["state"] == "closed"), None), 3, "told")
        self.assertEqual(x["throttle"]["ended"], "policy")
        self.assertLess(quantile(after, 0.9), 3 * max(quantile(idle, 0.9), 5.0), "within 3 x idle")


class SpinnersRed(Spinners):
    enforce = "[]"

    def test_weight(self):
        idle = self.logins(5)
        self.start("storm", "spin", self.SPIN, 40)
        self.logins(4)
        x = until(lambda: next(iter(self.throttles("cpu_weight")), None), 10, "told")
        slow = self.logins(5)
        FIGURES["... red: p90, ms"] = quantile(slow, 0.9)
        self.assertEqual((x["acted"], x["blocked"]), (False, "the group's enforce list does not name throttle"))
        self.assertGreater(quantile(slow, 0.9), 3 * quantile(idle, 0.5), "red: more than 3 x idle")


if __name__ == "__main__":
    unittest.main(verbosity=2)
