# SPDX-License-Identifier: GPL-2.0-or-later
"""How much of this host's processors others used during a run: what makes a run doubtful."""
import os
import resource
from pathlib import Path

from . import records

TICKS = os.sysconf("SC_CLK_TCK")


def host_busy_s():
    """Processor seconds that this host has worked since its start (idle and iowait left out)."""
    values = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(values) - values[3] - values[4]) / TICKS


def process_busy_s(pid):
    """Processor seconds of one process, its threads included; 0 when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


class Others:
    """Counts from its making on; children must have been waited for when it is read."""

    def __init__(self, pid):
        self.pid = pid
        self.start = self.reading()

    def reading(self):
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        ours = process_busy_s(self.pid) + children.ru_utime + children.ru_stime
        return records.now(), host_busy_s() - ours

    def cores(self):
        """Processors, on average, that were busy with what is not this run."""
        now, busy = self.reading()
        return (busy - self.start[1]) / max(1e-9, now - self.start[0])
