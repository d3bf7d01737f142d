# SPDX-License-Identifier: GPL-2.0-or-later
"""Open-loop load: every request has a planned send time, and its latency counts from there.

A plan is a list of segments "DURATION:RATE:KIND=PERCENT,...": seconds, requests a
second, shares. Each request sits at a random point of its own slot of 1/RATE, and
each block of requests has the kinds in exactly their shares, in random order; both
come from the seed, so the same seed is the same traffic.
"""
import asyncio
import itertools
import json
import random
import resource
import socket
import struct
from dataclasses import dataclass

from . import records

# Requests a second. Refusing one costs an emulated processor 11 to 17 ms (natively 1), the probes take one processor by
# themselves, and there are two: at 40, a host that gives a quarter less than usual cannot even refuse them all, guard or not.
RATE = 25
CLIENT_TIMEOUT_S = 30   # from the planned send
PATIENT_S = 60          # of who asks for something that takes long
BLOCK = 50              # requests in which the shares are exact (2 % is one of them)
ANSWER_MAX_BYTES = 65536
# The guest sees the client's own port, whatever forward it came through. A port that
# comes again within the guest's TIME_WAIT (60 s) costs a lost SYN and 6 s, so each
# request takes the next of these, below the ports that the host gives out itself.
SOURCE_PORTS = range(10000, 32768)


@dataclass(frozen=True)
class Kind:
    path: str
    timeout_s: float = CLIENT_TIMEOUT_S
    upload_bytes: int = 0   # a body, sent in pieces
    upload_s: float = 0     # ... over so long


KINDS = {
    "auth": Kind("/auth"),
    "plain": Kind("/plain"),
    "neighbour": Kind("/neighbour"),    # another service on the same host
    "locked": Kind("/locked"),          # as auth, under one lock of the cache
    "flushed": Kind("/flushed"),        # as auth, its first byte sent before
    "proxied": Kind("/proxied"),        # as auth, through a proxy that accepts whether there is a database or not
    "slow": Kind("/slow?ms=3000"),
    "report": Kind("/slow?ms=30000", PATIENT_S),        # a report: 30 s until its first byte
    "poll": Kind("/slow?ms=20000", PATIENT_S),          # a long poll without news
    "stream": Kind("/events?s=10", PATIENT_S),          # an event stream: first byte at once, then one a second
    "upload": Kind("/upload", PATIENT_S, 200_000, 4),
}
UPLOAD_PIECES = 20


@dataclass(frozen=True)
class Segment:
    duration_s: float
    rate: float
    shares: tuple       # of (kind, percent)

    @classmethod
    def parse(cls, text):
        duration, rate, shares = text.split(":")
        pairs = tuple((kind, float(percent)) for kind, percent in
                      (share.split("=") for share in shares.split(",") if share))
        unknown = [kind for kind, _ in pairs if kind not in KINDS]
        if unknown or (float(rate) and round(sum(percent for _, percent in pairs)) != 100):
            raise ValueError(f"{text}: kinds are {', '.join(KINDS)} and their shares make 100")
        return cls(float(duration), float(rate), pairs)

    def __str__(self):
        return f"{self.duration_s:g}:{self.rate:g}:" + ",".join(f"{kind}={percent:g}" for kind, percent in self.shares)


def block_of(shares, rng):
    kinds = [kind for kind, percent in shares for _ in range(round(percent * BLOCK / 100))]
    rng.shuffle(kinds)
    return kinds


def plan(segments, seed):
    """Every request as (offset from the start in seconds, kind), ordered by time."""
    rng = random.Random(seed)
    requests, start = [], 0.0
    for segment in segments:
        kinds = []
        for slot in range(int(segment.duration_s * segment.rate)):
            kinds = kinds or block_of(segment.shares, rng)
            requests.append((start + (slot + rng.random()) / segment.rate, kinds.pop()))
        start += segment.duration_s
    return requests


def parse_answer(answer):
    """Status and the wait that the application's body states, in milliseconds."""
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split()
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    try:
        said = json.loads(body)
        return status, said.get("waited_ms"), said.get("error")
    except (ValueError, AttributeError):
        # a page that was begun with 200 before it failed
        return status, None, "no configuration" if b"no configuration" in body else None


def open_socket(source_ports):
    """A socket with the next source port that is free."""
    sock = socket.socket()
    sock.setblocking(False)
    for _ in SOURCE_PORTS:
        try:
            sock.bind(("127.0.0.1", next(source_ports)))
            return sock
        except OSError:
            continue
    raise OSError("no source port is free")


def give_up(sock):
    """
    Close() resets it. A connection that the guest has not accepted yet, and of which only the client's half is closed, keeps
    the emulator's network busy without end: 500 of them took a whole processor of this host.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def send(sock, kind):
    loop = asyncio.get_running_loop()
    if not kind.upload_bytes:
        # 1.0: the body comes as it is, not in chunks
        await loop.sock_sendall(sock, f"GET {kind.path} HTTP/1.0\r\nHost: vm\r\n\r\n".encode())
        return
    await loop.sock_sendall(sock, f"POST {kind.path} HTTP/1.0\r\nHost: vm\r\nContent-Length: {kind.upload_bytes}\r\n\r\n".encode())
    for _ in range(UPLOAD_PIECES):
        await loop.sock_sendall(sock, b"x" * (kind.upload_bytes // UPLOAD_PIECES))
        await asyncio.sleep(kind.upload_s / UPLOAD_PIECES)


async def exchange(port, kind, record, source_ports):
    """One request on a connection of its own; fills in the record."""
    sock = open_socket(source_ports)
    try:
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        record["connected"] = records.now()
        await send(sock, kind)
        record["sent"] = records.now()
        answer = b""
        while len(answer) < ANSWER_MAX_BYTES:
            piece = await asyncio.get_running_loop().sock_recv(sock, ANSWER_MAX_BYTES)
            if not piece:
                break
            answer += piece
        record["status"], record["waited_ms"], record["app_error"] = parse_answer(answer)
        if not record["status"]:
            record["error"] = "closed"
    finally:
        if not record["status"]:
            give_up(sock)
        sock.close()


async def one(port, kind, planned, out, source_ports):
    """Sends a request whose time has come, and writes its record whatever happens."""
    record = {"kind": kind, "planned": planned, "started": records.now(), "status": 0, "error": None}
    try:
        await asyncio.wait_for(exchange(port, KINDS[kind], record, source_ports), planned + KINDS[kind].timeout_s - records.now())
    except asyncio.TimeoutError:
        record["error"] = "timeout"
    except OSError as error:
        record["error"] = type(error).__name__
    record["done"] = records.now()
    out.write(**record)


async def drive(ports, requests, start, out):
    """Starts each request at its planned time, whatever became of the earlier ones."""
    tasks = set()
    source_ports = itertools.cycle(SOURCE_PORTS)
    for number, (offset, kind) in enumerate(requests):
        wait = start + offset - records.now()
        if wait > 0:
            await asyncio.sleep(wait)
        task = asyncio.ensure_future(one(ports[number % len(ports)], kind, start + offset, out, source_ports))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if tasks:
        await asyncio.wait(tasks)


def run(ports, segments, seed, start, path):
    """Drives the whole plan against the ports, from the monotonic instant start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(drive(ports, plan(segments, seed), start, records.Writer(path)))
