#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_guard_faults.py: each allocation, map update, attach, write and rename of the guard fails once, in start, reload,
act and stop (tests/fault). A run without faults tells which calls there are; here each place in the source that makes
one, and who called that, fails at its first time; long_guard_faults.py does it with every call and with descriptors, too.
"""
import collections
import contextlib
import functools
import os
import re
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from faultlib import PROGRAM, Page
from guardlib import BUILD, FIGURES, Guard, Load, World, bpf_held_by, bpftool, cgroup_programs, committed, figures_print, policy, until

KINDS = {"allocation", "map update", "attach", "write", "rename"}
TROUBLE = re.compile(r"missing on this host|cannot|could not|not kept|NOT kept|no stats socket|since: |not followed|FAILED|"
                     r"disarmed by unknown|ended \(status")
SOON_S = 4      # what failed once is made good by then, or has been said


def setUpModule():
    unittest.addModuleCleanup(figures_print)


@functools.lru_cache(maxsize=4)
def maps_of(pid):
    """name -> id of a guard's maps."""
    held = bpf_held_by(pid)
    return {m["name"]: m["id"] for m in bpftool("map", "show") if ("map", m["id"]) in held}


def map_dump(pid, name):
    """{key: value} of a guard's map, as bytes."""
    return {bytes(int(b, 16) for b in e["key"]): bytes(int(b, 16) for b in e["value"])
            for e in bpftool("map", "dump", "id", str(maps_of(pid)[name]))}


class Table(unittest.TestCase):
    """A service, a database, and guards whose calls can fail."""
    KINDS = KINDS
    DEPTH = 2       # a place, and who called that
    EACH = False    # every call, not only the first of each place

    @classmethod
    def setUpClass(cls):
        cls.world = World()
        cls.addClassCleanup(cls.world.close)
        cls.page = Page(f"{cls.world.dir}/fault")
        cls.addClassCleanup(cls.page.close)
        cls.peer = cls.world.peer()
        cls.port, cls.spared = cls.peer.tell("listen"), cls.peer.tell("listen")
        cls.endpoint = f"{cls.peer.v4}:{cls.port}"
        cls.www = cls.world.service("www", 8)
        cls.lives = 0

    @classmethod
    def policy(cls, dead_after_ms=1000, deadline_ms=1500):
        return policy({"www": {"cgroup": cls.world.cgroup_name("www"), "workers": "prefork", "enforce": "[fail_fast]",
                               "fail_fast": "always", "dead_after": f"{dead_after_ms}ms", "connect_deadline": f"{deadline_ms}ms",
                               "exempt": f"[{cls.peer.v4}:{cls.spared}]"}})

    @classmethod
    def guard(cls):
        """A guard of its own directory, not waited for."""
        cls.lives += 1
        directory = f"{cls.world.dir}/{cls.lives}"
        os.mkdir(directory)
        guard = Guard(directory, cls.policy(), prefix=cls.page.prefix, program=PROGRAM)
        cls.world.guards.append(guard)
        return guard

    @classmethod
    def error(cls, seconds=2):
        return cls.www.connect(cls.peer.v4, cls.port, seconds=seconds)[0]

    # ---- what there is to fail ----

    def faults(self, first, last=None, but=()):
        """[(call, nth)]: what the guard called in that time, each to fail in a run of its own."""
        calls = [c for c in self.page.calls(first, last) if c.kind in self.KINDS and c not in but]
        seen = collections.Counter()
        found = []
        for call in calls:
            key = call if self.EACH else call.cut(self.DEPTH)
            seen[key] += 1
            if self.EACH or seen[key] == 1:
                found.append((key, seen[key]))
        return found

    def figure(self, phase, first, faults):
        kinds = collections.Counter(c.kind for c in self.page.calls(first) if c.kind in self.KINDS)
        FIGURES[f"{phase}: calls of each kind, and how many of them fail"] = (dict(kinds), len(faults))

    # ---- what a guard is ----

    def sound(self, guard):
        """What a guard that nothing failed in is and has, as far as it can be seen in a moment."""
        facts = {"files": sorted(set(os.listdir(guard.state)) - {"explain.next"}), "committed": committed(guard)}
        status = guard.get("status")
        facts["missing"] = status["missing"]
        facts["loop"] = status["guard"]["loop"]["runs"]
        facts["mode"] = (status["mode"], status["disarmed"])
        facts["policy"] = status["policy"]["hash"], status["policy"]["files"], guard.get("policy")["hash"]
        facts["text"] = guard.http("GET", "/v1/policy")[1].count("dead_after")
        group = guard.group("www")
        facts["group"] = group and (group["present"], group["gate_ready"])
        facts["attached"] = len(cgroup_programs(self.world.cgroup("www")))
        for name in ("exempts", "deadlines", "cgroups"):
            entries = map_dump(guard.p.pid, name)
            if name == "cgroups":
                number = os.stat(self.world.cgroup("www")).st_ino
                facts[name] = entries.get(number.to_bytes(8, sys.byteorder))
            else:
                facts[name] = sorted(v for v in entries.values() if any(v))
        facts["connects"] = self.error() or bool(guard.dependency("www", self.endpoint))
        return facts

    def trouble(self, guard):
        return {re.sub(r"\d+", "#", line) for line in guard.said().splitlines() if TROUBLE.search(line)}

    def is_sound_or_says_so(self, guard, call):
        """Within moments as if nothing had failed; else the journal or `status` has a line about it."""
        facts = {}

        def good():
            facts.update(self.sound(guard))
            return facts == self.good_facts or self.trouble(guard) - self.good_trouble
        with contextlib.suppress(AssertionError):
            until(good, SOON_S, "sound")
        wrong = {k: (v, self.good_facts[k]) for k, v in facts.items() if v != self.good_facts[k]}
        said = self.trouble(guard) - self.good_trouble
        self.assertTrue(not wrong or said, f"{call} failed; nothing is said, but: {wrong}\n{guard.said()}")
        return wrong, said

    def held(self, guard):
        status, text = guard.post("hold", group="www", endpoint=self.endpoint, seconds=60)
        self.assertEqual(status, 200, text)
        until(lambda: self.error() == "ECONNREFUSED", 3, "refused while held")
        until(lambda: os.path.exists(f"{guard.state}/explain.next"), 3, "its number is kept")
        until(lambda: os.path.exists(guard.motd), 3, "it is told at logins")

    def refuses_and_lets_go(self, guard):
        """By hand: what is held is refused, what is released gets through."""
        status, text = guard.post("hold", group="www", endpoint=self.endpoint, seconds=60)
        self.assertEqual(status, 200, text)
        until(lambda: self.error() == "ECONNREFUSED", 3, "refused while held")
        self.assertEqual(guard.post("release", group="www", endpoint=self.endpoint, seconds=1)[0], 200)
        until(lambda: self.error() is None, 3, "let through")

    def nothing_left(self, guard):
        self.assertFalse(os.path.lexists(guard.socket), "no socket is left")
        self.assertFalse(os.path.lexists(guard.motd))
        self.assertEqual([n for n in os.listdir(guard.state) if n.endswith(".new")], [], "no file half-written")
        self.assertFalse(os.path.exists(f"{guard.state}/running"), "ended by itself, and says so to the next")
        committed(guard)
        self.world.nothing_left()
        self.assertIsNone(self.error(), "connects go through")

    def learn(self, guard):
        """Of a guard in which nothing has failed."""
        self.good_trouble, self.good_facts = set(), {}

        def settled():
            before, self.good_facts = self.good_facts, self.sound(guard)
            seen = tuple(self.good_facts[k] for k in ("group", "connects", "attached"))
            return before == self.good_facts and seen == ((True, True), True, 4) and self.good_facts["committed"]
        until(settled, 10, "a sound guard")
        self.good_trouble = self.trouble(guard)

    def watched(self):
        """A life without faults up to here, and how many calls that took."""
        self.page.reset()
        guard = self.guard().ready()
        self.page.head()
        self.learn(guard)
        return guard, self.page.n


class Start(Table):
    DEPTH = 1       # the place alone: a life each

    def test_start(self):
        guard, n = self.watched()
        faults = self.faults(0, n)
        self.figure("start", 0, faults)
        self.assertEqual(guard.stop(), 0)
        self.nothing_left(guard)
        ends = collections.Counter()
        for call, nth in faults:
            with self.subTest(f"{call}, call {nth}"):
                ends[self.one(call, nth)] += 1
        FIGURES["start: what became of the guards"] = dict(ends)
        self.assertGreater(ends["did not start"], 5, "else this says nothing")

    def one(self, call, nth):
        self.page.reset()
        self.page.arm(call, nth)
        guard = self.guard()
        try:
            return self.life(guard, call)
        finally:
            guard.stop()

    def life(self, guard, call):
        until(lambda: guard.p.poll() is not None or self.answers(guard), 20, "it ends, or answers")
        if guard.p.poll() is not None:
            self.assertEqual(self.page.fired, 1)
            self.assertIn(guard.p.returncode, (1, 78))
            self.assertRegex(guard.said(), r"(?m)^pileguardd: \S.{12,}$", f"{call}: it does not say why")
            self.assertNotIn("\n\n", guard.said())
            if call.kind in ("attach", "map update"):
                self.assertNotIn("policy.yaml", guard.said(), "this is not about the policy")
            self.nothing_left(guard)
            return "did not start"
        wrong, _ = self.is_sound_or_says_so(guard, call)
        fired = self.page.fired
        if call.name in ("bpf_map_update_elem", "bpf_program__attach_cgroup"):
            until(lambda: self.sound(guard) == self.good_facts, SOON_S, f"{call}: as it should be, said or not")
        if guard.group("www")["gate_ready"]:
            self.refuses_and_lets_go(guard)
        self.assertEqual(guard.stop(), 0)
        self.nothing_left(guard)
        if not fired:
            return "did not meet it"
        return "runs, with a loss that is said" if wrong else "runs as if nothing had been"

    def answers(self, guard):
        with contextlib.suppress(OSError, ValueError):
            return guard.get("status")
        return "no stats socket" in guard.said()


class Reload(Table):
    def test_reload(self):
        guard, _ = self.watched()
        number = 1
        guard.write(self.policy(1000 + number))
        first = self.page.n
        self.assertEqual(guard.post("reload")[0], 200)
        until(lambda: "1.001s" in (committed(guard) or ""), 5, "kept")
        until(lambda: guard.get("status")["policy"]["files"] == "same", 5, "the files are in force")
        faults = self.faults(first)
        self.figure("reload", first, faults)
        self.learn(guard)
        ends = collections.Counter()
        for call, nth in faults:
            number += 1
            with self.subTest(f"{call}, call {nth}"):
                ends[self.one(guard, call, nth, number)] += 1
        FIGURES["reload: what became of it"] = dict(ends)
        self.refuses_and_lets_go(guard)

    def one(self, guard, call, nth, number):
        before, old = guard.get("status")["policy"], committed(guard)
        new = f"dead_after: {(1000 + number) / 1000}s\n"
        guard.write(self.policy(1000 + number, 1500 + number))
        fired = self.page.arm(call, nth)
        status, text = guard.post("reload")
        if call.kind != "map update":   # those come with the next ticks, if at all
            until(lambda: self.page.fired > fired, 1, "it failed")
        after = guard.get("status")["policy"]
        if status != 200:
            self.assertGreater(len(text), 40, f"{call}: it does not say why")
            self.assertEqual((after["hash"], after["generation"], committed(guard)), (before["hash"], before["generation"], old),
                             "the old policy is in force and on disk")
            until(lambda: "policy refused, nothing changed" in guard.said(), 2, "the journal has it")
            status, text = guard.post("reload")
            self.assertEqual(status, 200, text)
            self.assertNotEqual(guard.get("status")["policy"]["hash"], before["hash"])
            self.settles(guard, new, call)
            return "refused"
        self.assertNotEqual(after["hash"], before["hash"], "the new policy is in force")
        kept = committed(guard)
        self.assertTrue(kept == old or new in kept, f"{call}: old or new, but {kept}")
        self.settles(guard, new, call)
        return "in force, kept later: said" if "NOT kept" in text else "in force"

    def settles(self, guard, new, call):
        """In force, in the kernel and on disk within moments."""
        changed = ("committed", "policy", "deadlines")

        def rest():
            return {k: v for k, v in self.sound(guard).items() if k not in changed}
        until(lambda: new in committed(guard), SOON_S, f"{call}: the new policy stands on disk")
        until(lambda: rest() == {k: v for k, v in self.good_facts.items() if k not in changed}, SOON_S, f"{call}: a sound guard")
        until(lambda: guard.get("status")["policy"]["files"] == "same", SOON_S + 6, f"{call}: the files are what is in force")
        self.page.disarm()


class Act(Table):
    """An outage each: one fault while the gate is to be shut, one while it is, one when the database is back."""

    def outage(self, guard, faults, learn=False):
        """[(call, whether it failed)]; with `learn`: the number of calls at the phases' ends."""
        ends, results = [self.page.n], []
        for phase, (call, nth) in zip((self.lose, self.stay, self.come_back), faults):
            fired = self.page.arm(call, nth) if call else None
            phase(guard, call)
            if call:
                results.append((call, nth, self.page.fired > fired))
            self.page.disarm()
            ends.append(self.page.n)
        return ends if learn else results

    def over(self, guard):
        self.page.disarm()
        if self.away:
            self.peer.drop(self.port, False)
            self.away = False
        until(lambda: (guard.episode("www", self.endpoint) or {}).get("state") == "closed", 10, "closed")

    def lose(self, guard, call):
        self.away = True
        self.peer.drop(self.port, True)
        until(lambda: self.error(0.3) == "ECONNREFUSED", 1.6 + SOON_S, f"{call} failed: refused all the same")

    def stay(self, guard, call):
        fired, end = self.page.fired, time.monotonic() + 1.5
        while time.monotonic() < end and (not call or self.page.fired == fired):
            said = self.error(0.3)
            self.assertTrue(said == "ECONNREFUSED" or self.page.fired != fired, f"{call}: {said}")
        if call and call.name == "socket":  # a guard that cannot ask lets somebody through (pile_proof_is_life): only so many
            until(lambda: self.error(0.3) == "ECONNREFUSED", SOON_S, f"{call} failed: refused again")
        for _ in range(5):
            self.assertEqual(self.error(0.3), "ECONNREFUSED", f"{call} failed: still refused")

    def come_back(self, guard, call):
        self.peer.drop(self.port, False)
        self.away = False
        until(lambda: guard.episode("www", self.endpoint)["state"] == "closed", 5, f"{call}: closed")
        until(lambda: self.error() is None, 1, f"{call} failed: no gate is left shut")
        self.assertEqual({r[0] for r in self.www.connects(5, self.peer.v4, self.port)}, {None}, f"{call}")

    def test_act(self):
        guard, _ = self.watched()
        load = Load(5, lambda n: (lambda: self.error(3), n))
        self.addCleanup(load.stop)
        ends = self.outage(guard, [(None, 0)] * 3, learn=True)
        phases = [self.faults(a, b) for a, b in zip(ends, ends[1:])]
        for name, first, faults in zip(("gate to be shut", "gate shut", "gate to be opened"), ends, phases):
            FIGURES[f"act, {name}: faults"] = len(faults)
        again, results = [], []
        for i in range(max(len(p) for p in phases)):
            one = [p[i] if i < len(p) else (None, 0) for p in phases]
            with self.subTest("; ".join(str(call) for call, _ in one if call)):
                try:
                    results += self.outage(guard, one)
                finally:
                    self.over(guard)
        FIGURES["act: met, not met"] = (sum(hit for _, _, hit in results), sum(not hit for _, _, hit in results))
        # what other services of this machine do is met by chance
        missed = [str(call) for call, _, hit in results if not hit]
        self.assertEqual([call for call in missed if "gate_" in call], [])
        self.assertLess(len(missed), len(results) / 2, missed)
        self.assertEqual(self.sound(guard), self.good_facts)
        self.refuses_and_lets_go(guard)


class Released(Table):
    """What was held by hand is let go, though the gate's entry cannot be taken away."""

    def test_release(self):
        guard, _ = self.watched()
        self.held(guard)
        first = self.page.n
        self.released(guard)
        # what other services of this machine do meanwhile has deletes of its own
        faults = {call.cut(1) for call in self.page.calls(first) if call.name == "bpf_map_delete_elem" and "gate_remove" in str(call)}
        self.assertEqual(len(faults), 2, "the gate's and its counters'")
        for call in faults:
            with self.subTest(str(call)):
                self.held(guard)
                fired = self.page.arm(call)
                self.released(guard)
                self.assertEqual(self.page.fired, fired + 1)

    def released(self, guard):
        self.assertEqual(guard.post("release", group="www", endpoint=self.endpoint, seconds=1)[0], 200)
        until(lambda: self.error() is None, 1, "let through")


class Stop(Table):
    def test_stop(self):
        guard, _ = self.watched()
        self.held(guard)
        first = self.page.n
        self.assertEqual(guard.stop(), 0)
        faults = self.faults(first)
        self.figure("stop", first, faults)
        self.nothing_left(guard)
        for call, nth in faults:
            with self.subTest(f"{call}, call {nth}"):
                self.one(call, nth)

    def one(self, call, nth):
        self.page.reset()
        guard = self.guard().ready()
        until(lambda: guard.group("www")["gate_ready"], 5, "www is guarded")
        self.held(guard)
        until(lambda: committed(guard), 5, "kept")
        self.page.arm(call, nth)
        self.assertEqual(guard.stop(), 0)
        self.assertEqual(self.page.fired, 1)
        self.nothing_left(guard)
        self.assertIsNotNone(committed(guard))
        self.assertIn("pileguard stops: everything is open", guard.said())
        if call.kind in ("write", "rename"):
            self.assertRegex(guard.said(), r"cannot be written", f"{call}: what was not kept is said")


class Shipped(unittest.TestCase):
    def test_nothing_of_it_is_in_the_daemon(self):
        for program, has in ((PROGRAM, True), (f"{BUILD}/pileguardd", False)):
            with open(program, "rb") as f:
                self.assertEqual(b"PILE_FAULT_FILE" in f.read(), has, program)


del Table


if __name__ == "__main__":
    unittest.main(verbosity=2)
