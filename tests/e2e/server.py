# SPDX-License-Identifier: BSD-2-Clause
"""Answers TCP and UDP, IPv4 and IPv6, on every port given: who it is, who asked, and where.

An answer is one line "NAME CLIENT-ADDRESS:PORT PORT-ASKED". A request "fill N" gets N bytes more.
Prints "ready" when all ports are open. With --sctp it answers questions of sctp.py too.
"""

import argparse
import selectors
import socket

import sctp


def answer(name, client, port, request):
    address = client[0].removeprefix("::ffff:")
    line = f"{name} {address}:{client[1]} {port}\n".encode()
    words = request.split()
    if len(words) == 2 and words[0] == b"fill":
        line = line[:-1] + b" " + b"x" * int(words[1]) + b"\n"
    return line


def open_socket(kind, port):
    sock = socket.socket(socket.AF_INET6, kind)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if kind == socket.SOCK_DGRAM:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    sock.bind(("::", port))
    if kind == socket.SOCK_STREAM:
        sock.listen(512)
        sock.setblocking(False)
    return sock


class Server:
    def __init__(self, name, ports):
        self.name = name
        self.selector = selectors.DefaultSelector()
        for port in ports:
            for kind, handler in ((socket.SOCK_STREAM, self.accept), (socket.SOCK_DGRAM, self.datagram)):
                self.selector.register(open_socket(kind, port), selectors.EVENT_READ, (handler, port))

    def serve_sctp(self, ports):
        for family in (socket.AF_INET, socket.AF_INET6):
            self.selector.register(sctp.open_socket(family), selectors.EVENT_READ, (self.init, ports))

    def init(self, sock, ports):
        try:
            sctp.serve(sock, self.name, ports)
        except OSError:
            pass

    def accept(self, listener, port):
        try:
            connection, client = listener.accept()
        except OSError:
            return
        handler = Connection(self, client, port)
        self.selector.register(connection, selectors.EVENT_READ, (handler, port))

    def datagram(self, sock, port):
        # The answer must come from the address that was asked: a host has several.
        try:
            request, ancillary, _, client = sock.recvmsg(65535, 128)
            source = [(level, kind, data[:16] + bytes(4)) for level, kind, data in ancillary
                      if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)]
            sock.sendmsg([answer(self.name, client, port, request)], source, 0, client)
        except OSError:
            pass

    def run(self):
        while True:
            for key, _ in self.selector.select():
                handler, port = key.data
                handler(key.fileobj, port)


class Connection:
    """Collects a TCP client's lines and answers each."""

    def __init__(self, server, client, port):
        self.server, self.client, self.port, self.pending = server, client, port, b""

    def __call__(self, sock, _):
        try:
            data = sock.recv(65536)
            self.pending += data
            while b"\n" in self.pending:
                line, self.pending = self.pending.split(b"\n", 1)
                sock.sendall(answer(self.server.name, self.client, self.port, line))
        except OSError:
            data = b""
        if not data:
            self.server.selector.unregister(sock)
            sock.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--sctp", action="store_true")
    parser.add_argument("name")
    parser.add_argument("ports", type=int, nargs="+")
    arguments = parser.parse_args()
    server = Server(arguments.name, arguments.ports)
    if arguments.sctp:
        server.serve_sctp(arguments.ports)
    print("ready", flush=True)
    server.run()
