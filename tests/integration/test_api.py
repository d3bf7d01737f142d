#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The api process, driven from outside: routes, permissions, hostile clients, streams, memory.

Needs api_harness (tests/integration/api_harness.c, linked with daemon/api) in $PILE_API_HARNESS.
As root everything runs; otherwise what needs another uid is skipped, and says so.
"""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from guardlib import until

HARNESS = os.environ.get("PILE_API_HARNESS", "/tmp/pg-api/api_harness")
# For a build with sanitizers: PILE_API_OPTIONS=--keep (no seccomp), PILE_API_RSS_KB=200000.
OPTIONS = os.environ.get("PILE_API_OPTIONS", "").split()
RSS_MAX_KB = int(os.environ.get("PILE_API_RSS_KB", 16 * 1024))
REQUEST_SECONDS = 5     # include/pileguard/api.h
STATUS_SECONDS_MAX = 1.0
FIGURES = {}


class Harness:
    """The cardboard guard with a real api process behind it."""

    def __init__(self, *options):
        self.dir = tempfile.mkdtemp(prefix="pile-api-")
        os.chmod(self.dir, 0o755)
        self.path = os.path.join(self.dir, "stats.sock")
        self.proc = subprocess.Popen([HARNESS, self.path, *OPTIONS, *options], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, text=True, bufsize=1)
        self.pid = int(self.proc.stdout.readline().split()[1])
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if self.request("GET", "/v1/status")[0] == 200:
                    return
            time.sleep(0.02)
        raise AssertionError("the api does not answer")

    def say(self, line):
        self.proc.stdin.write(line + "\n")
        self.proc.stdin.flush()
        assert self.proc.stdout.readline() == "ok\n"

    def connect(self, timeout=10):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(timeout)
        s.connect(self.path)
        return s

    def raw(self, data, timeout=10):
        with self.connect(timeout) as s:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                s.sendall(data)
            return read_all(s)

    def request(self, method, path, body=None, headers=()):
        head = [f"{method} {path} HTTP/1.1", "Host: x", *headers]
        if body is not None:
            head.append(f"Content-Length: {len(body)}")
        return parse(self.raw("\r\n".join(head).encode() + b"\r\n\r\n" + (body or b"")))

    def get(self, path):
        status, _, body = self.request("GET", path)
        assert status == 200, (path, status, body)
        return json.loads(body)

    def rss_kb(self, key="VmRSS"):
        with open(f"/proc/{self.pid}/status") as f:
            return int(re.search(rf"{key}:\s+(\d+)", f.read()).group(1))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def close(self):
        self.proc.stdin.close()
        last = self.proc.stdout.read().strip().splitlines()
        self.proc.wait(10)
        self.proc.stdout.close()
        shutil.rmtree(self.dir, ignore_errors=True)
        return last


def read_all(s):
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := s.recv(65536):
            data += chunk
    return data


def parse(data):
    head, _, body = data.partition(b"\r\n\r\n")
    if not head:
        return 0, {}, b""
    lines = head.decode("latin-1").split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), fields, body


def close_all(sockets):
    for s in sockets:
        s.close()


def wait_until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


class Api(unittest.TestCase):
    options = ()

    def setUp(self):
        self.api = Harness(*self.options)

    def tearDown(self):
        peak = self.api.rss_kb("VmHWM")
        last = self.api.close()
        FIGURES["rss peak KiB"] = max(FIGURES.get("rss peak KiB", 0), peak)
        self.assertLess(peak, RSS_MAX_KB)
        self.assertEqual(last, ["exit 0"], "the api leaves when the guard hangs up")


class Routes(Api):
    def test_every_route_answers(self):
        status = self.api.get("/v1/status")
        self.assertEqual(status["host"], "api-17")
        self.assertEqual(status["mode"], "observe")
        self.assertEqual([g["name"] for g in status["groups"]], ["www", "nginx", "node-push"])
        self.assertEqual(status["gates"][0]["explain"], 17)
        groups = self.api.get("/v1/groups")
        self.assertEqual(groups[0]["requests"]["oldest_seconds"], 0.012)
        self.assertEqual(groups[2]["requests"]["waiting"], 212)
        self.assertEqual(len(self.api.get("/v1/workers")), 2)
        self.assertEqual([w["group"] for w in self.api.get("/v1/workers?group=nginx")], ["nginx"])
        self.assertEqual(self.api.get("/v1/dependencies")[1]["endpoint"], "[2001:db8::1]:443")
        self.assertEqual([e["seq"] for e in self.api.get("/v1/events")], [1, 2])
        self.assertEqual([e["seq"] for e in self.api.get("/v1/events?since=1")], [2])
        policy = self.api.get("/v1/policy")
        self.assertIn("php8.2-fpm.service", policy["text"])
        self.assertEqual(policy["generation"], 3)

    def test_explain_has_why_did_cost_undo(self):
        x = self.api.get("/v1/explain/17")
        self.assertIn("41 connecting", x["why_text"])
        self.assertIn("gone in 5.4 s", x["why_text"])
        self.assertIn("refused 1,204 connects, ended 41 waits", x["did_text"])
        self.assertIn("fail_fast never does", x["did_not_text"])
        self.assertIn("1,204 connects failed with ECONNREFUSED at once, 41 pending ones", x["cost_text"])
        self.assertEqual(x["undo_command"], "pileguardctl release www 10.9.0.2:3306")
        self.assertEqual(x["state"], "open")
        for bad in ("18", "x", "", "99999999999999999999", "17/x", "-1"):
            self.assertEqual(self.api.request("GET", "/v1/explain/" + bad)[0], 404, bad)

    def test_wrong_path_and_method(self):
        for path in ("/", "/v1", "/v1/", "/v1/statusx", "/v1/status/", "/etc/passwd", "/metrics/.."):
            self.assertEqual(self.api.request("GET", path)[0], 404, path)
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"):
            status, fields, _ = self.api.request(method, "/v1/status", b"")
            self.assertEqual((status, fields.get("allow")), (405, "get, head"), method)
        self.assertEqual(self.api.request("GET", "/v1/reload")[0], 405)
        status, _, body = self.api.request("HEAD", "/v1/status")
        self.assertEqual((status, body), (200, b""))
        self.assertEqual(self.api.request("GET", "/v1/events?since=x")[0], 400)
        self.assertEqual(self.api.request("GET", "/v1/events?since=99999999999999999999")[0], 400)

    def test_metrics(self):
        status, fields, body = self.api.request("GET", "/metrics")
        self.assertEqual(status, 200)
        self.assertTrue(fields["content-type"].startswith("text/plain; version=0.0.4"))
        text = body.decode()
        self.assertIn('pileguard_group_risk_ratio{group="www"} 1.780\n', text)
        self.assertIn('pileguard_destination_breaker_state{group="www",destination="10.9.0.2:3306"} 1\n', text)
        if shutil.which("promtool"):
            check = subprocess.run(["promtool", "check", "metrics"], input=text, text=True,
                                   capture_output=True)
            self.assertEqual((check.returncode, check.stdout + check.stderr), (0, ""))

    @unittest.skipIf("--keep" in OPTIONS, "the sandbox is off by PILE_API_OPTIONS")
    def test_sandbox(self):
        with open(f"/proc/{self.api.pid}/status") as f:
            fields = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        self.assertEqual(fields["NoNewPrivs"], "1")
        self.assertEqual(fields["Seccomp"], "2")
        self.assertEqual(fields["Threads"], "1")
        for caps in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            self.assertEqual(int(fields[caps], 16), 0)
        if os.geteuid() == 0:
            self.assertNotIn("0", fields["Uid"].split())


class Commands(Api):
    def test_hold_release_reload(self):
        if os.geteuid() != 0:
            self.skipTest("POST needs root")
        body = b'{"group": "www", "endpoint": "10.9.0.2:3306", "seconds": 90}'
        status, _, answer = self.api.request("POST", "/v1/hold", body)
        self.assertEqual((status, json.loads(answer)["text"]),
                         (200, "held www 10.9.0.2:3306 for 90 s by uid 0"))
        body = b'{"group": "www", "endpoint": "10.9.0.2:3306"}'
        self.assertIn(b"released www 10.9.0.2:3306 for 600 s", self.api.request("POST", "/v1/release", body)[2])
        status, _, answer = self.api.request("POST", "/v1/hold", b'{"group": "web", "endpoint": "1.2.3.4:5"}')
        self.assertEqual(status, 409)
        self.assertIn("mode is observe", json.loads(answer)["error"])
        self.assertEqual(self.api.request("POST", "/v1/reload")[0], 200)
        self.api.say("bad")
        status, _, answer = self.api.request("POST", "/v1/reload", b"{}")
        self.assertEqual(status, 422)
        self.assertIn("policy.yaml:4:11:", json.loads(answer)["error"])

    def test_disarm_arm(self):
        if os.geteuid() != 0:
            self.skipTest("POST needs root")
        for path, body, wanted in (("disarm", b"", "disarmed by nobody for 0 s by uid 0"),
                                   ("disarm", b"{}", "disarmed by nobody for 0 s by uid 0"),
                                   ("disarm", b'{"seconds": 2592000, "by": "alice"}', "disarmed by alice for 2592000 s by uid 0"),
                                   ("arm", b"", "armed by nobody for 0 s by uid 0"),
                                   ("arm", b'{"by": "bob"}', "armed by bob for 0 s by uid 0")):
            status, _, answer = self.api.request("POST", f"/v1/{path}", body)
            self.assertEqual((status, json.loads(answer)["text"]), (200, wanted), (path, body))
        for path, body in (("disarm", b"{"), ("disarm", b"[]"), ("disarm", b'{"seconds": 0}'), ("disarm", b'{"seconds": 2592001}'),
                           ("disarm", b'{"seconds": "1h"}'), ("disarm", b'{"by": 1}'), ("disarm", b'{"by": "a\\nb"}'),
                           ("disarm", b'{"by": "' + b"x" * 64 + b'"}'), ("arm", b'{"seconds": 5}')):
            self.assertEqual(self.api.request("POST", f"/v1/{path}", body)[0], 422, (path, body))

    def test_disarmed_is_shown(self):
        self.assertIsNone(self.api.get("/v1/status")["disarmed"])
        self.assertIn(b"\npileguard_disarmed 0\n", self.api.request("GET", "/metrics")[2])
        self.api.say("disarmed alice 3600")
        until(lambda: self.api.get("/v1/status")["disarmed"], 2, "shown")
        self.assertEqual(self.api.get("/v1/status")["disarmed"], {
            "by": "alice", "since": "2025-10-09T08:43:20.123Z", "until": "2025-10-09T09:53:20.123Z", "left_seconds": 3600,
            "undo_command": "pileguardctl arm"})
        until(lambda: b"\npileguard_disarmed 1\n" in self.api.request("GET", "/metrics")[2], 2, "a metric")
        self.api.say("disarmed alice 0")
        until(lambda: self.api.get("/v1/status")["disarmed"]["until"] is None, 2, "until somebody arms it")

    def test_bodies_that_are_not_commands(self):
        if os.geteuid() != 0:
            self.skipTest("POST needs root")
        for body in (b"", b"{", b"[]", b"null", b'{"group":"www"}', b'{"group":1,"endpoint":"a"}',
                     b'{"group":"www","endpoint":"a","seconds":0}', b'{"group":"www","endpoint":"a","seconds":86401}',
                     b'{"group":"www","endpoint":"a","seconds":1.5}', b'{"group":"www","group":"x","endpoint":"a"}',
                     b'{"group":"' + b"w" * 64 + b'","endpoint":"a"}', b'{"group":"w\\u0000w","endpoint":"a"}',
                     b'{"group":"w\\nw","endpoint":"a"}', b"\xff\xfe", b"[" * 1000):
            self.assertEqual(self.api.request("POST", "/v1/hold", body)[0], 422, body)

    def test_only_root_may_post(self):
        if os.geteuid() != 0:
            self.skipTest("needs root to become somebody else")
        code = ("import socket,sys,os; os.setgid(65534); os.setuid(65534); s=socket.socket(socket.AF_UNIX);"
                "s.connect(sys.argv[1]); s.sendall(b'%s HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 0\\r\\n\\r\\n');"
                "sys.stdout.buffer.write(s.makefile('rb').read())")
        for what, wanted in (("POST /v1/reload", 403), ("POST /v1/hold", 403), ("POST /v1/release", 403), ("POST /v1/disarm", 403),
                             ("POST /v1/arm", 403),                             ("GET /v1/status", 200)):
            out = subprocess.run([sys.executable, "-c", code % what, self.api.path], capture_output=True).stdout
            self.assertEqual(parse(out)[0], wanted, what)
            if wanted == 403:
                self.assertIn("only root", json.loads(parse(out)[2])["error"])

    def test_silent_guard_gets_504_and_blocks_nobody(self):
        if os.geteuid() != 0:
            self.skipTest("POST needs root")
        self.api.say("mute")
        with self.api.connect(30) as s:
            start = time.monotonic()
            s.sendall(b"POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            with self.api.connect() as gone:    # this one does not wait for its answer
                gone.sendall(b"POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            self.assertEqual(self.api.request("GET", "/v1/status")[0], 200)
            status, _, body = parse(read_all(s))
            self.assertEqual(status, 504, body)
            self.assertAlmostEqual(time.monotonic() - start, 15, delta=1)


class Hostile(Api):
    def test_malformed(self):
        for data in (b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"GET /v1/status\r\n\r\n", b"\0" * 100 + b"\r\n\r\n",
                     b"GET /v1/status HTTP/9.9\r\n\r\n", b"GET /v1/status HTTP/1.1\r\n\r\n",
                     b"GET /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
                     b"POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
                     b"GET /%00%ff%zz HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00"):
            with self.api.connect() as s:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                status = parse(read_all(s))[0]
            self.assertTrue(status == 0 or 400 <= status < 600, (data, status))
        self.assertEqual(self.api.request("GET", "/v1/status")[0], 200)

    def test_oversized(self):
        head = b"GET /v1/status HTTP/1.1\r\nHost: x\r\n"
        self.assertIn(parse(self.api.raw(head + b"X: " + b"y" * 20000 + b"\r\n\r\n"))[0], (0, 413, 431))
        self.assertIn(parse(self.api.raw(head + b"X: y\r\n" * 5000 + b"\r\n"))[0], (0, 413, 431))
        self.assertIn(parse(self.api.raw(b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"))[0], (0, 414, 431))
        self.assertEqual(self.api.request("POST", "/v1/hold", b"x" * 1025)[0], 413)
        chunked = b"POST /v1/hold HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024
        self.assertEqual(parse(self.api.raw(chunked))[0], 411)

    def dropped_after(self, feed):
        """Feeds a connection until it is closed; returns after how long."""
        start = time.monotonic()
        with self.api.connect() as s:
            s.settimeout(0.2)
            while time.monotonic() - start < 20:
                try:
                    feed(s)
                    if s.recv(4096) == b"":
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
        return time.monotonic() - start

    def test_slow_and_endless(self):
        head = iter(b"GET /v1/status HTTP/1.1\r\nHost: " + b"x" * 1000)
        one_byte_a_second = self.dropped_after(lambda s: (s.send(bytes([next(head)])), time.sleep(0.8)))
        FIGURES["drip dropped after s"] = round(one_byte_a_second, 2)
        self.assertLess(one_byte_a_second, REQUEST_SECONDS + 2)
        silent = self.dropped_after(lambda s: None)
        FIGURES["silent dropped after s"] = round(silent, 2)
        self.assertLess(silent, REQUEST_SECONDS + 1.5)
        started = []

        def body(s):
            if not started:
                started.append(s.send(b"POST /v1/hold HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"))
            s.send(b"x")
        self.assertLess(self.dropped_after(body), REQUEST_SECONDS + 1.5)
        endless = self.dropped_after(lambda s: s.send(b"X-A: b\r\n" * 100))
        self.assertLess(endless, REQUEST_SECONDS)

    def crowd(self, n, first):
        """n clients that send `first` and nothing more."""
        crowd = []
        for _ in range(n):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(10)
            s.connect(self.api.path)
            with contextlib.suppress(OSError):
                s.send(first)
            crowd.append(s)
        return crowd

    def test_thousand_clients(self):
        for first in (b"", b"GET /v1/sta", b"GET /v1/workers HTTP/1.1\r\nHost: x\r\n\r\n"):
            crowd = self.crowd(1000, first)
            worst = 0
            for _ in range(20):
                start = time.monotonic()
                self.assertEqual(self.api.request("GET", "/v1/status")[0], 200)
                worst = max(worst, time.monotonic() - start)
            FIGURES[f"status beside 1000 clients ({first[:12]!r}) worst s"] = round(worst, 4)
            self.assertLess(worst, STATUS_SECONDS_MAX)
            close_all(crowd)
        wait_until(lambda: self.api.descriptors() < 15, 10, "descriptors are closed")


@unittest.skipIf("--keep" in OPTIONS, "the sandbox is off by PILE_API_OPTIONS")
class Sandbox(unittest.TestCase):
    def test_what_must_not_work(self):
        run = subprocess.run([HARNESS, "--sandbox"], capture_output=True, text=True)
        self.assertEqual(run.stdout.splitlines(), ["open EPERM", "socket EPERM", "kill EPERM", "setuid EPERM",
                                                   "exec page EPERM", "shutdown of the listener EPERM",
                                                   "option of the listener EPERM", "dup of the listener EPERM",
                                                   "... by the upper half EPERM",
                                                   "shutdown of another works", "128 MiB ENOMEM"])
        self.assertEqual(run.returncode, -signal.SIGSYS, "execve kills")


class Big(Api):
    options = ("--big",)

    def test_largest_answers(self):
        self.assertEqual(len(self.api.get("/v1/workers")), 2048)
        self.assertEqual(len(self.api.get("/v1/groups")), 128)
        self.assertEqual(len(self.api.get("/v1/dependencies")), 256)
        self.assertEqual(len(self.api.get("/v1/events")), 256)
        self.assertEqual(len(self.api.get("/v1/status")["groups"]), 128)
        text = self.api.request("GET", "/metrics")[2].decode()
        series = [line for line in text.splitlines() if line and not line.startswith("#")]
        FIGURES["series on a full host"] = len(series)
        self.assertLessEqual(len(series), 500)
        self.assertIn('{group="other",destination="other"}', text)
        start = time.monotonic()
        for _ in range(20):
            self.api.request("GET", "/v1/workers")
        FIGURES["2048 workers, ms an answer"] = round((time.monotonic() - start) * 50, 1)

    def test_slow_readers_of_large_answers(self):
        crowd = []
        for _ in range(200):
            s = self.api.connect()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.sendall(b"GET /v1/workers HTTP/1.1\r\nHost: x\r\n\r\n")
            crowd.append(s)
        self.addCleanup(close_all, crowd)
        worst = 0
        for _ in range(20):
            start = time.monotonic()
            self.assertEqual(self.api.request("GET", "/v1/explain/17")[0], 200)
            worst = max(worst, time.monotonic() - start)
        FIGURES["explain beside 200 slow readers, worst s"] = round(worst, 4)
        self.assertLess(worst, STATUS_SECONDS_MAX)
        wait_until(lambda: self.api.descriptors() < 15, REQUEST_SECONDS + 3, "slow readers are dropped")
        close_all(crowd)
        FIGURES["rss after slow readers KiB"] = self.api.rss_kb()


class Stream(Api):
    def follow(self, query=""):
        s = self.api.connect(15)
        s.sendall(f"GET /v1/events?follow=1{query} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        f = s.makefile("rb")
        for _ in range(20):
            if f.readline() == b"\r\n":
                break
        return s, f

    def test_new_events_arrive(self):
        s, f = self.follow()
        self.api.say("event one")
        start = time.monotonic()
        self.assertEqual(json.loads(f.readline())["text"], "one")
        FIGURES["event seen after s"] = round(time.monotonic() - start, 3)
        self.api.say("event two")
        self.assertEqual(json.loads(f.readline())["seq"], 4)
        f.close()
        s.close()
        wait_until(lambda: self.api.descriptors() < 12, 5, "a follower that leaves is noticed")

    def test_since_and_keepalive(self):
        s, f = self.follow("&since=1")
        self.assertEqual(json.loads(f.readline())["seq"], 2)
        start = time.monotonic()
        self.assertEqual(f.readline(), b"\n")
        self.assertAlmostEqual(time.monotonic() - start, 10, delta=1.5)
        f.close()
        s.close()

    def test_followers_are_bounded_and_pin_nothing(self):
        followers = [self.follow() for _ in range(16)]
        self.assertEqual(self.api.request("GET", "/v1/events?follow=1")[0], 503)
        self.assertEqual(self.api.request("GET", "/v1/status")[0], 200)
        before = cpu_ticks(self.api.pid)
        time.sleep(2)
        self.assertLess(cpu_ticks(self.api.pid) - before, 10, "16 idle followers cost next to nothing")
        self.api.say("event three")
        for s, f in followers:
            self.assertEqual(json.loads(f.readline())["text"], "three")
            f.close()
            s.close()


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


class Torn(Api):
    options = ("--torn", "--big")

    def test_every_answer_is_of_one_piece(self):
        """The writer hardly ever pauses (the guard does, for 100 ms): old or 503, never a mix."""
        answers = {200: 0, 503: 0}
        seen = set()
        lock = threading.Lock()

        def reader(path, numbers):
            for _ in range(60):
                status, _, body = self.api.request("GET", path)
                found = set(numbers(json.loads(body))) if status == 200 else set()
                with lock:
                    answers[status] += 1
                    seen.update(found)
                    if len(found) > 1:
                        answers["torn"] = (path, sorted(found)[:3])

        threads = [threading.Thread(target=reader, args=args) for args in (
            ("/v1/workers", lambda a: [w["answered_total"] for w in a]),
            ("/v1/status", lambda a: [g["requests"]["opened_total"] for g in a["groups"]] +
             [a["guard"]["ticks_total"], a["guard"]["drift_total"]]))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        FIGURES["torn writer: answers"] = dict(answers)
        self.assertNotIn("torn", answers)
        self.assertGreater(answers[200], 0)


class Idle(Api):
    def test_idle_costs_nothing(self):
        time.sleep(0.5)
        before = cpu_ticks(self.api.pid)
        time.sleep(3)
        self.assertLessEqual(cpu_ticks(self.api.pid) - before, 1)
        FIGURES["rss idle KiB"] = self.api.rss_kb()


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    if not os.access(HARNESS, os.X_OK):
        sys.exit(f"build {HARNESS} first (or set PILE_API_HARNESS)")
    program = unittest.main(exit=False, verbosity=2)
    for name, value in FIGURES.items():
        print(f"  {name}: {value}")
    sys.exit(not program.result.wasSuccessful())
