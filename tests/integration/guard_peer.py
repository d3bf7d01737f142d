#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""guard_peer.py ADDRESS...: a host of databases, inside a network namespace; told what to do by lines of JSON on stdin.

listen: a TCP and a UDP port (echo) on each address; tells the port. drop: SYNs to the port vanish (iptables INPUT), as
when the host behind it is gone; with "all" every packet. delay: accepted at once, first byte after so long. packets: SYNs
dropped so far.
"""
import asyncio
import json
import socket
import subprocess
import sys

DELAYS = {}


async def on_client(reader, writer):
    port = writer.get_extra_info("sockname")[1]
    try:
        await asyncio.sleep(DELAYS.get(port, 0))
        writer.write(b"hello\n")
        await writer.drain()
        await reader.read(1)
    except OSError:
        pass
    finally:
        writer.close()


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(data, addr)


async def listen(q, servers):
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(on_client, sys.argv[1], q.get("port", 0), backlog=1024)
    port = server.sockets[0].getsockname()[1]
    servers.append(server)
    for address in sys.argv[2:]:
        servers.append(await asyncio.start_server(on_client, address, port, backlog=1024))
    for address in sys.argv[1:]:
        servers.append(await loop.create_datagram_endpoint(Echo, local_addr=(address, port)))
    return port


def tables(*args):
    return [subprocess.run([t, "-w", *args], check=True, capture_output=True, text=True).stdout
            for t in ("iptables", "ip6tables")]


def rule(q):
    return ["INPUT", "-p", "tcp", "--dport", str(q["port"]), *([] if q.get("all") else ["--syn"]), "-j", "DROP"]


async def do(q, servers):
    if q["cmd"] == "listen":
        return await listen(q, servers)
    if q["cmd"] == "drop":
        tables("-I" if q["on"] else "-D", *rule(q))
    if q["cmd"] == "free":  # a port that nobody listens at
        with socket.socket() as s:
            s.bind(("", 0))
            return s.getsockname()[1]
    if q["cmd"] == "delay":
        DELAYS[q["port"]] = q["seconds"]
    if q["cmd"] == "packets":
        lines = "".join(tables("-L", "INPUT", "-v", "-n", "-x")).splitlines()
        return sum(int(line.split()[0]) for line in lines if f"dpt:{q['port']} " in line)
    return True


async def main():
    loop = asyncio.get_running_loop()
    stdin = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    servers = []
    print("ready", flush=True)
    while line := await stdin.readline():
        print(json.dumps(await do(json.loads(line), servers)), flush=True)


asyncio.run(main())
