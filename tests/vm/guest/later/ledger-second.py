#!/usr/bin/python3
"""The second service of the ledger: keeps each body as a line of a file, on the disk before it says so."""
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OUT = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
ONE = threading.Lock()


class Keeper(BaseHTTPRequestHandler):
    def do_POST(self):
        line = self.rfile.read(int(self.headers["Content-Length"])) + b"\n"
        with ONE:
            os.write(OUT, line)
            os.fsync(OUT)
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"kept")

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", 7070), Keeper).serve_forever()
