# SPDX-License-Identifier: GPL-2.0-or-later
"""benchlib.py: what the parts of tests/bench/run share: the figures with their aims, clocks, counters, loads."""
import json
import os
import re
import statistics
import subprocess
import time

from guardlib import BPFTOOL, BUILD, Process, until

SENSORS = ("arrival", "receive", "send")
STATS = "/proc/sys/kernel/bpf_stats_enabled"
TICKS = 100     # of the guard, that a figure about ticks is made of: 10 s
AIMS = {"<=": lambda value, aim: value <= aim, ">=": lambda value, aim: value >= aim}


class Figures:
    """Every figure by its name: all its values, unit, aim, and the part that it belongs to."""

    def __init__(self):
        self.rows, self.part = {}, ""
        self.missing = ""   # what the guard says that this host does not give it

    def add(self, what, value, unit="", aim=None):
        """aim: ("<=" or ">=", number)"""
        row = self.rows.setdefault((self.part, what), {"values": [], "unit": unit, "aim": aim})
        row["values"].append(value)
        print(f"  {what}: {number(value)} {unit}  {self.aim(row)} {self.verdict(row, value)}".rstrip(), flush=True)

    @staticmethod
    def aim(row):
        return f"{row['aim'][0]} {row['aim'][1]}" if row["aim"] else ""

    @staticmethod
    def verdict(row, value):
        return "" if not row["aim"] else "ok" if AIMS[row["aim"][0]](value, row["aim"][1]) else "MISSED"

    def lines(self):
        """(part, what, median, range or "", aim, verdict)"""
        for (part, what), row in self.rows.items():
            middle, span = statistics.median(row["values"]), ""
            if len(row["values"]) > 1:
                span = f"{number(min(row['values']))} ... {number(max(row['values']))}"
            yield part, what, f"{number(middle)} {row['unit']}".strip(), span, self.aim(row), self.verdict(row, middle)


FIGURES = Figures()
row = FIGURES.add


def number(value):
    """Three digits that mean something."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_ns(pid):
    """Of the main thread: the control loop."""
    with open(f"/proc/{pid}/task/{pid}/schedstat", encoding="ascii") as f:
        return int(f.read().split()[0])


def resident_mib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s*(\d+)", f.read()).group(1)) / 1024


def maps_mib(guard):
    """Kernel memory of the guard's maps, as the kernel accounts for it."""
    out = subprocess.run([BPFTOOL, "-j", "map", "show"], capture_output=True, text=True, check=True).stdout
    held = {i for k, i in guard.held if k == "map"}
    return sum(m.get("bytes_memlock", 0) for m in json.loads(out) if m["id"] in held) / 2**20


def api_pid(guard):
    with open(f"/proc/{guard.p.pid}/task/{guard.p.pid}/children", encoding="ascii") as f:
        return int(f.read().split()[0])


def busy_seconds():
    """Processor time that anybody used, and that the hypervisor kept for others."""
    with open("/proc/stat", encoding="ascii") as f:
        v = [int(n) for n in f.readline().split()[1:9]]
    return (sum(v[:3]) + sum(v[5:8])) / os.sysconf("SC_CLK_TCK")


def others(seconds=2):
    """What runs on this machine while nothing of ours does, in processors."""
    before = busy_seconds()
    time.sleep(seconds)
    return (busy_seconds() - before) / seconds


def ticks(guard):
    """CPU time of single ticks, ns: what the control loop used since the look before, where it used any."""
    pid, found, before, fresh = guard.p.pid, [], cpu_ns(guard.p.pid), False
    while len(found) < TICKS:
        time.sleep(0.01)
        now = cpu_ns(pid)
        if now == before:
            fresh = True
            continue
        if fresh or not found:
            found.append(0)
        found[-1] += now - before
        before, fresh = now, False
    return found


def ticks_told(what, guard, aim=None, aim_share=None):
    """The guard for ten seconds: its ticks, and its share of a core."""
    before, start = cpu_seconds(guard.p.pid), time.monotonic()
    took = ticks(guard)
    share = (cpu_seconds(guard.p.pid) - before) / (time.monotonic() - start) * 100
    row(f"{what}: guard, of a core", share, "%", aim_share)
    row(f"{what}: a tick without a walk (median)", statistics.median(took) / 1000, "us", aim)
    row(f"{what}: a tick, mean of all", statistics.mean(took) / 1000, "us")
    row(f"{what}: the dearest of {TICKS} ticks", max(took) / 1000, "us")


class Statistics:
    """Runs and nanoseconds of programs, between two readings."""

    def __init__(self, ids):
        self.ids = ids
        self.before = self.read()

    def read(self):
        out = subprocess.run([BPFTOOL, "-j", "prog", "show"], capture_output=True, text=True, check=True).stdout
        return {p["name"]: (p.get("run_cnt", 0), p.get("run_time_ns", 0)) for p in json.loads(out)
                if p["id"] in self.ids}

    def taken(self):
        after = self.read()
        return {n: (after[n][0] - self.before[n][0], after[n][1] - self.before[n][1]) for n in after}


class Counting:
    """The kernel's statistics are on, as long as this is entered."""

    @staticmethod
    def write(text):
        with open(STATS, "w", encoding="ascii") as f:
            f.write(text)

    def __enter__(self):
        self.write("1")

    def __exit__(self, *exception):
        self.write("0")


def total(taken, names=None):
    picked = [v for n, v in taken.items() if names is None or n in names]
    return sum(c for c, _ in picked), sum(t for _, t in picked)


class Empty:
    """Programs of the sensors' types that do nothing, attached."""

    def __init__(self):
        # pylint: disable=consider-using-with
        self.p = subprocess.Popen([f"{BUILD}/bench/empty", f"{BUILD}/bench/empty.bpf.o"], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        self.ids = {int(w) for w in self.p.stdout.readline().split()[1:]}

    def end(self):
        self.p.stdin.close()
        self.p.wait()
        self.p.stdout.close()


def programs(guard):
    return {i for k, i in guard.held if k == "prog"}


def round_trips(world, guard, kind, transport, n, cpus=None):
    """(ns of CPU time of a round trip, {program: (runs, ns)}); guard may be None."""
    path = f"{world.dir}/{kind}-{time.monotonic_ns()}.sock"
    load = Process([f"{BUILD}/bench/load", kind, transport, str(n), path, *([str(cpus)] if cpus else [])])
    try:
        if guard and kind == "ours":
            time.sleep(1.2)     # two walks
        before = Statistics(programs(guard)) if guard else None
        load.p.stdin.write("go\n")
        load.p.stdin.flush()
        took = int(load.p.stdout.readline())
        return took, before.taken() if before else {}
    finally:
        load.end()
        if os.path.exists(path):
            os.unlink(path)


def wrk(port, path="/", seconds=2, connections=8):
    """(requests, requests a second)"""
    out = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"http://127.0.0.1:{port}{path}"],
                         capture_output=True, text=True, check=True).stdout
    return int(re.search(r"(\d+) requests in", out).group(1)), float(re.search(r"Requests/sec:\s*([\d.]+)", out).group(1))


def followed(guard, name):
    until(lambda: (guard.group(name) or {"listeners": []})["listeners"], 5, f"{name} is followed")
    time.sleep(0.7)


def cpu_of(cgroups):
    """CPU time of all processes in these cgroups, ns."""
    used = 0
    for path in cgroups:
        with open(f"{path}/cgroup.procs", encoding="ascii") as procs:
            for pid in procs.read().split():
                with open(f"/proc/{pid}/schedstat", encoding="ascii") as f:
                    used += int(f.read().split()[0])
    return used


class Crowd(Process):
    """Many workers with many connections; see crowd.c."""

    def __init__(self, workers, connections, cgroup):
        # pylint: disable=super-init-not-called,consider-using-with
        self.p = subprocess.Popen([f"{BUILD}/bench/crowd", str(workers), str(connections), cgroup], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        self.expect("listening")

    def expect(self, word):
        line = self.p.stdout.readline().strip()
        if line != word:
            raise AssertionError(f"crowd: said {line!r}, not {word}")

    def say(self, line):
        self.p.stdin.write(line + "\n")
        self.p.stdin.flush()

    def connect(self):
        self.say("go")
        self.expect("ready")

    def hang(self):
        self.say("hang")
        self.expect("hung")

    def answer(self):
        return int(self.p.stdout.readline())

    def end(self):
        self.p.stdin.close()    # it takes its workers along
        self.p.wait()
        self.p.stdout.close()


def machine():
    """What this was measured on, in one sentence."""
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        text = f.read()
    with open("/proc/meminfo", encoding="ascii") as f:
        gib = int(re.search(r"MemTotal:\s*(\d+)", f.read()).group(1)) / 2**20
    model = re.search(r"model name\s*: (.*)", text)
    virtual = ", virtual" if re.search(r"^flags\s*:.*\bhypervisor\b", text, re.M) else ""
    return (f"{os.cpu_count()} processors ({model.group(1) if model else os.uname().machine}{virtual}), {gib:.0f} GiB, "
            f"Linux {os.uname().release}")
