# SPDX-License-Identifier: BSD-2-Clause
"""SCTP by the kernel's own sockets, one to one: `sctp_echo.py serve NAME PORT [ADDRESS...]`, or `sctp_echo.py ask`.

A server says first who it is and whom it sees, and then sends back each message as it came. With addresses it
listens at these together, as a host with several links does. One that asks reads requests from standard input, a
line of JSON each, and answers each with a line: {"address": "10.96.0.1", "port": 80, "sizes": [1000, 60000]},
and "sources", the addresses the client has together.
"""

import json
import socket
import struct
import sys
import threading

SCTP = 132
SCTP_SOCKOPT_BINDX_ADD = 100
TIMEOUT = 10
HEAD = 64  # bytes that say who is there


def socket_address(address, port):
    """struct sockaddr_in or sockaddr_in6."""
    if ":" in address:
        return (struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", port, 0) +
                socket.inet_pton(socket.AF_INET6, address) + bytes(4))
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(address) + bytes(8)


def open_socket(family, addresses=(), port=0):
    sock = socket.socket(family, socket.SOCK_STREAM, SCTP)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if addresses:
        sock.bind((addresses[0], port))
    for address in addresses[1:]:
        sock.setsockopt(SCTP, SCTP_SOCKOPT_BINDX_ADD, socket_address(address, sock.getsockname()[1]))
    return sock


def receive(sock, size):
    octets = b""
    while len(octets) < size:
        piece = sock.recv(65536)
        if not piece:
            raise OSError(f"ended after {len(octets)} of {size} bytes")
        octets += piece
    return octets


def serve_one(connection, client, name):
    with connection:
        try:
            connection.sendall(json.dumps({"name": name, "seen": client[0]}).encode().ljust(HEAD))
            while True:
                size = int(receive(connection, 8))
                connection.sendall(receive(connection, size))
        except (OSError, ValueError):
            pass


def serve(name, port, addresses):
    families = {socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses}
    listeners = []
    for family, wildcard in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        if addresses and family not in families:
            continue
        sock = open_socket(family, addresses or (wildcard,), port)
        sock.listen(64)
        listeners.append(sock)
    print("ready", flush=True)

    def accept(sock):
        while True:
            threading.Thread(target=serve_one, args=(*sock.accept(), name), daemon=True).start()

    for sock in listeners:
        threading.Thread(target=accept, args=(sock,)).start()


def ask(address, port, sizes, sources=()):
    """{"name", "seen", "done": messages that came back}, and "error" where one did not."""
    result = {"done": 0}
    try:
        with open_socket(socket.AF_INET6 if ":" in address else socket.AF_INET, sources) as sock:
            sock.settimeout(TIMEOUT)
            sock.connect((address, port))
            result.update(json.loads(receive(sock, HEAD)))
            for size in sizes:
                message = bytes((size + at) % 251 for at in range(size))
                sock.sendall(str(size).encode().ljust(8))
                sock.sendall(message)
                if receive(sock, size) != message:
                    raise OSError(f"a message of {size} bytes came back changed")
                result["done"] += 1
    except OSError as problem:
        result["error"] = str(problem)
    return result


def main():
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]), sys.argv[4:])
        return
    for line in sys.stdin:
        print(json.dumps(ask(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
