#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_guard_disk.py: the state directory is on a disk that stands still (fsfreeze) or is full: acting, and telling, go on.

The disk is an ext4 file on a loop device, mounted in the guard's own mount namespace: nobody else sees it.
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from guardlib import FIGURES, Load, Process, Stage, cgroup_programs, committed, figures_print, policy, until

SLACK_S = 2 if float(os.environ.get("PILE_SLOW", "1")) > 1 else 0     # emulated processors
MOUNT = 'mount -o loop "$0" "$1" && shift && exec "$@"'
FREEZE = 'fsfreeze -f "$0" && echo ready && cat > /dev/null; fsfreeze -u "$0"'     # thaws when the test is gone, too


def setUpModule():
    unittest.addModuleCleanup(figures_print)


class Disk(Stage):
    WORKERS = 40

    def setUp(self):
        super().setUp()
        self.slowest = 0
        image = f"{self.world.dir}/disk"
        with open(image, "wb") as f:
            f.truncate(8 << 20)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-m", "0", image], check=True)
        self.guard = self.world.guard(self.policy("2s"), prefix=("unshare", "-m", "--propagation", "private", "sh", "-c", MOUNT, image,
                                                                 f"{self.world.dir}/state"))
        # what the guard has there, seen from here
        self.mount = self.guard.state
        self.guard.state = f"/proc/{self.guard.p.pid}/root{self.mount}"
        until(lambda: self.guard.group("www")["gate_ready"], 5, "www is guarded")
        until(lambda: committed(self.guard), 5, "the policy is kept")
        self.assertTrue(os.path.isdir(f"{self.guard.state}/lost+found"), "on a disk of its own")
        self.load = Load(8, lambda n: (lambda: self.error(4), n))
        self.addCleanup(self.load.stop)

    def policy(self, dead_after):
        return policy({"www": {"cgroup": self.world.cgroup_name("www"), "workers": "prefork", "enforce": "[fail_fast]",
                               "fail_fast": "always", "dead_after": dead_after}})

    def status(self):
        start = time.monotonic()
        status = self.guard.get("status")
        self.slowest = max(self.slowest, time.monotonic() - start)
        return status

    def outage(self, name):
        """Refused as ever; asked all the while, status answers at once; and it is closed when the database is back."""
        self.slowest = 0
        until(lambda: self.load.results and self.load.results[-1][2] is None, 5, "requests are answered")
        lost = self.peer.drop(self.port, True)
        until(lambda: self.status() and self.refused(lost), 5 + SLACK_S, "refused")
        FIGURES[f"{name}: refused after the loss, s"] = round(self.refused(lost)[0] - lost, 2)
        self.assertLess(self.refused(lost)[0] - lost, 3.2 + SLACK_S)
        back = self.peer.drop(self.port, False)
        until(lambda: self.status() and self.guard.episode("www", self.endpoint)["state"] == "closed", 5 + SLACK_S, "closed")
        self.assertLess(time.time() - back, 3 + SLACK_S)
        until(lambda: self.error() is None, 1, "let through")
        FIGURES[f"{name}: slowest answer of status, s"] = round(self.slowest, 3)
        self.assertLess(self.slowest, 1)

    def refused(self, since):
        return [start for start, _, answer, _ in list(self.load.results) if start >= since and answer == "ECONNREFUSED"]

    def reload(self, dead_after):
        """In force whatever the disk does; what is told."""
        before = self.status()["policy"]["hash"]
        self.guard.write(self.policy(dead_after))
        start = time.monotonic()
        status, text = self.guard.post("reload")
        self.assertEqual(status, 200, text)
        self.assertLess(time.monotonic() - start, 3 + SLACK_S)
        self.assertNotEqual(self.status()["policy"]["hash"], before)
        return text


class Frozen(Disk, unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.ice = None
        self.addCleanup(self.thaw)

    def freeze(self):
        # by the namespace, not by the guard: it may be gone before that ends
        self.ice = Process(["nsenter", "-t", str(self.guard.p.pid), "-m", "sh", "-c", FREEZE, self.mount])

    def thaw(self):
        if self.ice:
            self.ice.p.communicate(timeout=20)
            self.assertEqual(self.ice.p.returncode, 0)
        self.ice = None

    def test_outage_while_the_disk_stands_still(self):
        self.outage("disk that writes")
        self.freeze()
        self.assertIn("not on disk yet", self.reload("2100ms"))     # from here on somebody waits for the disk
        until(self.waits, 2, "the slow thread waits for the disk")
        self.outage("frozen disk")
        self.assertTrue(self.waits())
        self.assertIn("dead_after: 2s", committed(self.guard), "the old one, whole")
        self.thaw()
        until(lambda: "dead_after: 2.1s" in committed(self.guard), 3, "the new one is kept")
        self.assertNotIn("cannot be written", self.guard.said())
        self.outage("thawed disk")

    def waits(self):
        states = []
        for task in os.listdir(f"/proc/{self.guard.p.pid}/task"):
            with open(f"/proc/{self.guard.p.pid}/task/{task}/stat", encoding="ascii") as f:
                states.append(f.read().rsplit(")", 1)[1].split()[0])
        return "D" in states

    def test_stopped_while_its_disk_stands_still(self):
        """It is held up by the disk, but nobody is by it."""
        self.assertEqual(self.guard.post("hold", group="www", endpoint=self.endpoint, seconds=60)[0], 200)
        until(lambda: self.error() == "ECONNREFUSED", 3, "refused while held")
        self.freeze()
        self.reload("2100ms")
        until(self.waits, 2, "the slow thread waits for the disk")
        self.guard.p.send_signal(signal.SIGTERM)
        until(lambda: self.error() is None, 1, "let through")
        until(lambda: cgroup_programs(self.world.cgroup("www")) == [], 1, "nothing is attached")
        self.assertIsNone(self.guard.p.poll())
        self.thaw()
        self.assertEqual(self.guard.p.wait(20), 0)
        self.world.nothing_left()

    def test_killed_while_its_disk_stands_still(self):
        """A thread that waits for the disk cannot be killed, and keeps all that the guard had: yet the database is let in."""
        self.freeze()
        self.reload("2100ms")
        until(self.waits, 2, "the slow thread waits for the disk")
        lost = self.peer.drop(self.port, True)
        until(lambda: self.refused(lost), 5 + SLACK_S, "refused")
        self.guard.p.send_signal(signal.SIGKILL)
        back = self.peer.drop(self.port, False)
        until(lambda: self.error() is None, 5, "let through")
        FIGURES["killed with a frozen disk: let through after the return, s"] = round(time.time() - back, 2)
        until(lambda: time.time() > back + 7 and all(self.error() is None for _ in range(5)), 10, "and from then on")
        self.assertEqual([s for s in self.refused(back + 5 + SLACK_S)], [], "longer than a lease: nobody is refused")
        self.thaw()
        self.guard.p.wait(20)
        self.world.nothing_left()


class Full(Disk, unittest.TestCase):
    def test_outage_while_the_disk_is_full(self):
        self.fill()
        self.assertIn("NOT kept on disk", self.reload("2100ms"))
        until(lambda: re.search(r"cannot be written \(No space left on device\)", self.guard.said()), 3, "told")
        self.assertIn("dead_after: 2s", committed(self.guard), "the old one, whole")
        self.outage("full disk")
        self.assertIn("dead_after: 2s", committed(self.guard))
        os.unlink(f"{self.guard.state}/much")
        until(lambda: "dead_after: 2.1s" in committed(self.guard), 12, "kept as soon as there is room")
        until(lambda: "can be written again" in self.guard.said(), 12, "told")
        self.outage("room again")

    def fill(self):
        with open(f"{self.guard.state}/much", "wb", buffering=0) as f:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        f.write(bytes(size))
                except OSError:
                    continue
        self.assertLess(shutil.disk_usage(self.guard.state).free, 4096)


if __name__ == "__main__":
    threading.stack_size(256 * 1024)
    unittest.main(verbosity=2)
