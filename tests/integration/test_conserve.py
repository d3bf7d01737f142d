#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_conserve.py: a million requests of every habit, workers killed and policies reloaded meanwhile: nothing is lost.

opened - answered - closed = waiting = sum of the wheel, and answered is exactly what the clients saw answered.
"""
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from guardlib import BPFTOOL, BUILD, FIGURES, Process, World, bpf_held_by, figures_print, free_port, moment, policy, until

REQUESTS = int(os.environ.get("PILE_CONSERVE_REQUESTS", "1000000"))
PROGRAM = f"{BUILD}/tests/conserve"
# Where fentry is refused a unix answer is counted in the instant after its bytes are queued; a peer on another CPU that
# reads them, and asks again, in that instant is taken for one more or one less: some in 100,000. A left-over that arrives
# when it is counted is taken for a request anywhere.
NEARLY = {True: 200_000, False: 20_000}
RACE = 64   # a sample reads two CPUs' counters one after the other, while 50,000 requests a second go on


def setUpModule():
    unittest.addModuleCleanup(figures_print)
    if not os.path.exists(PROGRAM):
        subprocess.run(["make", "-s", f"BUILD={BUILD}", PROGRAM], check=True,
                       cwd=os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def misses(guard):
    """Events that the kernel passed over because the same program was running on that CPU already."""
    out = subprocess.run([BPFTOOL, "-j", "prog", "show"], capture_output=True, text=True, check=True).stdout
    held = bpf_held_by(guard.p.pid)
    return sum(p.get("recursion_misses", 0) for p in json.loads(out) if ("prog", p["id"]) in held)


class Million(unittest.TestCase):
    def setUp(self):
        self.world = World()
        self.addCleanup(self.world.close)
        self.stopping = threading.Event()
        self.threads = []
        self.addCleanup(self.stop)

    def serve(self, kind, workers):
        cgroup, port, path = self.world.cgroup(kind), free_port(), f"{self.world.dir}/{kind}.sock"
        server = Process([PROGRAM, "serve", kind, cgroup, str(workers), str(port), path])
        self.world.ends.append(server)
        return cgroup, [str(port), path]

    def beside(self, every, work):
        def run():
            while not self.stopping.wait(every):
                work()
        thread = threading.Thread(target=run)
        thread.start()
        self.threads.append(thread)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def kill_a_worker(self, cgroup, master):
        with open(f"{cgroup}/cgroup.procs", encoding="ascii") as f:
            workers = [int(p) for p in f.read().split() if int(p) != master]
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(random.choice(workers), signal.SIGKILL)
            self.killed += 1

    def sample(self):
        for name in self.groups:
            r = self.guard.group(name)["requests"]
            waiting = r["opened_total"] - r["answered_total"] - r["closed_total"]
            self.worst = max(self.worst, abs(waiting - r["waiting"]))
            by_age = sum(n for _, n in r["waiting_by_age_seconds"])
            self.worst_wheel = max(self.worst_wheel, abs(by_age - r["waiting"]))
            self.samples += 1

    def reload(self):
        self.reloads += 1
        text = policy({n: {**keys, "probe_every": f"{500 + self.reloads % 7}ms"} for n, keys in self.groups.items()})
        self.guard.write(text)
        self.assertEqual(self.guard.post("reload")[0], 200)

    def ask(self, n, targets):
        run = subprocess.run([PROGRAM, "ask", str(n), "1", "6", *targets], capture_output=True, text=True, check=True,
                             timeout=1800)
        counts = {line.split()[0]: [int(x) for x in line.split()[1:]] for line in run.stdout.splitlines()}
        return {t: dict(zip(("sent", "answered", "unanswered", "retried"), c)) for t, c in counts.items()}

    def quiet(self, name):
        r = self.guard.group(name)["requests"]
        return (r["waiting"] == 0 and r["waiting_by_age_seconds"] == [] and
                r["opened_total"] == r["answered_total"] + r["closed_total"]) and r

    def test_a_million(self):
        self.killed = self.reloads = self.samples = self.worst = self.worst_wheel = 0
        servers = {"prefork": self.serve("prefork", 8), "events": self.serve("events", 3)}
        masters = {kind: end.p.pid for kind, end in zip(servers, self.world.ends)}
        self.groups = {kind: {"cgroup": self.world.cgroup_name(kind), "enforce": "[fail_fast]"} for kind in servers}
        self.guard = guard = self.world.guard(policy(self.groups))
        until(lambda: all(len((guard.group(k) or {"listeners": []})["listeners"]) == 2 for k in servers), 5, "followed")
        time.sleep(0.2)     # tagged in the walk after the one that told of them
        for kind, (cgroup, _) in servers.items():
            self.beside(0.3, lambda c=cgroup, k=kind: self.kill_a_worker(c, masters[k]))
        self.beside(0.1, self.sample)
        self.beside(0.5, self.reload)
        start = time.monotonic()
        counts = self.ask(REQUESTS, [t for _, targets in servers.values() for t in targets])
        took, ended = time.monotonic() - start, time.time()
        self.stop()
        self.assertGreater(self.killed, 10)
        self.assertGreater(self.reloads, 3)     # one each half second, and slower where others have the processors
        status = until(lambda: moment((now := guard.get("status"))["as_of"]) > ended and now, 5, "a later snapshot")
        exact = "unix" not in (status["missing"] or "")
        results = {kind: until(lambda k=kind: self.quiet(k), 5, f"{kind} is quiet: {guard.group(kind)['requests']}")
                   for kind in servers}
        missed = misses(guard)
        FIGURES["requests, seconds, workers killed, reloads"] = (REQUESTS, round(took, 1), self.killed, self.reloads)
        FIGURES["samples, worst |opened-answered-closed-waiting|, worst |wheel-waiting|"] = (
            self.samples, self.worst, self.worst_wheel)
        FIGURES["recursion misses of our programs"] = missed
        for kind, (_, targets) in servers.items():
            FIGURES[f"{kind}: clients, guard"] = (
                {t.rsplit("/", 1)[-1]: counts[t] for t in targets},
                {k: v for k, v in results[kind].items() if k.endswith("_total")})
        for kind, (_, targets) in servers.items():
            answered = sum(counts[t]["answered"] for t in targets)
            difference = results[kind]["answered_total"] - answered
            FIGURES[f"{kind}: the guard's answers less the clients'"] = difference
            self.assertLessEqual(abs(difference), answered // NEARLY[exact] + 1, f"recursion misses: {missed}")
        self.assertLess(self.worst, RACE)
        self.assertEqual(self.worst_wheel, 0)


if __name__ == "__main__":
    unittest.main()
