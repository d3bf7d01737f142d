#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_guard_shed.py: rung 2 on this kernel: a listener that holds as many connections as it may refuses one more."""
import errno
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from guardlib import FIGURES, HERE, Load, Process, World, figures_print, free_port, missing_here, policy, until

LIMIT, MANY = 100, 1000
SLOW = float(os.environ.get("PILE_SLOW", "1"))
# connections that are let in beyond the limit: handshakes that were under way; on emulated processors they take long
IN_FLIGHT = 2 * (os.cpu_count() or 1) * (1 if SLOW == 1 else 5)


def setUpModule():
    unittest.addModuleCleanup(figures_print)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))      # thousands of clients, and their services inherit it


class Holder(Process):
    def __init__(self, world, name, *places, prefix=()):
        self.places = places
        self.cgroup = world.cgroup(name)
        super().__init__([*prefix, sys.executable, f"{HERE}/guard_holder.py", self.cgroup, *places])
        world.ends.append(self)

    def tell(self, command):
        self.p.stdin.write(command + "\n")
        self.p.stdin.flush()
        assert self.p.stdout.readline() == "ok\n"


def client(place, source=None):
    """A socket that has begun to connect, and the error it has so far."""
    if place.startswith("/"):
        s = socket.socket(socket.AF_UNIX)
        s.setblocking(False)
        return s, s.connect_ex(place)
    host, _, port = place.rpartition(":")
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    s.setblocking(False)
    if source:
        s.bind((source, 0))
    return s, s.connect_ex((host.strip("[]"), int(port)))


class Clients:
    """Many who connect at once. `open`: those who are in; `refused`: how many were refused; anything else is `other`."""

    def __init__(self, place, n, source=None, seconds=10):
        self.open, self.refused, self.other = [], 0, []
        waiting, start = {}, time.perf_counter()
        for _ in range(n):
            s, error = client(place, source)
            if error == errno.EINPROGRESS:
                waiting[s.fileno()] = s
            else:
                self.done(s, error)
        poll = select.poll()
        for fd in waiting:
            poll.register(fd, select.POLLOUT)
        while waiting and time.perf_counter() < start + seconds:
            for fd, _ in poll.poll(100):
                s = waiting.pop(fd)
                poll.unregister(fd)
                self.done(s, s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        for s in waiting.values():
            self.done(s, errno.EAGAIN)
        self.took = time.perf_counter() - start

    def done(self, s, error):
        if error == 0:
            self.open.append(s)
            return
        s.close()
        if error == errno.ECONNREFUSED:
            self.refused += 1
        else:
            self.other.append(errno.errorcode[error])

    def close(self):
        while self.open:
            self.open.pop().close()

    def served(self):
        """How many of them get an answer."""
        n = 0
        for s in self.open:
            s.settimeout(10)
            s.sendall(b"x")
            n += s.recv(10) == b"x"
        return n


class Stage:
    """A service with the listener that is guarded, and one that is exempt, and a neighbour beside each."""
    KEYS = {}
    PREFIX = ()

    def setUp(self):
        self.world = World()
        self.addCleanup(self.world.close)
        self.port, self.status_port = free_port(), free_port()
        self.place, self.status = self.places()
        self.www = Holder(self.world, "www", self.place, self.status, prefix=self.PREFIX)
        self.guard = None

    def places(self):
        return f"127.0.0.1:{self.port}", f"127.0.0.1:{self.status_port}"

    def policy(self, limit=LIMIT, enforce="[shed]", mode="enforce", **keys):
        return policy({"www": {"cgroup": self.world.cgroup_name("www"), "enforce": enforce, "connections_max": limit,
                               "shed_exempt": f'["127.0.0.9", "{self.status}"]', **keys}}, mode)

    def start(self, **keys):
        self.guard = self.world.guard(self.policy(**keys), prefix=self.PREFIX)
        until(self.door, 5, "the listener is followed")
        return self.guard

    def door(self, place=None):
        for listener in (self.guard.group("www") or {"listeners": []})["listeners"]:
            if listener["endpoint"] == (place or self.place):
                return listener["connections"]
        return None

    def ready(self):
        until(lambda: self.door()["blocked"] is None, 5, "it may refuse")

    def clients(self, place=None, n=MANY, **kwargs):
        c = Clients(place or self.place, n, **kwargs)
        self.addCleanup(c.close)
        return c

    def held(self, n, seconds=8):
        until(lambda: self.door()["open"] == n, seconds, f"{n} connections are counted")

    def shed(self):
        found = [x for x in self.guard.explains("www") if x["kind"] == "shed"]
        return found[-1] if found else None


class Tcp(Stage, unittest.TestCase):
    OVER = IN_FLIGHT

    def test_red_without_the_rung(self):
        self.start(enforce="[]")
        until(lambda: self.door()["blocked"], 5, "a switch is named")
        c = self.clients()
        self.assertEqual((len(c.open), c.refused, c.other), (MANY, 0, []))
        self.held(MANY)
        x = until(self.shed, 5, "what would have been done is on record")
        self.assertEqual((x["acted"], x["state"], x["blocked"]),
                         (False, "would refuse", "the group's enforce list does not name this rung"))

    def test_limit(self):
        self.start()
        self.ready()
        c = self.clients()
        FIGURES[f"{type(self).__name__}: let in of {MANY} at once, limit {LIMIT}"] = len(c.open)
        FIGURES[f"{type(self).__name__}: all of them took, s"] = round(c.took, 3)
        self.assertEqual(c.other, [])
        self.assertGreaterEqual(len(c.open), LIMIT)
        self.assertLessEqual(len(c.open), LIMIT + self.OVER)
        self.assertEqual(c.served(), len(c.open), "those who are in are served")
        self.held(len(c.open))
        until(lambda: self.door()["refused_total"] == MANY - len(c.open), 5, "all refusals are counted")
        x = until(self.shed, 5, "it is on record")
        self.assertEqual((x["acted"], x["state"], x["endpoint"]), (True, "refusing", self.place))
        self.assertIn("connections open at once, 100 are allowed", x["why_text"])
        self.assertIn(f"release www {self.place}", x["undo_command"])
        # one leaves, one comes
        for _ in range(len(c.open) - LIMIT + 1):
            c.open.pop().close()
        self.held(LIMIT - 1)
        again = self.clients(n=2)
        self.assertEqual((len(again.open), again.refused), (1, 1))
        again.close()
        c.close()
        self.held(0)
        once_more = self.clients(n=LIMIT)
        self.assertEqual((len(once_more.open), once_more.refused), (LIMIT, 0))
        once_more.close()
        until(lambda: self.shed()["state"] == "closed", 20, "the episode is over")
        self.assertEqual(self.shed()["did"]["connections_refused"], self.door()["refused_total"])
        shed = [e["text"] for e in self.guard.events("shed")]
        self.assertEqual(len(shed), 2, shed)
        self.assertRegex(shed[0], r"www: .* holds \d+ connections, its limit is 100: further ones are refused. explain \d+; "
                                  r"undo: pileguardctl release www ")
        self.assertRegex(shed[1], r"nobody too many after .* refused \d+ connections\. explain \d+ closed")

    def test_others_do_not_notice(self):
        other = Holder(self.world, "other", *self.neighbours())
        self.start()
        self.ready()
        c = self.clients()
        self.assertGreater(c.refused, 0)
        for place in (self.status, *other.places):
            n = self.clients(place, 2 * LIMIT)
            self.assertEqual((len(n.open), n.refused, n.other), (2 * LIMIT, 0, []), place)
            self.assertEqual(n.served(), 2 * LIMIT)
        self.assertIsNone(self.door(self.status))

    def neighbours(self):
        return f"127.0.0.2:{self.port}", f"[::1]:{self.port}"

    def test_exempt_client(self):
        self.start()
        self.ready()
        self.assertGreater(self.clients().refused, 0)
        c = self.clients(n=20, source="127.0.0.9")
        self.assertEqual((len(c.open), c.refused), (20, 0))
        c = self.clients(n=20, source="127.0.0.8")
        self.assertEqual((len(c.open), c.refused), (0, 20))

    def test_wildcard(self):
        """A listener on every address, beside a neighbour's on one of them."""
        port = free_port()
        wide = Holder(self.world, "wide", f"[::]:{port}")
        narrow = Holder(self.world, "narrow", f"127.0.0.3:{port}")
        guard = self.guard = self.world.guard(policy({"wide": {
            "cgroup": self.world.cgroup_name("wide"), "enforce": "[shed]", "connections_max": 10}}))
        until(lambda: (guard.group("wide") or {"enforce": []})["enforce"] == ["shed"], 5, "it is in force")
        until(lambda: any(narrow.places[0] in (li["endpoint"] for li in g["listeners"]) for g in guard.get("groups")), 5,
              "the neighbour is known")
        for place in (f"127.0.0.1:{port}", f"[::1]:{port}"):
            c = self.clients(place, 50)
            self.assertEqual(c.other, [])
            self.assertLessEqual(len(c.open), 10 + self.OVER)
            c.close()
            until(lambda: guard.group("wide")["listeners"][0]["connections"]["open"] == 0, 8, "they are gone")
        c = self.clients(f"127.0.0.1:{port}", 50)
        n = self.clients(narrow.places[0], 50)
        self.assertEqual((len(n.open), n.refused), (50, 0))
        self.assertEqual(wide.places, (f"[::]:{port}",))

    def test_connections_older_than_the_guard(self):
        c = self.clients(n=60)
        self.assertEqual(c.served(), 60)
        self.start()
        self.ready()
        self.held(60)
        more = self.clients(n=100)
        self.assertLessEqual(len(more.open), LIMIT - 60 + self.OVER)
        self.assertGreaterEqual(len(more.open), LIMIT - 60)

    def test_queue_counts(self):
        self.start()
        self.ready()
        self.www.tell("pause")
        c = self.clients()
        self.assertLessEqual(len(c.open), LIMIT + self.OVER)
        self.held(len(c.open))
        self.www.tell("go")
        self.assertEqual(c.served(), len(c.open))

    def test_hands(self):
        self.start()
        self.ready()
        c = self.clients()
        self.assertGreater(c.refused, 0)
        status, text = self.guard.post("release", group="www", endpoint=self.place, seconds=600)
        self.assertEqual(status, 200, text)
        until(lambda: self.door()["blocked"] == "released by hand", 2, "it is released")
        n = self.clients(n=50)
        self.assertEqual((len(n.open), n.refused), (50, 0))
        n.close()
        self.guard.post("release", group="www", endpoint=self.place, seconds=1)
        until(lambda: self.door()["blocked"] is None, 5, "the time of the release is over")
        self.assertEqual(self.clients(n=50).refused, 50)
        self.guard.post("disarm")
        until(lambda: self.door()["blocked"] == "disarmed by hand", 2, "it is disarmed")
        n = self.clients(n=50)
        self.assertEqual((len(n.open), n.refused), (50, 0))

    def test_policy(self):
        self.start()
        self.ready()
        c = self.clients()
        before = len(c.open)
        for limit in (150, 50):
            self.guard.write(self.policy(limit=limit))
            self.assertEqual(self.guard.post("reload")[0], 200)
            until(lambda want=limit: self.door()["max"] == want, 5, "the limit is another")
            n = self.clients(n=200)
            self.assertLessEqual(len(n.open), max(0, limit - before) + self.OVER)
            self.assertGreaterEqual(len(n.open), max(0, limit - before))
            n.close()
            self.held(before)
        self.guard.write(self.policy(enforce="[]", limit="none"))
        self.assertEqual(self.guard.post("reload")[0], 200)
        until(lambda: self.door() is None, 5, "nothing is counted any more")
        n = self.clients(n=200)
        self.assertEqual((len(n.open), n.refused), (200, 0))
        self.guard.write(self.policy())
        self.assertEqual(self.guard.post("reload")[0], 200)
        until(lambda: self.door() and self.door()["blocked"] is None, 5, "it is in force again")
        self.held(before + 200, 12)
        self.assertEqual(self.clients(n=50).refused, 50)

    def test_the_limit_goes_to_another_group(self):
        """Indexes of doors are used again: connections of the one are never counted at the other's."""
        other = Holder(self.world, "other", *self.neighbours()[:1])
        both = {"www": (self.place, self.clients(n=30)), "other": (other.places[0], self.clients(other.places[0], 20))}
        self.start()
        for name in ("other", "www", "other", "www"):
            place, clients = both[name]
            self.guard.write(policy({g: {"cgroup": self.world.cgroup_name(g), "enforce": "[shed]" if g == name else "[]",
                                         "connections_max": 40 if g == name else "none"} for g in both}))
            self.assertEqual(self.guard.post("reload")[0], 200)

            def counted(want=len(clients.open), group=name, at=place):
                listeners = {li["endpoint"]: li["connections"] for li in (self.guard.group(group) or {"listeners": []})["listeners"]}
                return listeners.get(at) and listeners[at]["open"] == want and listeners[at]["blocked"] is None
            until(counted, 10, f"those of {name}, and no others")
            more = self.clients(place, 50)
            self.assertGreaterEqual(len(more.open), 40 - len(clients.open))
            self.assertLessEqual(len(more.open), 40 - len(clients.open) + self.OVER)
            more.close()
            until(counted, 10, f"those of {name} again")

    def test_frozen_guard(self):
        """The limit is judged at the door: it goes on without the guard, beyond the lease; and not beyond its death."""
        self.start()
        self.ready()
        c = self.clients()
        self.guard.p.send_signal(signal.SIGSTOP)
        frozen = time.monotonic()
        until(lambda: time.monotonic() - frozen > 8, 20, "longer than the lease")
        self.assertEqual(self.clients(n=50).refused, 50)
        for _ in range(len(c.open) - LIMIT + 10):
            c.open.pop().close()
        n = []

        def ten_more():     # their server closes the others when it comes to it
            n.append(self.clients(n=50))
            return sum(len(c.open) for c in n) >= 10
        until(ten_more, 5, "as many come as went")
        self.assertLessEqual(sum(len(c.open) for c in n), 10 + self.OVER)
        self.guard.p.kill()
        until(lambda: self.clients(n=20).refused == 0, 2 * SLOW, "nobody is refused once the guard is dead")
        self.guard.p.wait()

    def test_service_restarted(self):
        self.start()
        self.ready()
        self.assertGreater(self.clients().refused, 0)
        self.www.end()
        self.world.ends.remove(self.www)
        if self.place.startswith("/"):
            os.unlink(self.place)
            os.unlink(self.status)
        self.www = Holder(self.world, "www", self.place, self.status)
        c = None

        def limited():
            nonlocal c
            if c:
                c.close()
            c = self.clients()
            return LIMIT <= len(c.open) <= LIMIT + self.OVER
        until(limited, 10, "its limit is in force again")


class Far(Stage, unittest.TestCase):
    """Clients a tenth of a second away (netem; so check-long, in the VM): who began before it was full may come in."""
    RTT, RATE = 0.1, 1000

    def places(self):
        self.name = f"pgfar{os.getpid()}"
        self.ip("netns", "add", self.name)
        self.addCleanup(self.ip, "netns", "del", self.name)
        self.ip("link", "add", "pgfar0", "type", "veth", "peer", "name", "eth0", "netns", self.name)
        self.ip("addr", "add", "10.77.3.1/24", "dev", "pgfar0")
        self.ip("link", "set", "pgfar0", "up")
        self.ip("-n", self.name, "addr", "add", "10.77.3.2/24", "dev", "eth0")
        self.ip("-n", self.name, "link", "set", "eth0", "up")
        for where, device in (([], "pgfar0"), (["-n", self.name], "eth0")):
            words = ["tc", *where, "qdisc", "add", "dev", device, "root", "netem", "limit", "20000",
                     "delay", f"{self.RTT * 500:.0f}ms"]
            if subprocess.run(words, capture_output=True, check=False).returncode:
                self.skipTest("this kernel has no netem: no network with a delay can be made")
        return f"10.77.3.1:{self.port}", f"10.77.3.1:{self.status_port}"

    @staticmethod
    def ip(*words):
        subprocess.run(["ip", *words], check=True, capture_output=True)

    def far_clients(self, n):
        """Connects from there, so many a second: [(began, ended, error)]."""
        program = """
import errno, select, socket, sys, time
host, port, n, rate = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
poll, waiting, kept, start = select.poll(), {}, [], time.perf_counter()
sent = 0
while sent < n or (waiting and time.perf_counter() < start + n / rate + 10):
    while sent < n and time.perf_counter() >= start + sent / rate:
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex((host, port))
        waiting[s.fileno()] = s, time.perf_counter() - start
        poll.register(s, select.POLLOUT)
        sent += 1
    for fd, _ in poll.poll(1):
        s, began = waiting.pop(fd)
        poll.unregister(fd)
        error = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not error:
            kept.append(s)
        print(began, time.perf_counter() - start, error)
print("over", len(waiting), 0, flush=True)
sys.stdin.read()
"""
        p = subprocess.Popen(["ip", "netns", "exec", self.name, sys.executable, "-c", program, "10.77.3.1", str(self.port),
                              str(n), str(self.RATE / SLOW)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(p.communicate)
        results = []
        for line in p.stdout:
            began, ended, error = line.split()
            if began == "over":
                self.assertEqual(int(ended), 0, "connects without an end")
                return results
            results.append((float(began), float(ended), int(error)))
        raise AssertionError("the clients died")

    def test_limit(self):
        self.start()
        self.ready()
        results = self.far_clients(MANY)
        good = sorted(ended for _, ended, error in results if not error)
        self.assertEqual({error for _, _, error in results} - {0, errno.ECONNREFUSED}, set())
        self.assertGreaterEqual(len(good), LIMIT)
        # the hundredth is established at the server half a round trip after its client; who had not begun by then is refused
        full = good[LIMIT - 1] + self.RTT / 2
        under_way = sum(began <= full for began, _, _ in results) - LIMIT
        late = [began - full for began, _, error in results if not error and began > full + 0.05 * SLOW]
        FIGURES[f"{self.RTT:g} s away, {self.RATE / SLOW:.0f}/s: let in of {MANY}, limit {LIMIT}"] = len(good)
        FIGURES["... handshakes that were under way when it was full"] = under_way
        self.assertEqual(late, [])
        self.assertLessEqual(len(good), LIMIT + under_way + self.RATE * 0.05)
        self.held(len(good))
        self.assertEqual(sum(not error for _, _, error in self.far_clients(50)), 0, "it is full: nobody gets in")


class Share(unittest.TestCase):
    """Requests pile up in a service and are not answered: new connections are refused by and by, and let in again."""

    def setUp(self):
        self.world = World()
        self.addCleanup(self.world.close)
        self.port = free_port()
        self.www = self.world.service("www", 60, port=self.port)

    def start(self, enforce):
        self.guard = self.world.guard(policy({"www": {
            "cgroup": self.world.cgroup_name("www"), "workers": "prefork", "workers_max": 40, "baseline_waiting": 2,
            "enforce": enforce, "shed_share": "80%"}}))
        until(lambda: [li for li in (self.guard.group("www") or {"listeners": []})["listeners"]
                       if li["endpoint"] == self.place() and li["connections"]], 5, "the listener is followed")

    def place(self):
        return f"127.0.0.1:{self.port}"

    def listener(self):
        return next(li["connections"] for li in self.guard.group("www")["listeners"] if li["endpoint"] == self.place())

    def request(self, n):
        """One in ten is quick; the others take as long as the incident lasts."""
        slow = self.hang and n % 10
        return (lambda: self.www.ask(tcp=True, op="sleep", seconds=4 if slow else 0.005), "slow" if slow else "quick")

    def incident(self):
        self.hang = False
        load = Load(40, self.request)
        until(lambda: len(load.results) >= 120, 10, "requests are answered")
        self.hang = True
        self.began = time.time()
        until(lambda: time.time() > self.began + 8, 20, "an incident of eight seconds")
        self.hang = False
        self.over = time.time()
        until(lambda: time.time() > self.over + 12, 20, "twelve seconds after it")
        return load.stop()

    def episodes(self):
        """Of this listener: each has its own."""
        return [x for x in self.guard.explains("www") if x["kind"] == "shed" and x["endpoint"] == self.place()]

    @staticmethod
    def refused(results):
        return [r for r in results if isinstance(r[2], ConnectionRefusedError)]

    def test_red_observed_only(self):
        self.start("[]")
        results = self.incident()
        self.assertEqual(self.refused(results), [])
        x = self.episodes()
        self.assertEqual({e["acted"] for e in x}, {False})
        self.assertIn("requests pile up", x[0]["why_text"])

    def test_refused_and_let_in_again(self):
        self.start("[shed]")
        results = self.incident()
        refused = [r[0] for r in self.refused(results)]
        self.assertTrue(refused)
        others = {str(r[2]) for r in results if isinstance(r[2], Exception) and not isinstance(r[2], ConnectionRefusedError)}
        self.assertEqual(others, set())
        FIGURES["Share: first refused after the loss, s"] = round(min(refused) - self.began, 2)
        FIGURES["Share: last refused after the end, s"] = round(max(refused) - self.over, 2)
        during = [r for r in results if min(refused) <= r[0] < self.over]
        FIGURES["Share: refused meanwhile"] = f"{len([1 for t in refused if t < self.over])} of {len(during)}"
        self.assertGreater(min(refused) - self.began, 1, "nothing is refused before it piles up")
        self.assertLess(max(refused) - self.over, 10)
        self.assertLess(len([1 for t in refused if t < self.over]), 0.9 * len(during))
        late = [r for r in results if r[0] > self.over + 10]
        self.assertGreater(len(late), 50)
        self.assertEqual(self.refused(late), [])
        self.assertEqual(self.listener()["refuse_ratio"], 0)
        x = self.episodes()
        self.assertTrue(x[0]["acted"])
        # lookups are counted: what comes for a connection that is gone already (its TIME_WAIT cut short on a busy host) is one,
        # too, and is answered by a reset with or without a door; 14 of 317 were seen once
        counted = sum(e["did"]["connections_refused"] for e in x)
        self.assertGreaterEqual(counted, len(refused))
        self.assertLessEqual(counted, len(refused) * 1.1 + 2)


class Unix(Tcp):
    OVER = 0        # judged and counted with the listener locked

    @classmethod
    def setUpClass(cls):
        if "rung 2 cannot refuse connections to unix sockets" in missing_here():
            raise unittest.SkipTest("this kernel refuses fmod_ret")

    def places(self):
        return f"{self.world.dir}/www.sock", f"{self.world.dir}/status.sock"

    def neighbours(self):
        return (f"{self.world.dir}/other.sock",)

    def test_exempt_client(self):
        self.skipTest("a client of a unix socket has no address")

    test_wildcard = test_exempt_client


class Cookies(Stage, unittest.TestCase):
    """SYN cookies, in a network namespace of the test's own: the kernel keeps no state of a handshake."""

    @classmethod
    def setUpClass(cls):
        cls.name = f"pgs{os.getpid()}"
        subprocess.run(["ip", "netns", "add", cls.name], check=True)
        cls.addClassCleanup(subprocess.run, ["ip", "netns", "del", cls.name], check=False)
        cls.PREFIX = ("nsenter", f"--net=/run/netns/{cls.name}")     # not "ip netns exec", which mounts another /sys
        subprocess.run([*cls.PREFIX, "ip", "link", "set", "lo", "up"], check=True)
        subprocess.run([*cls.PREFIX, "sysctl", "-qw", "net.ipv4.tcp_syncookies=2"], check=True)

    def test_limit_and_nothing_leaks(self):
        self.start()
        self.ready()
        code = ("import sys; sys.path.insert(0, sys.argv[1]); from test_guard_shed import Clients; "
                "c = Clients(sys.argv[2], int(sys.argv[3])); print(len(c.open), c.refused, c.other, c.served())")
        for _ in range(3):
            run = subprocess.run([*self.PREFIX, sys.executable, "-c", code, HERE, self.place, str(MANY)],
                                 capture_output=True, text=True, check=True, timeout=60)
            let_in, refused, rest = run.stdout.split(" ", 2)
            FIGURES["Cookies: let in"] = int(let_in)
            self.assertIn("[]", rest)
            self.assertEqual(int(let_in) + int(refused), MANY)
            self.assertGreaterEqual(int(let_in), LIMIT)
            self.assertLessEqual(int(let_in), LIMIT + IN_FLIGHT)
            self.held(0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
