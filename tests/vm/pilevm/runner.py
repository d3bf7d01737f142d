# SPDX-License-Identifier: GPL-2.0-or-later
"""One run of one machine: boot, guard or none, idle baseline, load and faults on a timeline."""
import contextlib
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from . import collect, guard, incident, machine, records
from .agent import Agent
from .hostload import Others

HERE = Path(__file__).resolve().parent.parent
IDLE_LOGINS = 20        # of which the 99th percentile is the slowest
SETTLE_S = 120          # until every unit has started and the machine is idle
LEAD_S = 2              # between the start of the load's process and its first request
TAIL_S = 35             # a client gives up 30 s after its planned send


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class HostBusy(machine.MachineError):
    """This host had too little left for the guest."""


class Run:
    """Owns the machine, the agent and the processes of one run; a context manager."""

    def __init__(self, name, kernel, staging=None, policy=guard.POLICY, memory_mb=1536, prepare=None):
        """prepare: called with the machine when its stack has settled, before the guard is there."""
        self.label, self.staging, self.policy = name, staging, policy
        self.kernel, self.memory_mb, self.prepare = kernel, memory_mb, prepare
        self.children = []
        self.marks = {}         # host's time of what happened
        self.start = None       # host's time of the load's first instant

    with_guard = property(lambda self: self.staging is not None)

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # through __exit__: no machine stays
        self.vm = machine.boot(self.kernel, f"run-{self.label}", memory_mb=self.memory_mb)
        try:
            self.agent = Agent(self.vm.folder / "agent.sock", self.path("samples"))
            self.settle()
            if self.prepare:
                self.prepare(self.vm)
            if self.with_guard:
                guard.install_guard(self.vm, self.staging, self.policy)
                self.marks["guard_started"] = records.now()
                say(f"{self.label}: guard installed and started")
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *_):
        for child in self.children:
            if child.poll() is None:
                child.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(10)
        if hasattr(self, "agent"):
            self.agent.close()
        self.vm.kill()
        for leftover in ("overlay.qcow2", "disk.raw"):
            (self.vm.folder / leftover).unlink(missing_ok=True)

    def path(self, name):
        return self.vm.folder / f"{name}.jsonl"

    def settle(self):
        """Waits until every unit has started, the stack answers and nothing else runs."""
        vm = self.vm
        machine.await_true(lambda: vm.ssh("systemctl is-system-running", check=False).stdout.strip()
                           in ("running", "degraded"), SETTLE_S, "end of the start", 1)
        machine.await_true(lambda: '"config"' in vm.ssh("curl -s -m 15 http://127.0.0.1/auth", check=False).stdout,
                           SETTLE_S, "a good authenticated answer", 1)
        collect.trace_signals(vm)
        if self.agent.command("ping") is None:
            raise machine.MachineError("the guest's agent does not answer")
        say(f"{self.label}: kernel {self.kernel} up, "
            f"{int(vm.ssh('grep MemAvailable /proc/meminfo').stdout.split()[1]) // 1024} MiB available")

    def spawn(self, *words):
        """Starts one of our own tools; it is ended with the run at the latest."""
        child = subprocess.Popen([str(HERE / words[0]), *map(str, words[1:])], start_new_session=True)
        self.children.append(child)
        return child

    def probe(self, out, *limits, asked=True):
        words = ["--guard"] if self.with_guard and asked else []
        return self.spawn("probe", "--banner-port", self.vm.banner_port, "--out", self.path(out), *words, *limits,
                          "--", *self.vm.ssh_command("ops", port=self.vm.login_port))

    def idle_baseline(self, logins=IDLE_LOGINS, asked=True):
        """Banners and logins with nobody else there: what "in time" is measured by; asked: as in drive(), or the two do not compare."""
        say(f"{self.label}: idle baseline, {logins} useful logins")
        if self.probe("idle", "--logins", logins, asked=asked).wait(logins * 62) != 0:
            raise machine.MachineError("the idle baseline failed")

    def drive(self, segments, seed, timeline, asked=True):
        """Runs the load with probes beside it; timeline is [(seconds, text, call)], sorted; asked: logins ask the guard, too."""
        duration = sum(segment.duration_s for segment in segments)
        self.start = records.now() + LEAD_S
        ports = [word for port in self.vm.web_ports for word in ("--port", port)]
        parts = [word for segment in segments for word in ("--segment", segment)]
        load = self.spawn("load", *ports, *parts, "--seed", seed, "--start-at", self.start,
                          "--out", self.path("requests"))
        probe = self.probe("probes", "--seconds", duration + LEAD_S, asked=asked)
        self.others = Others([self.vm.state["pid"], load.pid, probe.pid])
        self.others.start()
        for offset, text, call in timeline:
            time.sleep(max(0, self.start + offset - records.now()))
            say(f"{self.label}: {text}")
            call()
        time.sleep(max(0, self.start + duration - records.now()))
        self.others.close()
        load.wait(TAIL_S)
        probe.wait(30)

    def be_healthy(self):
        """Ends the run early when the stack does not even serve before the fault: a call for the timeline."""
        latest = records.between(records.read(self.path("requests")), records.now() - 12, records.now() - 2)
        median = records.quantile([incident.took(record) for record in latest], .5)
        if len(incident.good(latest)) < .95 * len(latest) or median is None or median > 2:
            raise HostBusy(f"before the fault {len(incident.good(latest))} of {len(latest)} answers are good, "
                           f"median {records.seconds(median)}: other work takes {self.others.cores():.2f} "
                           "processors of this host, nothing can be measured")

    def fault(self, word, mark=None):
        """A call for the timeline: the agent's command, its time kept as a mark."""
        def call():
            self.marks[(mark or word) + "_asked"] = records.now()
            ack = self.agent.command(word)
            if ack is None:
                say(f"{self.label}: the guest did not answer to '{word}' within a minute")
            self.marks[mark or word] = ack["t_ns"] / 1e9 + self.agent.offset() if ack else records.now()
        return call

    def get(self, path):
        """One request to the application, from outside; its body."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.vm.web_ports[0]}{path}", timeout=30) as got:
            return got.read().decode()

    def finish(self):
        """Collects what the guest knows; returns all records of the run."""
        found = collect.collect(self.vm, self.with_guard)
        (self.vm.folder / "journal.txt").write_text(found["journal"])
        (self.vm.folder / "php8.2-fpm.log").write_text(found["fpm_log"])
        return {"label": self.label, "with_guard": self.with_guard, "start": self.start, "marks": self.marks,
                "offset": self.agent.offset(), "wall_offset": self.agent.offset("realtime_ns"),
                "idle": records.read(self.path("idle")), "probes": records.read(self.path("probes")),
                "requests": records.read(self.path("requests")),
                "samples": list(self.agent.samples), "found": found, "others_cores": self.others.cores(),
                "others_worst_cores": self.others.worst_cores(), "folder": str(self.vm.folder)}
