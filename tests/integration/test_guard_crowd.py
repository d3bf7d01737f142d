#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_guard_crowd.py: more connections than fit into one reading of a sweep: each is met, none is lost between two readings."""
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from guardlib import BUILD, World, policy, until

WORKERS, CONNECTIONS = 100, 5000    # a reading takes some 1,300


class Crowd(unittest.TestCase):
    def test_none_is_lost(self):
        world = World()
        self.addCleanup(world.close)
        crowd = subprocess.Popen([f"{BUILD}/bench/crowd", str(WORKERS), str(CONNECTIONS), world.cgroup("crowd")],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(crowd.stdout.close)
        self.addCleanup(crowd.wait)
        self.addCleanup(crowd.stdin.close)

        def tell(line, answer):
            crowd.stdin.write(line + "\n")
            crowd.stdin.flush()
            self.assertEqual(crowd.stdout.readline(), answer + "\n")
        self.assertEqual(crowd.stdout.readline(), "listening\n")
        guard = world.guard(policy({"crowd": {"cgroup": world.cgroup_name("crowd"), "workers": "prefork"}}))
        until(lambda: guard.group("crowd")["listeners"], 10, "the listener is followed")
        tell("go", "ready")

        def workers():
            return [w for w in guard.get("workers") if w["group"] == "crowd"]
        until(lambda: sum(w["connections"] for w in workers()) == CONNECTIONS, 10, "each connection is met by a sweep")
        self.assertEqual([w["connections"] for w in workers()], [CONNECTIONS // WORKERS] * WORKERS)
        tell("hang", "hung")
        until(lambda: sum(w["waiting"] for w in workers()) == CONNECTIONS, 20, "each that waits is met")
        counts = guard.group("crowd")["requests"]
        self.assertEqual((counts["waiting"], counts["drift_total"]), (CONNECTIONS, 0))


if __name__ == "__main__":
    unittest.main(verbosity=2)
