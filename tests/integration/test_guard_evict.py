#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_guard_evict.py: one worker of a pool uses up its memory_budget: that one is ended, and nobody else, ever."""
import contextlib
import os
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from guardlib import BUILD, FIGURES, Load, World, figures_print, moment, policy, until

WORKERS = 10
MIB = 1 << 20
SPARED = "it waits on a dependency, or was not forked for one request at a time: never ended"
BUDGET = 700 * MIB  # of www; ten workers of Python hold about 80 MiB
RATE = 150 * MIB
MOST = BUDGET + 300 * MIB     # where nobody is ended


def setUpModule():
    unittest.addModuleCleanup(figures_print)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Fixture(unittest.TestCase):
    workers_kind, mode, enforce, n_workers = "prefork", "enforce", "[evict]", WORKERS

    def setUp(self):
        self.world = World()
        self.addCleanup(self.world.close)
        self.www, self.other = self.world.service("www", self.n_workers), self.world.service("other", 3)
        self.guard = self.world.guard(self.policy())
        until(lambda: self.guard.group("www")["listeners"], 5, "www is followed")
        self.load = Load(20, lambda n: (lambda: (self.www if n % 4 else self.other).ask(op="breathe", bytes=MIB), n))
        self.addCleanup(self.load.stop)
        # a worker is known once it was seen serving
        until(lambda: len(self.pids()) >= self.n_workers and all(w["private_bytes"] for w in self.workers()), 30, "they are known")

    def policy(self):
        return policy({"www": {"cgroup": self.world.cgroup_name("www"), "workers": self.workers_kind, "enforce": self.enforce,
                               "memory_budget": f"{BUDGET // MIB}MiB"},
                       "other": {"cgroup": self.world.cgroup_name("other"), "workers": "prefork"}}, mode=self.mode)

    def workers(self, group="www"):
        return [w for w in self.guard.get("workers") if w["group"] == group]

    def pids(self, group="www"):
        return sorted(w["pid"] for w in self.workers(group))

    def evictions(self):
        return [x for x in self.guard.explains() if x["kind"] == "evict"]

    def hog(self, rate=RATE, seconds=40, op="hog", **q):
        """One worker grows; the request, its answer or error, and when it began."""
        result = {"began": time.time()}

        def run():
            try:
                result["answer"] = self.www.ask(op=op, rate=rate, seconds=seconds, **{"most": MOST, **q})
            except (OSError, AssertionError) as e:
                result["answer"] = e
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.addCleanup(thread.join, 30)
        return result

    def held(self):
        return sum(w["private_bytes"] or 0 for w in self.workers())

    def nobody(self, pids, what, most=BUDGET):
        """Nobody is ended, and not for want of reason: until more than the budget is used, and for a second after that."""
        until(lambda: [p for p in pids if not alive(p)] or self.held() > most, 60, f"{what}: a reason")
        self.guard_ticks(1)
        self.assertEqual([p for p in pids if not alive(p)], [], what)

    def guard_ticks(self, seconds):
        wanted = self.guard.get("status")["guard"]["ticks_total"] + 10 * seconds
        until(lambda: self.guard.get("status")["guard"]["ticks_total"] >= wanted, 3 * seconds + 20, f"{seconds} s of the guard's")

    def ctl(self, *args):
        return subprocess.run([f"{BUILD}/pileguardctl", "--socket", self.guard.socket, *args], capture_output=True, text=True,
                              check=False).stdout


class Evict(Fixture):
    def test_hog(self):
        """It is ended before the budget is used up; the others, their main process and the neighbours live."""
        pids, others = self.pids(), self.pids("other")
        hog = self.hog()
        x = until(lambda: next((x for x in self.evictions() if x["state"] == "closed"), None), 40, "one is ended")
        dead = [p for p in pids if not alive(p)]
        self.assertEqual(dead, [x["evict"]["pid"]])
        self.assertEqual((x["acted"], x["evict"]["cause"], x["evict"]["bound"], x["evict"]["signal"]),
                         (True, "hog", "memory_budget", "SIGTERM"))
        self.assertEqual(x["candidates"][0]["pid"], dead[0])
        self.assertGreater(x["candidates"][0]["share_ratio"], 0.6)
        # used before it was ended
        self.assertLess(x["evict"]["freed_bytes"], BUDGET)
        self.assertGreater(x["evict"]["freed_bytes"], RATE)
        until(lambda: "answer" in hog, 5, "its client hears of it")
        self.assertIsInstance(hog["answer"], Exception)
        self.assertTrue(all(map(alive, others)) and alive(self.www.p.pid))
        self.assertIsInstance(self.www.ask(op="breathe", bytes=MIB), int)
        self.assertIsInstance(self.other.ask(op="breathe", bytes=MIB), int)
        self.guard_ticks(3)
        self.assertEqual([p for p in pids if not alive(p)], dead, "and nobody after that")
        self.assertEqual(len(self.evictions()), 1)
        FIGURES["hog of 150 MiB/s, budget 700 MiB: decided after, s"] = round(moment(x["opened_at"]) - hog["began"], 2)
        FIGURES["... gone after the decision, s"] = x["evict"]["gone_after_seconds"]
        self.assertRegex(x["did_text"], rf"^sent SIGTERM to worker {dead[0]}: gone \d+ ms after the decision; it held \d+ MiB$")
        self.assertRegex(x["cost_text"], r"^1 request lost|^no request")
        self.assertRegex(self.guard.events("evict", "www")[0]["text"],
                         rf"^www: worker {dead[0]} grows by \d+ MiB/s and holds \d+ MiB: its memory_budget is gone in .*: sent SIGTERM")
        self.assertEqual(self.guard.get("status")["evict"], {"workers_evicted_total": 1, "would_have_evicted_total": 0})
        self.assertIn("\npileguard_workers_evicted_total 1\n", self.guard.http("GET", "/metrics")[1])
        self.assertIn(f"\nof       {dead[0]} ", self.ctl("explain", str(x["id"])))

    def test_deaf(self):
        """Who does not hear SIGTERM is killed after the grace."""
        pids = self.pids()
        self.hog(deaf=True)
        x = until(lambda: next((x for x in self.evictions() if x["state"] == "closed"), None), 40, "one is ended")
        self.assertEqual([p for p in pids if not alive(p)], [x["evict"]["pid"]])
        self.assertEqual(x["evict"]["signal"], "SIGKILL")
        FIGURES["deaf to SIGTERM: gone after the decision, s"] = x["evict"]["gone_after_seconds"]
        self.assertLess(x["evict"]["gone_after_seconds"], 2)

    def test_even(self):
        """All of them grow: a pile-up is for other rungs."""
        pids = self.pids()
        leaking = set()

        def all_of_them():      # who is asked is chance, on a busy host the same one again and again: each leaks once
            leaking.add(self.www.ask(op="leak", once=True, rate=RATE // WORKERS, seconds=60, most=MOST // WORKERS))
            return leaking >= set(pids)
        until(all_of_them, 20, "each of them grows")
        self.nobody(pids, "an even growth")
        self.assertEqual(self.evictions(), [])

    def test_budget_outlives_the_guard(self):
        """One of ten in 30 s, also when the guard was started anew between the two."""
        pids = self.pids()
        self.hog()
        first = until(lambda: next((x for x in self.evictions() if x["state"] == "closed"), None), 40, "one is ended")
        until(lambda: os.path.exists(f"{self.guard.state}/evicted"), 2, "kept")
        self.guard.stop()
        self.guard = self.world.guard(self.policy())
        until(lambda: len(self.pids()) >= WORKERS - 1 and all(w["private_bytes"] for w in self.workers()), 20, "they are known")
        self.hog()
        self.nobody([p for p in pids if p != first["evict"]["pid"]], "a second within 30 s")
        self.assertEqual({(x["acted"], x["blocked"]) for x in self.evictions()}, {(False, "it was done as often as it may be")})

    def test_connecting(self):
        """A worker whose connect is pending may hold what the others wait for: its wait is to be ended, not it."""
        peer = self.world.peer()
        port = peer.tell("listen")
        peer.drop(port, True)
        pids, got = self.pids(), []

        def connect():
            with contextlib.suppress(OSError, AssertionError):  # the test is over before it is
                got.append(self.www.connect(peer.v4, port, seconds=35, grow=[RATE, 35, MOST]))
        threading.Thread(target=connect, daemon=True).start()
        self.nobody(pids, "it waits on a dependency")
        self.assertEqual({(x["acted"], x["blocked"]) for x in self.evictions()}, {(False, SPARED)}, "and why is told")
        self.assertEqual(got, [], "its connect was pending all the while")


class Leak(Fixture):
    def policy(self):
        return "leak_notice: 24min\n" + super().policy()      # its window is 10 s

    def test_leak(self):
        """20 MiB/s without end, by one that is idle now and then: ended before it comes to seconds."""
        pids = self.pids()
        pid = self.www.ask(op="leak", rate=20 * MIB, seconds=60)
        x = until(lambda: next((x for x in self.evictions() if x["state"] == "closed"), None), 60, "it is ended")
        self.assertEqual([p for p in pids if not alive(p)], [pid])
        self.assertEqual((x["acted"], x["evict"]["cause"], x["evict"]["pid"], x["evict"]["idle"]), (True, "leak", pid, True))
        self.assertGreater(x["why"]["exhausted_in_seconds"], 3)
        self.assertLess(x["why"]["exhausted_in_seconds"], 9)
        self.assertEqual(x["cost_text"], "no request: none was seen to wait on it")


class Host(Fixture):
    """No budget: what runs out is the host's memory, of which all but 2 GiB are its reserve here."""
    FREE = 2048 * MIB

    def policy(self):
        with open("/proc/meminfo", encoding="ascii") as f:
            available = next(int(line.split()[1]) for line in f if line.startswith("MemAvailable")) // 1024
        if available * MIB < 2 * self.FREE:
            self.skipTest("needs 4 GiB")
        return (f"memory_reserve: {available - self.FREE // MIB}MiB\n" +
                policy({"www": {"cgroup": self.world.cgroup_name("www"), "workers": "prefork", "enforce": "[evict]"},
                        "other": {"cgroup": self.world.cgroup_name("other"), "workers": "prefork"}}))

    def test_fast(self):
        """As fast as one processor can: 1 to 2 GiB/s. The host's reserve is not touched."""
        pids = self.pids()
        hog = self.hog(op="devour", bytes=self.FREE + 512 * MIB, seconds=5)
        x = until(lambda: next((x for x in self.evictions() if x["state"] == "closed"), None), 40, "one is ended")
        self.assertEqual([p for p in pids if not alive(p)], [x["evict"]["pid"]])
        self.assertEqual((x["evict"]["cause"], x["evict"]["bound"]), ("hog", "host"))
        grew = x["candidates"][0]["growth_bytes_per_second"] / MIB
        FIGURES["hog on a host with 2 GiB free: it grew by, MiB/s"] = round(grew)
        FIGURES["... memory would have been gone after, s"] = round(self.FREE / MIB / grew, 2)
        FIGURES["... decided after, s"] = round(moment(x["opened_at"]) - hog["began"], 2)
        FIGURES["... gone after the decision, s"] = x["evict"]["gone_after_seconds"]
        FIGURES["... it held, MiB"] = round(x["evict"]["freed_bytes"] / MIB)
        self.assertLess(x["evict"]["freed_bytes"], self.FREE)

    def test_moved(self):
        """A worker that is in another cgroup by now is not the group's to end, whatever it reads."""
        pids = self.pids()
        self.hog(op="devour", bytes=self.FREE + 512 * MIB, seconds=5, move=self.world.cgroup("else"))
        self.nobody(pids, "another cgroup's", self.FREE)
        self.assertLessEqual({(x["acted"], x["blocked"]) for x in self.evictions()}, {(False, SPARED)})


class Observe(Fixture):
    mode = "observe"

    def test_would_have(self):
        pids = self.pids()
        self.hog()
        x = until(lambda: next(iter(self.evictions()), None), 40, "told")
        self.nobody(pids, "observe mode")
        self.assertEqual((x["acted"], x["blocked"], x["evict"]["cause"]), (False, "mode: observe", "hog"))
        self.assertEqual(x["did_text"], f"nothing: would have sent SIGTERM to worker {x['evict']['pid']} (mode: observe)")
        until(lambda: self.evictions()[0]["state"] == "closed", 20, "over when it grows no more")
        self.assertRegex(self.guard.events("evict")[-1]["text"], r"grows no more; nothing was done")
        self.assertIn("\npileguard_workers_would_have_been_evicted_total 1\n", self.guard.http("GET", "/metrics")[1])


class NotNamed(Fixture):
    enforce = "[]"

    def test_rung(self):
        pids = self.pids()
        self.hog()
        x = until(lambda: next(iter(self.evictions()), None), 40, "told")
        self.nobody(pids, "without evict in enforce")
        self.assertEqual((x["acted"], x["blocked"]), (False, "the group's enforce list does not name evict"))


class Alone(Fixture):
    n_workers = 1

    def test_alone(self):
        """A pool of one: ended, nobody would serve."""
        pids = self.pids()
        self.www.ask(op="leak", rate=RATE, seconds=60, most=MOST)
        self.nobody(pids, "the only worker")
        self.assertLessEqual({(x["acted"], x["blocked"]) for x in self.evictions()}, {(False, SPARED)})


if __name__ == "__main__":
    unittest.main(verbosity=2)
