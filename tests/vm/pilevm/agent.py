# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's end of the guest's agent: its samples as they come, and the database's faults."""
import json
import socket
import threading

from . import records

ACK_S = 60      # the agent answers in milliseconds; a guest that burns may take seconds


class Agent:
    """Reads in a thread of its own; every line goes to a file with this host's time ("at")."""

    def __init__(self, path, out):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(path))
        self.out = records.Writer(out)
        self.samples = []
        self.acks = []
        self.arrived = threading.Condition()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.sock.makefile("r", errors="replace"):
            try:
                record = json.loads(line) | {"at": records.now()}
            except ValueError:
                continue
            self.out.write(**record)
            with self.arrived:
                (self.samples if record["type"] == "sample" else self.acks).append(record)
                self.arrived.notify_all()

    def command(self, word, timeout_s=ACK_S):
        """Sends lose, refuse, return or ping; returns the ack, or None if none came in time."""
        with self.arrived:
            before = len(self.acks)
            self.sock.sendall(word.encode() + b"\n")
            self.arrived.wait_for(lambda: any(ack["type"] == word for ack in self.acks[before:]), timeout_s)
            found = [ack for ack in self.acks[before:] if ack["type"] == word]
        if found and found[0]["rc"] != 0:
            raise RuntimeError(f"the agent's {word} failed: errno {found[0]['rc']:g}")
        return found[0] if found else None

    def offset(self, clock="t_ns"):
        """This host's monotonic clock minus the guest's, in seconds: what the fastest line says.

        clock: t_ns is the guest's monotonic clock, realtime_ns its wall clock.
        """
        with self.arrived:
            return min(line["at"] - line[clock] / 1e9 for line in self.samples + self.acks)

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.thread.join(timeout=5)
        self.sock.close()
