#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The self-test: rung 1 tried on the guard's own process, at the start and whenever it is armed again."""
import ctypes
import os
import platform
import socket
import struct
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from guardlib import BUILD, World, cgroup_programs, policy, until

BPF = {"x86_64": 321, "aarch64": 280}  # the number of the bpf system call
PROG_LOAD, PROG_ATTACH, PROG_DETACH = 5, 8, 9
CGROUP_SOCK_ADDR, INET4_CONNECT = 18, 10  # enum bpf_prog_type, bpf_attach_type


def bpf(command, attributes):
    libc = ctypes.CDLL(None, use_errno=True)
    room = ctypes.create_string_buffer(attributes, len(attributes))
    r = libc.syscall(BPF[platform.machine()], command, room, len(attributes))
    if r < 0:
        raise OSError(ctypes.get_errno(), "bpf")
    return r


def forbid_connect4(cgroup):
    """A program of somebody else that lets everybody through, attached so that none may stand below it: returns what ends it."""
    code = ctypes.create_string_buffer(struct.pack("=BBhi", 0xb7, 0, 0, 1) + struct.pack("=BBhi", 0x95, 0, 0, 0))
    text = ctypes.create_string_buffer(b"GPL")
    program = bpf(PROG_LOAD, struct.pack("=IIQQIIQII16sII", CGROUP_SOCK_ADDR, 2, ctypes.addressof(code), ctypes.addressof(text),
                                         0, 0, 0, 0, 0, b"stranger", 0, INET4_CONNECT))
    at = os.open(cgroup, os.O_RDONLY)
    bpf(PROG_ATTACH, struct.pack("=IIII", at, program, INET4_CONNECT, 0))
    left = [at, program]

    def allow():
        if left:
            bpf(PROG_DETACH, struct.pack("=IIII", at, program, INET4_CONNECT, 0))
        while left:
            os.close(left.pop())
    return allow


def into(cgroup):
    """What starts a program inside a cgroup."""
    return ["sh", "-c", f'echo $$ > "{cgroup}/cgroup.procs" && exec "$@"', "sh"]


class Fixture(unittest.TestCase):
    def setUp(self):
        self.world = World()
        self.addCleanup(self.world.close)
        self.home = self.world.cgroup("home")

    def guard(self, home=None, **kwargs):
        return self.world.guard(policy({}, mode="observe"), prefix=into(home or self.home), **kwargs)

    def result(self, guard):
        return until(lambda: guard.get("status")["self_test"], 5, "a self-test")

    def armed_anew(self, guard):
        """Another self-test: its result."""
        before = self.result(guard)["at"]
        self.assertEqual(guard.post("disarm")[0], 200)
        self.assertEqual(guard.post("arm")[0], 200)
        return until(lambda: (lambda r: r if r["at"] != before else None)(guard.get("status")["self_test"]), 5, "another self-test")


class Passes(Fixture):
    def test_at_the_start(self):
        """In observe mode as well; told in the journal, in status, and as metrics; no trace is left of it."""
        guard = self.guard()
        found = self.result(guard)
        self.assertEqual((found["passed"], found["failed"]), (True, None), guard.said())
        for key in ("refuse_seconds", "end_seconds"):
            self.assertTrue(0 < found[key] < 0.1, found)
        self.assertIn("self-test passed: a connect is refused in", guard.said())
        metrics = guard.http("GET", "/metrics")[1]
        self.assertIn("\npileguard_self_test_success 1\n", metrics)
        self.assertEqual(cgroup_programs(self.home), [])
        self.assertEqual([d for d in guard.get("dependencies") if d["endpoint"].startswith("127.0.0.1:")], [])
        self.assertEqual(guard.get("status")["fail_fast"]["connects_refused_total"], 0)
        fds = os.listdir(f"/proc/{guard.p.pid}/fd")
        for _ in range(3):
            self.assertTrue(self.armed_anew(guard)["passed"])
        self.assertEqual(len(os.listdir(f"/proc/{guard.p.pid}/fd")), len(fds))
        self.assertEqual(guard.said().count("self-test"), 1, "the same result is not told again")

    def test_a_neighbour_is_not_concerned(self):
        """A process of the same cgroup, which connects all the while, is never refused, and none of its connects is ended."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.addCleanup(listener.close)
        code = ("import socket, sys\nprint('ready', flush=True)\nn = bad = 0\n"
                "import select\n"
                "while not select.select([sys.stdin], [], [], 0)[0]:\n"
                "    s = socket.socket()\n    s.settimeout(5)\n    e = s.connect_ex(('127.0.0.1', int(sys.argv[1])))\n"
                "    n += 1\n    bad += e != 0\n    s.close()\nprint(n, bad, flush=True)\n")
        neighbour = subprocess.Popen([*into(self.home), "python3", "-c", code, str(listener.getsockname()[1])],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (neighbour.kill(), neighbour.wait(), neighbour.stdin.close(), neighbour.stdout.close()))

        def accept_all():
            while True:
                try:
                    listener.accept()[0].close()
                except OSError:
                    return
        thread = threading.Thread(target=accept_all, daemon=True)
        thread.start()
        self.assertEqual(neighbour.stdout.readline(), "ready\n")
        guard = self.guard()
        for _ in range(20):
            self.assertTrue(self.armed_anew(guard)["passed"])
        neighbour.stdin.write("\n")
        neighbour.stdin.flush()
        n, bad = (int(word) for word in neighbour.stdout.readline().split())
        self.assertGreater(n, 1000)
        self.assertEqual(bad, 0, f"of {n}")


class Fails(Fixture):
    """What it cannot do is told, loudly, and it is told when it can again."""

    def test_another_program_forbids_it(self):
        below, parent = self.world.cgroup("parent/home"), self.world.cgroup("parent")
        allow = forbid_connect4(parent)
        self.addCleanup(allow)
        guard = self.guard(below)
        found = self.result(guard)
        self.assertEqual((found["passed"], found["failed"]), (False, "cannot attach to a cgroup (Operation not permitted)"))
        self.assertIn("self-test FAILED: cannot attach to a cgroup (Operation not permitted): another program on a parent cgroup"
                      " forbids it: rung 1 may not work on this host", guard.said())
        self.assertIn("\npileguard_self_test_success 0\n", guard.http("GET", "/metrics")[1])
        shown = subprocess.run([f"{BUILD}/pileguardctl", "--socket", guard.socket, "status"], capture_output=True, text=True,
                               check=False).stdout
        self.assertIn("! self-test FAILED: cannot attach to a cgroup (Operation not permitted)", shown)
        self.assertNotIn("self-test ok", shown)
        allow()
        self.assertTrue(self.armed_anew(guard)["passed"])
        self.assertEqual((guard.said().count("FAILED"), guard.said().count("self-test passed")), (1, 1))

    def test_hands_off(self):
        """Disarmed, also from before its start, it does not even try; armed again it does."""
        os.makedirs(f"{self.world.dir}/state")
        with open(f"{self.world.dir}/state/disarmed", "w", encoding="ascii") as f:
            f.write("by somebody")
        guard = self.guard()
        ticks = guard.get("status")["guard"]["ticks_total"]
        until(lambda: guard.get("status")["guard"]["ticks_total"] > ticks + 3, 5, "some ticks")
        status = guard.get("status")
        self.assertIsNotNone(status["disarmed"])
        self.assertIsNone(status["self_test"])
        self.assertIn("\npileguard_self_test_success 0\n", guard.http("GET", "/metrics")[1])
        self.assertEqual(guard.post("arm")[0], 200)
        self.assertTrue(self.result(guard)["passed"])


if __name__ == "__main__":
    unittest.main()
