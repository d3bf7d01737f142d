#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""guard_worker.py CGROUP N UNIX_PATH [TCP_PORT]: a prefork service, each worker busy with one request at a time.

A request is one line of JSON; the answer is one line, then the connection is closed. {"op": "connect"} makes the worker
connect to a dependency and tells how that went, by the worker's own clock: [error or null, began, seconds] each.
Nothing is printed but "ready". Runs until it is killed; its workers die with it.
"""
import ctypes
import errno
import fcntl
import json
import mmap
import os
import select
import signal
import socket
import sys
import threading
import time

FAMILY = {"v4": socket.AF_INET, "v6": socket.AF_INET6, "mapped": socket.AF_INET6}


def connect_once(q):
    held = b"x" * q.get("hold", 0)      # what a request holds while it waits
    try:
        return connect_measured(q)
    finally:
        del held


def connect_measured(q):
    s = socket.socket(FAMILY[q["family"]], socket.SOCK_STREAM)
    host = "::ffff:" + q["host"] if q["family"] == "mapped" else q["host"]
    error = None
    began, start = time.time(), time.perf_counter()
    if q.get("nonblocking"):
        s.setblocking(False)
        e = s.connect_ex((host, q["port"]))
        took = time.perf_counter() - start
        if e == errno.EINPROGRESS:
            ready = select.select([], [s], [], q["timeout"])[1]
            took = time.perf_counter() - start
            e = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if ready else errno.EAGAIN
        error = errno.errorcode[e] if e else None
    else:
        # the kernel's own wait, as php has it: no settimeout, which would make it non-blocking underneath
        s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, TIMEVAL(q["timeout"]))
        e = CONNECT(s, host, q["port"])
        took = time.perf_counter() - start
        error = errno.errorcode[e] if e else None
        s.setblocking(True)
    if error is None and q.get("read"):
        s.settimeout(q["timeout"])
        try:
            if not s.recv(100):
                error = "broken: EOF"
        except OSError as e:        # a connection that stood
            error = "broken: " + errno.errorcode.get(e.errno, str(e))
        took = time.perf_counter() - start
    s.close()
    return [error, began, took]


def TIMEVAL(seconds):  # struct timeval
    return int(seconds).to_bytes(8, "little") + int(seconds % 1 * 1e6).to_bytes(8, "little")


LIBC = ctypes.CDLL(None, use_errno=True)


def CONNECT(s, host, port):
    """connect(2), without Python's own waiting. EINPROGRESS after SO_SNDTIMEO is told as EAGAIN: still waiting."""
    if s.family == socket.AF_INET:
        sa = (2).to_bytes(2, "little") + port.to_bytes(2, "big") + socket.inet_aton(host) + bytes(8)
    else:
        sa = (10).to_bytes(2, "little") + port.to_bytes(2, "big") + bytes(4) + socket.inet_pton(10, host) + bytes(4)
    if LIBC.connect(s.fileno(), sa, len(sa)) == 0:
        return 0
    e = ctypes.get_errno()
    return errno.EAGAIN if e == errno.EINPROGRESS else e


KEPT = []
LEAKS = []
OPENED = []


def query(q):
    """As an application asks a server that speaks first; with "keep" the connection stays, and is used again.
    [error or null, began, seconds, at which step]."""
    step, error, began, start = "connect", None, time.time(), time.perf_counter()
    s = OPENED.pop() if OPENED else socket.socket()
    s.settimeout(q["timeout"])
    try:
        if not q.get("kept"):
            s.connect((q["host"], q["port"]))
            step = "greeting"
            if not s.recv(100):
                error = "EOF"
        step = "answer"
        if error is None and "sleep" in q:
            s.sendall(f"{q['sleep']}\n".encode())
            if not s.recv(100):
                error = "EOF"
    except OSError as e:
        error = errno.errorcode.get(e.errno, "timeout")
    took = time.perf_counter() - start
    if q.get("keep") and error is None:
        OPENED.append(s)
    else:
        s.close()
    return [error, began, took, step]


def leak(rate, seconds, most=1 << 40):
    until = time.monotonic() + seconds
    while time.monotonic() < until and most > 0:
        most -= rate // 20
        KEPT.append(b"x" * (rate // 20))
        time.sleep(0.05)


def answer(line):
    q = json.loads(line)
    if "lock" not in q:
        return do(q)
    with open(q["lock"], "w", encoding="ascii") as f:   # one of all workers at a time, as under a cache's lock
        fcntl.flock(f, fcntl.LOCK_EX)
        return do(q)


def do(q):
    if "deaf" in q:                 # to SIGTERM, from now on
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "move" in q:                 # to another cgroup
        with open(os.path.join(q["move"], "cgroup.procs"), "w", encoding="ascii") as f:
            f.write("0")
    if "grow" in q:                 # so much a second, for so many seconds, beside what it is asked
        threading.Thread(target=leak, args=q["grow"], daemon=True).start()
    if q["op"] == "connect":
        results = []
        for _ in range(q.get("n", 1)):
            results.append(connect_once(q))
            if "work" in q:  # what the failure costs it: seconds of processor time; told: when that was over
                until = time.process_time() + q["work"]
                while time.process_time() < until:
                    pass
                results[-1].append(time.time())
        return results
    if q["op"] == "query":
        return query(q)
    if q["op"] == "udp":
        with socket.socket(FAMILY[q["family"]], socket.SOCK_DGRAM) as s:
            s.settimeout(q["timeout"])
            s.connect((q["host"], q["port"]))
            s.send(b"ping")
            return s.recv(100).decode()
    if q["op"] == "sleep":
        time.sleep(q["seconds"])
    if q["op"] == "flood":          # connects that end at once
        for _ in range(q["n"]):
            with socket.socket() as s:
                s.connect_ex((q["host"], q["port"]))
    if q["op"] == "breathe":        # a request's memory, given back before the answer
        del bytearray(b"x" * q["bytes"])[:]
    if q["op"] == "hog":            # so much a second, and no answer before that is over
        leak(q["rate"], q["seconds"], q.get("most", 1 << 40))
    if q["op"] == "devour":         # as fast as the kernel gives it, up to so much
        for _ in range(q["bytes"] >> 25):
            KEPT.append(mmap.mmap(-1, 1 << 25, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE))
        time.sleep(q["seconds"])
    if q["op"] == "leak" and not (q.get("once") and LEAKS):   # from now on, beside whatever it is asked: so much a second
        LEAKS.append(q)
        threading.Thread(target=leak, args=(q["rate"], q["seconds"], q.get("most", 1 << 40)), daemon=True).start()
    return os.getpid()


def serve(listeners):
    while True:
        for listener in select.select(listeners, [], [])[0]:
            try:
                c, _ = listener.accept()
            except BlockingIOError:
                continue
            c.setblocking(True)
            line = b""
            while not line.endswith(b"\n"):
                got = c.recv(65536)
                if not got:
                    break
                line += got
            if line.endswith(b"\n"):
                try:
                    c.sendall(json.dumps(answer(line)).encode() + b"\n")
                except OSError as e:
                    try:
                        c.sendall(json.dumps({"error": errno.errorcode.get(e.errno, str(e))}).encode() + b"\n")
                    except OSError:
                        pass  # the client went away
            c.close()


def die_with_parent():
    LIBC.prctl(1, signal.SIGKILL)


def main():
    cgroup, n, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    with open(os.path.join(cgroup, "cgroup.procs"), "w", encoding="ascii") as f:
        f.write("0")
    listeners = [socket.socket(socket.AF_UNIX)]
    listeners[0].bind(path)
    for port in sys.argv[4:]:
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", int(port)))
        listeners.append(s)
    for s in listeners:
        s.listen(511)
        s.setblocking(False)
    for _ in range(n):
        if os.fork() == 0:
            die_with_parent()
            try:
                serve(listeners)
            finally:
                os._exit(1)
    print("ready", flush=True)
    signal.pause()


main()
