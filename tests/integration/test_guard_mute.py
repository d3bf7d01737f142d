#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_guard_mute.py: a database hangs (SIGSTOP): its kernel accepts and acknowledges, it greets and answers nobody."""
import os
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from guardlib import FIGURES, HERE, Load, Process, World, figures_print, moment, policy, quantile, until

SLOW = float(os.environ.get("PILE_SLOW", "1"))      # emulated processors: what is promised natively, so many times slower
WORKERS = 16


def setUpModule():
    unittest.addModuleCleanup(figures_print)


class Hang(unittest.TestCase):
    """Before each test: a host with two databases that speak first, each a process of its own; workers that ask them; a guard."""
    KEYS = {"enforce": "[fail_fast]", "fail_fast": "always"}
    MODE = "enforce"
    DECLARED = True
    BACKLOG = 1024

    def setUp(self):
        self.world = World()
        self.addCleanup(self.world.close)
        self.peer = self.world.peer()
        self.port, self.other_port = self.peer.tell("free"), self.peer.tell("free")
        self.database, self.other = self.greeter(self.port), self.greeter(self.other_port)
        self.endpoint, self.other_endpoint = (f"{self.peer.v4}:{p}" for p in (self.port, self.other_port))
        self.www = self.world.service("www", WORKERS)
        # one worker, so that it is known who keeps a connection
        self.keeper = self.world.service("keeper", 1, cgroup=self.world.cgroup("www"))
        keys = {"cgroup": self.world.cgroup_name("www"), **self.KEYS}
        if self.DECLARED:
            keys["server_speaks_first"] = f"['{self.endpoint}', '{self.peer.v4}:{self.other_port}']"
        self.guard = self.world.guard(policy({"www": keys}, self.MODE))
        ready = self.MODE == "enforce"
        until(lambda: (self.guard.group("www") or {}).get("gate_ready") == ready, 5, "www is followed")
        self.assertEqual(self.query(self.keeper, keep=True, sleep=0)[0], None)
        self.load = Load(8, lambda n: (self.query, n))
        until(lambda: len(self.load.results) >= 8, 10, "requests are answered")
        self.assertEqual({r[2][0] for r in self.load.results}, {None})

    def greeter(self, port):
        process = Process(["ip", "netns", "exec", self.peer.name, sys.executable, f"{HERE}/guard_greeter.py",
                           str(self.BACKLOG), str(port), self.peer.v4])
        self.world.ends.insert(0, process)
        return process

    def query(self, service=None, port=None, seconds=20, **q):
        return (service or self.www).ask(op="query", host=self.peer.v4, port=port or self.port, timeout=seconds, **q)

    def dependency(self, endpoint=None):
        return self.guard.dependency("www", endpoint or self.endpoint)

    def gate(self, endpoint=None):
        return (self.dependency(endpoint) or {}).get("gate")

    def episode(self):
        return self.guard.episode("www", self.endpoint)

    def hang(self):
        self.database.p.send_signal(signal.SIGSTOP)
        return time.time()

    def works_again(self):
        self.database.p.send_signal(signal.SIGCONT)
        return time.time()

    def in_its_queue(self):
        """Connections that the database has not accepted, by its kernel."""
        out = subprocess.run(["ip", "netns", "exec", self.peer.name, "ss", "-Hltn", f"sport = :{self.port}"],
                             capture_output=True, text=True, check=True).stdout
        return int(out.split()[1])


class Guarded(Hang):
    def setUp(self):
        super().setUp()
        # the neighbour is slow, as slow as it likes: it greets
        self.slow = Load(2, lambda n: (lambda: self.query(port=self.other_port, sleep=1.5), n))

    def test_hangs_and_works_again(self):
        asked = Load(0.001, lambda n: (lambda: self.query(sleep=30, seconds=40), n))
        until(lambda: self.dependency()["silent"] == 1, 5, "a question waits for its answer")
        stopped = self.hang()
        until(lambda: self.gate() == "open", 10, "the mute database is refused")
        x = self.episode()
        after = moment(x["opened_at"]) - stopped
        FIGURES["hung: refused after, s"] = round(after, 2)
        self.assertGreater(after, 3.5)
        self.assertLess(after, 5.5 * SLOW)
        self.assertTrue(x["acted"] and x["why"]["mute"] and x["why"]["own_probe"], x["why"])
        self.assertGreaterEqual(x["why"]["ungreeted"], 3)
        told = [e["text"] for e in self.guard.events("open") if "probing" not in e["text"]]
        self.assertEqual(len(told), 1, told)
        self.assertRegex(told[0], r"is mute \(\d+ connections, no greeting for .*acknowledges")

        refused = [self.query() for _ in range(50)]
        self.assertEqual({(r[0], r[3]) for r in refused}, {("ECONNREFUSED", "connect")})
        self.assertLess(quantile([r[2] for r in refused], 0.5), 0.001 * SLOW)
        until(lambda: self.dependency()["ungreeted"] == 0, 2 * SLOW, "nobody waits for a greeting")
        until(lambda: self.dependency()["silent"] == 0, 10 * max(SLOW, 1.3), "nobody has waited for longer than ten seconds")
        self.assertEqual(self.dependency()["established"], 1, "the one that nobody waits for is left")
        waiting = self.in_its_queue()
        time.sleep(3)       # the guard's own connect waits there; it does not fill the queue
        self.assertLessEqual(self.in_its_queue(), waiting + 1)

        back = self.works_again()
        until(lambda: self.gate() == "closed", 5 * SLOW, "it is used again")
        closed = moment(self.episode()["closed_at"]) - back
        FIGURES["works again: closed after, s"] = round(closed, 2)
        self.assertLess(closed, 3 * SLOW)
        done = len(self.load.results)
        until(lambda: len(self.load.results) >= done + 8, 10, "requests are answered")
        results = [r[2] for r in self.load.stop() + asked.stop()]
        self.assertEqual({r[0] for r in results if r[1] > back + closed + 0.2}, {None})
        ended = [r for r in results if r[0] == "ECONNABORTED"]
        self.assertEqual({r[3] for r in ended}, {"greeting", "answer"})
        FIGURES["waits ended; the longest of anybody, s"] = (len(ended), round(max(r[2] for r in results), 2))
        self.assertLess(max(r[2] for r in results if r[3] == "greeting"), 6 * SLOW)
        self.assertLess(max(r[2] for r in results), 10 + 3 * SLOW)      # a question is given ten seconds
        self.assertEqual({r[0] for r in results}, {None, "ECONNABORTED", "ECONNREFUSED"})
        x = self.episode()
        self.assertEqual(x["did"]["waits_ended"], len(ended))
        self.assertEqual(x["did"]["relapses"], 0)
        # who was not waited for, and who is only slow
        self.assertEqual(self.query(self.keeper, kept=True, sleep=0)[0], None, "its connection is whole")
        self.assertEqual({r[2][0] for r in self.slow.stop()}, {None})
        self.assertEqual([e for e in self.guard.explains("www") if e["endpoint"] != self.endpoint], [])

    def test_slow_is_not_mute(self):
        """All workers wait for long answers, and nothing else is said for longer than dead_after: it would greet."""
        self.load.stop()
        self.slow.stop()
        long = Load(50, lambda n: (lambda: self.query(sleep=6), n))
        until(lambda: (self.dependency() or {}).get("silent", 0) >= WORKERS - 1, 10, "all wait")
        long.stopping.set()
        until(lambda: len(long.results) >= WORKERS, 10, "all are answered")
        self.assertEqual({r[2][0] for r in long.stop()}, {None})
        self.assertEqual(self.guard.explains("www"), [])
        self.assertEqual(self.guard.events("probe"), [], "nor was it asked")

    def test_frozen_guard(self):
        """The loop in the kernel takes an established connection for an answer: it does not go on with such a gate."""
        self.slow.stop()
        self.hang()
        until(lambda: self.gate() == "open", 10, "refused")
        self.load.stop()
        number = self.episode()["id"]
        self.guard.p.send_signal(signal.SIGSTOP)
        frozen = time.time()
        until(lambda: self.query(seconds=0.3)[0] == "timeout", 10, "the gate opens by itself")
        lease = time.time() - frozen
        FIGURES["guard frozen: its gate opened by itself after, s"] = round(lease, 2)
        self.assertGreater(lease, 4.5)
        for _ in range(5):      # established, each; the loop would see it
            self.assertEqual(self.query(seconds=0.3)[3], "greeting")
        self.guard.p.send_signal(signal.SIGCONT)
        until(lambda: self.query(seconds=1)[0] == "ECONNREFUSED", 5, "the guard goes on with it")
        self.assertEqual((self.episode()["id"], self.episode()["state"]), (number, "open"))
        self.works_again()
        until(lambda: self.gate() == "closed", 5 * SLOW, "it is used again")

    def test_dies_while_it_hangs(self):
        """Killed and started anew: what is refused or answered is no wait."""
        self.slow.stop()
        self.hang()
        until(lambda: self.gate() == "open", 10, "refused")
        self.world.ends.remove(self.database)
        self.database.end()
        self.database = self.greeter(self.port)
        until(lambda: self.gate() == "closed", 5 * SLOW, "it is used again")
        until(lambda: self.query()[0] is None, 2, "answered")
        self.load.stop()


class Full(Hang):
    """Its queue is full before three have waited for long: then it looks dead to connects, and some wait for a greeting."""
    BACKLOG = 4

    def test_all_waits_end(self):
        self.hang()
        until(lambda: self.gate() == "open", 10 * SLOW, "refused")
        until(lambda: self.dependency()["ungreeted"] == 0 and self.dependency()["connecting"] == 0, 5 * SLOW, "nobody waits")
        self.works_again()
        until(lambda: self.gate() == "closed", 6 * SLOW, "it is used again")
        results = [r[2] for r in self.load.stop()]
        self.assertEqual({r[3] for r in results if r[0] == "ECONNABORTED"}, {"connect", "greeting"})
        FIGURES["queue full: the longest wait, s"] = round(max(r[2] for r in results), 2)


class Vanished(Hang):
    """Its host is gone (every packet is dropped): who has just asked it waits as well, and is not acknowledged."""

    def vanish(self):
        self.peer.tell("drop", port=self.port, on=True, all=True)
        asked = Load(0.001, lambda n: (lambda: self.query(self.keeper, kept=True, sleep=0, seconds=9), n))
        until(lambda: self.gate() == "open", 10 * SLOW, "refused")
        self.assertFalse(self.episode()["why"]["mute"])
        return asked.stop()[0][2]

    def test_unacknowledged_is_ended(self):
        error, _, seconds, step = self.vanish()
        self.assertEqual((error, step), ("ECONNABORTED", "answer"))
        FIGURES["host gone: a question's wait ended after, s"] = round(seconds, 2)
        self.assertLess(seconds, 4.5 * SLOW)


class VanishedUndeclared(Vanished):
    DECLARED = False

    def test_unacknowledged_is_ended(self):
        self.assertEqual(self.vanish()[0], "timeout")


class Undeclared(Hang):
    """Nobody has said that it speaks first: nothing is done, and all workers hang."""
    DECLARED = False

    def test_nothing_is_done(self):
        self.hang()
        until(lambda: (self.dependency() or {}).get("silent", 0) >= WORKERS, 10, "all workers hang")
        time.sleep(5)
        self.assertEqual(self.guard.explains("www"), [])
        self.assertEqual(self.gate(), "closed")
        self.works_again()
        self.assertEqual({r[2][0] for r in self.load.stop()}, {None})


class Observed(Hang):
    MODE = "observe"

    def test_told_and_not_asked(self):
        self.hang()
        x = until(self.episode, 10, "an episode")
        self.assertFalse(x["acted"])
        self.assertTrue(x["why"]["mute"])
        self.assertFalse(x["why"]["own_probe"])
        self.assertIn("was not made", x["why_text"])
        self.assertEqual(self.guard.events("probe"), [])
        self.works_again()
        until(lambda: self.episode()["state"] == "closed", 5, "over")
        self.assertEqual({r[2][0] for r in self.load.stop()}, {None})


if __name__ == "__main__":
    unittest.main()
