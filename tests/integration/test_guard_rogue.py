#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_guard_rogue.py: an api process that has fallen to an attacker is not root; a socket's name is only its own."""
import contextlib
import errno
import json
import os
import shutil
import socket
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from guardlib import BUILD, Load, Process, World, policy, until

ROGUE = """#!{python}
import json, os, socket, struct

folder = os.path.dirname(os.path.abspath(__file__))
pair, listener = socket.socket(fileno=5), socket.socket(fileno=3)
pair.setblocking(True)
pair.settimeout(5)
listener.settimeout(10)

asked = 0

RELOAD, DISARM = 1, 4

def say(*fds, kind=RELOAD):
    global asked
    asked += 1
    command = struct.pack("=HHIII64s128s64s", 2, kind, asked, 0, 0, b"", b"", b"rogue")
    socket.send_fds(pair, [command], list(fds))

def ask(*fds, **kind):
    say(*fds, **kind)
    while True:
        number, result = struct.unpack_from("=HHIi", pair.recv(4096))[2:]
        if number == asked:
            return result

results = dict(nothing=ask(), own_pair=ask(5), listener=ask(3), disarm=ask(3, kind=DISARM))
path = folder + "/root.sock"
service = socket.socket(socket.AF_UNIX)
service.bind(path)
service.listen(1)
near = socket.socket(socket.AF_UNIX)
near.connect(path)
results["near_end_of_a_root_service"] = ask(near.fileno())
guard = "/proc/%d/fd" % os.getppid()
before = len(os.listdir(guard))
for _ in range(10):
    say(5, 3)
results["after_two_descriptors"] = ask()    # in order: by now all of them were read
results["descriptors_left"] = len(os.listdir(guard)) - before
client = listener.accept()[0]
results["root_client"] = ask(client.fileno())
with open(folder + "/results.new", "w") as f:
    json.dump(results, f)
os.rename(folder + "/results.new", folder + "/results")
pair.settimeout(None)
pair.recv(1)
"""


class Rogue(unittest.TestCase):
    def test_it_is_not_root(self):
        world = World()
        self.addCleanup(world.close)
        program = shutil.copy(f"{BUILD}/pileguardd", world.dir)
        with open(f"{world.dir}/pileguard-api", "w", encoding="ascii") as f:
            f.write(ROGUE.format(python=sys.executable))
        os.chmod(f.name, 0o755)
        guard = world.guard("mode: observe\n", ready=False, program=program)
        until(lambda: os.path.exists(guard.socket), 10, "it listens")
        with socket.socket(socket.AF_UNIX) as client:
            until(lambda: client.connect_ex(guard.socket) == 0, 5, "it takes connections")
            until(lambda: os.path.exists(f"{world.dir}/results"), 20, f"the rogue is through: {guard.said()}")
        with open(f"{world.dir}/results", encoding="ascii") as f:
            results = json.load(f)
        self.assertEqual(results.pop("root_client"), 0, "control: what root asks for is done")
        self.assertLess(results.pop("descriptors_left"), 5, "of 20; the guard may have a file open for a moment")
        self.assertEqual(set(results.values()), {-errno.EACCES}, results)
        self.assertNotIn("disarmed", guard.said())


CROWD = """
import resource, socket, sys
cgroup, path, host, first, n, each = *sys.argv[1:4], *map(int, sys.argv[4:])
resource.setrlimit(resource.RLIMIT_NOFILE, (10000, 10000))
with open(cgroup + "/cgroup.procs", "w") as f:
    f.write("0")
listener = socket.socket(socket.AF_UNIX)    # so that the guard follows this group
listener.bind(path)
listener.listen(1)
print("ready", flush=True)
sys.stdin.readline()
kept = []
for i in range(n * each):
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex((host, first + i % n))
    kept.append(s)
print("ready", flush=True)
sys.stdin.readline()
"""


class Crowd(unittest.TestCase):
    """Connects are for everybody: a neighbour's thousand dead destinations hide no service's database."""

    def test_a_thousand_dead_destinations(self):
        world = World()
        self.addCleanup(world.close)
        peer = world.peer()
        port = peer.tell("listen")
        peer.drop("30000:31099", True)
        www = world.service("www", 24)
        crowd = Process([sys.executable, "-c", CROWD, world.cgroup("crowd"), f"{world.dir}/crowd.sock", peer.v4, "30000",
                         "1100", "3"])
        world.ends.append(crowd)
        guard = world.guard(policy({"www": {"cgroup": world.cgroup_name("www"), "workers": "prefork", "workers_max": 24,
                                            "enforce": "[fail_fast]"}}))
        until(lambda: guard.group(world.cgroup_name("crowd")[1:]), 5, "the crowd is followed")
        until(lambda: guard.group("www")["gate_ready"], 5, "www is guarded")
        crowd.p.stdin.write("go\n")
        crowd.p.stdin.flush()
        self.assertEqual(crowd.p.stdout.readline(), "ready\n")
        seen = until(lambda: [d for d in guard.get("dependencies") if d["connecting"] >= 3][200:], 10,
                     "control: the crowd is seen, as far as there is room")
        self.assertNotIn("www", {d["group"] for d in seen})
        peer.drop(port, True)       # www has never connected there before
        load = Load(8, lambda n: (lambda: www.connect(peer.v4, port, seconds=6), n))
        opened = until(lambda: guard.episode("www", f"{peer.v4}:{port}"), 8, "opened all the same")
        until(lambda: guard.episode("www", f"{peer.v4}:{port}")["did"]["connects_refused"], 5, "connects are refused")
        peer.drop(port, False)
        results = [r[2] for r in load.stop() if isinstance(r[2], list)]
        self.assertTrue(opened["acted"])
        ended = [r for r in results if r[0] == "ECONNABORTED"]
        self.assertGreater(len(ended), 10, "those that waited were ended")
        self.assertLess(max(r[2] for r in ended), 3.5)


class Names(unittest.TestCase):
    """Unix sockets may be named anything: their names tell nothing about other people's sockets."""

    def test_a_crowd_of_forged_names(self):
        """They neither pretend to be a service's listener, nor take its place."""
        world = World()
        self.addCleanup(world.close)
        www = world.service("www", 2)
        with open("/proc/net/unix", encoding="utf-8", errors="replace") as f:
            inode = next(line.split()[6] for line in f if line.rstrip().endswith(www.path))
        with contextlib.ExitStack() as stack:
            folder = f"{world.dir}/\n0: 2 0 10000 1 1 {inode} "
            os.mkdir(folder)
            for i in range(600):    # listed by their inodes' last 8 bits; and more than the guard follows
                s = stack.enter_context(socket.socket(socket.AF_UNIX))
                s.bind(f"{folder}/forged{i}")
                s.listen(1)
            with open("/proc/net/unix", encoding="utf-8", errors="replace") as f:
                told = [line.split()[7] for line in f if line.split()[6:7] == [inode]]
            self.assertIn("/forged", told[0], "red: /proc/net/unix is deceived")
            guard = world.guard(policy({"www": {"cgroup": world.cgroup_name("www"), "listen": www.path}}))
            until(lambda: guard.group("www")["listeners"], 5, "the listener is claimed")
            self.assertEqual([x["endpoint"] for x in guard.group("www")["listeners"]], [www.path])
            self.assertIsNone(guard.group(world.cgroup_name("www")[1:]), "nothing else is found in its cgroup")
            www.ask(op="plain")
            until(lambda: guard.group("www")["requests"]["answered_total"] == 1, 3, "its requests are counted")
            until(lambda: guard.get("status")["guard"]["not_followed_total"] > 80, 15, "the rest is told")

    def test_abstract_names_are_followed(self):
        world = World()
        self.addCleanup(world.close)
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(f"\0pile\n{os.getpid()}\0".encode() + b"\xff\x1b[2Jend")   # no UTF-8, and a terminal's command
            s.listen(1)
            guard = world.guard()
            name = f"@pile?{os.getpid()}@??[2Jend"
            found = until(lambda: [x["endpoint"] for g in guard.get("groups") for x in g["listeners"]
                                   if x["endpoint"].startswith("@pile")], 5, "it is found")
            self.assertEqual(found, [name])


if __name__ == "__main__":
    unittest.main()
