#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_guard_leak.py: of twenty workers one grows without end: named, with the time that is left; who only warms up is not."""
import concurrent.futures
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from guardlib import BUILD, FIGURES, Load, World, figures_print, policy, until

WORKERS = 20
MIB = 1 << 20
WINDOW_S = 10       # of leak_notice: 24min


def setUpModule():
    unittest.addModuleCleanup(figures_print)


class Leaks(unittest.TestCase):
    def setUp(self):
        self.world = World()
        self.addCleanup(self.world.close)
        self.www = self.world.service("www", WORKERS)
        self.start(policy({"www": {"cgroup": self.world.cgroup_name("www"), "workers": "prefork"}}, mode="enforce"))
        self.load = Load(20, lambda n: (lambda: self.www.ask(op="breathe", bytes=(n % 7 + 1) * MIB), n))
        self.addCleanup(self.load.stop)
        # a worker is known once it was seen serving: one request at a time might always go to the same few
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(lambda _: self.www.ask(op="sleep", seconds=1), range(WORKERS)))
        until(lambda: len(self.workers()) > WORKERS / 2 and all(w["private_bytes"] for w in self.workers()), 30, "they are known")

    def start(self, text):
        self.guard = self.world.guard(text + "leak_notice: 24min\n")
        until(lambda: self.guard.group("www")["listeners"], 5, "www is followed")

    def workers(self):
        return [w for w in self.guard.get("workers") if w["group"] == "www"]

    def growing(self):
        return [w for w in self.workers() if w["growing_bytes_per_second"]]

    def leaks(self, rate, seconds):
        """The pid of a worker that grows from now on."""
        return self.www.ask(op="leak", rate=rate, seconds=seconds)

    def rate(self):
        """Bytes a second that take all memory within 1,000 s."""
        return max(self.guard.get("status")["memory_available_bytes"] // 1000, 4 * MIB)

    def ctl(self, *args):
        return subprocess.run([f"{BUILD}/pileguardctl", "--socket", self.guard.socket, *args], capture_output=True, text=True,
                              check=False).stdout

    def ticks(self, seconds):
        wanted = self.guard.get("status")["guard"]["ticks_total"] + 10 * seconds
        until(lambda: self.guard.get("status")["guard"]["ticks_total"] >= wanted, 3 * seconds + 20, f"{seconds} s of the guard's")

    def test_one_of_twenty(self):
        rate = self.rate()
        pid = self.leaks(rate, 2 * WINDOW_S)
        said = until(lambda: self.guard.events("leak", "www"), 2 * WINDOW_S, "told")[0]
        self.assertRegex(said["text"], rf"^www: worker {pid} grows by [0-9.]+ MiB/s: .* gone in \d+ (min|s)$")
        until(lambda: [w["pid"] for w in self.growing()] == [pid], 3, "and no other grows")
        seen = self.growing()[0]["growing_bytes_per_second"]
        FIGURES["grows by, seen, MiB/s"] = (round(rate / MIB, 1), round(seen / MIB, 1))
        self.assertAlmostEqual(seen / rate, 1, delta=0.35)
        memory = self.guard.group("www")["memory"]
        self.assertTrue(memory["leak"])
        self.assertLess(memory["growing_gone_in_seconds"], 24 * 60)
        self.assertIn("! www: 1 worker grows by", self.ctl("status"))
        self.assertRegex(self.ctl("workers"), rf"(?m)^{pid}\b.*/s$")
        self.assertIn("\npileguard_leaks 1\n", self.guard.http("GET", "/metrics")[1])
        # it stops: over, within two spans and what a walk takes; and nothing was done about any of it
        until(lambda: len(self.guard.events("leak", "www")) == 2, 2 * WINDOW_S + 5, "over")
        self.assertEqual(self.guard.events("leak", "www")[1]["text"], "www: no worker grows without end any more")
        self.assertNotIn("grows by", self.ctl("status"))
        self.assertIn(pid, [w["pid"] for w in self.workers()])
        self.assertEqual(self.guard.explains(), [])

    def test_who_warms_up(self):
        """Fast for a third of the window, then no more: not a word; nor of the others, which breathe all the while."""
        self.leaks(50 * MIB, WINDOW_S / 3)
        self.ticks(2 * WINDOW_S)
        self.assertEqual([e["text"] for e in self.guard.events("leak", "www")], [])
        self.assertEqual(self.growing(), [])

    def test_who_is_gone(self):
        """A worker that ends, and one that takes its place, are told apart."""
        pid = self.leaks(self.rate(), 3 * WINDOW_S)
        until(lambda: self.guard.events("leak", "www"), 2 * WINDOW_S, "told")
        os.kill(pid, 9)
        until(lambda: len(self.guard.events("leak", "www")) == 2, 5, "over as soon as it is gone")
        until(lambda: pid not in [w["pid"] for w in self.workers()], 3, "not listed any more")


if __name__ == "__main__":
    unittest.main(verbosity=2)
