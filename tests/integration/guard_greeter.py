#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""guard_greeter.py BACKLOG PORT ADDRESS...: a server that speaks first, as MySQL does: a line for whoever connects, then
one for each line it is sent ("SECONDS": after so long). Nothing is printed but "ready". Runs until it is killed."""
import asyncio
import contextlib
import sys


async def on_client(reader, writer):
    with contextlib.suppress(OSError):
        writer.write(b"hello\n")
        while line := await reader.readline():
            await asyncio.sleep(float(line))
            writer.write(b"done\n")
    writer.close()


async def main():
    backlog, port = int(sys.argv[1]), int(sys.argv[2])
    servers = [await asyncio.start_server(on_client, a, port, backlog=backlog) for a in sys.argv[3:]]
    print("ready", flush=True)
    await asyncio.gather(*(s.serve_forever() for s in servers))


asyncio.run(main())
