#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""long_balancers.py: what rung 2 does in front: nginx and HAProxy before two pools, of which one hangs for a while.

Prints the table of docs/LOAD-BALANCERS.md. Two pools of the test's own on loopback, 40 requests a second in open loop; after
five seconds pool A answers nobody for ten (each request of it takes that long, then fails), and is as it was afterwards. HAProxy's
rows need haproxy installed (nothing else here does): without it they are left out.
"""
import http.client
import http.server
import os
import shutil
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from guardlib import Load, World, free_port, policy, until

RATE, HANG_S, BEFORE_S, AFTER_S = 40, 10, 5, 12
POOL, LIMIT = 64, 16

NGINX = """daemon off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/error.log;
events {{ worker_connections 4096; }}
http {{ access_log off; client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3; uwsgi_temp_path {dir}/t4;
scgi_temp_path {dir}/t5;
upstream pools {{ {balance} server 127.0.0.1:{a} {options}; server 127.0.0.1:{b} {options}; }}
server {{ listen 127.0.0.1:{front} backlog=4096; location / {{ proxy_pass http://pools; {location} }} }} }}
"""
HAPROXY = """global
 maxconn 4000
defaults
 mode http
 timeout connect 5s
 timeout client 60s
 timeout server 60s
 retries 3
 option redispatch 1
frontend f
 bind 127.0.0.1:{front}
 default_backend pools
backend pools
 balance {balance}
 server a 127.0.0.1:{a} {options}
 server b 127.0.0.1:{b} {options}
"""
CASES = [
    ("nginx, as it comes (max_fails=1)", NGINX, {"balance": "", "options": ""}),
    ("nginx, max_fails=0", NGINX, {"balance": "", "options": "max_fails=0"}),
    ("nginx, least_conn, max_fails=0", NGINX, {"balance": "least_conn;", "options": "max_fails=0"}),
    ("HAProxy, roundrobin", HAPROXY, {"balance": "roundrobin", "options": ""}),
    ("HAProxy, leastconn", HAPROXY, {"balance": "leastconn", "options": ""}),
    ("HAProxy, roundrobin, maxconn 16", HAPROXY, {"balance": "roundrobin", "options": "maxconn 16"}),
]


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 4096
    daemon_threads = True


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):       # pylint: disable=invalid-name
        hang = os.path.exists(self.server.flag)
        if hang:
            time.sleep(HANG_S)
        body = f"{self.server.name}\n".encode()
        self.send_response(503 if hang else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args):
        pass


def pool(cgroup, port, name, flag):
    """A process of its own: the guard knows services by their cgroup."""
    with open(f"{cgroup}/cgroup.procs", "w", encoding="utf-8") as f:
        f.write(str(os.getpid()))
    server = Server(("127.0.0.1", int(port)), Handler)
    server.name, server.flag = name, flag
    print("ready", flush=True)
    server.serve_forever()


class Balancers(unittest.TestCase):
    rows = []

    @classmethod
    def tearDownClass(cls):
        print("| in front | guard | answered | within 1 s | errors | waited 5 s and more | answered after it | on A in the last 5 s |\n"
              "|---|---|---|---|---|---|---|---|")
        for row in cls.rows:
            print("| " + " | ".join(str(cell) for cell in row) + " |")

    def front(self, template, **keys):
        path = f"{self.world.dir}/front.cfg"
        with open(path, "w", encoding="utf-8") as f:
            f.write(template.format(dir=self.world.dir, location="", **keys))
        argv = ["nginx", "-c", path] if template is NGINX else ["haproxy", "-f", path]
        p = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(p.wait)
        self.addCleanup(p.terminate)

        def listens():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", keys["front"])) == 0
        until(listens, 10, "the balancer listens")

    def pool(self, name, flag):
        port = free_port()
        cgroup = self.world.cgroup(name)
        p = subprocess.Popen([sys.executable, __file__, "pool", cgroup, str(port), name, flag], stdout=subprocess.PIPE, text=True)
        self.addCleanup(p.stdout.close)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        self.assertEqual(p.stdout.readline(), "ready\n")
        return port

    @staticmethod
    def ask(front):
        c = http.client.HTTPConnection("127.0.0.1", front, timeout=30)
        try:
            c.request("GET", "/")
            r = c.getresponse()
            return r.status, r.read().decode().strip()
        finally:
            c.close()

    def play(self, name, template, keys, guarded):
        self.world = World()
        self.addCleanup(self.world.close)
        flag = f"{self.world.dir}/hang"
        a, b = self.pool("a", flag), self.pool("b", f"{self.world.dir}/never")
        guard = self.world.guard(policy({"a": {
            "cgroup": self.world.cgroup_name("a"), "connections_max": LIMIT, "enforce": "[shed]" if guarded else "[]"}}))
        until(lambda: [li for li in (guard.group("a") or {"listeners": []})["listeners"]
                       if li["connections"] and (li["connections"]["blocked"] is None) == guarded], 5, "pool A is followed")
        front = free_port()
        self.front(template, front=front, a=a, b=b, **keys)
        load = Load(RATE, lambda n: (lambda: self.ask(front), n))
        start = time.time()
        until(lambda: time.time() > start + BEFORE_S, 30, "before")
        with open(flag, "w", encoding="utf-8"):
            pass
        until(lambda: time.time() > start + BEFORE_S + HANG_S, 30, "pool A hangs")
        os.unlink(flag)
        until(lambda: time.time() > start + BEFORE_S + HANG_S + AFTER_S, 30, "after")
        self.judge(name, guarded, load.stop(), start)

    def judge(self, name, guarded, results, start):
        during = [r for r in results if start + BEFORE_S <= r[0] < start + BEFORE_S + HANG_S]
        good = [r for r in during if isinstance(r[2], tuple) and r[2][0] == 200]
        after = [r for r in results if r[0] >= start + BEFORE_S + HANG_S]
        last = [r for r in results if r[0] >= start + BEFORE_S + HANG_S + AFTER_S - 5]
        on_a = [r for r in last if isinstance(r[2], tuple) and r[2][1] == "a"]
        before = [r for r in results if r[0] < start + BEFORE_S]
        self.assertTrue(all(isinstance(r[2], tuple) and r[2][0] == 200 for r in before), "both are well to begin with")
        self.rows.append((
            name, "on" if guarded else "off", f"{100 * len(good) / len(during):.0f} %",
            f"{100 * len([r for r in good if r[3] < 1]) / len(during):.0f} %", len(during) - len(good),
            len([r for r in during if r[3] >= 5]),
            f"{100 * len([r for r in after if isinstance(r[2], tuple) and r[2][0] == 200]) / len(after):.0f} %",
            f"{100 * len(on_a) / len(last):.0f} %"))

    def test_all(self):
        for name, template, keys in CASES:
            if template is HAPROXY and not shutil.which("haproxy"):
                continue
            for guarded in (False, True):
                with self.subTest(name=name, guarded=guarded):
                    self.play(name, template, keys, guarded)
                self.doCleanups()


if __name__ == "__main__":
    if sys.argv[1:2] == ["pool"]:
        pool(*sys.argv[2:])
    unittest.main(verbosity=2)
