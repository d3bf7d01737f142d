# SPDX-License-Identifier: GPL-2.0-or-later
"""guard_forker.py N SECONDS: forks N children, evenly over that time, and their first child each; says "ready", then "done PIDS".

For the tests of placement: all of them live until their standard input, which is its own, is closed.
"""
import os
import sys
import time

N, SECONDS = int(sys.argv[1]), float(sys.argv[2])


def stay():
    os.read(0, 1)   # until the test goes, or closes it
    os._exit(0)


def family():
    """A child, and its child. Returns both numbers."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        if os.fork() == 0:
            os.write(write, f"{os.getpid()}\n".encode())
            os.close(write)
            stay()
        os.close(write)
        stay()
    os.close(write)
    with os.fdopen(read) as f:
        return [child, int(f.readline())]


print("ready", flush=True)
pids = [os.getpid()]
start = time.monotonic()
for i in range(N):
    pids += family()
    time.sleep(max(0, start + SECONDS * (i + 1) / N - time.monotonic()))
print("done", *pids, flush=True)
stay()
