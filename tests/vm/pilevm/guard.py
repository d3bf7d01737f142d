"""Installs the guard into a running guest, and asks it what it did."""
import json
import os
import subprocess
import tempfile
from pathlib import Path

from .machine import MachineError, await_true

TREE = Path(__file__).resolve().parents[3]
POLICY = """\
mode: enforce
groups:
  - name: www
    unit: php8.2-fpm.service
    listen: /run/php/php8.2-fpm.sock
    workers: prefork
    enforce: [fail_fast]
  - name: nginx
    unit: nginx.service
"""
ASKED = ("status", "groups", "dependencies", "workers", "events")


def stage(folder, tree=TREE):
    """Installs the build of the tree into folder, as a package would be made."""
    done = subprocess.run(["make", "-C", str(tree), "install", f"DESTDIR={folder}"], capture_output=True, text=True,
                          env=os.environ | {"MAKEFLAGS": ""})
    if done.returncode:
        raise MachineError(f"make install failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return Path(folder)


def install_guard(vm, staging, policy_text):
    """Puts a staged guard and a policy into the guest and starts it; returns when it is active."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["cp", "-a", f"{staging}/.", folder], check=True)
        policy = Path(folder) / "etc/pileguard/policy.yaml"
        policy.parent.mkdir(parents=True, exist_ok=True)
        policy.write_text(policy_text)
        vm.ssh("getent group pileguard >/dev/null || "
               "useradd --system --user-group --no-create-home --shell /usr/sbin/nologin pileguard; "
               "usermod -aG pileguard ops")
        vm.copy_in(folder, "/tmp/staging")
    # cp keeps Debian's merged /lib and /usr as they are; a tar laid over / would not
    vm.ssh("chown -R root:root /tmp/staging && cp -a /tmp/staging/. / && rm -rf /tmp/staging && ldconfig")
    started = vm.ssh("systemctl daemon-reload && systemctl start pileguard", check=False, timeout=90)
    if started.returncode:
        raise MachineError("the guard did not start: " + started.stderr
                           + vm.ssh("journalctl -u pileguard --no-pager -n 30", check=False).stdout)
    await_true(lambda: ask(vm, "status"), 30, "an answer of pileguardctl status", 0.5)


def ask(vm, *words, timeout=30):
    """What pileguardctl --json WORDS says, parsed; None when it does not answer."""
    done = vm.ssh("pileguardctl --json " + " ".join(words), check=False, timeout=timeout)
    if done.returncode:
        return None
    return parse_json(done.stdout)


def parse_json(text):
    """One JSON value, or a list of those on the lines."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError:
        return None


def events_of(answers):
    """The list of events, whatever it is wrapped in."""
    events = (answers or {}).get("events")
    if isinstance(events, dict):
        events = events.get("events")
    return events or []


def first_time(events, is_wanted, offset_s):
    """Host's time (seconds, monotonic) of the first event that is wanted, by its t_ns; or None."""
    times = [event["t_ns"] / 1e9 + offset_s for event in events if "t_ns" in event and is_wanted(event)]
    return min(times, default=None)


# Events by which the guard touches the world: their names as `pileguardctl --json events` has them.
ACTION_WORDS = ("opened", "open", "refuse", "ended", "deadline", "held")


def is_action(event):
    """Whether an event tells that the guard changed something (and not only what it saw)."""
    if event.get("observed_only") or event.get("mode") == "observe":
        return False
    name = str(event.get("type") or event.get("event") or event.get("what") or "").lower()
    return any(word in name for word in ACTION_WORDS)
