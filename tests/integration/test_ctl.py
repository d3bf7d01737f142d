#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""pileguardctl against the cardboard guard: golden outputs, exit statuses, sentences.

$PILE_CTL is the command, $PILE_API_HARNESS the harness. `test_ctl.py --update` writes the golden files anew.
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from guardlib import for_others, until  # noqa: E402
from test_api import Harness  # noqa: E402

CTL = os.environ.get("PILE_CTL", "/tmp/pg-api/pileguardctl")
GOLDEN = pathlib.Path(__file__).parent / "ctl_golden"
NO_FILE = "/nonexistent/policy.yaml"
UPDATE = "--update" in sys.argv


def ctl(*args, socket=None, columns=None, uid=None, sudo=None):
    env = {"TZ": "UTC", "LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}
    if columns:
        env["COLUMNS"] = str(columns)
    if sudo:
        env["SUDO_USER"] = sudo
    command = [for_others(CTL) if uid else CTL, *(["--socket", socket] if socket else []), *args]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=30,
                          **({"user": uid, "group": uid, "extra_groups": []} if uid else {}))


class Golden(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.api = Harness()

    @classmethod
    def tearDownClass(cls):
        cls.api.close()

    def check(self, name, *args, columns=None, status=0):
        run = ctl(*args, socket=self.api.path, columns=columns)
        text = run.stdout + run.stderr
        self.assertEqual(run.returncode, status, text)
        path = GOLDEN / f"{name}.txt"
        if UPDATE:
            path.write_text(text)
        self.assertEqual(text, path.read_text())
        for line in text.splitlines():
            self.assertEqual(line, line.rstrip())

    def test_tables(self):
        self.check("status", "status", "--file", NO_FILE)
        self.check("status-narrow", "status", "--file", NO_FILE, columns=60)
        self.check("groups", "groups")
        self.check("groups-narrow", "groups", columns=80)
        self.check("workers", "workers")
        self.check("workers-one-group", "workers", "--group", "nginx")
        self.check("workers-no-group", "workers", "--group", "no such")
        self.check("dependencies", "dependencies")
        self.check("dependencies-narrow", "dependencies", columns=72)
        self.check("events", "events")
        self.check("explain", "explain", "17")
        self.check("explain-narrow", "explain", "17", columns=72)
        self.check("explain-throttle", "explain", "20")
        self.check("explain-unknown", "explain", "4", status=1)
        self.check("policy-show", "policy", "show")
        self.check("help", "help")

    def test_disarmed(self):
        self.api.say("disarmed alice 3600")
        until(lambda: self.api.get("/v1/status")["disarmed"], 2, "shown")
        self.check("status-disarmed", "status", "--file", NO_FILE)
        self.api.say("disarmed alice")
        until(lambda: not self.api.get("/v1/status")["disarmed"], 2, "not shown any more")

    def test_json_is_the_apis(self):
        for args, path in ((("status",), "/v1/status"), (("groups",), "/v1/groups"), (("workers",), "/v1/workers"),
                           (("dependencies",), "/v1/dependencies"), (("events",), "/v1/events"),
                           (("explain", "17"), "/v1/explain/17"), (("policy", "show"), "/v1/policy")):
            run = ctl("--json", *args, socket=self.api.path)
            self.assertEqual((run.returncode, json.loads(run.stdout)), (0, self.api.get(path)), args)


class Commands(unittest.TestCase):
    def setUp(self):
        self.api = Harness()

    def tearDown(self):
        self.api.close()

    def run_ctl(self, *args, **kwargs):
        run = ctl(*args, socket=self.api.path, **kwargs)
        return run.returncode, (run.stdout + run.stderr).strip()

    def test_no_color_and_no_control_characters_in_a_pipe(self):
        self.api.say("event \033[2J gone")
        text = ctl("events", socket=self.api.path).stdout
        self.assertNotIn("\033", text)
        self.assertIn("?[2J gone", text)

    def test_usage(self):
        for args in ((), ("frobnicate",), ("explain",), ("explain", "x"), ("hold", "www"), ("--nonsense",),
                     ("status", "--follow"), ("hold", "www", "db"), ("policy", "frobnicate"),
                     ("hold", "www", "1.2.3.4:5", "--for", "10"), ("hold", "www", "1.2.3.4:5", "--for", "25h")):
            run = ctl(*args, socket=self.api.path)
            self.assertEqual(run.returncode, 2, (args, run.stderr))

    def test_hand(self):
        if os.geteuid() != 0:
            self.skipTest("hold and release need root")
        self.assertEqual(self.run_ctl("hold", "www", "10.9.0.2:3306", "--for", "2min"),
                         (0, "held www 10.9.0.2:3306 for 120 s by uid 0"))
        self.assertEqual(self.run_ctl("release", "www", "10.9.0.2:3306"),
                         (0, "released www 10.9.0.2:3306 for 600 s by uid 0"))
        self.assertEqual(self.run_ctl("release", "www", "10.9.0.2")[0], 0)   # every port of it
        self.assertEqual(self.run_ctl("hold", "www", "10.9.0.2")[0], 2)
        self.assertEqual(self.run_ctl("hold", "web", "10.9.0.2:3306")[0], 1)
        self.assertEqual(self.run_ctl("release", "www", "10.9.0.2:3306", uid=65534),
                         (1, "only root may change anything: run the command with sudo"))

    def test_disarm(self):
        if os.geteuid() != 0:
            self.skipTest("disarm needs root")
        self.assertRegex(self.run_ctl("disarm")[1], r"^disarmed by [a-z]\S* for 0 s by uid 0$")
        self.assertEqual(self.run_ctl("disarm", "--for", "1h", sudo="alice"), (0, "disarmed by alice for 3600 s by uid 0"))
        self.assertEqual(self.run_ctl("disarm", sudo="CORP\\al \u00e9" + "x" * 90)[0], 0, "whatever the name")
        self.assertEqual(self.run_ctl("arm", sudo="alice"), (0, "armed by alice for 0 s by uid 0"))
        self.assertEqual(self.run_ctl("disarm", "--for", "721h")[0], 2)
        self.assertEqual(self.run_ctl("arm", "--for", "1h")[0], 2)
        for command in ("disarm", "arm"):
            self.assertEqual(self.run_ctl(command, uid=65534),
                             (1, "only root may change anything: run the command with sudo"))

    def test_reload(self):
        if os.geteuid() != 0:
            self.skipTest("reload needs root")
        self.assertEqual(self.run_ctl("reload"), (0, "1 group enforces fail_fast (was: none); nothing else changes"))
        self.api.say("bad")
        status, text = self.run_ctl("reload")
        self.assertEqual(status, 78)
        self.assertIn("policy.yaml:4:11: mode must be", text)

    def test_nobody_there(self):
        run = ctl("status", socket="/nonexistent/stats.sock")
        self.assertEqual(run.returncode, 3)
        self.assertIn("sudo systemctl start pileguard", run.stderr)

    def test_kept_away(self):
        """What keeps the unit from starting is said, in mounts that nobody else sees."""
        if os.geteuid() != 0:
            self.skipTest("needs root for mounts of its own")
        flag, word = "mkdir /etc/pileguard && touch /etc/pileguard/disabled", "mount --bind $0/cmdline /proc/cmdline"
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "cmdline").write_text("root=/dev/vda pileguard.off quiet\n")
            for setup, says, says_not in ((flag, ["/etc/pileguard/disabled keeps",
                                                  "sudo rm /etc/pileguard/disabled && sudo systemctl start"], ["command line"]),
                                          (word, ['"pileguard.off" on the kernel\'s command line', "Boot without"], ["rm "]),
                                          (f"{flag} && {word}", ["disabled keeps", "command line", "Boot without", "rm /etc"], []),
                                          ("true", ["Start it with: sudo systemctl"], ["keeps"])):
                script = f"mount -t tmpfs none /etc && {setup} && exec $1 --socket /nonexistent status"
                run = subprocess.run(["unshare", "-m", "sh", "-c", script, folder, CTL], capture_output=True, text=True, check=False)
                self.assertEqual(run.returncode, 3, run)
                for text in says:
                    self.assertIn(text, run.stderr)
                for text in says_not:
                    self.assertNotIn(text, run.stderr)

    def test_permission(self):
        if os.geteuid() != 0:
            self.skipTest("needs root to become somebody else")
        os.chmod(self.api.path, 0o660)
        status, text = self.run_ctl("status", uid=65534)
        self.assertEqual(status, 1)
        self.assertIn("usermod -aG pileguard", text)

    def test_silent_socket(self):
        os.kill(self.api.pid, signal.SIGSTOP)   # it listens, and says nothing
        try:
            start = time.monotonic()
            status, text = self.run_ctl("status")
            self.assertEqual(status, 3)
            self.assertIn("did not answer in time", text)
            self.assertLess(time.monotonic() - start, 8)
        finally:
            os.kill(self.api.pid, signal.SIGCONT)

    def test_follow(self):
        proc = subprocess.Popen([CTL, "--socket", self.api.path, "events", "--follow"], stdout=subprocess.PIPE,
                                text=True, env={"TZ": "UTC"})
        self.assertIn("started: mode observe", proc.stdout.readline())
        proc.stdout.readline()
        self.api.say("event now")
        self.assertEqual(proc.stdout.readline(), "2025-10-09 08:53:20  now\n")
        proc.terminate()
        proc.wait(5)
        proc.stdout.close()


class Policy(unittest.TestCase):
    def setUp(self):
        self.api = Harness()
        self.file = tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False)

    def tearDown(self):
        self.api.close()
        os.unlink(self.file.name)

    def write(self, text):
        with open(self.file.name, "w") as f:
            f.write(text)

    def test_check_works_without_the_daemon(self):
        self.write("mode: observe\ngroups:\n  - name: www\n    unit: php8.2-fpm.service\n")
        run = ctl("policy", "check", self.file.name, socket="/nonexistent")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("ok: mode observe, 1 group", run.stdout)

    def test_check_and_diff_say_what_changes(self):
        self.write("mode: enforce\ngroups:\n  - name: www\n    unit: php8.2-fpm.service\n    enforce: [fail_fast]\n")
        for verb, status in (("check", 0), ("diff", 4)):
            run = ctl("policy", verb, self.file.name, socket=self.api.path)
            self.assertEqual(run.returncode, status, run.stderr)
            self.assertIn("1 group enforces fail_fast (was: none)", run.stdout)
        self.write(ctl("policy", "show", socket=self.api.path).stdout)
        run = ctl("policy", "diff", self.file.name, socket=self.api.path)
        self.assertEqual((run.returncode, run.stdout), (0, "nothing changes\n"))

    def test_errors_have_a_place(self):
        self.write("mode: observe\ngroups:\n  - name: www\n    unit: a.service\n    dead_after: 3\n")
        run = ctl("policy", "check", self.file.name)
        self.assertEqual(run.returncode, 78)
        self.assertRegex(run.stderr, rf"^{self.file.name}:5:\d+: ")
        run = ctl("--json", "policy", "check", self.file.name)
        self.assertEqual((run.returncode, json.loads(run.stdout)["line"]), (78, 5))
        run = ctl("policy", "check", NO_FILE)
        self.assertEqual(run.returncode, 78)
        self.assertIn(NO_FILE, run.stderr)

    def test_status_compares_with_the_disk(self):
        self.write("mode: enforce\n")
        run = ctl("status", "--file", self.file.name, socket=self.api.path)
        self.assertEqual(run.returncode, 4)
        self.assertIn("differs on disk", run.stdout)
        self.assertIn("sudo systemctl reload pileguard", run.stdout)
        check = ctl("--json", "policy", "check", self.file.name, socket=self.api.path)
        self.api.say("policy " + json.loads(check.stdout)["hash"])
        run = ctl("status", "--file", self.file.name, socket=self.api.path)
        self.assertEqual(run.returncode, 0)
        self.assertIn("same as on disk", run.stdout)
        self.write("mode: maybe\n")
        run = ctl("status", "--file", self.file.name, socket=self.api.path)
        self.assertEqual(run.returncode, 4)
        self.assertIn("not valid on disk", run.stdout)
        self.assertIn(self.file.name + ":1:", run.stdout)


class Fragments(unittest.TestCase):
    """Several files: checked together, as they lie there or as they would with others in their places."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)
        (self.dir / "policy.d").mkdir()
        self.put("policy.yaml", "mode: observe\nrevision: 1\n")
        self.put("policy.d/50-api.yaml", "revision: 1\ngroups:\n  - {name: api, unit: api.service}\n")
        self.new = self.put("new.yaml", "revision: 2\ngroups:\n  - {name: api, unit: api2.service, workers_max: 10}\n")

    def put(self, name, text):
        (self.dir / name).write_text(text)
        return str(self.dir / name)

    def check(self, *args, socket="/nonexistent", verb="check"):
        return ctl("--file", str(self.dir / "policy.yaml"), "policy", verb, *args, socket=socket)

    def test_together(self):
        self.assertIn("ok: mode observe, 1 group", self.check().stdout)
        self.put("policy.d/60-more.yaml", "groups:\n  - {name: more, unit: api.service}\n")
        run = self.check()
        self.assertEqual(run.returncode, 78)
        self.assertRegex(run.stderr, r"policy\.d/60-more\.yaml:2:24: unit: 'api\.service' is guarded by group 'api' already")

    def test_half_of_a_push(self):
        self.put("policy.yaml", "mode: observe\nrevision: 2\n")
        for verb in ("check", "diff"):
            run = self.check(verb=verb)
            self.assertEqual(run.returncode, 78)
            self.assertRegex(run.stderr, r"policy\.d/50-api\.yaml:1:11: revision: '1', but '2' in .*/policy\.yaml")

    def test_with(self):
        run = self.check("--with", f"50-api.yaml={self.new}")
        self.assertEqual(run.returncode, 0, "the first file of a push must pass")
        self.assertIn("ok: mode observe, 1 group", run.stdout)
        self.assertRegex(run.stderr, r"^note: .*/new\.yaml:1:11: revision: '2', but '1'")
        top = self.put("top.yaml", "mode: enforce\nrevision: 2\n")
        run = self.check("--with", f"50-api.yaml={self.new}", "--with", f"policy.yaml={top}")
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        self.assertIn("mode enforce, 1 group", run.stdout)
        self.assertIn("0 groups", self.check("--with", "50-api.yaml=").stdout)
        self.put("new.yaml", "groups:\n  - {name: api, unit: api2.service, dead_after: 3}\n")
        run = self.check("--with", f"50-api.yaml={self.new}")
        self.assertEqual(run.returncode, 78)
        self.assertRegex(run.stderr, r"^.*/new\.yaml:2:49: dead_after: '3' has no unit")
        # in context: alone it is valid
        self.put("new.yaml", "groups:\n  - {name: api, unit: b.service}\n")
        self.assertEqual(ctl("policy", "check", self.new, socket="/nonexistent").returncode, 0)
        run = self.check("--with", f"60-b.yaml={self.new}")
        self.assertEqual(run.returncode, 78)
        self.assertIn("name: 'api' is the name of an earlier group", run.stderr)

    def test_with_usage(self):
        for args in (("check", "--with", "50-api.yaml"), ("check", "--with", "=x"), ("show", "--with", "policy.yaml=x"),
                     ("check", self.new, "--with", "policy.yaml=x"), ("init", "--with", "policy.yaml=x")):
            self.assertEqual(ctl("policy", *args).returncode, 2, args)
        run = self.check("--with", f"../../etc/x.yaml={self.new}")
        self.assertEqual(run.returncode, 78)
        self.assertIn("is no file of a policy", run.stderr)


class Init(unittest.TestCase):
    """A first policy: valid, observing, nothing enforced."""

    def setUp(self):
        self.api = Harness()
        self.addCleanup(self.api.close)

    def test_of_a_host_with_a_policy(self):
        run = ctl("policy", "init", socket=self.api.path)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("# services that the policy in force does not name", run.stdout)
        self.assertNotIn("name: www", run.stdout)
        self.assertIn("  - name: nginx\n    unit: nginx.service\n", run.stdout)
        self.assertNotIn("mode:", run.stdout)

    def test_is_valid_and_enforces_nothing(self):
        text = ctl("policy", "init", socket=self.api.path).stdout
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "policy.yaml"
            for enforced in (text, text.replace("    # enforce:", "    enforce:")):
                file.write_text(enforced)
                run = ctl("policy", "check", str(file), socket="/nonexistent")
                self.assertEqual(run.returncode, 0, enforced)

    def test_without_the_daemon(self):
        self.assertEqual(ctl("policy", "init", socket="/nonexistent/stats.sock").returncode, 3)

    def test_into_a_file(self):
        """All of it or nothing; what has groups stays, and so does what is there when the guard does not answer."""
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "policy.yaml"

            def init(socket=self.api.path):
                return ctl("policy", "init", str(file), socket=socket)
            run = init()
            self.assertEqual((run.returncode, file.read_text()), (0, run.stdout), run.stderr)
            for text in (run.stdout, "groups:\n  - name: [\n"):     # groups; not even YAML
                file.write_text(text)
                run = init()
                self.assertEqual((run.returncode, run.stdout, file.read_text()), (1, "", text))
                self.assertIn("nothing is written", run.stderr)
            for text in ("mode: observe   # the package's sample\n", ""):
                file.write_text(text)
                self.assertEqual((init("/nonexistent/stats.sock").returncode, file.read_text()), (3, text))
                run = init()
                self.assertEqual((run.returncode, file.read_text()), (0, run.stdout), run.stderr)
                self.assertEqual(pathlib.Path(f"{file}.old").read_text(), text)
            link = pathlib.Path(folder) / "link"
            link.symlink_to(file)
            file.write_text("")
            self.assertEqual(ctl("policy", "init", str(link), socket=self.api.path).returncode, 0)
            self.assertTrue(link.is_symlink() and file.read_text() == run.stdout)
            link.unlink()
            file.unlink()
            file.mkdir()
            run = init()
            self.assertEqual((run.returncode, run.stdout), (1, ""))
            self.assertEqual(sorted(os.listdir(folder)), ["policy.yaml", "policy.yaml.old"])


if __name__ == "__main__":
    if UPDATE:
        sys.argv.remove("--update")
    for program in (CTL, os.environ.get("PILE_API_HARNESS", "/tmp/pg-api/api_harness")):
        if not os.access(program, os.X_OK):
            sys.exit(f"build {program} first (or set PILE_CTL, PILE_API_HARNESS)")
    unittest.main(verbosity=2)
