#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""guard_holder.py CGROUP PLACE...: a service that holds every connection open until its client closes it.

A PLACE is a unix path, or ADDRESS:PORT. What a client sends comes back. "pause" on stdin: nobody is accepted any more
(they queue); "go": again. Answers each with "ok". Runs until it is killed.
"""
import os
import selectors
import socket
import sys

BACKLOG = 4096


def listen(place):
    if place.startswith("/"):
        s = socket.socket(socket.AF_UNIX)
        s.bind(place)
    else:
        host, _, port = place.rpartition(":")
        s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind((host.strip("[]"), int(port)))
    s.listen(BACKLOG)
    s.setblocking(False)
    return s


def main():
    if sys.argv[1] != "-":
        with open(f"{sys.argv[1]}/cgroup.procs", "w", encoding="utf-8") as f:
            f.write(str(os.getpid()))
    sel = selectors.DefaultSelector()
    listeners = [listen(place) for place in sys.argv[2:]]
    for s in listeners:
        sel.register(s, selectors.EVENT_READ, "listener")
    sel.register(sys.stdin, selectors.EVENT_READ, "command")
    print("ready", flush=True)
    while True:
        for key, _ in sel.select():
            if key.data == "listener":
                try:
                    c, _ = key.fileobj.accept()
                except BlockingIOError:
                    continue
                c.setblocking(False)
                sel.register(c, selectors.EVENT_READ, "client")
            elif key.data == "client":
                try:
                    data = key.fileobj.recv(1000)
                except ConnectionError:
                    data = b""
                if data:
                    key.fileobj.send(data)
                else:
                    sel.unregister(key.fileobj)
                    key.fileobj.close()
            else:
                command = sys.stdin.readline().strip()
                for s in listeners if command else ():
                    if command == "pause":
                        sel.unregister(s)
                    else:
                        sel.register(s, selectors.EVENT_READ, "listener")
                if not command:
                    return
                print("ok", flush=True)


if __name__ == "__main__":
    main()
