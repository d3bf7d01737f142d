# SPDX-License-Identifier: GPL-2.0-or-later
"""guardlib.py: what the native tests of the whole guard share: a guard, throwaway cgroups, services, a host that dies.

Everything is made below a temporary directory, the cgroup v2 mount (found, not assumed) and a network namespace of the
test's own, and is taken away again; World.close() asserts that nothing of the guard is left in the kernel.
"""
import atexit
import collections
import contextlib
import functools
import glob
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from datetime import datetime, timezone

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("PILE_BUILD", os.path.join(ROOT, "build"))
BPFTOOL = next((p for p in ("/usr/sbin/bpftool", "/usr/bin/bpftool") if os.path.exists(p)), "bpftool")
FIGURES = {}
# on the cgroup of a group that enforces rung 1: the gates, and the end of waits behind the loop's
GATE_PROGRAMS = ["cgroup_inet4_connect", "cgroup_inet6_connect", "cgroup_sock_ops"]


@functools.cache
def for_others(program):
    """A copy that every user may run: this tree may be below a home that is closed to others."""
    folder = tempfile.mkdtemp(prefix="pileguard-run-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.chmod(folder, 0o755)
    return shutil.copy(program, folder)


def figures_print():
    """At the end of a test program: what was measured, for a reader of the log."""
    for name, value in FIGURES.items():
        print(f"figure: {name}: {value}")


def until(condition, seconds, what):
    """Waits for `condition` to return something true, and returns it."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


def quantile(values, q):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def unified_mount():
    with open("/proc/self/mounts", encoding="utf-8") as f:
        for line in f:
            if line.split()[2] == "cgroup2":
                return line.split()[1]
    raise unittest.SkipTest("no cgroup v2 is mounted")


def moment(text):
    """A time in the API's words -> seconds since the epoch."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc).timestamp()


def bpftool(*args):
    """What it shows. It fails when an object goes while it looks at all of them: then it looks again."""
    def shown():
        run = subprocess.run([BPFTOOL, "-j", *args], capture_output=True, text=True, check=False)
        return [json.loads(run.stdout.strip() or "[]")] if run.returncode == 0 else None
    return until(shown, 5, f"bpftool {' '.join(args)}")[0]


def bpf_objects():
    """(kind, id) of every BPF program, map and link of this machine."""
    return {(kind, o["id"]) for kind in ("prog", "map", "link") for o in bpftool(kind, "show")}


def bpf_held_by(pid):
    found = set()
    for path in glob.glob(f"/proc/{pid}/fdinfo/*"):
        with contextlib.suppress(OSError), open(path, encoding="utf-8") as f:
            fields = dict(line.split(":", 1) for line in f.read().splitlines() if ":" in line)
            found |= {(kind, int(fields[f"{kind}_id"])) for kind in ("prog", "map", "link") if f"{kind}_id" in fields}
    return found


def bpf_held_by_others():
    return set().union(*(bpf_held_by(p) for p in os.listdir("/proc") if p.isdigit()))


def cgroup_programs(path):
    return [p["attach_type"] for p in bpftool("cgroup", "show", path)]


def committed(guard):
    """The policy that a restart would take; None: none. Raises when it is not whole."""
    try:
        with open(f"{guard.state}/policy.committed.yaml", "rb") as f:
            head, _, body = f.read().partition(b"\n")
    except FileNotFoundError:
        return None
    seal = head.decode().rpartition(" ")[2]
    assert hashlib.sha256(body).hexdigest() == seal, f"not whole: {head!r} {body[:200]!r}"
    return body.split(b"\n", 2)[2].decode()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def policy(groups, mode="enforce"):
    """groups: name -> {key: value}; the policy file's text."""
    text = f"mode: {mode}\ngroups:\n"
    for name, keys in groups.items():
        text += f"  - name: {name}\n" + "".join(f"    {k}: {v}\n" for k, v in keys.items())
    return text


class Process:
    """A helper that says "ready", and is ended by its pid."""

    def __init__(self, argv, **kwargs):
        self.p = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **kwargs)
        line = self.p.stdout.readline()
        if line != "ready\n":
            raise AssertionError(f"{argv}: said {line!r}")

    def end(self):
        self.p.kill()
        self.p.wait()
        self.p.stdin.close()
        self.p.stdout.close()


class Peer(Process):
    """A host of databases in a network namespace, reached over a pair of virtual interfaces."""

    def __init__(self, number):
        # The kernel takes a namespace's devices down some time after the namespace is gone: no name is used twice.
        self.name = f"pgt{os.getpid()}-{number}"
        self.near = f"p{os.getpid() % 10000000}-{number % 100000}"
        self.net = f"10.{200 + number % 50}.{os.getpid() % 250}"
        self.v4, self.v6 = f"{self.net}.2", f"fd31:{os.getpid() % 65536:x}:{number % 65536:x}::2"
        self.ip("netns", "add", self.name)
        try:
            self.wire()
            super().__init__(["ip", "netns", "exec", self.name, sys.executable, f"{HERE}/guard_peer.py",
                              self.v4, self.v6])
        except BaseException:
            self.ip("netns", "del", self.name)
            raise
        self.lock = threading.Lock()
        port = self.tell("listen")
        for host in (self.v4, self.v6):
            socket.create_connection((host, port), 10).close()

    def wire(self):
        self.ip("link", "add", self.near, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        self.ip("addr", "add", f"{self.net}.1/30", "dev", self.near)
        self.ip("addr", "add", f"{self.v6[:-1]}1/64", "dev", self.near, "nodad")
        self.ip("-n", self.name, "addr", "add", f"{self.v4}/30", "dev", "eth0")
        self.ip("-n", self.name, "addr", "add", f"{self.v6}/64", "dev", "eth0", "nodad")
        self.ip("link", "set", self.near, "up")
        self.ip("-n", self.name, "link", "set", "eth0", "up")
        self.ip("-n", self.name, "link", "set", "lo", "up")

    @staticmethod
    def ip(*args):
        done = subprocess.run(["ip", *args], check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise AssertionError(f"ip {' '.join(args)}: {done.stderr.strip()}")

    def tell(self, cmd, **q):
        with self.lock:
            self.p.stdin.write(json.dumps({"cmd": cmd, **q}) + "\n")
            self.p.stdin.flush()
            return json.loads(self.p.stdout.readline())

    def drop(self, port, on):
        self.tell("drop", port=port, on=on)
        return time.time()

    def end(self):
        super().end()
        self.ip("netns", "del", self.name)


class Service(Process):
    """Prefork workers in a cgroup of their own, asked over a unix socket (or TCP)."""

    def __init__(self, world, name, n, port=None, cgroup=None):
        self.cgroup = cgroup or world.cgroup(name)
        self.path = f"{world.dir}/{name}.sock"
        self.port = port
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        super().__init__([sys.executable, f"{HERE}/guard_worker.py", self.cgroup, str(n), self.path,
                          *([str(port)] if port else [])])

    def ask(self, within=40, tcp=False, **q):
        with socket.socket(socket.AF_INET if tcp else socket.AF_UNIX) as s:
            s.settimeout(within)
            s.connect(("127.0.0.1", self.port) if tcp else self.path)
            s.sendall(json.dumps(q).encode() + b"\n")
            data = b""
            while not data.endswith(b"\n"):
                got = s.recv(65536)
                if not got:
                    raise AssertionError(f"{self.path}: closed without an answer")
                data += got
        return json.loads(data)

    def connect(self, host, port, family="v4", **q):
        """One connect() by a worker: (error or None, began, seconds)."""
        return self.ask(op="connect", host=host, port=port, family=family, timeout=q.pop("seconds", 10), **q)[0]

    def connects(self, n, host, port, family="v4", **q):
        return self.ask(op="connect", host=host, port=port, family=family, n=n, timeout=10, **q)


class Stage:
    """Before each test: a world, a host with one database, and a service "www" that connects to it. For a TestCase."""
    WORKERS = 8

    def setUp(self):
        self.world = World()
        self.addCleanup(self.world.close)
        self.peer = self.world.peer()
        self.port = self.peer.tell("listen")
        self.endpoint = f"{self.peer.v4}:{self.port}"
        self.www = self.world.service("www", self.WORKERS)

    def error(self, seconds=2):
        """What became of a connect by a worker: an errno's name, or None."""
        return self.www.connect(self.peer.v4, self.port, seconds=seconds)[0]


class Load:
    """Requests at a rate, each on a thread of its own; `results` are (sent, what, answer or exception, seconds)."""

    def __init__(self, rate, make):
        self.results, self.threads, self.rate, self.make = [], [], rate, make
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)  # a test that fails does not wait for its load
        self.thread.start()

    def one(self, call, what):
        start = time.time()
        try:
            result = call()
        except (OSError, AssertionError, ValueError) as e:
            result = e
        self.results.append((start, what, result, time.time() - start))

    def run(self):
        start, n = time.monotonic(), 0
        while not self.stopping.wait(max(0, start + n / self.rate - time.monotonic())):
            thread = threading.Thread(target=self.one, args=self.make(n), daemon=True)
            thread.start()
            self.threads.append(thread)
            n += 1

    def stop(self):
        self.stopping.set()
        self.thread.join()
        for thread in self.threads:
            thread.join(60)
        return self.results


class Guard:
    def __init__(self, directory, text=None, prefix=(), program=f"{BUILD}/pileguardd"):
        self.dir = directory
        self.policy_path, self.socket = f"{directory}/policy.yaml", f"{directory}/stats.sock"
        self.motd = f"{directory}/motd"
        self.state = f"{directory}/state"
        os.makedirs(self.state, exist_ok=True)
        if text is not None:  # a first start with it: what is committed would be in force else
            self.write(text)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.state}/policy.committed.yaml")
        with open(f"{directory}/guard.log", "a", encoding="utf-8") as log:
            self.p = subprocess.Popen([*prefix, program, "--policy", self.policy_path, "--state",
                                       self.state, "--socket", self.socket, "--motd", self.motd], stderr=log, stdin=subprocess.DEVNULL)
        self.held = set()

    def write(self, text, fragment=None):
        """The policy, or a fragment of it."""
        path = self.policy_path
        if fragment:
            path = f"{self.dir}/policy.d/{fragment}"
            os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)

    def said(self):
        with open(f"{self.dir}/guard.log", encoding="utf-8") as f:
            return f.read()

    def ready(self):
        def answers():
            if self.p.poll() is not None:
                raise AssertionError(f"the guard ended with {self.p.returncode}: {self.said()[-2000:]}")
            with contextlib.suppress(OSError, ValueError):
                return self.get("status")
            return None
        until(answers, 20, "the guard answers")
        self.held = bpf_held_by(self.p.pid)
        return self

    def http(self, method, path, body=None):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(self.socket)
            data = b"" if body is None else json.dumps(body).encode()
            s.sendall(f"{method} {path} HTTP/1.0\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
            answer = b""
            while got := s.recv(65536):
                answer += got
        head, _, text = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), text.decode()

    def get(self, path):
        status, text = self.http("GET", f"/v1/{path}")
        if status != 200:
            raise ValueError(f"{path}: {status} {text}")
        return json.loads(text)

    def post(self, path, **body):
        return self.http("POST", f"/v1/{path}", body)

    def group(self, name):
        return next((g for g in self.get("groups") if g["name"] == name), None)

    def dependency(self, group, endpoint):
        return next((d for d in self.get("dependencies") if d["group"] == group and d["endpoint"] == endpoint), None)

    def events(self, kind=None, group=None):
        return [e for e in self.get("events") if kind in (None, e["kind"]) and group in (None, e["group"])]

    def explains(self, group=None):
        found = []
        for number in sorted({e["explain"] for e in self.events(group=group) if e["explain"]}):
            found.append(self.get(f"explain/{number}"))
        return found

    def episode(self, group, endpoint):
        """The newest episode of rung 1 about this destination."""
        found = [x for x in self.explains(group) if x["kind"] == "fail_fast" and x["endpoint"] == endpoint]
        return found[-1] if found else None

    def stop(self, sig=signal.SIGTERM):
        if self.p.poll() is None:
            self.p.send_signal(signal.SIGCONT)
            self.p.send_signal(sig)
        try:
            status = self.p.wait(20)
        except subprocess.TimeoutExpired:
            self.p.kill()
            self.p.wait()
            raise AssertionError("the guard did not stop within 20 s") from None
        return status


class World:
    """Everything that a test makes, taken away by close(), which also looks for what is left."""
    number = 0

    def __init__(self):
        if os.geteuid() != 0:
            raise unittest.SkipTest("needs root")
        World.number += 1
        self.mount = unified_mount()
        self.before = bpf_objects()
        self.dir = tempfile.mkdtemp(prefix="pileguard-test-")
        os.chmod(self.dir, 0o755)
        self.cgroups, self.ends, self.guards = [], [], []
        self.ports = collections.deque()

    def cgroup_name(self, name):
        return f"/pgt{os.getpid()}-{World.number}-{name}"

    def cgroup(self, name):
        path = self.mount + self.cgroup_name(name)
        os.makedirs(path, exist_ok=True)
        if path not in self.cgroups:
            self.cgroups.append(path)
        return path

    def service(self, name, n, **kwargs):
        service = Service(self, name, n, **kwargs)
        self.ends.append(service)
        return service

    def peer(self):
        peer = Peer(World.number)
        self.ends.append(peer)
        return peer

    def guard(self, text=None, ready=True, **kwargs):
        guard = Guard(self.dir, text, **kwargs)
        self.guards.append(guard)
        return guard.ready() if ready else guard

    def remains(self):
        """BPF objects that came since the beginning and that no other process holds."""
        return bpf_objects() - self.before - bpf_held_by_others()

    def nothing_left(self, seconds=10):
        until(lambda: not self.remains(), seconds, "the guard's programs, maps and links are gone")
        for path in self.cgroups:
            if os.path.isdir(path):
                assert cgroup_programs(path) == [], path

    def sockets(self):
        with open("/proc/net/unix", encoding="utf-8") as f:
            return [line for line in f if self.dir in line]

    def close(self):
        for guard in self.guards:
            if guard.p.poll() is None:
                guard.stop()
        for thing in self.ends:
            thing.end()
        try:
            self.nothing_left()
            held = set().union(*(g.held for g in self.guards))
            assert not held & bpf_objects(), "objects of the guard outlived it"
            until(lambda: not self.sockets(), 10, "sockets are gone")     # a service's workers die after their master
        finally:
            for path in self.cgroups:
                empty_cgroup(path)
            shutil.rmtree(self.dir)


def empty_cgroup(path):
    """Ends what is still in it (only the test's own processes were put there), then removes it."""
    def gone():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(f"{path}/cgroup.procs", encoding="ascii") as f:
                for pid in f.read().split():
                    os.kill(int(pid), signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.rmdir(path)
        return not os.path.isdir(path)
    until(gone, 10, f"{path} is gone")


def missing_here():
    """What the guard says that this kernel refuses it; "" = nothing."""
    world = World()
    try:
        return world.guard(policy({"none": {"cgroup": "/nobody"}})).get("status")["missing"] or ""
    finally:
        world.close()
