#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_guard_rogue.py: an api process that has fallen to an attacker: it is not root, whatever descriptor it shows."""
import errno
import json
import os
import shutil
import socket
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from guardlib import BUILD, World, until

ROGUE = """#!{python}
import json, os, socket, struct

folder = os.path.dirname(os.path.abspath(__file__))
pair, listener = socket.socket(fileno=5), socket.socket(fileno=3)
pair.setblocking(True)
pair.settimeout(5)
listener.settimeout(10)

asked = 0

def say(*fds):
    global asked
    asked += 1
    command = struct.pack("=HHIII64s128s", 1, 1, asked, 0, 0, b"", b"")     # reload
    socket.send_fds(pair, [command], list(fds))

def ask(*fds):
    say(*fds)
    while True:
        number, result = struct.unpack_from("=HHIi", pair.recv(4096))[2:]
        if number == asked:
            return result

results = dict(nothing=ask(), own_pair=ask(5), listener=ask(3))
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
        self.assertEqual(results.pop("descriptors_left"), 0)
        self.assertEqual(set(results.values()), {-errno.EACCES}, results)


if __name__ == "__main__":
    unittest.main()
