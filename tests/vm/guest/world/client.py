"""Requests in open loop over connections that stay: client.py URL RATE SECONDS [COMMAND]

First ten, one after the other, that must all be good; then COMMAND (what breaks), then RATE requests a second, whatever
became of the earlier ones. Prints one JSON object; times are seconds of the machine's monotonic clock.
"""
import http.client
import json
import os
import queue
import subprocess
import sys
import threading
import time
import urllib.parse

WARM = 10
idle = queue.LifoQueue()
records = []


def ask(url, record):
    """One request, over a connection that is idle, or a new one."""
    record["sent"] = time.monotonic()
    try:
        try:
            connection = idle.get_nowait()
        except queue.Empty:
            connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=30)
        connection.request("GET", url.path)
        answer = connection.getresponse()
        text = answer.read()
        record |= {"status": answer.status, "done": time.monotonic()}
        record["body"] = json.loads(text)
        idle.put(connection)
    except (OSError, ValueError, http.client.HTTPException) as error:
        record |= {"status": 0, "done": time.monotonic(), "body": {"error": repr(error)}}


def main(url, rate, seconds, command=""):
    url, rate, seconds = urllib.parse.urlsplit(url), float(rate), float(seconds)
    warm = [{} for _ in range(WARM)]
    for record in warm:
        ask(url, record)
    if command:
        subprocess.run(command, shell=True, check=True)
    lost = time.monotonic()
    for number in range(int(rate * seconds)):
        time.sleep(max(0, lost + number / rate - time.monotonic()))
        records.append({})
        threading.Thread(target=ask, args=(url, records[-1]), daemon=True).start()
    time.sleep(max(0, lost + seconds - time.monotonic()))
    print(json.dumps({"lost": lost, "end": time.monotonic(), "warm": [record["status"] for record in warm],
                      "requests": [dict(record) for record in records]}), flush=True)
    os._exit(0)     # what still waits is not waited for


main(*sys.argv[1:])
