#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Random HTTP against the real api process, in its sandbox. Bounded and seeded.

usage: fuzz_http.py [--seconds 10] [--seed N]
The api must stay the same process, answer /v1/status within a second all the while, answer nothing but HTTP,
keep below 16 MiB, and give all descriptors back.
"""
import argparse
import os
import pathlib
import random
import select
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
from test_api import Harness, RSS_MAX_KB, parse, wait_until  # noqa: E402

SEEDS = [
    b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/events?follow=1&since=1 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/explain/17 HTTP/1.0\r\n\r\n",
    b"GET /v1/workers?group=www HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
    b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    b'POST /v1/hold HTTP/1.1\r\nHost: x\r\nContent-Length: 42\r\n\r\n{"group":"www","endpoint":"10.9.0.2:3306"}',
    b'POST /v1/disarm HTTP/1.1\r\nHost: x\r\nContent-Length: 32\r\n\r\n{"seconds": 3600, "by": "alice"}',
    b"POST /v1/arm HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    b"POST /v1/reload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"POST /v1/release HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
]
TOKENS = [b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"%", b"%00", b"?", b"&", b"=", b"/", b"..", b"HTTP/1.1", b"{", b"}",
          b"[", b'"', b"Content-Length: ", b"Transfer-Encoding: chunked", b"-1", b"4294967296", b"99999999999999999999",
          b"follow=1", b"since=", b"\xff", b"\xc3\x28", b"A" * 300, b"X: y\r\n" * 50]


def mutate(rng):
    data = bytearray(rng.choice(SEEDS))
    for _ in range(rng.choice((0, 1, 1, 2, 3, 8, 30))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0 and data:
            data[at % len(data)] = rng.randrange(256)
        elif kind == 1:
            data[at:at] = rng.choice(TOKENS)
        elif kind == 2:
            del data[at:at + rng.randrange(1, 20)]
        elif kind == 3:
            data[at:at] = data[rng.randrange(len(data) + 1):][:rng.randrange(1, 60)]
        else:
            data += rng.choice(SEEDS)
    return bytes(data)


def attack(api, rng):
    """One client: sends a mutated request, whole or in pieces, and leaves as it likes. Returns its answer."""
    s = api.connect(timeout=1)
    data = mutate(rng)
    answer = b""
    try:
        for piece in ([data] if rng.random() < 0.6 else [data[:len(data) // 2], data[len(data) // 2:]]):
            s.sendall(piece)
        if rng.random() < 0.5:
            s.shutdown(socket.SHUT_WR)
        if rng.random() < 0.8 and select.select([s], [], [], 0.02)[0]:
            answer = s.recv(65536)
    except OSError:
        pass
    if rng.random() < 0.9:
        s.close()
        return answer, None
    return answer, s


def run(seconds, seed):
    rng = random.Random(seed)
    api = Harness()
    before = api.descriptors()
    held, answers, n, worst = [], {}, 0, 0.0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer, s = attack(api, rng)
        n += 1
        if s:
            held.append(s)
        while len(held) > 300:
            held.pop(rng.randrange(len(held))).close()
        if answer:
            assert answer.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")), answer[:100]
            status = parse(answer)[0]
            answers[status] = answers.get(status, 0) + 1
        if n % 50 == 0:
            start = time.monotonic()
            assert api.request("GET", "/v1/status")[0] == 200, f"after {n} requests, seed {seed}"
            worst = max(worst, time.monotonic() - start)
    for s in held:
        s.close()
    os.kill(api.pid, 0)
    wait_until(lambda: api.descriptors() <= before, 10, "descriptors are closed")
    peak = api.rss_kb("VmHWM")
    last = api.close()
    print(f"seed {seed}: {n} requests in {seconds} s, answers {dict(sorted(answers.items()))}, "
          f"status worst {worst * 1000:.1f} ms, peak {peak} KiB")
    assert worst < 1, worst
    assert peak < RSS_MAX_KB, peak
    assert last == ["exit 0"], last


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    run(options.seconds, options.seed)
