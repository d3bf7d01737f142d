# SPDX-License-Identifier: GPL-2.0-or-later
"""Installs the guard into a running guest, and asks it what it did."""
import json
import os
import shutil
import subprocess
import tempfile
from datetime import datetime, timezone
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
HANG_POLICY = POLICY.replace("enforce: [fail_fast]\n", "enforce: [fail_fast]\n    server_speaks_first: ['10.9.0.2:3306']\n")
SHED_POLICY = POLICY.replace("enforce: [fail_fast]", "enforce: [shed]\n    connections_max: 60")
THROTTLE_POLICY = "protect: [ssh.service, user.slice]\n" + POLICY.replace("enforce: [fail_fast]", "enforce: [throttle]")
EVICT_POLICY = POLICY.replace("enforce: [fail_fast]", "enforce: [evict]")
STOP_POLICY = POLICY.replace("enforce: [fail_fast]", "enforce: [stop]\n    stop_hold: 5s\n    cache_life: none")
ASKED = ("status", "groups", "dependencies", "workers", "events")


TRACE = "/var/lib/pileguard/trace.tsv"


def stage(folder, tree=TREE, record=False):
    """Installs the build of the tree into folder, as a package would be made; record: with the guard that writes TRACE."""
    done = subprocess.run(["make", "-C", str(tree), "install", f"DESTDIR={folder}"], capture_output=True, text=True,
                          env=os.environ | {"MAKEFLAGS": ""})
    if done.returncode:
        raise MachineError(f"make install failed:\n{(done.stdout + done.stderr)[-2000:]}")
    if record:
        subprocess.run(["make", "-s", "-C", str(tree), "build/tests/pileguardd-record"], check=True, env=os.environ | {"MAKEFLAGS": ""})
        shutil.copy(tree / "build/tests/pileguardd-record", f"{folder}/usr/sbin/pileguardd")
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
    vm.ssh("chown -R root:root /tmp/staging && chmod 755 /tmp/staging && cp -a /tmp/staging/. / && rm -rf /tmp/staging && ldconfig && "
           "journalctl --update-catalog")
    started = vm.ssh("systemctl daemon-reload && systemctl start pileguard", check=False, timeout=90)
    if started.returncode:
        raise MachineError("the guard did not start: " + started.stderr + own_log(vm))
    try:
        await_true(lambda: ask(vm, "status"), 60, "an answer of pileguardctl status", 0.5)
    except MachineError as error:
        raise MachineError(f"{error}:\n" + own_log(vm)) from None


def own_log(vm):
    """The last lines that the guard wrote."""
    return vm.ssh("journalctl -u pileguard --no-pager -n 30", check=False).stdout


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
    """The list of events; empty when the guard did not answer."""
    return (answers or {}).get("events") or []


def explain_all(vm):
    """Every explain record that an event names, oldest first."""
    named = {event["explain"] for event in events_of({"events": ask(vm, "events")}) if event.get("explain")}
    return [record for record in (ask(vm, "explain", str(number)) for number in sorted(named)[:50]) if record]


def wall_time(text):
    """Seconds since the epoch of a time as the API writes it, 2021-02-01T07:26:00.123Z."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc).timestamp()


def first_effect(explained, wall_offset_s):
    """Host's time (seconds, monotonic) of the first wait that the guard ended or refused, as it explains it."""
    times = [wall_time(record["opened_at"]) + record["did"]["first_effect_after_seconds"] + wall_offset_s
             for record in explained or []
             if record.get("acted") and record["did"].get("first_effect_after_seconds") is not None]
    return min(times, default=None)


COUNTED = ("opened_total", "connects_refused_total", "waits_ended_total")


def actions(status):
    """How often the guard touched the world so far, by its own counters; None when it does not answer."""
    if not status:
        return None
    return {name: status["fail_fast"][name] for name in COUNTED} | {
        "connections_refused": status["shed"]["connections_refused_total"], "workers_evicted": status["evict"]["workers_evicted_total"],
        "throttled": status["throttle"]["throttled_total"], "services_stopped": status["stop"]["services_stopped_total"]}
