"""A worker with threads: HTTP/1.1 with connections that stay, at both ends.

  worker.py plain   on 7300
  worker.py mptcp   on 7400, by MPTCP
  worker.py tls     on 8443, by TLS

  /plain    needs nobody
  /own      asks 10.9.0.4, over a pool
  /dual     asks a name with a dead IPv6 and a living IPv4 address, each time anew
  /mapped   asks 10.9.0.7 by an IPv6 socket (::ffff:10.9.0.7), each time anew

Each answer tells when its connect began, on the machine's monotonic clock, in seconds; 0 = the pool had a connection.
"""
import errno
import http.client
import http.server
import json
import queue
import socket
import ssl
import sys
import time

WAIT_S = 10     # as nobody changed it
IPPROTO_MPTCP = 262
PORTS = {"plain": 7300, "mptcp": 7400, "tls": 8443}
pool = queue.LifoQueue()
KEPT = 2  # few, or requests after a return would all wait on connections, and nobody would connect


def connect(path):
    """A new connection to what path asks."""
    if path != "/mapped":
        return socket.create_connection(("dual.world" if path == "/dual" else "10.9.0.4", 7000), timeout=WAIT_S)
    sock = socket.socket(socket.AF_INET6)
    sock.settimeout(WAIT_S)
    try:
        sock.connect(("::ffff:10.9.0.7", 7000))
    except OSError:
        sock.close()
        raise
    return sock


def ask(path):
    """Asks once; returns when the connect began, 0 if none was needed."""
    began = 0
    try:
        backend = pool.get_nowait() if path == "/own" else None
    except queue.Empty:
        backend = None
    if not backend:
        began = time.monotonic()
        backend = http.client.HTTPConnection("backend", timeout=WAIT_S)
        try:
            backend.sock = connect(path)
        except OSError as error:
            error.began = began
            raise
    try:
        backend.request("GET", "/")
        backend.getresponse().read()
    except BaseException:
        backend.close()
        raise
    if path == "/own" and pool.qsize() < KEPT:
        pool.put(backend)
    else:
        backend.close()
    return began


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1       # one segment an answer

    def do_GET(self):   # pylint: disable=invalid-name
        started = time.monotonic()
        status, body = 200, {"began": 0}
        try:
            if self.path != "/plain":
                body["began"] = ask(self.path)
        except OSError as error:
            kind = "ETIMEDOUT" if isinstance(error, TimeoutError) else errno.errorcode.get(error.errno, str(error))
            status, body = 503, {"error": kind, "began": getattr(error, "began", 0)}
        body["waited"] = time.monotonic() - started
        text = json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):  # pylint: disable=arguments-differ
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def __init__(self, kind):
        super().__init__(("127.0.0.1", PORTS[kind]), Handler, bind_and_activate=False)
        self.context = None
        if kind == "mptcp":
            self.socket.close()
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
        if kind == "tls":
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain("/run/world/cert.pem", "/run/world/key.pem")
        self.server_bind()
        self.server_activate()

    def finish_request(self, request, client_address):
        """In the connection's own thread: a handshake holds nobody else up."""
        if self.context:
            request = self.context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)


if __name__ == "__main__":
    Server(sys.argv[1]).serve_forever()
