#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_guard_policy.py: reloads, whole or not at all; what is in force after a start; what the guard needs to start."""
import hashlib
import hmac
import os
import re
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from guardlib import BUILD, FIGURES, Stage, bpf_held_by, bpf_objects, cgroup_programs, figures_print, moment, policy, until

BROKEN = "mode: enforce\ngroups:\n  - name: www\n    cgroup: /x\n    dead_after: soon\n"
PLACE = re.compile(r"policy\.yaml:5:\d+")


def host_place():
    """Where enforce_share puts this host, 0 to 999: FNV-1a of its machine id for applications (sd-id128(3)); 1000: it has none."""
    application = bytes.fromhex("6c1f5e0d9a7b4e438d2c5170a9e40b36")
    try:
        with open("/etc/machine-id", encoding="ascii") as f:
            key = bytes.fromhex(f.read().strip())
    except (OSError, ValueError):
        return 1000
    found = bytearray(hmac.new(key, application, "sha256").digest()[:16])
    found[6], found[8] = found[6] & 0x0f | 0x40, found[8] & 0x3f | 0x80
    seed = 2166136261
    for byte in found:
        seed = (seed ^ byte) * 16777619 & 0xffffffff
    return seed % 1000


def setUpModule():
    unittest.addModuleCleanup(figures_print)


class Fixture(Stage, unittest.TestCase):
    WORKERS = 4

    @staticmethod
    def status(guard, command=("status",)):
        """The exit status of a command of pileguardctl."""
        return subprocess.run([f"{BUILD}/pileguardctl", "--socket", guard.socket, *command], stdout=subprocess.DEVNULL,
                              check=False).returncode

    def text(self, mode="enforce", **keys):
        keys = {"cgroup": self.world.cgroup_name("www"), "enforce": "[fail_fast]", "fail_fast": "always", **keys}
        return policy({"www": keys}, mode)

    def guarded(self):
        guard = self.world.guard(self.text())
        until(lambda: guard.group("www")["gate_ready"], 5, "www is guarded")
        return guard

    def hold(self, guard):
        status, text = guard.post("hold", group="www", endpoint=self.endpoint, seconds=600)
        self.assertEqual(status, 200, text)
        until(lambda: self.error() == "ECONNREFUSED", 2, "refused")


class Reload(Fixture):
    def reload(self, guard):
        return subprocess.run([f"{BUILD}/pileguardctl", "--socket", guard.socket, "reload"], capture_output=True,
                              text=True, check=False)

    def test_broken_file_changes_nothing(self):
        guard = self.guarded()
        self.hold(guard)
        before = guard.get("policy")
        guard.write(BROKEN)
        run = self.reload(guard)
        self.assertEqual(run.returncode, 78, run)
        self.assertRegex(run.stderr, PLACE)
        guard.p.send_signal(signal.SIGHUP)
        until(lambda: guard.get("status")["policy"]["reloads_refused_total"] == 2, 5, "SIGHUP was refused too")
        until(lambda: len(PLACE.findall(guard.said())) >= 2, 2, "file:line:column in the journal, each time")
        after = guard.get("policy")
        self.assertEqual((after["hash"], after["generation"]), (before["hash"], before["generation"]))
        self.assertRegex(after["trouble"], PLACE)
        self.assertEqual(self.error(), "ECONNREFUSED", "the old policy is in force")
        guard.write(self.text(probe_every="500ms"))
        self.assertEqual(self.reload(guard).returncode, 0)
        until(lambda: guard.get("policy")["generation"] == before["generation"] + 1, 2, "the next generation")
        self.assertIsNone(guard.get("policy")["trouble"])
        self.assertEqual(self.error(), "ECONNREFUSED", "still held")

    def test_taken_is_kept(self):
        """Whoever was told that it is taken may pull the plug: a start takes what stands on disk."""
        guard = self.guarded()
        for i in range(20):
            guard.write(self.text(probe_every=f"{300 + i}ms"))
            self.assertEqual(self.reload(guard).returncode, 0)
            with open(f"{guard.state}/policy.committed.yaml", encoding="utf-8") as f:
                self.assertIn(f"probe_every: {300 + i}ms", f.read())
        guard.p.kill()
        guard.p.wait()
        guard = self.world.guard()
        self.assertIn("probe_every: 319ms", guard.get("policy")["text"])

    def test_a_disk_that_takes_nothing(self):
        guard = self.guarded()
        os.mkdir(f"{guard.state}/.policy.committed.yaml.new")  # in the new file's place
        guard.write(self.text(probe_every="700ms"))
        run = self.reload(guard)
        self.assertEqual(run.returncode, 0)
        self.assertIn("NOT kept on disk", run.stdout)
        self.assertIn("probe_every: 700ms", guard.get("policy")["text"], "it is in force all the same")
        os.rmdir(f"{guard.state}/.policy.committed.yaml.new")

    def test_withdrawing_fail_fast_opens_at_once(self):
        for text in (self.text(enforce="[]"), self.text(mode="observe"), self.text(exempt=f"[{self.endpoint}]"),
                     "mode: enforce\n"):
            with self.subTest(text=text):
                guard = self.guarded()
                self.hold(guard)
                guard.write(text)
                self.assertEqual(self.reload(guard).returncode, 0)
                until(lambda: self.error() is None, 0.5, "let through")
                until(lambda: guard.episode("www", self.endpoint)["state"] == "closed", 2, "said")
                if "exempt" not in text:
                    until(lambda: cgroup_programs(self.world.cgroup("www")) == [], 2, "detached")
                guard.stop()

    @staticmethod
    def resident(guard):
        with open(f"/proc/{guard.p.pid}/status", encoding="ascii") as f:
            return int(re.search(r"VmRSS:\s*(\d+)", f.read()).group(1))

    def test_hundred_reloads_leave_nothing(self):
        guard = self.guarded()
        self.hold(guard)

        def descriptors():
            return len(os.listdir(f"/proc/{guard.p.pid}/fd"))
        for i in range(4):
            guard.write(self.text(probe_every="500ms" if i % 2 else "1s"))
            self.assertEqual(guard.post("reload")[0], 200)
        until(lambda: self.error() == "ECONNREFUSED", 1, "held")
        before, held = descriptors(), bpf_held_by(guard.p.pid)
        rss = self.resident(guard)
        for i in range(100):
            guard.write(BROKEN if i % 10 == 9 else self.text(probe_every="500ms" if i % 2 else "1s"))
            self.assertEqual(guard.post("reload")[0], 422 if i % 10 == 9 else 200)
            self.assertEqual(self.error(), "ECONNREFUSED", f"refused throughout, reload {i}")
        # probes come and go
        until(lambda: descriptors() <= before + 1, 5, f"descriptors are as before ({before})")
        self.assertEqual(len(bpf_held_by(guard.p.pid)), len(held))
        self.assertEqual({o for o in held if o[0] != "link"},
                         {o for o in bpf_held_by(guard.p.pid) if o[0] != "link"}, "same programs and maps")
        FIGURES["100 reloads: descriptors before, after; resident KiB before, after"] = (
            before, descriptors(), rss, self.resident(guard))
        self.assertLess(self.resident(guard), rss + 512)

    def test_many_at_once(self):
        """SIGHUPs in a burst: the last file is in force in the end."""
        guard = self.guarded()
        for i in range(50):
            guard.write(self.text(probe_every=f"{300 + i}ms"))
            guard.p.send_signal(signal.SIGHUP)
        until(lambda: "probe_every: 349ms" in guard.get("policy")["text"], 5, "the last one is in force")


class Start(Fixture):
    def run_to_end(self, *prefix):
        guard = self.world.guard(ready=False, prefix=prefix)
        return guard.p.wait(20), guard.said()

    def test_broken_and_none_committed(self):
        before = bpf_objects()
        with open(f"{self.world.dir}/policy.yaml", "w", encoding="utf-8") as f:
            f.write(BROKEN)
        status, said = self.run_to_end()
        self.assertEqual(status, 78, said)
        self.assertRegex(said, PLACE)
        self.assertEqual(len(said.strip().splitlines()), 1, said)
        until(lambda: not bpf_objects() - before - self.held_by_others(), 5, "nothing was loaded")

    @staticmethod
    def held_by_others():
        return set().union(*(bpf_held_by(p) for p in os.listdir("/proc") if p.isdigit()))

    def test_broken_and_one_committed(self):
        guard = self.guarded()
        wanted = guard.get("policy")
        guard.stop()
        guard.write(BROKEN)
        guard = self.world.guard()
        until(lambda: guard.group("www")["gate_ready"], 5, "www is guarded, as last committed")
        now = guard.get("policy")
        self.assertEqual((now["hash"], now["files"]), (wanted["hash"], "not valid"))
        self.assertRegex(now["trouble"], PLACE)
        self.hold(guard)
        guard.write(self.text(probe_every="700ms"))
        self.assertEqual(guard.post("reload")[0], 200)
        until(lambda: guard.get("policy")["files"] == "same", 2, "the file is in force")
        self.assertEqual(self.error(), "ECONNREFUSED")

    def test_valid_and_another_committed(self):
        """A start is no reload: files that differ wait, and that is said."""
        guard = self.guarded()
        wanted = guard.get("policy")
        guard.stop()
        guard.write("mode: observe\n")
        guard = self.world.guard()
        until(lambda: guard.group("www")["gate_ready"], 5, "www is guarded, as last committed")
        now = guard.get("policy")
        self.assertEqual((now["hash"], now["generation"], now["files"]), (wanted["hash"], wanted["generation"], "differ"))
        self.assertIn("reload pileguard", now["trouble"])
        self.assertIn("stays in force", guard.said())
        self.assertEqual(self.status(guard), 4)
        self.assertIn("pileguard_policy_trouble 1\n", guard.http("GET", "/metrics")[1])
        self.assertEqual(guard.post("reload")[0], 200)
        until(lambda: guard.get("status")["mode"] == "observe", 2, "the file is in force")
        self.assertEqual((guard.get("policy")["files"], guard.get("policy")["trouble"]), ("same", None))
        self.assertEqual(self.status(guard), 0)

    def test_committed_one_is_damaged(self):
        guard = self.guarded()
        guard.stop()
        path = f"{guard.state}/policy.committed.yaml"
        with open(path, "r+", encoding="utf-8") as f:
            f.truncate(200)
        guard = self.world.guard()
        until(lambda: guard.group("www")["gate_ready"], 5, "www is guarded, as the file says")
        self.assertIn("the files are in force, since: " + path, guard.said())
        self.assertEqual(guard.get("policy")["files"], "same")
        guard.stop()
        guard = self.world.guard()
        self.assertNotIn("since: " + path, guard.said().split("pileguard stops")[-1], "it was committed anew")

    def test_no_file_observes(self):
        """The first time, and the next: that there is no file is no trouble, as long as nothing else was in force."""
        for _ in range(2):
            guard = self.world.guard()
            self.assertEqual(guard.get("status")["mode"], "observe")
            now = guard.get("policy")
            self.assertEqual((now["source"], now["files"], now["trouble"]), ("built in", "none", None))
            self.assertEqual(self.status(guard, ("--file", guard.policy_path, "status")), 0)
            self.assertEqual(cgroup_programs(self.world.cgroup("www")), [])
            guard.stop()

    def test_another_guard_is_there(self):
        """It keeps its socket, its state and its episode; the second says why, and touches nothing."""
        guard = self.guarded()
        self.hold(guard)

        def kept():
            return {name: os.stat(f"{guard.state}/{name}").st_mtime_ns for name in os.listdir(guard.state)}
        before = kept()
        second = self.world.guard(ready=False)
        self.assertEqual(second.p.wait(20), 1)
        self.assertIn("another guard answers at " + guard.socket, guard.said())
        self.assertEqual(kept(), before)
        self.assertNotIn("pileguard stops", guard.said())
        self.assertEqual(self.error(), "ECONNREFUSED", "still held")
        self.assertEqual(guard.get("status")["mode"], "enforce", "it still answers")

    def test_committed_at_outlives_a_restart(self):
        guard = self.guarded()
        self.assertLess(abs(moment(guard.get("policy")["committed_at"]) - time.time()), 60)
        guard.stop()
        before = time.time() - 3600
        os.utime(f"{guard.state}/policy.committed.yaml", (before, before))
        guard = self.world.guard()
        self.assertLess(abs(moment(guard.get("policy")["committed_at"]) - before), 1)
        self.assertGreater(moment(guard.get("status")["started_at"]), before)

    def test_no_privilege(self):
        """One sentence, exit status 1, nothing left."""
        for prefix in (("setpriv", "--bounding-set", "-all", "--inh-caps", "-all"),
                       ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")):
            os.chmod(self.world.dir, 0o777)
            for path in ("state", "guard.log"):
                if os.path.exists(f"{self.world.dir}/{path}"):
                    os.chmod(f"{self.world.dir}/{path}", 0o777)
            open(f"{self.world.dir}/guard.log", "w", encoding="utf-8").close()
            with self.subTest(prefix=prefix):
                status, said = self.run_to_end(*prefix)
                self.assertEqual(status, 1, said)
                self.assertEqual(len(said.strip().splitlines()), 1, said)
                self.assertIn("privilege", said)

    def test_no_cgroup_v2(self):
        """In a mount namespace without it."""
        script = f"umount {self.world.mount} && exec \"$@\""
        status, said = self.run_to_end("unshare", "--mount", "sh", "-c", script, "sh")
        self.assertEqual(status, 1, said)
        self.assertEqual(len(said.strip().splitlines()), 1, said)
        self.assertIn("cgroup v2", said)

    def test_no_type_information(self):
        script = "mount -t tmpfs none /sys/kernel/btf && exec \"$@\""
        status, said = self.run_to_end("unshare", "--mount", "sh", "-c", script, "sh")
        self.assertEqual(status, 1, said)
        self.assertEqual(len(said.strip().splitlines()), 1, said)
        self.assertIn("/sys/kernel/btf/vmlinux", said)

    def test_no_pressure(self):
        script = "mount -t tmpfs none /proc/pressure && exec \"$@\""
        guard = self.world.guard(self.text(), prefix=("unshare", "--mount", "sh", "-c", script, "sh"))
        until(lambda: guard.group("www")["gate_ready"], 5, "the rest works")
        self.assertIn("PSI", guard.said())
        self.hold(guard)

    def test_socket_path_in_use(self):
        """A socket that a killed guard left is taken over."""
        guard = self.guarded()
        guard.p.kill()
        guard.p.wait()
        self.assertTrue(os.path.exists(guard.socket))
        guard = self.world.guard()
        until(lambda: guard.group("www")["gate_ready"], 5, "www is guarded again")


class Files(Fixture):
    """policy.yaml and fragments: one policy, or none; what lies on disk and is not in force is told."""

    GROUP = "groups:\n  - name: {0}\n    cgroup: {1}\n    enforce: [fail_fast]\n    fail_fast: always\n"

    def guarded_by_fragment(self, top="mode: enforce\nrevision: 1\n"):
        guard = self.world.guard(top)
        guard.write("revision: 1\n" + self.GROUP.format("www", self.world.cgroup_name("www")), "10-www.yaml")
        self.assertEqual(guard.post("reload")[0], 200)
        until(lambda: (guard.group("www") or {}).get("gate_ready"), 5, "www is guarded")
        return guard

    def test_fragment_is_in_force(self):
        guard = self.guarded_by_fragment()
        self.hold(guard)
        now = guard.get("policy")
        self.assertEqual((now["revision"], now["files"]), ("1", "same"))
        self.assertIn("policy.yaml and 1 more in ", now["source"])
        os.unlink(f"{guard.dir}/policy.d/10-www.yaml")
        self.assertEqual(guard.post("reload")[0], 200)
        until(lambda: self.error() is None, 1, "without the fragment nobody is refused")

    def test_half_of_a_push_is_refused(self):
        guard = self.guarded_by_fragment()
        self.hold(guard)
        wanted = guard.get("policy")["hash"]
        guard.write("mode: observe\nrevision: 2\n")
        run = subprocess.run([f"{BUILD}/pileguardctl", "--socket", guard.socket, "reload"], capture_output=True, text=True,
                             check=False)
        self.assertEqual(run.returncode, 78, run)
        self.assertRegex(run.stderr, r"policy\.d/10-www\.yaml:1:11: revision: '1', but '2' in .*policy\.yaml")
        self.assertEqual(self.status(guard, ("--file", guard.policy_path, "policy", "diff")), 78)
        until(lambda: guard.get("policy")["files"] == "mixed", 1, "the files are mixed, and that is said")
        self.assertEqual(guard.get("policy")["hash"], wanted)
        self.assertEqual(self.status(guard), 4)
        self.assertIn("pileguard_policy_files_mixed 1\n", guard.http("GET", "/metrics")[1])
        self.assertEqual(self.error(), "ECONNREFUSED", "the old policy is in force")
        guard.stop()  # a crash and a boot in the middle of the push
        guard = self.world.guard()
        until(lambda: guard.group("www")["gate_ready"], 5, "www is guarded, as last committed")
        now = guard.get("policy")
        self.assertEqual((now["hash"], now["files"]), (wanted, "mixed"))
        guard.write("revision: 2\n" + self.GROUP.format("www", self.world.cgroup_name("www")), "10-www.yaml")
        self.assertEqual(guard.post("reload")[0], 200)
        until(lambda: guard.get("status")["mode"] == "observe", 2, "the whole push is in force")

    def test_half_of_a_push_and_none_committed(self):
        guard = self.world.guard("mode: observe\nrevision: 1\n")
        guard.stop()
        os.unlink(f"{guard.state}/policy.committed.yaml")
        guard.write("revision: 2\n", "10-x.yaml")
        guard = self.world.guard(ready=False)
        self.assertEqual(guard.p.wait(20), 78)
        self.assertIn("half of a push", guard.said())

    def test_change_on_disk_is_told(self):
        """By the guard itself, once it has come to rest; and withdrawn again."""
        guard = self.guarded_by_fragment()
        guard.write("mode: observe\n", "20-later.yaml")
        until(lambda: guard.get("policy")["files"] == "differ", 15, "seen")
        self.assertIn("the files are another policy", guard.said())
        self.assertEqual(guard.get("status")["mode"], "enforce")
        self.assertEqual(self.status(guard, ("--file", guard.policy_path, "policy", "diff")), 4)
        os.unlink(f"{guard.dir}/policy.d/20-later.yaml")
        until(lambda: guard.get("policy")["files"] == "same", 15, "seen again")
        self.assertIsNone(guard.get("policy")["trouble"])
        self.assertEqual(self.status(guard, ("--file", guard.policy_path, "policy", "diff")), 0)
        self.assertEqual(guard.said().count("stays in force"), 1)

    def test_enforce_share(self):
        """A host is in a share, and in every larger one, by its machine id; outside of it, it observes and says so."""
        guard = self.guarded_by_fragment()

        def refuses(share):
            guard.write(f"mode: enforce\nenforce_share: {share}%\n", "20-share.yaml")
            self.assertEqual(guard.post("reload")[0], 200)
            now = guard.get("status")
            until(lambda: abs(guard.get("status")["policy"]["enforce_share_ratio"] - share / 100) < 1e-6, 2, "taken")
            now = guard.get("status")
            self.assertEqual(now["policy"]["outside_share"], now["mode"] == "observe")
            if now["mode"] == "observe":
                until(lambda: cgroup_programs(self.world.cgroup("www")) == [], 2, "nothing is attached")
                status, text = guard.post("hold", group="www", endpoint=self.endpoint, seconds=60)
                self.assertEqual((status, self.error()), (409, None), text)
            else:
                until(lambda: guard.group("www")["gate_ready"], 2, "attached")
            return now["mode"] == "enforce"
        place = host_place()
        for share in sorted({0.1, 25, 50, 75, 100, (place + 1) / 10, max(place, 1) / 10}):
            self.assertEqual(refuses(share), share == 100 or place < share * 10, f"place {place} of 1,000, share {share} %")
        refuses(0.1)
        if place:  # 999 machine ids of 1,000
            out = subprocess.run([f"{BUILD}/pileguardctl", "--socket", guard.socket, "status"], capture_output=True, text=True,
                                 check=False).stdout
            self.assertIn("the policy says enforce; enforce_share 0.1% leaves this host out", out)

    def test_fingerprints(self):
        guard = self.guarded_by_fragment()
        path = f"{guard.dir}/app.conf"
        guard.write(f"fingerprints: [{path}, /etc/none-such]\n", "30-prints.yaml")
        self.assertEqual(guard.post("reload")[0], 200)

        def shown():
            return {line.split('path="')[1].split('"')[0]: line.split('sha256="')[1].split('"')[0]
                    for line in guard.http("GET", "/metrics")[1].splitlines()
                    if line.startswith("pileguard_fingerprint_info{")}
        until(lambda: shown() == {path: "missing", "/etc/none-such": "missing"}, 5, "both are missing")
        for text in ("max_children = 10\n", "max_children = 12\n"):
            with open(path, "w", encoding="ascii") as f:
                f.write(text)
            wanted = hashlib.sha256(text.encode()).hexdigest()[:16]
            until(lambda: shown()[path] == wanted, 10, "the hash of the file")  # pylint: disable=cell-var-from-loop
        os.unlink(path)
        os.mkfifo(path)
        until(lambda: shown()[path] == "unreadable", 10, "a FIFO stops nobody")
        self.assertEqual(guard.post("reload")[0], 200)


if __name__ == "__main__":
    unittest.main()
