#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_guard_groups.py: who belongs to whom: restarts, listeners, found services, MPTCP."""
import contextlib
import os
import re
import socket
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from guardlib import (FIGURES, GATE_PROGRAMS, Process, Service, World, cgroup_programs, empty_cgroup, figures_print, free_port,
                      policy, until)

IPPROTO_MPTCP = 262


def setUpModule():
    unittest.addModuleCleanup(figures_print)


class Fixture(unittest.TestCase):
    def setUp(self):
        self.world = World()
        self.addCleanup(self.world.close)

    def database(self):
        self.peer = self.world.peer()
        self.port = self.peer.tell("listen")
        self.endpoint = f"{self.peer.v4}:{self.port}"

    def counted(self, guard, name, n):
        def exactly():
            g = guard.group(name)
            r = g["requests"] if g else {}
            return g and (r["opened_total"], r["answered_total"], r["waiting"]) == (n, n, 0)
        try:
            until(exactly, 5, f"{name} has {n} requests")
        except AssertionError as e:
            raise AssertionError(f"{e}: {(guard.group(name) or {}).get('requests')}") from None


class Restarts(Fixture):
    def test_twenty_restarts(self):
        """The cgroup goes and comes (systemctl restart): a held connect is refused again within a second, each time."""
        self.database()
        www = Service(self.world, "www", 2)
        guard = self.world.guard(policy({"www": {"cgroup": self.world.cgroup_name("www"), "enforce": "[fail_fast]"}}))
        until(lambda: guard.group("www")["gate_ready"], 5, "www is guarded")
        self.assertEqual(guard.post("hold", group="www", endpoint=self.endpoint, seconds=600)[0], 200)
        until(lambda: www.connect(self.peer.v4, self.port)[0] == "ECONNREFUSED", 2, "refused")
        took = []
        for _ in range(20):
            www.end()
            empty_cgroup(www.cgroup)
            until(lambda: not guard.group("www")["present"], 2, "seen to go")
            self.world.cgroup("www")
            made = time.monotonic()
            www = Service(self.world, "www", 2)
            until(lambda: www.connect(self.peer.v4, self.port, seconds=1)[0] == "ECONNREFUSED", 3, "refused again")
            took.append(time.monotonic() - made)
        self.world.ends.append(www)
        FIGURES["restart: refused again after, s (worst of 20, with the service's own start)"] = round(max(took), 2)
        self.assertLess(max(took), 1.0)
        # what is read was written at the end of a tick, and refusing began in the middle of it
        until(lambda: guard.group("www")["reattached_total"] >= 20, 2, "each of them was seen")
        self.assertEqual(guard.group("www")["reattached_total"], 20)
        self.assertEqual(sorted(cgroup_programs(www.cgroup)), GATE_PROGRAMS)

    def test_fast_restart(self):
        """Gone and back between two ticks: only the cgroup's id tells."""
        self.database()
        www = Service(self.world, "www", 2)
        guard = self.world.guard(policy({"www": {"cgroup": self.world.cgroup_name("www"), "enforce": "[fail_fast]"}}))
        until(lambda: guard.group("www")["gate_ready"], 5, "www is guarded")
        self.assertEqual(guard.post("hold", group="www", endpoint=self.endpoint, seconds=600)[0], 200)
        for _ in range(5):
            www.end()
            empty_cgroup(www.cgroup)
            www = Service(self.world, "www", 2)
            until(lambda: www.connect(self.peer.v4, self.port, seconds=1)[0] == "ECONNREFUSED", 3, "refused again")
        self.world.ends.append(www)


class Listeners(Fixture):
    def test_two_groups_in_one_cgroup(self):
        """Two listeners of one unit, one enforced: requests and refusals are told apart by listener."""
        self.database()
        a = self.world.service("www", 2, port=free_port())
        b = Service(self.world, "b", 2, port=free_port(), cgroup=a.cgroup)
        self.world.ends.append(b)
        groups = {"pool-a": {"cgroup": self.world.cgroup_name("www"), "listen": a.path, "enforce": "[fail_fast]"},
                  "pool-b": {"cgroup": self.world.cgroup_name("www"), "listen": b.path, "enforce": "[]"}}
        guard = self.world.guard(policy(groups))
        until(lambda: all((guard.group(g) or {"listeners": []})["listeners"] for g in groups), 5, "both are followed")
        for service in (a, b):      # a worker is known by what it was seen serving
            for _ in range(10):
                self.assertIsNone(service.connect(self.peer.v4, self.port)[0])
        self.counted(guard, "pool-a", 10)
        self.counted(guard, "pool-b", 10)
        self.assertEqual(guard.post("hold", group="pool-a", endpoint=self.endpoint, seconds=600)[0], 200)
        self.assertNotEqual(guard.post("hold", group="pool-b", endpoint=self.endpoint, seconds=600)[0], 200)
        until(lambda: a.connect(self.peer.v4, self.port)[0] == "ECONNREFUSED", 2, "pool-a is refused")
        self.assertEqual({b.connect(self.peer.v4, self.port)[0] for _ in range(10)}, {None}, "pool-b is not")
        self.assertEqual(a.connect(self.peer.v4, self.port)[0], "ECONNREFUSED")

    def test_a_flood_of_lines(self):
        """Forty groups at once: a few lines, how many were not written is said afterwards, and `events` has them all."""
        names = [f"g{i}" for i in range(40)]
        for name in names:
            self.world.cgroup(name)
        guard = self.world.guard("mode: observe\n")
        until(lambda: "followed" in guard.said(), 5, "what was there at the start")
        guard.write(policy({name: {"cgroup": self.world.cgroup_name(name)} for name in names}))
        self.assertEqual(guard.post("reload")[0], 200)
        told = until(lambda: re.search(r"(?m)^(\d+) lines not written", guard.said()), 5, "what was dropped is said")
        lines = [line for line in guard.said().splitlines() if re.fullmatch(r"g\d+: followed", line)]
        events = [e for e in guard.events("group") if re.fullmatch(r"g\d+: followed", e["text"])]
        self.assertEqual(len(events), 40)
        self.assertLessEqual(len(lines), 20)    # seven a second, and the forty may come in two of them
        self.assertGreaterEqual(int(told[1]), 40 - len(lines))
        self.assertEqual([e["text"] for e in guard.events("dropped")], [told[0] + guard.said()[told.end():].splitlines()[0]])

    def test_all_at_the_start_in_one_line(self):
        """What is there when the guard comes is one line, and `events` has each of them."""
        names = [f"g{i}" for i in range(40)]
        for name in names:
            self.world.cgroup(name)
        guard = self.world.guard(policy({name: {"cgroup": self.world.cgroup_name(name)} for name in names}))
        told = until(lambda: re.search(r"(?m)^(\d+) services are followed: (.*)\.\.\.$", guard.said()), 5, "said")
        self.assertGreaterEqual(int(told[1]), 40)
        self.assertIn("g0, g1, g2", told[2])
        self.assertEqual(len([e for e in guard.events("group") if re.fullmatch(r"g\d+: followed", e["text"])]), 40)
        until(lambda: guard.get("status")["uptime_seconds"] > 5, 8, "what was dropped would have been said by now")
        self.assertNotIn("not written", guard.said())
        self.assertIsNone(re.search(r"(?m)^g\d+: followed", guard.said()))

    def test_a_slot_that_is_given_away(self):
        """Who served a group that the policy names no more is no worker of the group that has its place."""
        self.database()
        www = self.world.service("www", 4, port=free_port())

        def ask(n):
            for i in range(n):
                self.assertIsNone(www.connect(self.peer.v4, self.port, tcp=i % 2 == 1)[0])
        named = {name: policy({name: {"cgroup": self.world.cgroup_name(name)}}) for name in ("www", "other")}
        self.world.service("other", 1)
        guard = self.world.guard(named["www"])
        until(lambda: guard.group("www")["present"], 5, "www is followed")
        ask(20)
        until(lambda: guard.dependency("www", self.endpoint), 5, "where it connects to")
        guard.write(named["other"])
        self.assertEqual(guard.post("reload")[0], 200)
        until(lambda: (guard.group("other") or {}).get("present"), 2, "other is followed")
        ask(20)
        name = self.world.cgroup_name("www")[1:]
        until(lambda: guard.group(name), 10, "www is found again, by itself")
        ask(20)
        until(lambda: guard.dependency(name, self.endpoint), 5, "it is seen where www's workers connect to")
        self.assertIsNone(guard.dependency("other", self.endpoint))
        self.assertEqual([w["pid"] for w in guard.get("workers?group=other")], [])

    def test_found_without_policy(self):
        port = free_port()
        www = self.world.service("www", 3, port=port)
        guard = self.world.guard()
        name = self.world.cgroup_name("www")[1:]
        until(lambda: guard.group(name), 3, "found by itself")
        for i in range(20):
            www.ask(op="plain", tcp=i % 2 == 1)
        self.counted(guard, name, 20)
        group = guard.group(name)
        self.assertFalse(group["configured"])
        self.assertEqual(group["enforce"], [])
        self.assertEqual({x["endpoint"] for x in group["listeners"]}, {www.path, f"127.0.0.1:{port}"})
        self.assertEqual(cgroup_programs(www.cgroup), [])

    def test_older_than_the_guard(self):
        """Requests that were waiting before the guard came are waiting; their answers are answers."""
        www = self.world.service("www", 4, port=free_port())
        with contextlib.ExitStack() as stack:
            clients = []
            for i in range(4):
                s = stack.enter_context(socket.socket(socket.AF_INET if i % 2 else socket.AF_UNIX))
                s.connect(("127.0.0.1", www.port) if i % 2 else www.path)
                s.sendall(b'{"op": "sleep"')
                clients.append(s)
            guard = self.world.guard()
            name = self.world.cgroup_name("www")[1:]
            for s in clients:
                s.sendall(b', "seconds": 1}\n')
            until(lambda: guard.group(name)["requests"]["waiting"] == 4, 3, "four wait")
            for s in clients:
                self.assertTrue(s.recv(100))
            self.counted(guard, name, 4)

    def test_new_listener_is_followed(self):
        guard = self.world.guard()
        start = time.monotonic()
        www = self.world.service("www", 2)
        name = self.world.cgroup_name("www")[1:]
        until(lambda: guard.group(name), 3, "found")
        FIGURES["a new service is followed after, s (with its own start)"] = round(time.monotonic() - start, 2)
        for _ in range(5):
            www.ask(op="plain")
        self.counted(guard, name, 5)


class Mptcp(Fixture):
    CONNECTIONS, EACH = 40, 100     # of plain clients, and of MPTCP clients

    SERVER = """
import os, socket, sys
open(sys.argv[1] + "/cgroup.procs", "w").write("0")
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
s.bind(("127.0.0.1", int(sys.argv[2])))
s.listen(100)
print("ready", flush=True)
while True:
    c, _ = s.accept()
    while c.recv(100):
        c.sendall(b"answer")
    c.close()
"""

    def test_plain_and_mptcp_clients(self):
        try:
            socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP).close()
        except OSError as e:
            self.skipTest(f"no MPTCP here: {e}")
        port, cgroup = free_port(), self.world.cgroup("go")
        self.world.ends.append(Process([sys.executable, "-c", self.SERVER, cgroup, str(port)]))
        guard = self.world.guard()
        name = self.world.cgroup_name("go")[1:]
        until(lambda: guard.group(name) and guard.group(name)["listeners"], 3, "found")
        self.assertTrue(guard.group(name)["listeners"][0]["mptcp"])
        for protocol in (0, IPPROTO_MPTCP):
            for _ in range(self.CONNECTIONS):
                with socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol) as c:
                    c.settimeout(10)
                    c.connect(("127.0.0.1", port))
                    for _ in range(self.EACH):
                        c.sendall(b"question")
                        self.assertEqual(c.recv(100), b"answer")

        requests = 2 * self.CONNECTIONS * self.EACH

        def answered():
            r = FIGURES[f"MPTCP listener, {requests} requests"] = {
                k: v for k, v in guard.group(name)["requests"].items() if k.endswith("total") or k == "waiting"}
            return enough <= r["answered_total"] == r["opened_total"] <= requests and r["waiting"] == 0

        # tier B cannot tell each answer from the next (it says so); tier A can
        tier_b = guard.get("status")["tier"] == "B"
        self.assertEqual(bool(guard.group(name)["listeners"][0]["blind"]), tier_b)
        enough = requests * 98 // 100 if tier_b else requests
        until(answered, 5, f"{requests} requests were opened and answered, and the ends of connections are none")


if __name__ == "__main__":
    unittest.main()
