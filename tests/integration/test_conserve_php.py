#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_conserve_php.py: nginx and php-fpm as they are: FastCGI over unix and TCP, kept or not: each request once."""
import http.client
import os
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from guardlib import FIGURES, World, figures_print, until
from phpstack import Stack

REQUESTS = 8000
THREADS = 4


def setUpModule():
    unittest.addModuleCleanup(figures_print)


class Php(unittest.TestCase):
    def setUp(self):
        self.world = World()
        self.addCleanup(self.world.close)
        self.stack = Stack(self.world)
        self.php, self.nginx = (self.world.cgroup_name(n)[1:] for n in ("php", "nginx"))
        self.guard = self.world.guard()
        until(lambda: len((self.guard.group(self.php) or {"listeners": []})["listeners"]) == 2 and
              self.guard.group(self.nginx), 5, "both are found")
        time.sleep(0.6)     # a walk later everything that was accepted before is adopted

    def ask(self, port, failures):
        try:
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            for i in range(REQUESTS // THREADS):
                if i % 10:
                    c.request("GET", "/")
                else:
                    c.request("POST", "/", body=b"x" * 3000)
                answer = c.getresponse()
                if answer.status != 200 or answer.read() != b"hello":
                    raise AssertionError(f"answer {answer.status}")
            c.close()
        except Exception as e:      # pylint: disable=broad-except
            failures.append(e)

    def counts(self, name):
        r = self.guard.group(name)["requests"]
        return [r[k] for k in ("opened_total", "answered_total", "closed_total", "drift_total", "waiting")]

    def test_each_request_once(self):
        for (transport, kept), port in self.stack.ports.items():
            with self.subTest(transport=transport, kept=kept):
                before = {n: self.counts(n) for n in (self.php, self.nginx)}
                failures = []
                threads = [threading.Thread(target=self.ask, args=(port, failures)) for _ in range(THREADS)]
                for t in threads:
                    t.start()
                for t in threads:
                    t.join()
                self.assertEqual(failures, [])

                def difference(before=before):
                    return {n.rsplit("-", 1)[-1]: [a - b for a, b in zip(self.counts(n), before[n])] for n in before}

                def exact():
                    return all(d == [REQUESTS, REQUESTS, 0, 0, 0] for d in difference().values())
                try:
                    until(exact, 3, "exact")
                except AssertionError:
                    pass
                FIGURES[f"php-fpm over {transport}, kept: {kept}"] = difference()
                for name, (opened, answered, closed, *rest) in difference().items():
                    # a reader that takes a left-over together with the next request, before that wakes it, hides it:
                    # unix and kept connections only; 1 in 8,000 seen, emulated processors
                    self.assertEqual(rest, [0, 0], name)
                    hidden = REQUESTS // 4000 if (transport, kept) == ("unix", True) else 0
                    self.assertGreaterEqual(answered, REQUESTS - hidden, name)
                    self.assertEqual(opened, answered + closed, name)
                    # nginx's last (empty) record may come after php-fpm's first byte: by the rule that parses no
                    # protocol it opens a request, which php-fpm's next byte answers or the end closes; 3 in 8,000 seen,
                    # busy host
                    self.assertLessEqual(opened, REQUESTS + REQUESTS // 1000, name)


if __name__ == "__main__":
    unittest.main()
