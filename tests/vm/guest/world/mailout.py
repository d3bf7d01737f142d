"""Connects to 5,000 addresses that do not answer, over and over, and asks the database beside it.

At most WINDOW connects are under way, each is given up after GIVE_UP_S. What it asks the database for is done by
processes of its own (ask.php): a mail-out that waits for one thing does not stop for the other.
"""
import collections
import errno
import itertools
import json
import os
import socket
import subprocess
import time

ADDRESSES = [f"10.77.{n >> 8}.{n & 255}" for n in range(1, 5001)]
WINDOW = 400
GIVE_UP_S = 4
ASKING = 3


def start(address):
    """(socket, errno) of a connect that was begun."""
    sock = socket.socket()
    sock.setblocking(False)
    return sock, sock.connect_ex((address, 25))


def main():
    for _ in range(ASKING):
        subprocess.Popen(["/usr/bin/php", "/root/world/ask.php", "/run/world/asked"])  # pylint: disable=consider-using-with
    under_way = collections.deque()
    ends = collections.Counter()
    told = 0
    for address in itertools.cycle(ADDRESSES):
        while under_way and (under_way[0][0] < time.monotonic() or len(under_way) >= WINDOW):
            time.sleep(max(0, under_way[0][0] - time.monotonic()))
            _, sock = under_way.popleft()
            ends[errno.errorcode.get(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "given up")] += 1
            sock.close()
        sock, error = start(address)
        if error == errno.EINPROGRESS:
            under_way.append((time.monotonic() + GIVE_UP_S, sock))
        else:
            ends[errno.errorcode.get(error, str(error))] += 1
            sock.close()
        if time.monotonic() - told > 1:
            told = time.monotonic()
            with open("/run/world/mailed.new", "w", encoding="ascii") as out:
                json.dump({**ends, "connecting": len(under_way)}, out)
            os.replace("/run/world/mailed.new", "/run/world/mailed")


main()
