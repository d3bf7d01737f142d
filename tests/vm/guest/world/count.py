"""Requests over connections that stay, one after the other: count.py tcp|mptcp|tls PORT CONNECTIONS REQUESTS

Prints how many were answered with 200.
"""
import http.client
import socket
import ssl
import sys

IPPROTO_MPTCP = 262


def connect(kind, port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP if kind == "mptcp" else 0)
    sock.settimeout(30)
    sock.connect(("127.0.0.1", port))
    if kind != "tls":
        return sock
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(sock)


def main(kind, port, connections, requests):
    good = 0
    for _ in range(int(connections)):
        connection = http.client.HTTPConnection("127.0.0.1", int(port))
        connection.sock = connect(kind, int(port))
        for _ in range(int(requests)):
            connection.request("GET", "/plain")
            answer = connection.getresponse()
            answer.read()
            good += answer.status == 200
        connection.close()
    print(good)


main(*sys.argv[1:])
