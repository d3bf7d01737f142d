#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_guard_metrics.py: what a real guard under load tells Prometheus: sound, bounded, and nothing that is nobody's business."""
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from guardlib import BUILD, FIGURES, Load, Process, World, figures_print, free_port, policy, until

SERIES_MAX = 500    # daemon/api/metrics.h
ROUTES = ("/metrics", "/v1/status", "/v1/groups", "/v1/workers", "/v1/dependencies", "/v1/events", "/v1/policy")
# Where no answer may have it from: command line, environment, request, client's address.
SECRETS = ("s3cret-argument", "s3cret-variable", "s3cret-uri", "s3cret-header", "127.77.66.55")
SERVER = """
import os, socketserver, sys
with open(sys.argv[1] + "/cgroup.procs", "w") as f:
    f.write("0")

class Answer(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline():
            if line == b"\\r\\n":
                self.wfile.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")

class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128

with Server(("127.0.0.1", int(sys.argv[2])), Answer) as server:
    print("ready", flush=True)
    server.serve_forever()
"""


def series(text):
    return [line.rpartition(" ")[0] for line in text.splitlines() if line and not line.startswith("#")]


class Metrics(unittest.TestCase):
    def setUp(self):
        self.world = World()
        self.addCleanup(self.world.close)

    def server(self, name):
        """A service with secrets, and a function that asks it, from an address of its own."""
        port = free_port()
        self.world.ends.append(Process([sys.executable, "-c", SERVER, self.world.cgroup(name), str(port), "s3cret-argument"],
                                       env={"PASSWORD": "s3cret-variable"}))

        def client():
            s = socket.create_connection(("127.0.0.1", port), 10, source_address=("127.77.66.55", 0))
            self.addCleanup(s.close)
            return s

        def ask(s=None):
            with contextlib.nullcontext(s) if s else client() as c:
                c.sendall(b"GET /s3cret-uri HTTP/1.1\r\nHost: x\r\nX-A: s3cret-header\r\n\r\n")
                return c.recv(4096)
        return client, ask

    def test_under_load(self):
        client, ask = self.server("www")
        older = [client() for _ in range(5)]     # connections that the guard adopts
        for s in older:
            ask(s)
        guard = self.world.guard(policy({"www": {"cgroup": self.world.cgroup_name("www"), "enforce": "[fail_fast]"}}))
        file = f"{self.world.dir}/pileguard.prom"
        keeper = subprocess.Popen([f"{BUILD}/pileguardctl", "--socket", guard.socket, "metrics", "--textfile", file,
                                   "--every", "100ms"])
        self.addCleanup(keeper.wait)
        self.addCleanup(keeper.terminate)
        until(lambda: guard.group("www")["listeners"], 10, "it is followed")
        waiting = client()
        load = Load(50, lambda n: (lambda: ask(older[n % 5] if n % 2 else None), n))
        try:
            waiting.sendall(b"GET /s3cret-uri HTTP/1.1\r\n")     # not answered: its end does not come
            until(lambda: guard.group("www")["requests"]["answered_total"] > 50, 20, "answers")
            until(lambda: guard.group("www")["requests"]["waiting"], 20, "one that waits")
            until(lambda: guard.get("status")["guard"]["sockets_followed"] > len(older), 20, "the older connections are followed")
            answers = {path: guard.http("GET", path)[1] for path in ROUTES}
        finally:
            load.stop()
        text = answers["/metrics"]
        self.assertRegex(text, r'pileguard_group_requests_waiting\{group="www"\} [1-9]')
        self.assertRegex(text, r'pileguard_group_requests_answered_total\{group="www"\} [1-9]')
        if shutil.which("promtool"):
            check = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False)
            self.assertEqual((check.returncode, check.stdout + check.stderr), (0, ""))
        found = series(text)
        self.assertEqual(len(found), len(set(found)), "no series twice")
        self.assertLessEqual(len(found), SERIES_MAX)
        FIGURES["series of a small host"] = len(found)
        for path, answer in answers.items():
            self.assertGreater(len(answer), 2, path)
            for secret in SECRETS:
                self.assertNotIn(secret, answer, path)
        until(lambda: os.path.exists(file), 10, "the file for node_exporter")
        with open(file, encoding="ascii") as f:
            self.assertEqual({re.sub(r"\{.*", "", s) for s in series(f.read())}, {re.sub(r"\{.*", "", s) for s in found})
        self.assertEqual(guard.stop(), 0)
        until(lambda: not os.path.exists(file), 10, "gone with the guard")

    def test_a_crowd_of_one_name(self):
        """Somebody's 110 services, all of one name: none has another's series, the bound holds."""
        guard = self.world.guard("mode: observe\n")
        for i in range(110):
            self.world.cgroup(f"crowd-{i}")
            self.world.ends.append(Process([f"{BUILD}/tests/conserve", "serve", "prefork", self.world.cgroup(f"crowd-{i}/same"),
                                            "1", "0", f"{self.world.dir}/same-{i}.sock"]))
        # the parent cgroup is removed after its child
        self.world.cgroups.sort(key=len, reverse=True)

        def crowd():
            return [g["name"] for g in guard.get("groups") if g["name"].startswith("same")]
        until(lambda: len(crowd()) >= 105, 20, "they are followed")
        names = crowd()
        self.assertEqual(len(names), len(set(names)))
        found = series(guard.http("GET", "/metrics")[1])
        self.assertEqual(len(found), len(set(found)), "no series twice")
        self.assertLessEqual(len(found), SERIES_MAX)
        FIGURES["series with 110 services"] = len(found)


if __name__ == "__main__":
    program = unittest.main(exit=False, verbosity=2)
    figures_print()
    sys.exit(not program.result.wasSuccessful())
