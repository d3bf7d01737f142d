# SPDX-License-Identifier: GPL-2.0-or-later
"""Who was killed, by whom, when: from the guest's trace of signals and its journal. Pure.

A kill is {"at": the guest's monotonic clock in seconds, "by": who, "pid", "comm", "how"}, one for each victim, in order of time. What
systemd sends to a unit that it stops, because of a kill or by hand, is none.
"""
import re

PILEGUARD = "pileguardd"
OTHER_GUARDS = ("earlyoom", "nohang", "systemd-oomd")
SIGNALS = {9: "SIGKILL", 15: "SIGTERM"}
# "  earlyoom-402  [001] d..1.  61.204851: signal_generate: sig=15 errno=0 code=0 comm=php-fpm8.2 pid=931 grp=1 res=0"
TRACED = re.compile(r"^\s*(?P<sender>.+)-(?P<sender_pid>\d+)\s+\[\d+\]\s+\S+\s+(?P<at>[\d.]+): signal_generate: "
                    r"sig=(?P<signal>\d+) .*comm=(?P<comm>.+) pid=(?P<pid>\d+) grp=")
AT = r"^\[\s*(?P<at>[\d.]+)\] \S+ "
KERNEL = re.compile(AT + r"kernel: (?P<how>Memory cgroup out of memory|Out of memory): "
                    r"Killed process (?P<pid>\d+) \((?P<comm>.*?)\)[, ]")
# the daemons' own words, for when the trace is lost with its machine
EARLYOOM = re.compile(AT + r"earlyoom\[\d+\]: sending (?P<how>SIG\w+) to process (?P<pid>\d+) uid \d+ \"(?P<comm>.*?)\"")
OOMD = re.compile(AT + r"systemd-oomd\[\d+\]: Killed (?P<comm>/\S+) due to (?P<how>.*)")
NOHANG = re.compile(AT + r"nohang\[\d+\]:.*Sending (?P<how>SIG\w+) to (?P<comm>.+)")


def by_kernel(journal):
    """The out-of-memory killer's."""
    hows = {"Out of memory": "out of memory", "Memory cgroup out of memory": "out of the unit's memory"}
    return [kill_of(found, "kernel") | {"how": hows[found["how"]]} for found in matches(KERNEL, journal)]


def by_guards(trace, pids, guards=(*OTHER_GUARDS, PILEGUARD)):
    """Signals of processes that have a guard's name or pid (an interpreter's name says nothing)."""
    return [kill_of(found, pids.get(int(found["sender_pid"]), found["sender"])) | {"how": SIGNALS[int(found["signal"])]}
            for found in matches(TRACED, trace) if found["sender"] in guards or int(found["sender_pid"]) in pids]


def said(journal):
    """What guards said of themselves, which tells a name and perhaps no pid."""
    return [kill_of(found, name) | {"how": found["how"]} for pattern, name in
            ((EARLYOOM, "earlyoom"), (OOMD, "systemd-oomd"), (NOHANG, "nohang")) for found in matches(pattern, journal)]


def matches(pattern, text):
    return [found.groupdict() for found in map(pattern.search, (text or "").splitlines()) if found]


def kill_of(found, by):
    return {"at": float(found["at"]), "by": by, "pid": int(found["pid"]) if found.get("pid") else None, "comm": found["comm"]}


def kills(journal, trace, pids, since):
    """All kills since that instant of the guest's monotonic clock; pids: {pid: name} of the guard's own processes."""
    found = by_kernel(journal) + (by_guards(trace, pids) if trace else said(journal))
    first = {}
    for kill in sorted(found, key=lambda kill: kill["at"]):
        if kill["at"] >= since and kill["comm"] not in (*OTHER_GUARDS, PILEGUARD):
            first.setdefault(kill["pid"] or kill["comm"], kill)
    return list(first.values())
