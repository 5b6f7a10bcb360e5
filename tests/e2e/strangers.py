# SPDX-License-Identifier: BSD-2-Clause
"""Packets of strangers about a conversation of others: forged, old, sent to the wrong host, or damaged.

Each kind is a function of a Target that yields frames. Whether one may end the conversation is not said
here: netfilter is asked (test_oracle.py).
"""

import dataclasses
import ipaddress
import random
import struct

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
ETHERNET = {4: 0x0800, 6: 0x86DD}
FAR = 100_000  # bytes of sequence space: outside of any window here
LONG_AGO = 1 << 30


@dataclasses.dataclass
class Target:
    """A conversation as a well informed stranger knows it: addresses are bytes."""

    rng: random.Random
    proto: int
    client: tuple     # address, port
    frontend: tuple
    backend: tuple
    seen: tuple       # the client, as the backend sees it
    is_answered_here: bool  # the backend's packets come to the node by the wire, or might
    own_mac: bytes          # the stranger's, who has the outside client's
    node_mac: bytes
    initial: int = 0  # the client's first sequence number,
    sent: int = 0     # its next one,
    received: int = 0  # and the backend's next one

    @property
    def family(self):
        return 4 if len(self.client[0]) == 4 else 6

    def number(self):
        return self.rng.getrandbits(32)

    def other_host(self):
        """The link address of a host that no switch has heard of: it sends such frames everywhere."""
        return bytes.fromhex("020000") + self.rng.randbytes(3)


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(src, dst, proto, size):
    return src + dst + struct.pack("!IHH", size, 0, proto)


def segment(src, dst, flags, seq, ack=0, payload=b"", damaged=False):
    head = struct.pack("!HHIIBBHHH", src[1], dst[1], seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, 5 << 4, flags, 512, 0, 0)
    total = checksum(pseudo_header(src[0], dst[0], TCP, len(head) + len(payload)) + head + payload)
    return head[:16] + struct.pack("!H", total ^ (0x5555 if damaged else 0)) + head[18:] + payload


def datagram(src, dst, payload):
    size = 8 + len(payload)
    head = struct.pack("!HHHH", src[1], dst[1], size, 0)
    total = checksum(pseudo_header(src[0], dst[0], UDP, size) + head + payload) or 0xFFFF
    return head[:6] + struct.pack("!H", total) + payload


def internet(src, dst, proto, payload, ttl=64, place=0, damaged=False, ident=0):
    """An IP packet; `place` is the 16 bits of an IPv4 fragment's offset and flags."""
    if len(src) == 16:
        return struct.pack("!IHBB", 6 << 28, len(payload), proto, ttl) + src + dst + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), ident, place, ttl, proto, 0) + src + dst
    total = checksum(head) ^ (0x5555 if damaged else 0)
    return head[:10] + struct.pack("!H", total) + head[12:] + payload


def error(src, dst, kind, code, rest, quote):
    """An ICMP error of that type in IPv4 or IPv6."""
    body = struct.pack("!BBHI", kind, code, 0, rest) + quote
    proto = ICMP if len(src) == 4 else ICMPV6
    prefix = b"" if proto == ICMP else pseudo_header(src, dst, ICMPV6, len(body))
    return internet(src, dst, proto, body[:2] + struct.pack("!H", checksum(prefix + body)) + body[4:])


def frame(target, packet, dst_mac=None):
    kind = struct.pack("!H", ETHERNET[target.family])
    return (dst_mac or target.node_mac) + target.own_mac + kind + packet


def forward(target, flags, seq, ack=0, payload=b"", to=None, dst_mac=None, **damage):
    """From the client's address and port, to the frontend."""
    dst = to or target.frontend
    body = segment(target.client, dst, flags, seq, ack, payload, damage.pop("bad_segment", False))
    return frame(target, internet(target.client[0], dst[0], TCP, body, **damage), dst_mac)


def backward(target, flags, seq, ack=0, payload=b""):
    """From the backend's, to the node's, where the client seems to be."""
    body = segment(target.backend, target.seen, flags, seq, ack, payload)
    return frame(target, internet(target.backend[0], target.seen[0], TCP, body))


# Kinds that need nothing but the tuple.


def rst_random(target):
    yield forward(target, RST, target.number())


def rst_ack_random(target):
    yield forward(target, RST | ACK, target.number(), target.number())


def rst_old(target):
    yield forward(target, RST, target.sent - FAR)


def rst_in_window(target):
    yield forward(target, RST, target.sent + 100)


def syn_random(target):
    yield forward(target, SYN, target.number())


def syn_again(target):
    yield forward(target, SYN, target.initial)


def syn_many(target):
    for _ in range(4):
        yield forward(target, SYN, target.number())


def syn_ack_random(target):
    yield forward(target, SYN | ACK, target.number(), target.number())


def fin_random(target):
    yield forward(target, FIN | ACK, target.number(), target.number())


def fin_old(target):
    yield forward(target, FIN | ACK, target.sent - FAR, target.received)


def fin_without_ack(target):
    yield forward(target, FIN, target.number())


def ack_random(target):
    yield forward(target, ACK, target.number(), target.number())


def data_random(target):
    yield forward(target, PSH | ACK, target.number(), target.number(), b"forged\n")


def data_again(target):
    yield forward(target, PSH | ACK, target.initial + 1, target.received, b"s")


def odd_flags(target):
    yield forward(target, 0, target.number())
    yield forward(target, FIN | SYN | RST | PSH | ACK, target.number(), target.number())
    yield forward(target, SYN | FIN, target.number())
    yield forward(target, SYN | RST, target.number())


# Straight to the backend.


def direct_syn(target):
    yield forward(target, SYN, target.number(), to=target.backend)


def direct_rst(target):
    yield forward(target, RST, target.number(), to=target.backend)


# From the backend's side; to an outside client that the backend sees itself such packets do not pass the node.


def back_rst_random(target):
    if target.is_answered_here:
        yield backward(target, RST, target.number())
        yield backward(target, RST | ACK, target.number(), target.number())


def back_rst_old(target):
    if target.is_answered_here:
        yield backward(target, RST, target.received - FAR)


def back_fin_random(target):
    if target.is_answered_here:
        yield backward(target, FIN | ACK, target.number(), target.number())


def back_syn(target):
    if target.is_answered_here:
        yield backward(target, SYN, target.number())


def back_syn_ack(target):
    if target.is_answered_here:
        yield backward(target, SYN | ACK, target.number(), target.number())


def fins_of_both(target):
    yield forward(target, FIN | ACK, target.number(), target.number())
    if target.is_answered_here:
        yield backward(target, FIN | ACK, target.number(), target.number())


# What a receiver would not take, with the right numbers.


def for_other_host_rst(target):
    yield forward(target, RST | ACK, target.sent, target.received, dst_mac=target.other_host())


def for_other_host_fin(target):
    yield forward(target, FIN | ACK, target.sent, target.received, dst_mac=target.other_host())


def for_other_host_syn(target):
    yield forward(target, SYN, target.number(), dst_mac=target.other_host())


def bad_segment_rst(target):
    yield forward(target, RST | ACK, target.sent, target.received, bad_segment=True)


def bad_segment_fin(target):
    yield forward(target, FIN | ACK, target.sent, target.received, bad_segment=True)


def bad_header_rst(target):
    if target.family == 4:
        yield forward(target, RST | ACK, target.sent, target.received, damaged=True)


def bad_header_syn(target):
    if target.family == 4:
        yield forward(target, SYN, target.number(), damaged=True)


# Errors.


def quoted(target, src, dst, seq):
    if target.proto == TCP:
        return internet(src[0], dst[0], TCP, segment(src, dst, ACK, seq))
    return internet(src[0], dst[0], UDP, datagram(src, dst, b"?"))


def router(target):
    text = "172.18.0.200" if target.family == 4 else "fd00:18::200"
    return ipaddress.ip_address(text).packed


def unreachable_from_router(target):
    """About what went to the backend, with a number that was never sent."""
    kind, code = (3, 1) if target.family == 4 else (1, 3)
    if target.is_answered_here:
        quote = quoted(target, target.seen, target.backend, target.sent - LONG_AGO)
        yield frame(target, error(router(target), target.seen[0], kind, code, 0, quote))


def refused_by_backend(target):
    kind, code = (3, 3) if target.family == 4 else (1, 4)
    if target.is_answered_here and target.proto == TCP:
        quote = quoted(target, target.seen, target.backend, target.sent - LONG_AGO)
        yield frame(target, error(target.backend[0], target.seen[0], kind, code, 0, quote))


def unreachable_from_client(target):
    """About what the frontend sent."""
    kind, code = (3, 1) if target.family == 4 else (1, 3)
    quote = quoted(target, target.frontend, target.client, target.received - LONG_AGO)
    yield frame(target, error(target.client[0], target.frontend[0], kind, code, 0, quote))


def garbled_error(target):
    kind, code = (3, 1) if target.family == 4 else (1, 3)
    quote = quoted(target, target.frontend, target.client, 0)[:target.rng.randrange(12, 24)]
    yield frame(target, error(target.client[0], target.frontend[0], kind, code, 0, quote))


# Whatever else is on a network.


def martians(target):
    sources = ["127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"] if target.family == 4 else [
        "::1", "::", "ff02::1"]
    for source in sources:
        src = ipaddress.ip_address(source).packed, target.client[1]
        body = segment(src, target.frontend, SYN, target.number())
        yield frame(target, internet(src[0], target.frontend[0], TCP, body))


def fragments(target):
    if target.family == 4:
        body = segment(target.client, target.frontend, RST, target.number(), payload=bytes(64))
        for place, piece in ((0x2000, body[:24]), (3, body[24:])):
            yield frame(target, internet(target.client[0], target.frontend[0], TCP, piece, place=place, ident=77))


def later_fragment(target):
    if target.family == 4:
        yield frame(target, internet(target.client[0], target.frontend[0], target.proto, bytes(64), place=40,
                                     ident=target.rng.getrandbits(16)))


def direct_datagram(target):
    """The client's port, straight to the backend."""
    body = datagram(target.client, target.backend, b"e stranger\n")
    yield frame(target, internet(target.client[0], target.backend[0], UDP, body))


def datagrams(target):
    for _ in range(3):
        body = datagram(target.client, target.frontend, b"?")
        yield frame(target, internet(target.client[0], target.frontend[0], UDP, body))


def datagram_for_other_host(target):
    body = datagram(target.client, target.frontend, b"?")
    yield frame(target, internet(target.client[0], target.frontend[0], UDP, body), target.other_host())


OF_TCP = {function.__name__.replace("_", "-"): function for function in (
    rst_random, rst_ack_random, rst_old, rst_in_window, syn_random, syn_again, syn_many, syn_ack_random,
    fin_random, fin_old, fin_without_ack, ack_random, data_random, data_again, odd_flags, direct_syn, direct_rst,
    back_rst_random, back_rst_old, back_fin_random, back_syn, back_syn_ack, fins_of_both, for_other_host_rst,
    for_other_host_fin, for_other_host_syn, bad_segment_rst, bad_segment_fin, bad_header_rst, bad_header_syn,
    unreachable_from_router, refused_by_backend, unreachable_from_client, garbled_error, martians, fragments,
    later_fragment)}
OF_UDP = {function.__name__.replace("_", "-"): function for function in (
    direct_datagram, datagrams, datagram_for_other_host, unreachable_from_router, unreachable_from_client,
    garbled_error, later_fragment)}
