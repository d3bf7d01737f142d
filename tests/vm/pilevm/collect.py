# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guest knows at the end: over ssh, or from its disk when it cannot be reached."""
import re
import shutil
import subprocess

from . import guard, hog
from .machine import MachineError

SHOW = "ActiveState,SubState,Result,MainPID,ExecMainStartTimestampMonotonic,NRestarts"
JOURNAL = "journalctl -b --no-pager -o short-monotonic"
KILLED = re.compile(r"child (\d+) exited on signal (\d+)")
TRACING = "/sys/kernel/tracing"
SENT = re.compile(r"-(\d+) .* signal_generate: sig=(\d+) .* pid=(\d+) ")


def trace_signals(vm):
    """From now on the guest's kernel writes down who sends SIGKILL or SIGTERM to whom."""
    vm.ssh(f"mountpoint -q {TRACING} || mount -t tracefs tracefs {TRACING}; cd {TRACING}/events/signal/signal_generate && "
           f"echo 'sig == 9 || sig == 15' > filter && echo 1 > enable && echo mono > {TRACING}/trace_clock")


def over_ssh(vm, with_guard):
    """State, journal and answers of the guard; None when no login ends in its time."""
    shown = vm.ssh(f"systemctl show php8.2-fpm -p {SHOW}", check=False, timeout=60)
    if shown.returncode:
        return None
    unit = dict(line.split("=", 1) for line in shown.stdout.splitlines() if "=" in line)
    found = {"unit": unit, "journal": vm.ssh(JOURNAL, check=False, timeout=120).stdout,
             "fpm_log": vm.ssh("cat /var/log/php8.2-fpm.log", check=False, timeout=60).stdout,
             "signals": vm.ssh(f"cat {TRACING}/trace", check=False, timeout=60).stdout,
             "taker": vm.ssh(f"cat {hog.TAKER}", check=False, timeout=60).stdout}
    if with_guard:
        found["guard"] = {word: guard.ask(vm, word) for word in guard.ASKED}
        found["explained"] = guard.explain_all(vm)
    return found


def from_disk(vm):
    """Journal and php-fpm's log from the disk of a machine that has ended."""
    raw, journal, log, taker = (vm.folder / name for name in ("disk.raw", "journal", "php8.2-fpm.log", "taker"))
    shutil.rmtree(journal, ignore_errors=True)
    journal.mkdir()
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(vm.folder / "overlay.qcow2"), str(raw)], check=True)
    subprocess.run(["e2fsck", "-fy", str(raw)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for request in (f"rdump /var/log/journal {journal}", f"dump /var/log/php8.2-fpm.log {log}",
                    f"dump {hog.TAKER} {taker}"):
        subprocess.run(["debugfs", "-R", request, str(raw)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    raw.unlink()
    read = subprocess.run(["journalctl", f"--file={journal}/journal/*/*.journal", "--no-pager", "-o", "short-monotonic"],
                          capture_output=True, text=True)
    return {"unit": None, "journal": read.stdout,
            "fpm_log": log.read_text(errors="replace") if log.exists() else "",
            "taker": taker.read_text(errors="replace") if taker.exists() else ""}


def collect(vm, with_guard):
    """Collects over ssh; if that fails, cuts the power and reads the disk."""
    found = over_ssh(vm, with_guard)
    if found is not None:
        return found | {"by": "ssh"}
    vm.kill()
    try:
        return from_disk(vm) | {"by": "disk"}
    except (OSError, subprocess.SubprocessError) as error:
        raise MachineError(f"neither ssh nor the disk can be read: {error}") from error


def killed_workers(found):
    """(pid, signal, sender's pid or None) of the workers of php-fpm that a signal ended, by its own log.

    A killed master writes none. php-fpm itself sends SIGKILL to an idle worker that has not left a second after it was
    asked to, which happens to some of fifty when processors are emulated.
    """
    senders = {(pid, signal): sender for sender, signal, pid in SENT.findall(found.get("signals") or "")}
    return [(int(pid), int(signal), int(senders[pid, signal]) if (pid, signal) in senders else None)
            for pid, signal in KILLED.findall(found["fpm_log"])]


def oom_kills(found):
    """What the kernel's out-of-memory killer said in the journal."""
    return [line for line in found["journal"].splitlines() if "Out of memory: Killed" in line
            or "oom-kill:" in line or "Memory cgroup out of memory: Killed" in line]
