# SPDX-License-Identifier: GPL-2.0-or-later
"""How much of this host's processors others used during a run: what makes a run doubtful."""
import os
import threading
from pathlib import Path

from . import records

TICKS = os.sysconf("SC_CLK_TCK")
WINDOW_S = 10


def host_busy_s():
    """Processor seconds that this host has worked since its start (idle and iowait left out)."""
    values = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(values) - values[3] - values[4]) / TICKS


def process_busy_s(pid):
    """Processor seconds of one process, its threads and its ended children included; 0 when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS


class Others(threading.Thread):
    """Reads once a second, from start() to close(), what the host does besides the processes of this run.

    Time that a hypervisor takes away ("steal") is others' too: a burst of it in the wrong moment fills a queue that a
    guest near its limit does not empty again, so the mean of a whole run says little."""

    def __init__(self, pids):
        super().__init__(daemon=True)
        self.pids = [os.getpid(), *pids]
        self.readings = []      # (host's monotonic time, others' processor seconds so far)
        self.ended = threading.Event()

    def run(self):
        self.read()
        while not self.ended.wait(1):
            self.read()

    def read(self):
        self.readings.append((records.now(), host_busy_s() - sum(map(process_busy_s, self.pids))))

    def close(self):
        """Before a process of the run is waited for: what it used would then count a second time, as ours."""
        self.ended.set()
        self.join()

    def cores(self):
        """Processors, on average, that were busy with what is not this run."""
        return cores_between(self.readings[0], self.readings[-1])

    def worst_cores(self, window_s=WINDOW_S):
        """The same over the worst window."""
        return max((cores_between(first, later) for first in self.readings for later in self.readings
                    if window_s <= later[0] - first[0] < window_s + 2), default=self.cores())


def cores_between(first, later):
    return (later[1] - first[1]) / max(1e-9, later[0] - first[0])
