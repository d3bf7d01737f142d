#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_guard_harmless.py: what must not make it act: observe mode in an outage, and what only looks like one."""
import contextlib
import os
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from guardlib import FIGURES, Load, World, cgroup_programs, figures_print, policy, until


def setUpModule():
    unittest.addModuleCleanup(figures_print)


class Observe(unittest.TestCase):
    def outage(self, mode, group, blocked):
        world = World()
        self.addCleanup(world.close)
        peer = world.peer()
        port = peer.tell("listen")
        www = world.service("www", 24)
        cgroup = world.cgroup("www")
        guard = world.guard(policy({"www": {"cgroup": world.cgroup_name("www"), "workers_max": 24, **group}}, mode))
        until(lambda: guard.group("www")["present"], 5, "www is followed")
        peer.drop(port, True)
        endpoint = f"{peer.v4}:{port}"
        load = Load(12, lambda n: (lambda: www.connect(peer.v4, port, seconds=5), n))
        x = until(lambda: guard.episode("www", endpoint), 10, "it tells what it would have done")
        time.sleep(1)   # time in which it must not act
        if mode == "observe":
            self.assertEqual(cgroup_programs(cgroup), [])
        results = load.stop()
        self.assertEqual({r[2][0] for r in results}, {"EAGAIN"}, "nobody refused, no wait ended")
        x = guard.episode("www", endpoint)
        self.assertFalse(x["acted"])
        self.assertEqual(x["state"][:5], "would")
        self.assertIn(blocked, x["blocked"])
        self.assertEqual((x["did"]["connects_refused"], x["did"]["waits_ended"]), (0, 0))
        self.assertGreaterEqual(x["why"]["stuck_over_500ms"], 3)
        self.assertEqual(guard.group("www")["would_have_acted_24h"], 1)
        self.assertEqual(guard.group("www")["would_have_refused"], endpoint)
        self.assertEqual(guard.dependency("www", endpoint)["gate"], "would be open")
        peer.drop(port, False)

    def test_observe_mode(self):
        self.outage("observe", {"enforce": "[fail_fast]"}, "observe")

    def test_rung_not_named(self):
        self.outage("enforce", {"enforce": "[]"}, "enforce")


class Calm(unittest.TestCase):
    """Services side by side for half a minute, each with its own trouble; the policy is the strictest there is."""
    WORKERS = 12
    BLIPS = [(0.5, 0.0), (0.5, 0.37), (1, 0.0), (1, 0.51), (2, 0.0), (2, 0.33), (2, 0.71)]

    def setUp(self):
        self.world = World()
        self.addCleanup(self.world.close)
        self.peer = self.world.peer()
        self.loads = {}

    def connecting(self, service, port, **q):
        return lambda n: (lambda: service.connect(self.peer.v4, port, seconds=8, **q), n)

    def start(self, name, rate, port, **q):
        service = self.services[name]
        self.loads[name] = Load(rate, self.connecting(service, port, **q))

    def blip(self, port, seconds, phase):
        """Three times: SYNs vanish for so long; the kernel's own retransmission gets the connects through."""
        time.sleep(phase)
        for _ in range(3):
            self.peer.drop(port, True)
            time.sleep(seconds)
            self.peer.drop(port, False)
            time.sleep(4.2 - phase)

    def test_nothing_is_opened(self):
        blips = {f"blip{i}": b for i, b in enumerate(self.BLIPS)}
        names = [*blips, "rst", "slow800", "slow3000", "burst", "step"]
        ports = {name: self.peer.tell("listen") for name in names if name != "rst"}
        ports["rst"] = 9     # nobody listens there: the peer answers with RST
        self.services = {name: self.world.service(name, self.WORKERS) for name in names}
        guard = self.world.guard(policy({name: {
            "cgroup": self.world.cgroup_name(name), "workers_max": self.WORKERS, "enforce": "[fail_fast]",
            "fail_fast": "always"} for name in names}))
        until(lambda: all(guard.group(name)["gate_ready"] for name in names), 5, "all are guarded")
        self.peer.tell("delay", port=ports["slow800"], seconds=0.8)
        self.peer.tell("delay", port=ports["slow3000"], seconds=3)
        for name in blips:
            self.start(name, 4, ports[name])
        self.start("rst", 10, ports["rst"])
        self.start("slow800", 8, ports["slow800"], read=True)
        self.start("slow3000", 3, ports["slow3000"], read=True)
        self.start("step", 4, ports["step"])
        self.start("burst", 4, ports["burst"])
        troubles = [threading.Thread(target=self.blip, args=(ports[n], *b)) for n, b in blips.items()]
        for t in troubles:
            t.start()
        time.sleep(3)
        self.loads["step"].rate, self.loads["burst"].rate = 12, 20
        time.sleep(3)
        self.loads["burst"].rate = 4
        for t in troubles:
            t.join()
        results = {name: load.stop() for name, load in self.loads.items()}
        self.assertEqual([e["text"] for e in guard.events("open")], [])
        self.assertEqual([x for x in guard.explains() if x["kind"] != "stage"], [])
        for name in names:
            errors = {r[2][0] if isinstance(r[2], list) else repr(r[2]) for r in results[name]}
            self.assertEqual(errors, {"ECONNREFUSED"} if name == "rst" else {None}, name)
            longest = max(r[2][2] for r in results[name])
            FIGURES[f"{name} {blips.get(name, ('',))[0]}: connects, longest s"] = (len(results[name]),
                                                                                   round(longest, 2))
        for name, (seconds, _) in blips.items():
            self.assertGreater(max(r[2][2] for r in results[name]), min(seconds, 0.9), f"{name}: red: somebody waited")
        status = guard.get("status")
        self.assertEqual(status["policy"]["generation"], 1)
        def miscounted():
            counted = {name: guard.group(name)["requests"] for name in names}
            return {name: (len(results[name]), r) for name, r in counted.items()
                    if r["answered_total"] != len(results[name])}
        with contextlib.suppress(AssertionError):
            until(lambda: not miscounted(), 3, "every answer was counted, once")
        self.assertEqual(miscounted(), {})
        self.assertEqual({guard.group(name)["would_have_acted_24h"] for name in names}, {0})


if __name__ == "__main__":
    unittest.main()
