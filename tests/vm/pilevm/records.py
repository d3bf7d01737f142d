# SPDX-License-Identifier: GPL-2.0-or-later
"""Records as JSON lines, and the few figures taken from them. All times: seconds, this host's monotonic clock."""
import json
import math
import time


def now():
    return time.monotonic()


class Writer:
    """Writes one JSON object a line, at once, so that nothing is lost when we are ended."""

    def __init__(self, path):
        self.out = open(path, "w", buffering=1)

    def write(self, **record):
        self.out.write(json.dumps(record) + "\n")


def read(path):
    """All whole records of a file; a line cut short by an end is left out."""
    found = []
    with open(path) as lines:
        for line in lines:
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return found


def quantile(values, share):
    """The nearest-rank quantile: the 99th percentile of 20 values is their maximum."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def between(records, start, end, key="planned"):
    """Records whose time lies in [start, end)."""
    return [record for record in records if start <= record[key] < end]


def seconds(value):
    return "-" if value is None else f"{value:.2f} s"
