#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_guard_reloads.py: reloads without end, each of which takes a group away and brings another: nothing of them is left.

long_guard_reloads.py does ten thousand.
"""
import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from guardlib import BPFTOOL, FIGURES, World, bpf_held_by, cgroup_programs, empty_cgroup, figures_print, policy, until

# maps of whatever else this host serves
OTHERS = ("destinations", "workers", "listeners", "listener_ports", "unix_addresses")


def setUpModule():
    unittest.addModuleCleanup(figures_print)


def run(*words):
    return json.loads(subprocess.run([BPFTOOL, "-j", *words], capture_output=True, text=True, check=True).stdout)


def resident_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(f.read().split("VmRSS:")[1].split()[0])


class Reloads(unittest.TestCase):
    SLACK_KIB = 256     # of resident memory: a page of somebody's stack, a table of the C library's
    RELOADS = 150
    WARM = 130      # until every place was used once: of the events, too

    def setUp(self):
        self.world = World()
        self.addCleanup(self.world.close)
        self.guard = self.world.guard(self.policy(-1))
        self.made = []

    def policy(self, number):
        """A group that stays, and one that is this reload's own."""
        groups = {"stays": {"cgroup": "/pg-none", "exempt": "['10.1.2.3:25']"}}
        if number >= 0:
            groups[f"turn{number}"] = {"cgroup": self.world.cgroup_name(f"turn{number}"), "enforce": "[fail_fast]",
                                       "connect_deadline": "1s", "exempt": f"['10.9.8.7:{1 + number % 60000}']"}
        return policy(groups)

    def turn(self, number):
        """One reload. The group before is gone, and this one's cgroup is attached to."""
        cgroup = self.world.mount + self.world.cgroup_name(f"turn{number}")
        os.makedirs(cgroup)
        self.made.append(cgroup)
        self.guard.write(self.policy(number))
        status, text = self.guard.post("reload")
        self.assertEqual(status, 200, text)
        if len(self.made) > 1:
            empty_cgroup(self.made.pop(0))

    def state(self):
        """What must not grow. The api process's descriptors are those of who asks."""
        held = bpf_held_by(self.guard.p.pid)
        maps = {}
        for number in sorted(number for kind, number in held if kind == "map"):
            one = run("map", "show", "id", str(number))
            if one["type"] == "hash" and one["name"] not in OTHERS:
                maps[one["name"]] = len(run("map", "dump", "id", str(number)))
        return {"descriptors": len(os.listdir(f"/proc/{self.guard.p.pid}/fd")), "held": len(held), "entries": maps}

    def children(self):
        with open(f"/proc/{self.guard.p.pid}/task/{self.guard.p.pid}/children", encoding="ascii") as f:
            return [int(word) for word in f.read().split()]

    def settled(self):
        """When the last reload's group is attached to, and nothing else."""
        self.addCleanup(lambda: [empty_cgroup(path) for path in self.made if os.path.isdir(path)])
        until(lambda: len(cgroup_programs(self.made[-1])) == 4, 5, "the last group is attached to")
        return self.state()

    def test_nothing_is_left(self):
        for number in range(self.WARM):
            self.turn(number)
        before = self.settled()
        processes = [self.guard.p.pid, *self.children()]
        resident = [resident_kib(pid) for pid in processes]
        course = []
        for number in range(self.WARM, self.WARM + self.RELOADS):
            self.turn(number)
            if (number - self.WARM) % (self.RELOADS // 10) == 0:
                course.append(resident_kib(self.guard.p.pid))
        after = self.settled()
        grown = [resident_kib(pid) - was for pid, was in zip(processes, resident)]
        FIGURES["reloads, groups made and removed"] = self.RELOADS
        FIGURES["descriptors, BPF objects held, entries of maps"] = (after["descriptors"], after["held"], after["entries"])
        FIGURES["resident memory before, KiB, and what came (guard, api)"] = (resident, grown)
        FIGURES["... of the guard, by and by"] = course
        # found services that come and go have files open, too
        self.assertLess(abs(after.pop("descriptors") - before.pop("descriptors")), min(64, self.RELOADS // 2))
        self.assertEqual(after, before)
        self.assertLess(max(grown), self.SLACK_KIB)
        self.assertEqual([self.guard.p.pid, *self.children()], processes, "the same processes")
        names = [g["name"] for g in self.guard.get("groups") if g["configured"]]
        self.assertEqual(sorted(names), sorted(["stays", f"turn{self.WARM + self.RELOADS - 1}"]))


if __name__ == "__main__":
    unittest.main(verbosity=2)
