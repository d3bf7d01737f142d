#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_guard_kill.py: the guard is killed at random instants of an incident that comes and goes, and started again as systemd
does; and what it does when nobody clears that away (safe mode). long_guard_kill.py does it a thousand times.
"""
import contextlib
import os
import random
import signal
import socket
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from guardlib import FIGURES, Load, Stage, bpf_held_by, bpf_objects, committed, figures_print, policy, quantile, until

RESTART_S = 1       # dist/pileguard.service: RestartSec


def setUpModule():
    unittest.addModuleCleanup(figures_print)


class Incidents:
    """The database's host goes and comes back, until it is told to stop: away for 2 s, long enough to be proved dead."""
    AWAY_S, BACK_S = 2.2, 1.2

    def __init__(self, peer, port, chance):
        self.peer, self.port, self.chance = peer, port, chance
        self.lock = threading.Lock()
        self.away, self.n = False, 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def turn(self, away):
        with self.lock:
            if away != self.away:
                self.peer.drop(self.port, away)
                self.away = away
                self.n += away

    def run(self):
        away = True
        while not self.over.wait((self.BACK_S if away else self.AWAY_S) * self.chance.uniform(0.7, 1.3)):
            self.turn(away)
            away = not away

    @contextlib.contextmanager
    def answering(self):
        """While this lasts the host is there."""
        with self.lock:
            if self.away:
                self.peer.drop(self.port, False)
            yield
            if self.away:
                self.peer.drop(self.port, True)

    def stop(self):
        self.over.set()
        self.thread.join()
        self.turn(False)


class Fixture(Stage):
    WORKERS = 40

    def setUp(self):
        super().setUp()
        self.text = policy({"www": {"cgroup": self.world.cgroup_name("www"), "workers": "prefork", "enforce": "[fail_fast]",
                                    "fail_fast": "always", "dead_after": "1s"}})
        self.guard = self.world.guard(self.text)
        until(lambda: self.guard.group("www")["gate_ready"], 5, "www is guarded")
        self.load = Load(8, lambda n: (lambda: self.error(3), n))
        self.addCleanup(self.load.stop)

    def refuses(self):
        """Somebody was refused just now."""
        recent = time.time() - 0.4
        return any(answer == "ECONNREFUSED" and start > recent for start, _, answer, _ in list(self.load.results)[-20:])

    def kill(self):
        died = time.monotonic()
        self.guard.p.send_signal(signal.SIGKILL)
        self.guard.p.wait(20)
        return died


class Killed(Fixture, unittest.TestCase):
    KILLS = 30
    SEED = 1
    ANY = 3.0       # seconds after its start: between none and so many

    def setUp(self):
        super().setUp()
        self.chance = random.Random(self.SEED)
        self.incidents = Incidents(self.peer, self.port, random.Random(self.SEED + 1))
        self.addCleanup(self.incidents.stop)
        self.served, self.gone = [], []
        self.shut = self.starting = 0

    def test_served_clean_and_started_again(self):
        for number in range(self.KILLS):
            with self.subTest(f"kill {number}, seed {self.SEED}"):
                self.one(number)
        self.incidents.stop()
        self.guard = self.guard if self.guard.p.poll() is None else self.world.guard()
        until(lambda: self.error() is None, 3, "at the end all is well")
        FIGURES["kills, of them while refusing, in the start; incidents"] = (len(self.served), self.shut, self.starting,
                                                                            self.incidents.n)
        FIGURES["served again after the death, s (median, worst)"] = (round(quantile(self.served, 0.5), 2), round(max(self.served), 2))
        FIGURES["nothing in the kernel any more, s (median, worst)"] = (round(quantile(self.gone, 0.5), 2), round(max(self.gone), 2))
        self.assertEqual(len(self.served), self.KILLS)
        self.assertGreater(self.shut, self.KILLS // 10, "else this says little")
        self.assertGreater(self.starting, self.KILLS // 20)

    def one(self, number):
        if self.guard.p.poll() is not None:     # the one before failed
            self.again()
        starting = number % 4 == 3      # one in four does not live to say that it is ready
        until_kill = self.chance.uniform(0, 0.35 if starting else self.ANY)
        if not starting:
            self.guard.ready()
            self.assertIsNone(self.guard.get("status")["disarmed"], "not in safe mode: the mark was cleared")
        time.sleep(until_kill)
        self.shut += self.refuses()
        self.starting += starting
        held = bpf_held_by(self.guard.p.pid)
        died = self.kill()
        with self.incidents.answering():
            there = time.monotonic()
            until(lambda: self.error() is None, 2, "served again")
            self.served.append(time.monotonic() - max(died, there))
        until(lambda: not held & bpf_objects(), 2, "nothing of it is left in the kernel")
        self.gone.append(time.monotonic() - died)
        self.world.nothing_left()       # what a look at all processes may have missed; other tests' guards come and go, too
        until(lambda: not self.answers(), 2, "its api process has ended, too: systemd waits for all of a unit")
        committed(self.guard)
        self.again()

    def answers(self):
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(self.guard.socket) == 0

    def again(self):
        """As an operator who arms it again would: this death does not count."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self.guard.state}/unclean")
        self.world.guards.remove(self.guard)
        self.guard = self.world.guard(ready=False)


class Restarts(Fixture, unittest.TestCase):
    """Nobody clears anything away, and the database stays dead."""
    DEATHS = 4
    EVERY_S = 5

    def test_safe_mode_ends_the_to_and_fro(self):
        self.peer.drop(self.port, True)
        began, deaths = time.time(), []
        for number in range(self.DEATHS):
            until(lambda: time.time() >= began + (number + 1) * self.EVERY_S, 2 * self.EVERY_S, "its time has come")
            self.kill()
            deaths.append(time.time())
            until(lambda: time.time() >= deaths[-1] + RESTART_S, 5, "systemd starts it again")
            self.guard = self.world.guard()
        over = time.time()
        self.assertEqual(self.guard.get("status")["disarmed"]["by"], "safe-mode")
        self.peer.drop(self.port, False)
        shuts = self.shuts()
        FIGURES[f"{self.DEATHS} deaths in {over - began:.0f} s: gates shut after, s"] = [round(t - began, 1) for t in shuts]
        self.assertEqual(len(shuts), 3, "as many as there were guards before safe mode")
        for at in shuts:
            self.assertLessEqual(sum(at <= t < at + 10 for t in shuts), 2, "at most 2 flips in 10 s")
        self.assertLess(max(shuts), deaths[2], "after the third death nobody is refused")

    def shuts(self):
        """When refusing began, each time: from what became of the workers' connects, by when they began."""
        found, refused = [], False
        for start, _, answer, _ in sorted(self.load.stop(), key=lambda r: r[0]):
            if answer == "ECONNREFUSED" and not refused:
                found.append(start)
            refused = answer == "ECONNREFUSED"
        return found


if __name__ == "__main__":
    threading.stack_size(256 * 1024)
    unittest.main(verbosity=2)
