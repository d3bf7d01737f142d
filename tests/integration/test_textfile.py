#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""pileguardctl metrics --textfile against the cardboard guard: whole or not at all, readable by node_exporter, gone with the guard.

$PILE_CTL is the command, $PILE_API_HARNESS the harness. As root everything runs; otherwise a full disk is skipped, and says so.
"""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from guardlib import for_others, free_port, until  # noqa: E402
from test_api import Harness  # noqa: E402

CTL = os.environ.get("PILE_CTL", "/tmp/pg-api/pileguardctl")
NODE_EXPORTER = shutil.which("prometheus-node-exporter")
LAST = "pileguard_destination_connects_failed_total"    # the last family of the text


def series(text):
    return {line.split(" ")[0] for line in text.splitlines() if line and not line.startswith("#")}


class Keeping(unittest.TestCase):
    """A cardboard guard whose text is the largest there is (500 series, some tens of KiB), and a directory."""

    def setUp(self):
        self.api = Harness("--big")
        self.addCleanup(lambda: self.api.proc.poll() is None and self.api.close())
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="pileguard-textfile-"))
        self.addCleanup(shutil.rmtree, self.dir)
        self.dir.chmod(0o755)
        self.file = self.dir / "pileguard.prom"

    def command(self, *more, file=None):
        return [CTL, "--socket", self.api.path, "metrics", "--textfile", str(file or self.file), *more]

    def once(self, *more, **kwargs):
        run = subprocess.run(self.command(*more, **kwargs), capture_output=True, text=True, timeout=30)
        return run.returncode, run.stderr.strip()

    def keep(self, every, prefix=()):
        """One that goes on; what it says is in `said`."""
        self.said = self.dir / "said"
        with open(self.said, "w", encoding="utf-8") as f:
            p = subprocess.Popen([*prefix, *self.command("--every", every)], stderr=f)
        self.addCleanup(self.end, p)
        return p

    @staticmethod
    def end(p):
        if p.poll() is None:
            p.terminate()
        return p.wait(20)

    def names(self):
        return sorted(name for name in os.listdir(self.dir) if name != "said")


class Textfile(Keeping):
    def test_the_same_as_the_socket_says(self):
        wanted = series(self.api.request("GET", "/metrics")[2].decode())
        run = subprocess.run([CTL, "--socket", self.api.path, "metrics"], capture_output=True, text=True, timeout=30)
        self.assertEqual((run.returncode, series(run.stdout)), (0, wanted))
        before = os.umask(0o077)
        self.addCleanup(os.umask, before)
        self.assertEqual(self.once(), (0, ""))
        self.assertEqual(series(self.file.read_text()), wanted)
        self.assertEqual(self.file.stat().st_mode & 0o7777, 0o644, "whatever the umask")
        self.assertEqual(self.names(), ["pileguard.prom"])

    def test_a_reader_never_sees_half_a_file(self):
        keeper = self.keep("1ms")
        until(self.file.exists, 10, "the first file")
        inodes, end = set(), time.monotonic() + 2
        while time.monotonic() < end:
            with open(self.file, encoding="ascii") as f:
                inodes.add(os.fstat(f.fileno()).st_ino)
                text = f.read()
            self.assertTrue(text.endswith("\n") and LAST in text, "cut")
        # the file system may give each new one the number of the one before the last
        self.assertGreater(len(inodes), 1, "written anew, never in place")
        self.assertEqual(self.end(keeper), 0)

    def test_gone_when_it_is_told_to_end(self):
        for sig in (signal.SIGTERM, signal.SIGINT):
            keeper = self.keep("1h")
            until(self.file.exists, 10, "the first file")
            keeper.send_signal(sig)
            self.assertEqual(keeper.wait(10), 0)
            self.assertEqual(self.names(), [])

    def test_gone_with_the_guard_and_back_with_the_next(self):
        self.keep("100ms")
        until(self.file.exists, 10, "the first file")
        path = self.api.path
        self.api.close()
        until(lambda: not self.file.exists(), 10, "the file is gone with the guard")
        other = Harness("--big")     # takes several rounds
        self.addCleanup(other.close)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.addCleanup(shutil.rmtree, os.path.dirname(path))
        os.symlink(other.path, path)
        until(self.file.exists, 10, "the file is back")
        self.assertEqual(self.said.read_text().count("pileguard is not running"), 1, "said once")

    def test_once_without_a_guard_leaves_nothing_old(self):
        self.file.write_text("old 1\n")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.api.path)
        status, said = self.once()
        self.assertEqual((status, self.names()), (3, []), said)
        self.assertIn("pileguard is not running", said)

    def test_no_directory(self):
        file = self.dir / "later" / "pileguard.prom"
        status, said = self.once(file=file)
        self.assertEqual((status, said), (1, f"{file} cannot be written: No such file or directory"))
        self.file = file
        self.keep("100ms")
        until(lambda: "cannot be written" in self.said.read_text(), 10, "told")
        os.mkdir(file.parent)
        until(file.exists, 10, "written as soon as it can be")
        self.assertEqual(self.said.read_text().count("\n"), 1)

    def test_a_link_that_somebody_put_there(self):
        victim = self.dir / "victim"
        victim.write_text("mine\n")
        os.symlink(victim, f"{self.file}.new")
        os.symlink(victim, self.file)
        self.assertEqual(self.once(), (0, ""))
        self.assertEqual(victim.read_text(), "mine\n")
        self.assertFalse(self.file.is_symlink())

    def test_usage(self):
        for args in (("metrics", "--every", "15s"), ("metrics", "--textfile", "/tmp/metrics.txt"),
                     ("metrics", "--textfile", ".prom"), ("metrics", "--textfile", "/tmp/x.prom", "--every", "15"),
                     ("status", "--textfile", "/tmp/x.prom")):
            run = subprocess.run([CTL, "--socket", self.api.path, *args], capture_output=True, text=True, timeout=30)
            self.assertEqual(run.returncode, 2, (args, run.stderr))

    @unittest.skipUnless(NODE_EXPORTER and os.geteuid() == 0, "needs prometheus-node-exporter, and root to become its user")
    def test_node_exporter_reads_it(self):
        self.assertEqual(self.once()[0], 0)
        address = f"127.0.0.1:{free_port()}"
        exporter = subprocess.Popen([for_others(NODE_EXPORTER), "--collector.disable-defaults", "--collector.textfile",
                                     f"--collector.textfile.directory={self.dir}", f"--web.listen-address={address}"],
                                    user=65534, group=65534, extra_groups=[], stderr=subprocess.DEVNULL)
        self.addCleanup(self.end, exporter)

        def scrape():
            with contextlib.suppress(OSError):
                with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
                    return answer.read().decode()
            return ""
        text = until(scrape, 20, "node_exporter answers")
        self.assertIn("\nnode_textfile_scrape_error 0\n", text)
        self.assertIn(f'node_textfile_mtime_seconds{{file="{self.file}"}}', text)
        mine = {name for name in series(text) if name.startswith("pileguard_")}
        self.assertEqual({s.partition("{")[0] for s in mine}, {s.partition("{")[0] for s in series(self.file.read_text())})
        self.assertEqual(len(mine), len(series(self.file.read_text())))

    @unittest.skipUnless(os.geteuid() == 0, "needs root for a disk of its own that is full")
    def test_full_disk(self):
        """In a mount namespace of its own: nobody else sees the small disk."""
        small = self.dir / "small"
        small.mkdir()
        self.file = small / "pileguard.prom"
        keeper = self.keep("100ms", ("unshare", "--mount", "sh", "-c", f'mount -t tmpfs -o size=8k none {small}; '
                                     f'echo old 1 > {self.file}; exec "$@"', "sh"))
        until(lambda: "cannot be written" in self.said.read_text(), 10, "told")
        self.assertEqual(self.said.read_text(), f"{self.file} cannot be written: No space left on device\n")
        inside = pathlib.Path(f"/proc/{keeper.pid}/root{small}")
        self.assertEqual(os.listdir(inside), [], "neither old figures nor half of the new ones")
        subprocess.run(["nsenter", "--mount", "--target", str(keeper.pid), "mount", "-o", "remount,size=1m", small], check=True)
        until((inside / "pileguard.prom").exists, 10, "written as soon as there is room")
        self.assertEqual(self.end(keeper), 0)


if __name__ == "__main__":
    for program in (CTL, os.environ.get("PILE_API_HARNESS", "")):
        if not os.access(program, os.X_OK):
            sys.exit(f"{program} is not there: set PILE_CTL and PILE_API_HARNESS")
    unittest.main(verbosity=2)
