# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients of guest/later/app/ledger.php, what its three systems hold, and what is lost or half done.

Only `Clients` and `held()` touch a machine."""
import asyncio
import itertools
import json
import threading

from . import load, records
from .seen import out

SYSTEMS = ("row", "file", "second")
SPOOL, SECOND = "/srv/spool", "/var/lib/ledger-second"
ANSWER_S = 60       # a request that is ended has its answer when its worker is gone
PAUSE_S = .1


class Clients(threading.Thread):
    """Clients beside each other, each one request after the other, until stop(); `asked` says what each request was told, by its id."""

    def __init__(self, ports, count):
        super().__init__(daemon=True)
        self.ports, self.count = itertools.cycle(ports), count
        self.source_ports = itertools.cycle(load.SOURCE_PORTS)
        self.asked = {}         # id -> {"at", "acknowledged", "said", "error"}
        self.ended = threading.Event()

    def run(self):
        asyncio.run(self.all())

    async def all(self):
        await asyncio.gather(*(self.one_after_the_other(number) for number in range(self.count)))

    async def one_after_the_other(self, number):
        for count in itertools.count():
            if self.ended.is_set():
                return
            await self.ask(f"c{number}-{count}")
            await asyncio.sleep(PAUSE_S)

    async def ask(self, name, more=""):
        """One request; acknowledged is what the client may rely on: a whole answer with its own id."""
        self.asked[name] = record = {"at": records.now(), "acknowledged": False, "said": "", "error": None}
        try:
            answer = await asyncio.wait_for(self.exchange(f"/ledger?id={name}{more}"), ANSWER_S)
            head, _, body = answer.partition(b"\r\n\r\n")
            record["said"] = body.decode(errors="replace")[:200]
            record["acknowledged"] = b" 200 " in head.split(b"\r\n", 1)[0] and json.loads(body).get("id") == name
        except (OSError, ValueError, asyncio.TimeoutError) as error:
            record["error"] = type(error).__name__

    async def exchange(self, path):
        loop, sock = asyncio.get_running_loop(), load.open_socket(self.source_ports)
        try:
            await loop.sock_connect(sock, ("127.0.0.1", next(self.ports)))
            await loop.sock_sendall(sock, f"GET {path} HTTP/1.0\r\nHost: vm\r\n\r\n".encode())
            answer = b""
            while piece := await loop.sock_recv(sock, 65536):
                answer += piece
            return answer
        finally:
            sock.close()

    def stop(self):
        self.ended.set()
        self.join(2 * ANSWER_S)


def held(vm):
    """{system: {id: pid of the worker that wrote it}}."""
    commands = {"row": "mariadb -N -B -e 'SELECT id, pid FROM app.ledger'",
                "file": f"find {SPOOL} -type f ! -name '.*' -exec cat {{}} +",
                "second": f"cat {SECOND}"}
    return {system: {words[0]: int(words[1]) for words in map(str.split, out(vm, commands[system], timeout=120).splitlines())}
            for system in SYSTEMS}


def lost(asked, systems):
    """Ids that were acknowledged and are not in all systems: there must be none."""
    return sorted(name for name, record in asked.items() if record["acknowledged"]
                  and not all(name in systems[system] for system in SYSTEMS))


def half_done(systems, explained):
    """What is in some systems and not in all: [(id, where it is, the worker's pid, explain id of what ended it, or None)]."""
    by_pid = {record["evict"]["pid"]: record["id"] for record in explained if record["acted"]}
    names = sorted(set().union(*(systems[system] for system in SYSTEMS)))
    found = []
    for name in names:
        there = [system for system in SYSTEMS if name in systems[system]]
        if len(there) < len(SYSTEMS):
            pid = systems[there[0]][name]
            found.append((name, there, pid, by_pid.get(pid)))
    return found


def unlike(systems):
    """Ids that two systems say were written by two workers."""
    return [name for name in systems["row"] if len({systems[system][name] for system in SYSTEMS if name in systems[system]}) > 1]
