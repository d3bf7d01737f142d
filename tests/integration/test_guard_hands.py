#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_guard_hands.py: the operator's hand (hold, release), and how the guard lets go when it is stopped or dies."""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from guardlib import (BUILD, FIGURES, GATE_PROGRAMS, Load, Stage, bpf_objects, cgroup_programs, figures_print, for_others, moment,
                      policy, until)


def setUpModule():
    unittest.addModuleCleanup(figures_print)


class Fixture(Stage, unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.cgroup = self.world.cgroup("www")
        self.guard = self.world.guard(policy({"www": {
            "cgroup": self.world.cgroup_name("www"), "enforce": "[fail_fast]", "fail_fast": "always"}}))
        until(lambda: self.guard.group("www")["gate_ready"], 5, "www is guarded")

    def hold(self, seconds):
        status, text = self.guard.post("hold", group="www", endpoint=self.endpoint, seconds=seconds)
        self.assertEqual(status, 200, text)
        until(lambda: self.error() == "ECONNREFUSED", 2, "refused")

    def ctl(self, *args, uid=0):
        program = f"{BUILD}/pileguardctl"
        return subprocess.run([for_others(program) if uid else program, "--socket", self.guard.socket, *args], capture_output=True,
                              text=True, check=False, user=uid)


class Hands(Fixture):
    def test_hold_and_release(self):
        self.assertIsNone(self.error())
        held = self.ctl("hold", "www", self.endpoint, "--for", "60s")
        self.assertEqual(held.returncode, 0, held.stderr)
        until(lambda: self.error() == "ECONNREFUSED", 2, "refused while held, though it answers")
        self.assertTrue(self.guard.episode("www", self.endpoint)["why"]["by_hand"])
        released = self.ctl("release", "www", self.endpoint, "--for", "1s")
        self.assertEqual(released.returncode, 0, released.stderr)
        until(lambda: self.error() is None, 2, "let through after release")
        self.assertEqual({r[0] for r in self.www.connects(50, self.peer.v4, self.port)}, {None})

    def test_hold_is_over(self):
        start = time.monotonic()
        self.hold(2)
        until(lambda: self.error() is None, 5, "the hold is over")
        self.assertGreater(time.monotonic() - start, 1.8)

    def test_held_before_anybody_connected(self):
        """No sensor has met it, for it is refused first: shown all the same, with what was refused."""
        status, text = self.guard.post("hold", group="www", endpoint="203.0.113.9:25", seconds=60)
        self.assertEqual(status, 200, text)
        until(lambda: self.www.connect("203.0.113.9", 25, seconds=1)[0] == "ECONNREFUSED", 3, "refused")
        gates = until(lambda: [g for g in self.guard.get("status")["gates"] if g["refused_total"] > 0], 3, "in status")
        self.assertEqual([(g["endpoint"], g["gate"]) for g in gates], [("203.0.113.9:25", "open")])
        self.assertRegex(self.ctl("status").stdout, r"connects to 203\.0\.113\.9:25 are refused \(held by hand, \S+ left; \d+ so far\)")
        self.assertIn("pileguard_holds 1\n", self.guard.http("GET", "/metrics")[1])

    def test_a_release_is_shown(self):
        """Of a destination that somebody asks, of one that nobody asks, of a whole address: until it is over."""
        self.assertIsNone(self.error())
        for what in (self.endpoint, "203.0.113.9", "203.0.113.10:25"):
            status, text = self.guard.post("release", group="www", endpoint=what, seconds=3)
            self.assertEqual(status, 200, text)
        said = until(lambda: (lambda text: text if text.count("is released by hand") == 3 else None)(self.ctl("status").stdout), 2,
                     "three releases in status")
        for what in (f"{self.endpoint} is", "203.0.113.9 is", "203.0.113.10:25 is"):
            self.assertIn(f"! www: {what} released by hand, ", said)
        self.assertIn("pileguard_releases 3\n", self.guard.http("GET", "/metrics")[1])
        self.assertEqual(self.ctl("dependencies").stdout.count("released, "), 3)
        until(lambda: "released by hand" not in self.ctl("status").stdout, 6, "over, and not shown any more")
        self.assertIn("pileguard_releases 0\n", self.guard.http("GET", "/metrics")[1])

    def test_release_in_an_outage(self):
        """Released: nobody is refused, though it is dead; when that is over, the proof holds again."""
        self.peer.drop(self.port, True)
        load = Load(6, lambda n: (lambda: self.error(1.2), n))
        self.addCleanup(load.stop)
        until(lambda: self.error(0.3) == "ECONNREFUSED", 8, "dead: refused")
        start = time.monotonic()
        status, text = self.guard.post("release", group="www", endpoint=self.endpoint, seconds=4)
        self.assertEqual(status, 200, text)
        until(lambda: self.error(0.3) == "EAGAIN", 2, "not refused any more: waits")
        while time.monotonic() < start + 3.5:
            self.assertEqual(self.error(0.3), "EAGAIN", "nobody is refused while released")
        until(lambda: self.error(0.3) == "ECONNREFUSED", 8, "refused again when the release is over")

    def test_only_root(self):
        os.chmod(self.guard.socket, 0o666)      # otherwise nobody else gets as far as to ask
        for command in (("hold", "www", self.endpoint), ("release", "www", self.endpoint), ("reload",)):
            run = self.ctl("--json", *command, uid=65534)
            self.assertEqual(run.returncode, 1, run)
            self.assertIn("root", run.stdout + run.stderr)
        body = json.dumps({"group": "www", "endpoint": self.endpoint, "seconds": 60})
        run = subprocess.run(["curl", "-si", "--unix-socket", self.guard.socket, "-d", body, "http://x/v1/hold"],
                             capture_output=True, text=True, check=False, user=65534)
        self.assertIn(" 403 ", run.stdout.splitlines()[0], run)
        self.assertEqual(self.ctl("status", uid=65534).returncode, 0, "anybody who may connect may look")
        self.assertIsNone(self.error(), "nothing was held")
        self.assertEqual(self.guard.events("command"), [])

    def test_one_api_process(self):
        """Two would share the listener, and the commands of one would get no answer (found so)."""
        with open(f"/proc/{self.guard.p.pid}/task/{self.guard.p.pid}/children", encoding="ascii") as f:
            self.assertEqual(len(f.read().split()), 1)
        for _ in range(20):
            status, text = self.guard.post("hold", group="www", endpoint=self.endpoint, seconds=1)
            self.assertEqual(status, 200, text)

    def test_mistyped(self):
        """Taken, since somebody may connect there any moment; and said."""
        self.assertIsNone(self.error())
        until(lambda: self.guard.dependency("www", self.endpoint), 5, "known")
        other = f"{self.peer.v4}:{self.peer.tell('free')}"
        for command in ("hold", "release"):
            for endpoint, said in ((self.endpoint, False), (other, True)):
                status, text = self.guard.post(command, group="www", endpoint=endpoint, seconds=1)
                self.assertEqual((status, "nobody has connected there" in text), (200, said), text)

    def test_reloaded_by_a_signal_to_all_of_the_unit(self):
        """systemctl kill -s HUP: the api process, which loads nothing, lives on."""
        reloads = self.guard.get("status")["policy"]["reloads_total"]
        with open(f"/proc/{self.guard.p.pid}/task/{self.guard.p.pid}/children", encoding="ascii") as f:
            api = int(f.read())
        os.kill(api, signal.SIGHUP)
        os.kill(self.guard.p.pid, signal.SIGHUP)
        until(lambda: self.guard.get("status")["policy"]["reloads_total"] > reloads, 5, "reloaded")
        with open(f"/proc/{self.guard.p.pid}/task/{self.guard.p.pid}/children", encoding="ascii") as f:
            self.assertEqual(int(f.read()), api)

    def test_wrong_hands(self):
        for body in ({"group": "nobody", "endpoint": self.endpoint, "seconds": 5},
                     {"group": "www", "endpoint": "db.example:3306", "seconds": 5},
                     {"group": "www", "endpoint": "10.9.0.2", "seconds": 5},
                     {"group": "www", "endpoint": self.endpoint, "seconds": 0},
                     {"group": "www", "endpoint": self.endpoint, "seconds": 86401}, {}):
            status, text = self.guard.post("hold", **body)
            self.assertTrue(400 <= status < 500, (body, status, text))
        self.assertIsNone(self.error())


class Disarmed(Fixture):
    """Everything open at once, whatever the policy says, until somebody arms the guard again."""

    def disarm(self, *args):
        start = time.monotonic()
        run = self.ctl("disarm", *args)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("undo: pileguardctl arm", run.stdout)
        self.assertNotIn("disk", run.stdout)
        return start

    def restarted(self, sig=signal.SIGTERM):
        self.guard.stop(sig)
        self.guard = self.world.guard()

    def dead(self):
        self.peer.drop(self.port, True)
        load = Load(8, lambda n: (lambda: self.error(1.2), n))
        self.addCleanup(load.stop)
        until(lambda: self.error(0.3) == "ECONNREFUSED", 8, "dead: refused")
        return load

    def test_in_an_outage_under_load(self):
        """Nobody is refused 2 s later, though all processors are busy; what it would do is still told; arm brings it back."""
        spinners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4 * (os.cpu_count() or 1))]
        self.addCleanup(lambda: [(p.kill(), p.wait()) for p in spinners])
        self.dead()
        self.assertNotEqual(cgroup_programs(self.cgroup), [])
        start = self.disarm()
        until(lambda: self.error(0.3) == "EAGAIN", 2, "not refused any more: waits")
        took = time.monotonic() - start
        FIGURES["disarm on a busy host: not refused any more after, s"] = round(took, 2)
        self.assertLess(took, 2)
        self.assertEqual(cgroup_programs(self.cgroup), [], "its programs are gone from the cgroup")
        blocked = "disarmed by hand"
        until(lambda: (self.guard.episode("www", self.endpoint) or {}).get("blocked") == blocked, 8, "what it would have done")
        until(lambda: f"would have refused connects ({blocked})" in self.guard.said(), 2, "in the journal")
        status = self.guard.get("status")
        self.assertEqual((status["mode"], status["disarmed"]["until"], [g["enforce"] for g in status["groups"] if g["enforce"]]),
                         ("enforce", None, []))
        self.assertEqual(self.error(0.3), "EAGAIN")
        for p in spinners:
            p.kill()
        self.assertEqual(self.ctl("arm").returncode, 0)
        until(lambda: self.error(0.3) == "ECONNREFUSED", 8, "armed: refused again")
        until(lambda: not self.guard.get("status")["disarmed"], 2, "status says so")

    def test_survives_the_guard(self):
        """However it ended. A hold is over with it, and none is taken."""
        self.hold(60)
        self.disarm()
        until(lambda: self.error() is None, 2, "what was held is open")
        for n, sig in enumerate((signal.SIGTERM, signal.SIGKILL), 1):
            self.restarted(sig)
            until(lambda: self.guard.said().count("disarmed by") > n, 2, "told at each start")
            self.assertIsNotNone(self.guard.get("status")["disarmed"])
            held = self.ctl("hold", "www", self.endpoint)
            self.assertEqual((held.returncode, "disarmed by hand" in held.stderr), (1, True), held)
            self.assertEqual(cgroup_programs(self.cgroup), [])
        self.assertEqual(self.ctl("arm").returncode, 0)
        self.assertFalse(os.path.exists(f"{self.guard.state}/disarmed"))
        self.restarted()
        self.assertIsNone(self.guard.get("status")["disarmed"])
        until(lambda: self.guard.group("www")["gate_ready"], 5, "www is guarded")
        self.hold(60)

    def test_ends_by_itself(self):
        self.disarm("--for", "2s")
        until(lambda: (self.guard.get("status")["disarmed"] or {}).get("until"), 2, "until when")
        until(lambda: not self.guard.get("status")["disarmed"], 5, "armed again")
        until(lambda: "armed again, the time is over" in self.guard.said(), 2, "told")
        until(lambda: self.guard.group("www")["gate_ready"], 5, "www is guarded")
        until(lambda: not os.path.exists(f"{self.guard.state}/disarmed"), 2, "no file any more")
        self.disarm("--for", "1s")
        self.guard.stop()
        time.sleep(1)      # its time passes while no guard is there
        self.guard = self.world.guard()
        self.assertIsNone(self.guard.get("status")["disarmed"])
        until(lambda: not os.path.exists(f"{self.guard.state}/disarmed"), 2, "no file any more")

    def test_a_file_without_sense(self):
        self.guard.stop()
        with open(f"{self.guard.state}/disarmed", "w", encoding="ascii") as f:
            f.write("\0 nonsense")
        self.guard = self.world.guard()
        self.assertEqual(self.guard.get("status")["disarmed"]["by"], "unknown")
        self.assertEqual(self.ctl("arm").returncode, 0)
        until(lambda: not self.guard.get("status")["disarmed"], 2, "armed")

    def test_not_kept_is_said(self):
        """A state directory that takes no file: it works, and says that a restart will forget it."""
        os.mkdir(f"{self.guard.state}/disarmed.new")
        self.addCleanup(lambda: os.path.isdir(f"{self.guard.state}/disarmed.new") and os.rmdir(f"{self.guard.state}/disarmed.new"))
        run = self.ctl("disarm")
        self.assertEqual((run.returncode, "NOT kept on disk" in run.stdout), (0, True), run)
        until(lambda: self.guard.get("status")["disarmed"], 2, "disarmed all the same")

    def test_only_root(self):
        os.chmod(self.guard.socket, 0o666)
        for command in ("disarm", "arm"):
            self.assertEqual(self.ctl(command, uid=65534).returncode, 1)
        self.assertIsNone(self.guard.get("status")["disarmed"])


class SafeMode(Fixture):
    """Three guards within ten minutes that did not stop by themselves: the next one only observes, and says so."""

    def answers(self):
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(self.guard.socket) == 0

    def restarted(self, sig):
        self.guard.p.send_signal(sig)
        self.guard.p.wait(20)
        until(lambda: not self.answers(), 5, "its api process has ended, too")
        self.guard = self.world.guard()
        return self.guard.get("status")["disarmed"]

    def can_hold(self):
        until(lambda: self.guard.group("www")["gate_ready"], 5, "www is guarded")
        self.hold(60)

    def test_three_deaths(self):
        for sig in (signal.SIGKILL, signal.SIGABRT):
            self.assertIsNone(self.restarted(sig))
            self.can_hold()
        said = self.restarted(signal.SIGKILL)
        self.assertEqual(said["by"], "safe-mode")
        self.assertAlmostEqual(moment(said["until"]) - time.time(), 3600, delta=30, msg="not for ever")
        until(lambda: "safe mode: 3 guards within 10 minutes" in self.guard.said(), 2, "told")
        self.assertEqual(self.ctl("hold", "www", self.endpoint).returncode, 1)
        self.assertEqual(cgroup_programs(self.cgroup), [])
        self.assertEqual(self.restarted(signal.SIGTERM)["by"], "safe-mode", "until somebody says otherwise")
        self.assertEqual(self.ctl("arm").returncode, 0)
        self.can_hold()
        self.assertIsNone(self.restarted(signal.SIGKILL), "it counts anew")

    def test_again_within_a_day(self):
        """A safe mode that ran out while nobody was here keeps nobody from the next one, which is twice as long."""
        now = int(time.time())
        for name, text in (("disarmed", f"since {now - 4000}\nuntil {now - 400}\nby safe-mode\n"),
                           ("safe-mode", f"{now - 400} 3600\n"), ("unclean", f"{now - 30}\n{now - 20}\n")):
            with open(f"{self.guard.state}/{name}", "w", encoding="ascii") as f:
                f.write(text)
        self.restarted(signal.SIGKILL)
        until(lambda: self.guard.get("status")["guard"]["ticks_total"] > 5, 5, "some ticks later")
        said = self.guard.get("status")["disarmed"]
        self.assertEqual(said and said["by"], "safe-mode")
        self.assertAlmostEqual(moment(said["until"]) - time.time(), 7200, delta=30)

    def test_what_does_not_count(self):
        """Ends by itself, ends of long ago, and what a wrong clock or a wrong hand has written."""
        for _ in range(4):
            self.assertIsNone(self.restarted(signal.SIGTERM))
        self.assertFalse(os.path.exists(f"{self.guard.state}/unclean"))
        now = int(time.time())
        for text in (f"{now - 601}\n{now - 700}\n{now - 800}\n", f"{now + 500}\n{now + 9999}\n{now + 5}\n", "\0 x\n-1\n1e9\n"):
            with open(f"{self.guard.state}/unclean", "w", encoding="ascii") as f:
                f.write(text)
            self.assertIsNone(self.restarted(signal.SIGKILL), text)
        os.unlink(f"{self.guard.state}/unclean")
        self.can_hold()


class Motd(Fixture):
    """What whoever logs in is told: while something is refused, and no longer."""

    def motd(self):
        try:
            with open(self.guard.motd, encoding="ascii") as f:
                return f.read()
        except FileNotFoundError:
            return None

    def test_while_something_is_held(self):
        self.assertIsNone(self.motd())
        self.hold(60)
        number = self.guard.episode("www", self.endpoint)["id"]
        self.assertEqual(until(self.motd, 2, "a line"),
                         f"pileguard: connects of www to {self.endpoint} are refused (held by hand). pileguardctl explain {number}; "
                         f"undo: sudo pileguardctl release www {self.endpoint}\n")
        self.assertEqual(os.stat(self.guard.motd).st_mode & 0o777, 0o644)
        self.assertEqual(os.listdir(self.world.dir).count("motd.new"), 0)
        status, text = self.guard.post("hold", group="www", endpoint="10.255.0.9:99", seconds=60)
        self.assertEqual(status, 200, text)
        until(lambda: (self.motd() or "").count("\n") == 2, 2, "two lines")
        self.ctl("release", "www", "10.255.0.9:99")
        self.ctl("release", "www", self.endpoint)
        until(lambda: self.motd() is None, 2, "no line")

    def test_many(self):
        for port in range(1, 9):
            self.assertEqual(self.guard.post("hold", group="www", endpoint=f"10.255.0.9:{port}", seconds=60)[0], 200)
        until(lambda: (self.motd() or "").endswith("pileguard: 3 more are refused or throttled: pileguardctl status\n"), 2,
              "five and the rest")
        self.assertEqual(self.motd().count("\n"), 6)
        self.guard.stop()
        self.assertIsNone(self.motd(), "gone when the guard stops")

    def test_dead_and_disarmed(self):
        self.peer.drop(self.port, True)
        load = Load(6, lambda n: (lambda: self.error(1.2), n))
        self.addCleanup(load.stop)
        until(lambda: f"to {self.endpoint} are refused (it is dead)" in (self.motd() or ""), 8, "a line")
        self.ctl("disarm")
        until(lambda: re.fullmatch(r"pileguard: disarmed by \S+ at .* UTC, until somebody arms it: it only observes. "
                                   r"undo: sudo pileguardctl arm\n", self.motd() or ""), 2, "disarmed instead")
        self.ctl("arm")
        until(lambda: f"to {self.endpoint} are refused (it is dead)" in (self.motd() or ""), 8, "refused again")

    def test_what_a_killed_guard_left(self):
        self.hold(60)
        until(self.motd, 2, "a line")
        self.guard.stop(signal.SIGKILL)
        self.assertIsNotNone(self.motd(), "nobody was there to remove it")
        self.guard = self.world.guard()
        until(lambda: self.motd() is None, 2, "removed by the next guard")


class LettingGo(Fixture):
    """With a gate shut by hand: refused until nobody renews it."""

    def test_stopped_guard_loses_its_lease(self):
        self.hold(60)
        self.guard.p.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        self.assertEqual(self.error(), "ECONNREFUSED", "a stopped guard still holds, for its lease")
        until(lambda: self.error() is None, 6, "connects go through when the lease is over")
        FIGURES["SIGSTOP: not refused any more after, s"] = round(time.monotonic() - stopped, 2)
        self.assertGreater(time.monotonic() - stopped, 4)
        self.guard.p.send_signal(signal.SIGCONT)
        until(lambda: self.error() == "ECONNREFUSED", 3, "held again")

    def test_killed_guard_opens_at_once(self):
        self.hold(60)
        held = self.guard.held
        killed = time.monotonic()
        self.guard.p.kill()
        until(lambda: self.error() is None, 1, "connects go through")
        FIGURES["SIGKILL: not refused any more after, s"] = round(time.monotonic() - killed, 3)
        self.guard.p.wait()
        until(lambda: not held & bpf_objects(), 5, "programs, maps and links are gone")
        FIGURES["SIGKILL: nothing in the kernel any more after, s"] = round(time.monotonic() - killed, 2)
        self.assertEqual(cgroup_programs(self.cgroup), [])
        self.world.nothing_left()

    def test_a_number_means_one_episode_for_ever(self):
        """Also after a death: the number in an old journal line is not given to another one."""
        self.hold(60)
        first = self.guard.episode("www", self.endpoint)["id"]
        until(lambda: os.path.exists(f"{self.guard.state}/explain.next"), 2, "kept")
        self.guard.p.kill()
        self.guard.p.wait()
        self.guard = self.world.guard()
        until(lambda: self.guard.group("www")["gate_ready"], 5, "www is guarded")
        self.hold(60)
        self.assertEqual(self.guard.episode("www", self.endpoint)["id"], first + 1)
        self.assertEqual(self.guard.http("GET", f"/v1/explain/{first}")[0], 404)
        self.guard.stop()
        with open(f"{self.guard.state}/explain.next", "w", encoding="ascii") as f:
            f.write("-7 \0 nonsense")
        self.guard = self.world.guard()
        until(lambda: self.guard.group("www")["gate_ready"], 5, "a file that makes no sense costs only the number")
        self.hold(60)
        self.assertEqual(self.guard.episode("www", self.endpoint)["id"], 1)

    def files(self):
        """Every file of the cgroup by name, and what is in its knobs; the others count by themselves."""
        seen = {}
        for name in sorted(os.listdir(self.cgroup)):
            if "pressure" in name or name.endswith(".peak") or not os.stat(f"{self.cgroup}/{name}").st_mode & 0o200:
                seen[name] = ""
                continue
            try:
                with open(f"{self.cgroup}/{name}", encoding="utf-8") as f:
                    seen[name] = f.read()
            except OSError as e:
                seen[name] = str(e)
        return seen

    def test_terminated_in_mid_action(self):
        self.guard.stop()
        before = self.files()
        self.world.nothing_left()
        guard = self.guard = self.world.guard()
        until(lambda: guard.group("www")["gate_ready"], 5, "www is guarded")
        self.assertEqual(sorted(cgroup_programs(self.cgroup)), GATE_PROGRAMS)
        self.peer.drop(self.port, True)
        load = Load(8, lambda n: (lambda: self.error(8), n))
        until(lambda: (guard.dependency("www", self.endpoint) or {}).get("gate") == "open", 8, "refused")
        stopped = time.monotonic()
        self.assertEqual(guard.stop(), 0)
        FIGURES["SIGTERM in mid-action: gone after, s"] = round(time.monotonic() - stopped, 2)
        self.world.nothing_left()
        self.assertEqual(self.files(), before)
        self.assertFalse(os.path.exists(guard.socket))
        self.assertEqual(self.error(0.3), "EAGAIN", "waits, as without a guard")
        self.peer.drop(self.port, False)
        load.stop()
        self.assertIn("pileguard stops: everything is open", guard.said())


if __name__ == "__main__":
    unittest.main()
