"""Asks the guard each second and writes down what must not change; ends when it is killed. A JSON line each time."""
import json
import os
import socket
import subprocess
import time

DATABASE = "10.9.0.2:3306"


def get(path):
    """The body of an answer of the stats socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect("/run/pileguard/stats.sock")
        sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        with sock.makefile("rb") as stream:
            return stream.read().partition(b"\r\n\r\n")[2].decode()


def resident_kb(name):
    pids = subprocess.run(["pidof", name], capture_output=True, text=True, check=False).stdout.split()
    for line in open(f"/proc/{pids[0]}/status", encoding="ascii") if pids else ():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return None


def look():
    found = json.loads(get("/v1/dependencies"))
    metrics = [line for line in get("/metrics").splitlines() if line and line[0] != "#"]
    database = {one["group"]: one for one in found if one["endpoint"] == DATABASE}
    return {"t": time.monotonic(), "destinations": len(found),
            "connecting": sum(one["connecting"] for one in found),
            "started": {name: one["started_total"] for name, one in database.items()},
            "gates": [f"{one['group']} {one['endpoint']}" for one in found if one["gate"] != "closed"],
            "refused": {name: one["refused_total"] for name, one in database.items()},
            "series": len(metrics), "groups": sorted({line.split('group="')[1].split('"')[0] for line in metrics if 'group="' in line}),
            "guard_kb": resident_kb("pileguardd"), "api_kb": resident_kb("pileguard-api")}


with open("/run/world/watched", "w", encoding="ascii", buffering=1) as out:
    while True:
        try:
            out.write(json.dumps(look()) + "\n")
        except (OSError, ValueError) as error:
            out.write(json.dumps({"t": time.monotonic(), "error": repr(error)}) + "\n")
        time.sleep(1)
