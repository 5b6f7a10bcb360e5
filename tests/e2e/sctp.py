# SPDX-License-Identifier: BSD-2-Clause
"""As much of SCTP as a question and its answer take, through raw sockets: this needs no SCTP of the kernel.

A question is an INIT; its answer is the INIT ACK, whose cookie is the text of the answer. Checksums are
those of a sender: computed anew for each packet, and checked when it arrives.
"""

import itertools
import socket
import struct

PROTOCOL = 132
INIT, INIT_ACK = 1, 2
STATE_COOKIE = 7
BAD_CHECKSUM = "bad-checksum 0.0.0.0:0 0"
_HEADER = struct.Struct("!HHII")
_INIT = struct.Struct("!BBHIIHHI")
_PARAMETER = struct.Struct("!HH")

# Below those of NodePorts, which no process of a node can have.
_source_ports = itertools.cycle(range(20000, 30000))


def _table():
    for octet in range(256):
        for _ in range(8):
            octet = octet >> 1 ^ (0x82F63B78 if octet & 1 else 0)
        yield octet


_TABLE = tuple(_table())


def crc32c(octets):
    crc = 0xFFFFFFFF
    for octet in octets:
        crc = _TABLE[(crc ^ octet) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def packet(source_port, port, kind, text=b"", tag=0):
    cookie = b""
    if text:
        cookie = _PARAMETER.pack(STATE_COOKIE, _PARAMETER.size + len(text)) + text
    padding = bytes(-len(cookie) % 4)
    chunk = _INIT.pack(kind, 0, _INIT.size + len(cookie), 0x01020304, 65536, 1, 1, 1) + cookie + padding
    bare = _HEADER.pack(source_port, port, tag, 0) + chunk
    return bare[:8] + crc32c(bare).to_bytes(4, "little") + bare[12:]


class Packet:
    """One that came: ports, kind of its chunk, text of its cookie, and whether its checksum is right."""

    def __init__(self, octets):
        self.source_port, self.port, _, _ = _HEADER.unpack_from(octets)
        self.kind, _, length, *_ = _INIT.unpack_from(octets, _HEADER.size)
        self.text = octets[_HEADER.size + _INIT.size + _PARAMETER.size:_HEADER.size + length].decode()
        self.is_sound = crc32c(octets[:8] + bytes(4) + octets[12:]).to_bytes(4, "little") == octets[8:12]


def open_socket(family, timeout=None):
    sock = socket.socket(family, socket.SOCK_RAW, PROTOCOL)
    sock.settimeout(timeout)
    return sock


def receive(sock):
    """(Packet, address of its sender); None in place of a packet that is none."""
    octets, sender = sock.recvfrom(65535)
    if sock.family == socket.AF_INET:
        octets = octets[(octets[0] & 15) * 4:]
    try:
        return Packet(octets), sender[0]
    except struct.error:
        return None, sender[0]


def serve(sock, name, ports):
    """Answers one question that has come, in the words of server.py."""
    asked, sender = receive(sock)
    if not asked or asked.kind != INIT or asked.port not in ports:
        return
    text = f"{name} {sender}:{asked.source_port} {asked.port}" if asked.is_sound else BAD_CHECKSUM
    sock.sendto(packet(asked.port, asked.source_port, INIT_ACK, text.encode(), 0x01020304), (sender, 0))


def ask(address, port, timeout):
    """The line of an answer. Only what comes from the address that was asked is one."""
    with open_socket(socket.AF_INET6 if ":" in address else socket.AF_INET, timeout) as sock:
        sock.connect((address, 0))
        source_port = next(_source_ports)
        sock.send(packet(source_port, port, INIT))
        while True:
            answer, _ = receive(sock)
            if answer and (answer.kind, answer.source_port, answer.port) == (INIT_ACK, port, source_port):
                return answer.text if answer.is_sound else BAD_CHECKSUM
