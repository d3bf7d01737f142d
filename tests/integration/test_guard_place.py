#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_guard_place.py: match and place: found, placed with all children, undone; by libcgroup, where there is no systemd.

The workers' program is a copy of Python of the test's own: a rule that names it can match nobody else on this machine.
"""
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from faultlib import PROGRAM, Page
from guardlib import (BUILD, FIGURES, GATE_PROGRAMS, HERE, Guard, Service, World, cgroup_programs, figures_print, free_port, policy,
                      until)

SLICE = "/pileguard.slice"
HOME = f"{sys.base_prefix}:{sys.base_exec_prefix}"     # a copied interpreter would look beside itself

# forks a child for each line, and says its number; of an orphan the parent is gone
POOL = """
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    r, w = os.pipe()
    if os.fork() == 0:
        if line.strip() != "orphan" or os.fork() == 0:
            os.write(w, str(os.getpid()).encode())
            os.close(w)
            signal.pause()
        os._exit(0)
    print(os.read(r, 16).decode(), flush=True)
    os.close(r)
    os.close(w)
"""


def setUpModule():
    if os.path.isdir("/run/systemd/system"):
        raise unittest.SkipTest("systemd is here: placing goes through it (tests/vm/run place)")
    unittest.addModuleCleanup(figures_print)


def where(pid, controller=""):
    """The cgroup of a process; None: it is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/cgroup", encoding="utf-8") as f:
        for line in f.read().splitlines():
            number, names, path = line.split(":", 2)
            if controller in names.split(",") and (controller or number == "0"):
                return path
    return None


def members(path):
    with contextlib.suppress(FileNotFoundError), open(f"{path}/cgroup.procs", encoding="ascii") as f:
        return {int(pid) for pid in f.read().split()}
    return set()


class Fixture(unittest.TestCase):
    def setUp(self):
        self.world = World()
        self.addCleanup(self.world.close)
        self.name = f"pgt{os.getpid()}-{World.number}"
        self.placed = f"{SLICE}/pileguard-{self.name}.scope"
        self.program = shutil.copy(os.path.realpath(sys.executable), f"{self.world.dir}/pgworker")
        self.addCleanup(self.slice_gone)    # before the world is closed: cleanups run backwards

    def slice_gone(self):
        """No cgroup of this test's group is left in any hierarchy."""
        for guard in self.world.guards:
            if guard.p.poll() is None:
                guard.stop()
        left = subprocess.run(["find", "/sys/fs/cgroup", "-name", f"pileguard-pgt{os.getpid()}-*"], capture_output=True, text=True,
                              check=False).stdout
        for path in left.split():
            with contextlib.suppress(OSError):
                os.rmdir(path)
        self.assertEqual(left, "", "cgroups were left")

    def start(self, *argv, **kwargs):
        p = subprocess.Popen([self.program, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                             env={**os.environ, "PYTHONHOME": HOME}, **kwargs)
        self.addCleanup(self.end, p)
        return p

    @staticmethod
    def end(p):
        p.kill()
        p.wait()
        p.stdin.close()
        p.stdout.close()

    def sleeper(self, **kwargs):
        return self.start("-c", "import sys; sys.stdin.read(1)", **kwargs)

    def rule(self, place="yes", **keys):
        return {self.name: {"match": f"{{exe: {self.program}}}", "place": place, **keys}}

    def looked(self, guard, whole=False):
        """The guard has looked again, from the beginning to the end, at all that there is now (whole: also at what it knows)."""
        def looks():
            placement = (guard.group(self.name) or {}).get("placement")
            return placement["whole_looks_total" if whole else "looks_total"] if placement else None
        if whole:
            self.looked(guard)
        first = until(lambda: looks() is not None and (looks(),), 10, "a look is told of")[0]
        until(lambda: looks() >= first + (1 if whole else 2), 60, "looks that began after this")

    def inside(self, *pids):
        return all(where(pid) == self.placed for pid in pids)

    @staticmethod
    def residue(guard):
        done = subprocess.run([f"{BUILD}/pileguardctl", "--json", "--socket", guard.socket, "residue"], capture_output=True, text=True,
                              check=False)
        return json.loads(done.stdout)

    def record(self, guard):
        with contextlib.suppress(FileNotFoundError), open(f"{guard.dir}/placed", encoding="utf-8") as f:
            return f.read()
        return ""


class Placing(Fixture):
    def test_placed_and_back(self):
        """Who is there, and who comes; in each hierarchy in which it was at the root; a stop takes it all back."""
        first = self.sleeper()
        other = subprocess.Popen(["sleep", "60"])
        self.addCleanup(lambda: (other.kill(), other.wait()))
        pids = where(first.pid, "pids")
        memory = where(first.pid, "memory")
        guard = self.world.guard(policy(self.rule()))
        start = time.monotonic()
        until(lambda: self.inside(first.pid), 5, "the first is placed")
        second = self.sleeper()
        began = time.monotonic()
        until(lambda: self.inside(second.pid), 5, "the second is placed")
        FIGURES["a new process is placed after, s"] = round(time.monotonic() - began, 2)
        FIGURES["after the start, s"] = round(began - start, 2)
        self.assertEqual(where(other.pid), "/", "nobody else")
        if pids == "/":
            self.assertEqual(where(first.pid, "pids"), self.placed)
        # on this machine each process is in a cgroup of another manager there, whose limits hold
        if memory not in ("/", None):
            self.assertEqual(where(first.pid, "memory"), memory)
        self.assertIn(f"{first.pid} ", self.record(guard))
        until(lambda: "placed in" in guard.said(), 5, "told")
        self.assertEqual(guard.stop(), 0)
        self.assertEqual([where(p.pid) for p in (first, second)], ["/", "/"])
        self.assertEqual(where(first.pid, "pids"), pids)
        self.assertEqual(self.record(guard), "")
        self.assertIn("back where they were", guard.said())

    def test_user_and_copy(self):
        """The real user, by name; the same file, not its path: neither another's process nor a copy, nor who mounts one over it."""
        program, copy = (shutil.copy("/bin/sleep", f"{self.world.dir}/{name}") for name in ("pgsleep", "pgcopy"))
        other = {"user": 65534, "group": 65534, "extra_groups": []}
        theirs, ours = subprocess.Popen([program, "100"], **other), subprocess.Popen([program, "100"])
        copied = subprocess.Popen([copy, "100"], **other)
        mounted = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c",
                                    f"mount --bind {copy} {program} && exec setpriv --reuid 65534 --regid 65534 --clear-groups "
                                    f"{program} 100"])
        for p in (theirs, ours, copied, mounted):
            self.addCleanup(lambda p=p: (p.kill(), p.wait()))
        until(lambda: os.readlink(f"/proc/{mounted.pid}/exe") == program, 5, "its program looks like the right one")
        guard = self.world.guard(policy({self.name: {"match": f"{{exe: {program}, user: nobody}}", "place": "yes"}}))
        until(lambda: self.inside(theirs.pid), 5, "placed")
        self.looked(guard)
        self.assertEqual([where(p.pid) for p in (ours, copied, mounted)], ["/"] * 3)

    def test_observe_moves_nobody(self):
        p = self.sleeper()
        guard = self.world.guard(policy(self.rule(), mode="observe"))
        self.looked(guard)
        self.assertEqual(where(p.pid), "/")
        guard.write(policy(self.rule()))
        self.assertEqual(guard.post("reload")[0], 200)
        until(lambda: self.inside(p.pid), 5, "placed")
        guard.write(policy(self.rule(), mode="observe"))
        self.assertEqual(guard.post("reload")[0], 200)
        until(lambda: where(p.pid) == "/", 5, "back")

    def test_place_no_and_gone(self):
        """place: no, and a group that is taken out of the policy: back; disarm leaves all as it is."""
        p = self.sleeper()
        guard = self.world.guard(policy(self.rule()))
        until(lambda: self.inside(p.pid), 5, "placed")
        self.assertEqual(guard.post("disarm")[0], 200)
        late = self.sleeper()
        self.looked(guard)
        self.assertTrue(self.inside(p.pid))
        self.assertEqual(where(late.pid), "/", "nobody is moved while it is disarmed")
        self.assertEqual(guard.post("arm")[0], 200)
        until(lambda: self.inside(late.pid), 5, "armed")
        guard.write(policy(self.rule(place="no")))
        self.assertEqual(guard.post("reload")[0], 200)
        until(lambda: where(p.pid) == where(late.pid) == "/", 5, "back")
        guard.write(policy(self.rule()))
        self.assertEqual(guard.post("reload")[0], 200)
        until(lambda: self.inside(p.pid, late.pid), 5, "placed again: nobody's hand had moved it")
        guard.write("mode: enforce\n")
        self.assertEqual(guard.post("reload")[0], 200)
        until(lambda: where(p.pid) == where(late.pid) == "/", 5, "back")


class Forks(Fixture):
    def test_a_storm_of_forks(self):
        """A process that forks a thousand families while it is placed: all of them end up inside, none is lost."""
        guard = self.world.guard(policy(self.rule()))
        p = self.start(f"{HERE}/guard_forker.py", "1000", "4")
        self.assertEqual(p.stdout.readline(), "ready\n")
        pids = [int(pid) for pid in p.stdout.readline().split()[1:]]
        self.assertEqual(len(pids), 2001)
        done = time.monotonic()
        until(lambda: self.inside(*pids), 20, "all of them are inside")
        FIGURES["2001 processes of a storm are inside, s after the last was born"] = round(time.monotonic() - done, 2)
        self.assertEqual(guard.stop(), 0)
        self.assertEqual({where(pid) for pid in pids}, {"/"}, "all of them are back")

    def test_forked_before(self):
        """Children that were there before, of another program too, come along."""
        p = self.start("-c", "import subprocess, sys; c = [subprocess.Popen(['sleep', '100']) for _ in range(20)];"
                             "print('ready', *[x.pid for x in c], flush=True); sys.stdin.read(1); [x.kill() for x in c]")
        pids = [int(pid) for pid in p.stdout.readline().split()[1:]]
        self.addCleanup(lambda: [os.kill(pid, signal.SIGKILL) for pid in pids if where(pid)])
        self.world.guard(policy(self.rule()))
        until(lambda: self.inside(p.pid, *pids), 5, "all are inside")


class Hands(Fixture):
    def test_the_operators_hand(self):
        """Who was moved out of the group's cgroup by somebody is not moved again, by a later guard neither."""
        p, q = self.sleeper(), self.sleeper()
        guard = self.world.guard(policy(self.rule()))
        until(lambda: self.inside(p.pid, q.pid), 5, "placed")
        mine = self.world.cgroup("mine")
        with open(f"{mine}/cgroup.procs", "w", encoding="ascii") as f:
            f.write(str(p.pid))
        self.looked(guard)
        with open(f"{self.world.mount}/cgroup.procs", "w", encoding="ascii") as f:
            f.write(str(q.pid))
        self.looked(guard, whole=True)
        self.assertEqual((where(p.pid), where(q.pid)), (self.world.cgroup_name("mine"), "/"))
        until(lambda: "somebody has moved it" in guard.said() or "a cgroup that match" in guard.said(), 5, "told")
        guard.stop(signal.SIGKILL)
        again = self.world.guard()
        self.looked(again)
        self.assertEqual((where(p.pid), where(q.pid)), (self.world.cgroup_name("mine"), "/"))
        self.assertEqual(again.stop(), 0)
        self.assertEqual((where(p.pid), where(q.pid)), (self.world.cgroup_name("mine"), "/"), "nothing to undo")

    def test_killed(self):
        """A guard that is killed leaves them placed; the next takes them over, and knows where they came from."""
        other = self.world.cgroup("from")
        p = self.sleeper()
        with open(f"{other}/cgroup.procs", "w", encoding="ascii") as f:
            f.write(str(p.pid))
        home = self.world.cgroup_name("from")
        rule = {self.name: {"match": f"{{exe: {self.program}, cgroup: {home}}}", "place": "yes"}}
        guard = self.world.guard(policy(rule))
        until(lambda: self.inside(p.pid), 5, "placed")
        shown = self.residue(guard)
        self.assertEqual([line for line in shown["left"] if "pileguard.slice" in line or guard.dir in line], [], "the guard's own")
        guard.stop(signal.SIGKILL)
        self.assertTrue(self.inside(p.pid), "nothing happens to it")
        left = "\n".join(self.residue(guard)["left"])
        self.assertIn(f"file {guard.dir}/placed", left)
        again = self.world.guard()
        late = self.sleeper()
        with open(f"{other}/cgroup.procs", "w", encoding="ascii") as f:
            f.write(str(late.pid))
        until(lambda: self.inside(late.pid), 5, "it goes on")
        self.assertTrue(self.inside(p.pid))
        self.assertEqual(again.stop(), 0)
        self.assertEqual((where(p.pid), where(late.pid)), (home, home))

    def test_unreadable_record(self):
        """While the record cannot be read nobody is placed, and it is not written over; then it goes on."""
        guard = self.world.guard(policy(self.rule(), mode="observe"))
        self.assertEqual(guard.stop(), 0)
        path = f"{guard.dir}/placed"
        with open(path, "w", encoding="ascii"):
            os.chmod(path, 0o666)       # somebody else's, for all that is known
        again = self.world.guard()
        again.write(policy(self.rule()))
        self.assertEqual(again.post("reload")[0], 200)
        p = self.sleeper()
        until(lambda: "cannot be read or written" in again.said(), 5, "told")
        self.looked(again)
        self.assertEqual((where(p.pid), os.stat(path).st_size), ("/", 0))
        os.unlink(path)
        until(lambda: self.inside(p.pid), 5, "placed")

    def test_not_named(self):
        """Nobody is taken out of a cgroup that the rule does not name, nor from another manager."""
        other = self.world.cgroup("limits")
        p = self.sleeper()
        with open(f"{other}/cgroup.procs", "w", encoding="ascii") as f:
            f.write(str(p.pid))
        guard = self.world.guard(policy(self.rule()))
        until(lambda: "in a cgroup that match does not name" in guard.said(), 5, "told")
        self.looked(guard)
        self.assertEqual(where(p.pid), self.world.cgroup_name("limits"))


class Acting(Fixture):
    def test_rung_one(self):
        """A placed process's connect is refused; the same one, not placed, is not."""
        peer = self.world.peer()
        port = peer.tell("listen")
        endpoint = f"{peer.v4}:{port}"
        service = self.service(2)
        guard = self.world.guard(policy(self.rule(enforce="[fail_fast]"), mode="observe"))
        self.assertIsNone(service.connect(peer.v4, port)[0])
        self.assertNotEqual(guard.post("hold", group=self.name, endpoint=endpoint, seconds=60)[0], 200)
        self.assertIsNone(service.connect(peer.v4, port, seconds=2)[0], "red: not placed")
        guard.write(policy(self.rule(enforce="[fail_fast]")))
        self.assertEqual(guard.post("reload")[0], 200)
        until(lambda: (guard.group(self.name) or {}).get("gate_ready"), 10, "placed, and guarded")
        self.assertEqual(sorted(cgroup_programs(self.world.mount + self.placed)), GATE_PROGRAMS)
        self.assertEqual(guard.post("hold", group=self.name, endpoint=endpoint, seconds=60)[0], 200)
        until(lambda: service.connect(peer.v4, port, seconds=2)[0] == "ECONNREFUSED", 3, "green: refused")
        until(lambda: guard.group(self.name)["listeners"], 5, "its listener is its own")
        self.assertEqual(guard.stop(), 0)
        self.assertIsNone(service.connect(peer.v4, port, seconds=2)[0], "not after the guard")

    def service(self, n, port=None):
        """As guardlib's, by the test's own program, in the root cgroup."""
        return self.world_service(n, port)

    def world_service(self, n, port):
        executable, sys.executable = sys.executable, self.program
        home = os.environ.get("PYTHONHOME")
        os.environ["PYTHONHOME"] = HOME
        try:
            service = Service(self.world, "svc", n, port=port, cgroup=self.world.mount)
        finally:
            sys.executable = executable
            if home is None:
                del os.environ["PYTHONHOME"]
        self.world.ends.append(service)
        return service

    def test_by_port(self):
        """Only a port is named: whoever holds the listener, master and workers, and nobody else; requests are counted."""
        port = free_port()
        service = self.world_service(3, port)
        rule = {self.name: {"match": f"{{port: {port}, exe: {self.program}}}", "place": "yes"}}
        guard = self.world.guard(policy(rule))
        bystander = self.sleeper()
        until(lambda: self.inside(service.p.pid) and len(members(self.world.mount + self.placed)) == 4, 10, "the four are placed")
        self.assertEqual(where(bystander.pid), "/")
        until(lambda: guard.group(self.name)["listeners"], 5, "followed")
        for _ in range(10):
            service.connect("127.0.0.1", port)
        until(lambda: guard.group(self.name)["requests"]["answered_total"] >= 10, 5, "counted")

    def test_observed_in_place(self):
        """place: no: the group has the listeners of what matches, also one that was a found service's before."""
        service = self.world_service(2, free_port())
        guard = self.world.guard(policy(self.rule(place="no")))
        until(lambda: guard.group(self.name)["listeners"], 10, "its listeners are the group's")
        self.assertEqual(where(service.p.pid), "/")
        for _ in range(10):
            service.connect("127.0.0.1", service.port)
        until(lambda: guard.group(self.name)["requests"]["answered_total"] >= 10, 5, "counted")


class Run(Fixture):
    def ctl(self, guard, *argv, **kwargs):
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run([f"{BUILD}/pileguardctl", "--socket", guard.socket, *argv], capture_output=True, text=True,
                              check=False, timeout=30, **kwargs)

    def run_in(self, guard, name, *argv, **kwargs):
        return self.ctl(guard, "run", "--group", name, "--file", guard.policy_path, "--", *argv, **kwargs)

    def test_becomes_the_command(self):
        """Inside from its first instruction; status, input, environment and signals are its own."""
        guard = self.world.guard(policy(self.rule(), mode="observe"))   # no match is needed, nor a mode that acts
        p = self.run_in(guard, self.name, "sh", "-c", 'grep ^0:: /proc/self/cgroup; echo "$X"; exit 7',
                        env={**os.environ, "X": "its own"})
        self.assertEqual((p.returncode, p.stdout), (7, f"0::{self.placed}\nits own\n"), p.stderr)
        p = self.run_in(guard, self.name, "sh", "-c", "kill -TERM $$")
        self.assertEqual(p.returncode, -signal.SIGTERM)
        self.assertEqual(self.run_in(guard, self.name, "/nonexistent").returncode, 127)
        self.assertEqual(self.run_in(guard, self.name, "/etc/passwd").returncode, 126)
        with open("/etc/hostname", encoding="utf-8") as f:
            p = self.run_in(guard, self.name, "cat", stdin=f)
        self.assertEqual(p.returncode, 0)
        self.assertNotEqual(p.stdout, "")
        guard.stop()
        self.assertEqual(self.ctl(guard, "unplace").returncode, 0, "takes the empty cgroup away")

    def test_refused(self):
        """What cannot be is said, and nothing is started."""
        self.world.cgroup("mine")
        groups = {**self.rule(), "mine": {"cgroup": self.world.cgroup_name("mine")}, "a-unit": {"unit": "x.service"},
                  "nowhere": {"cgroup": "/pgtest-nowhere"}, "of-unit": {"cgroup": "/system.slice/y.service"},
                  "of-other": {"cgroup": "/docker/1"}, "seen": {"match": "{exe: /bin/nonexistent}"}}
        guard = self.world.guard(policy(groups))
        for name, word in (("none", "no such group"), ("a-unit", "systemctl start"), ("seen", "place: no"),
                           ("nowhere", "No such file"), ("of-unit", "systemctl start"), ("of-other", "another manager")):
            p = self.run_in(guard, name, "echo", "started")
            self.assertEqual((p.returncode, p.stdout), (125, ""), name)
            self.assertIn(word, p.stderr)
            self.assertIn("nothing was started", p.stderr)
        self.assertEqual(self.ctl(guard, "run", "--", "true").returncode, 125)
        self.assertEqual(self.ctl(guard, "run", "--group", self.name).returncode, 2)
        p = self.run_in(guard, "mine", "grep", "^0::", "/proc/self/cgroup")
        self.assertEqual(p.stdout, f"0::{self.world.cgroup_name('mine')}\n")
        p = self.run_in(guard, self.name, "echo", "started", user=65534, group=65534, extra_groups=[])
        self.assertEqual((p.returncode, p.stdout), (125, ""))
        guard.stop()
        p = self.run_in(guard, self.name, "grep", "^0::", "/proc/self/cgroup")
        self.assertEqual(p.stdout, f"0::{self.placed}\n", "without a guard the files say which groups there are")
        self.ctl(guard, "unplace")

    def test_not_noted(self):
        """What cannot be noted as started inside would be moved out at an undo: it is not started."""
        guard = self.world.guard(policy(self.rule()))
        os.mkdir(f"{guard.dir}/placed.run")
        self.addCleanup(lambda: os.path.isdir(f"{guard.dir}/placed.run") and os.rmdir(f"{guard.dir}/placed.run"))
        p = self.run_in(guard, self.name, "echo", "started")
        self.assertEqual((p.returncode, p.stdout), (125, ""))
        self.assertIn("cannot be noted", p.stderr)
        self.assertEqual(members(self.world.mount + self.placed), set())

    def test_stays(self):
        """What was started inside, and its children, stay there when all that was placed goes back."""
        guard = self.world.guard(policy(self.rule()))
        moved = self.sleeper()
        until(lambda: self.inside(moved.pid), 5, "placed")
        p = subprocess.Popen([f"{BUILD}/pileguardctl", "--socket", guard.socket, "run", "--group", self.name, "--", "sh", "-c",
                              "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
        child = int(p.stdout.readline())
        self.addCleanup(lambda: (p.kill(), p.wait(), p.stdout.close()))
        self.assertTrue(self.inside(p.pid, child))
        self.assertEqual(guard.stop(), 0)
        self.assertEqual(where(moved.pid), "/")
        self.assertTrue(self.inside(p.pid, child))
        self.assertIn("started inside", guard.said())
        os.kill(child, signal.SIGKILL)
        p.wait()
        until(lambda: not members(self.world.mount + self.placed), 5, "empty")
        self.assertEqual(self.ctl(guard, "unplace").returncode, 0)

    def test_unplace(self):
        """By hand, of a guard that was killed: back, by the record; and the guard that comes does not take them again."""
        p = self.sleeper()
        guard = self.world.guard(policy(self.rule()))
        until(lambda: self.inside(p.pid), 5, "placed")
        guard.stop(signal.SIGKILL)
        done = self.ctl(guard, "unplace", "other")
        self.assertEqual((done.returncode, done.stdout), (0, ""))
        self.assertTrue(self.inside(p.pid))
        done = self.ctl(guard, "unplace")
        self.assertEqual((done.returncode, done.stdout), (0, f"{self.name}: back where they were\n"))
        self.assertEqual(where(p.pid), "/")
        self.assertEqual(self.record(guard), "")

    def test_unplace_beside_a_guard(self):
        """While the guard runs it is the operator's hand: nobody is moved in again."""
        p = self.sleeper()
        guard = self.world.guard(policy(self.rule()))
        until(lambda: self.inside(p.pid), 5, "placed")
        self.assertEqual(self.ctl(guard, "unplace").returncode, 0)
        self.looked(guard, whole=True)
        self.assertEqual(where(p.pid), "/")


    def test_empty_slice(self):
        """Under systemd the slice is systemd's, also when it is empty; with somebody in it, and without systemd, it is left."""
        path = f"{self.world.mount}{SLICE}"
        # guards of others on this machine are not seen from there
        alone = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc", "sh", "-c"]
        booted = "mount -t tmpfs none /run && mkdir -p /run/systemd/system && "

        def left(before=""):
            done = subprocess.run([*alone, f"{before} {BUILD}/pileguardctl --json residue"], capture_output=True, text=True,
                                  check=False)
            return [line for line in json.loads(done.stdout)["left"] if line.startswith("cgroup") and SLICE in line]
        os.mkdir(path)
        try:
            self.assertEqual(len(left()), 1)
            self.assertEqual(left(booted), [])
            os.mkdir(f"{path}/pileguard-x.scope")
            self.assertEqual(len(left(booted)), 1)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(f"{path}/pileguard-x.scope")
            os.rmdir(path)

    def test_unclean_end(self):
        """What the unit runs after an end that was none says what to type, where something is recorded."""
        p = self.sleeper()
        guard = self.world.guard(policy(self.rule()))
        until(lambda: self.inside(p.pid), 5, "placed")
        guard.stop(signal.SIGKILL)
        unclean = {**os.environ, "SERVICE_RESULT": "exit-code"}
        done = self.ctl(guard, "unplace", env=unclean)
        self.assertEqual((done.returncode, done.stdout), (0, ""))
        self.assertEqual(len(done.stderr.splitlines()), 1)
        self.assertIn("sudo pileguardctl unplace", done.stderr)
        self.assertTrue(self.inside(p.pid), "for the next guard")
        self.assertIn(f"file {guard.dir}/placed: sudo pileguardctl unplace", self.residue(guard)["left"])
        self.assertEqual(self.ctl(guard, "unplace").returncode, 0)
        self.assertEqual(where(p.pid), "/")
        self.assertEqual(self.ctl(guard, "unplace", env=unclean).stderr, "")
        self.assertEqual(self.ctl(guard, "unplace").stdout, "nothing is recorded as placed\n")

    def test_unplace_of_a_pool(self):
        """A master, and two workers that were born inside: unplaced beside the guard none of them is taken again, nor who comes."""
        guard = self.world.guard(policy(self.rule()))
        p = self.start("-c", POOL)
        until(lambda: self.inside(p.pid), 5, "placed")
        workers = [self.fork(p) for _ in range(3)]
        orphan = self.fork(p, "orphan")
        self.assertTrue(self.inside(*workers, orphan), "born inside")
        self.looked(guard)
        self.assertEqual(self.ctl(guard, "unplace").returncode, 0)
        for pid in (workers[2], orphan):    # whom nobody can say an origin of stays: by hand, then
            with open(f"{self.world.mount}/cgroup.procs", "w", encoding="ascii") as f:
                f.write(str(pid))
        self.looked(guard, whole=True)
        workers.append(self.fork(p))
        self.looked(guard)
        self.assertEqual([where(pid) for pid in (p.pid, *workers, orphan)], ["/"] * 6)

    def fork(self, p, word="child"):
        """The number of one more child of a pool (POOL)."""
        p.stdin.write(f"{word}\n")
        p.stdin.flush()
        pid = int(p.stdout.readline())
        self.addCleanup(lambda: where(pid) and os.kill(pid, signal.SIGKILL))
        return pid

    def test_daemons_and_guests_stay(self):
        """What run started and is nobody's child any more, and whom the operator put in, stay: where they came from nobody knows."""
        guard = self.world.guard(policy(self.rule()))
        moved = self.sleeper()
        until(lambda: self.inside(moved.pid), 5, "placed")
        done = self.run_in(guard, self.name, "sh", "-c", "setsid sleep 60 > /dev/null 2>&1 & echo $!")
        daemon = int(done.stdout)
        guest = subprocess.Popen(["sleep", "60"])
        self.addCleanup(lambda: (guest.kill(), guest.wait()))
        for path in (self.world.cgroup("mine"), self.world.mount + self.placed):
            with open(f"{path}/cgroup.procs", "w", encoding="ascii") as f:
                f.write(str(guest.pid))
        self.assertTrue(self.inside(daemon, guest.pid))
        self.assertEqual(guard.stop(), 0)
        self.assertEqual([where(pid) for pid in (moved.pid, daemon, guest.pid)], ["/", self.placed, self.placed])
        self.assertIn("but for", guard.said())
        os.kill(daemon, signal.SIGKILL)
        guest.kill()
        guest.wait()
        until(lambda: not members(self.world.mount + self.placed), 5, "empty")
        self.assertEqual(self.ctl(guard, "unplace").returncode, 0)


class Faults(Fixture):
    """Each call of placing that can fail does so once: it is placed all the same, moments later, or the journal says why not."""
    NAMES = {"mkdir", "pidfd_open", "cgroup_create_cgroup", "cgroup_modify_cgroup", "write", "rename", "open", "opendir", "malloc"}
    PLACES = re.compile(r"\b(pile_(place|placing|trees|moves|undo|processes)_\w+|place_main|work|batch_\w+|library_\w+|plain_\w+|"
                        r"record_save|numbers_read|text_write)\b")

    def life(self, page, call=None):
        """A guard that is started with a process there, and stopped. Returns the calls of placing."""
        page.reset()
        World.number += 1
        self.name = f"pgt{os.getpid()}-{World.number}"
        self.placed = f"{SLICE}/pileguard-{self.name}.scope"
        directory = f"{self.world.dir}/{World.number}"
        os.mkdir(directory)
        p = self.sleeper()
        guard = Guard(directory, policy(self.rule()), prefix=page.prefix, program=PROGRAM)
        self.world.guards.append(guard)
        until(lambda: page.memory[:4] != bytes(4), 10, "the guard has the page")
        if call:
            page.arm(call)
        guard.ready()
        until(lambda: self.inside(p.pid) or "cannot be placed" in guard.said(), 20, f"{call}: placed, or said why not")
        until(lambda: self.inside(p.pid), 20, f"{call}: placed in the end")
        self.assertEqual(guard.stop(), 0)
        self.assertTrue(where(p.pid) == "/" or "moved back" in guard.said(), f"{call}: back, or said: {guard.said()}")
        if where(p.pid) != "/":
            done = subprocess.run([f"{BUILD}/pileguardctl", "--socket", guard.socket, "unplace"], capture_output=True, text=True,
                                  check=False)
            self.assertEqual((done.returncode, where(p.pid)), (0, "/"), f"{call}: by hand: {done.stdout}{done.stderr}")
        fired = page.fired
        self.end(p)
        return fired, {c.cut(2) for c in page.calls() if c.name in self.NAMES and self.PLACES.search(str(c))}

    def test_each_once(self):
        page = Page(f"{self.world.dir}/fault")
        self.addCleanup(page.close)
        calls = sorted(self.life(page)[1])
        self.assertGreater(len(calls), 8, [str(c) for c in calls])
        fired = 0
        for call in calls:
            with self.subTest(call=str(call)):
                fired += self.life(page, call)[0] > 0
        FIGURES["calls of placing, and how many of them failed once"] = (len(calls), fired)
        self.assertGreater(fired, len(calls) // 2)


class Numbers(unittest.TestCase):
    def test_reused(self):
        """A number that becomes another process's between the look and the write (clone3, set_tid)."""
        done = subprocess.run([f"{BUILD}/tests/moves"], capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("1..12", done.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
