# SPDX-License-Identifier: BSD-2-Clause
"""Ways from a network namespace of the lab, which has no route to a real API server, to that server.

A socket belongs to the namespace that it was made in, wherever the process is: both classes listen on
127.0.0.1 inside of the namespace and connect from outside of it.
"""

import contextlib
import ctypes
import http.server
import json
import os
import socket
import threading
import urllib.parse

CLONE_NEWNET = 0x40000000
PIECE = 65536


def listen_in(netns):
    """A socket that listens on 127.0.0.1 in a network namespace (a path), on any port."""
    made = []

    def listen():
        # Only this thread enters the namespace, and it ends there.
        libc = ctypes.CDLL(None, use_errno=True)
        namespace = os.open(netns, os.O_RDONLY)
        try:
            if libc.setns(namespace, CLONE_NEWNET):
                made.append(OSError(ctypes.get_errno(), f"cannot enter {netns}"))
                return
            made.append(socket.create_server(("127.0.0.1", 0)))
        except OSError as error:
            made.append(error)
        finally:
            os.close(namespace)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


def end(sock):
    """Wakes whoever is reading from it or writing to it."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


class Relay:
    """Copies bytes, whatever they are, between clients in a namespace and a server."""

    def __init__(self, netns, server):
        self.server, self.listener = server, listen_in(netns)
        self.port = self.listener.getsockname()[1]
        self.open, self.is_cut = set(), False
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client, contextlib.suppress(OSError):
            if self.is_cut:
                return
            with socket.create_connection(self.server) as server:
                pair = client, server
                self.open.add(pair)
                back = threading.Thread(target=self.copy, args=(server, client), daemon=True)
                back.start()
                self.copy(client, server)
                back.join()
                self.open.discard(pair)

    @staticmethod
    def copy(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE):
                target.sendall(data)
        end(source)
        end(target)

    def cut(self):
        """No connection lives, and none is made, until mend()."""
        self.is_cut = True
        for pair in list(self.open):
            for sock in pair:
                end(sock)

    def mend(self):
        self.is_cut = False

    def close(self):
        self.cut()
        end(self.listener)
        self.listener.close()


class Gateway(http.server.ThreadingHTTPServer):
    """Forwards GET requests with the credentials of an Api, as `kubectl proxy` does, and may say that the
    history a watch asks for is forgotten: a server cannot be made to forget it."""

    daemon_threads = True

    def __init__(self, netns, api):
        super().__init__(("127.0.0.1", 0), Forward, bind_and_activate=False)
        self.socket.close()
        self.socket = listen_in(netns)
        self.port = self.socket.getsockname()[1]
        self.api, self.watching, self.expired = api, set(), set()
        self.requests = []  # [path, what became of it]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def expire(self):
        """Ends all watches; each that is to go on from somewhere is answered 410, once."""
        self.expired = {path for path, _ in self.watching}
        for _, sock in list(self.watching):
            end(sock)

    def close(self):
        self.expire()
        self.shutdown()
        self.server_close()


class Forward(http.server.BaseHTTPRequestHandler):
    """One request to a Gateway."""

    protocol_version = "HTTP/1.1"
    GONE = json.dumps({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                       "message": "too old resource version", "reason": "Expired", "code": 410}).encode()

    def log_message(self, *_):
        pass

    def do_GET(self):
        path, _, query = self.path.partition("?")
        options = urllib.parse.parse_qs(query)
        is_watch = "watch" in options
        if is_watch and options.get("resourceVersion") and path in self.server.expired:
            self.server.expired.discard(path)
            self.server.requests.append([self.path, 410])
            self.answer(410, self.GONE)
            return
        with contextlib.suppress(OSError):
            self.forward(path, is_watch)
        self.close_connection = True

    def forward(self, path, is_watch):
        sock, answer = self.server.api.open("GET", self.path)
        self.server.requests.append([self.path, answer.status])
        watching = path, sock
        with sock, answer:
            if is_watch:
                sock.settimeout(None)
                self.server.watching.add(watching)
            try:
                self.copy(answer)
            finally:
                self.server.watching.discard(watching)

    def copy(self, answer):
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while data := answer.read1(PIECE):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
