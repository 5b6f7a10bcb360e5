# SPDX-License-Identifier: BSD-2-Clause
"""Crafted packets: clients and backends that no kernel stands behind.

A Ghost is an address that its node routes to a pod which does not have it. The pod's kernel ignores what
comes for it, so a test alone decides what it sends and sees exactly what arrives.
"""

import functools
import json
import time

from scapy.config import conf
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrFragment,
    fragment6,
    in6_chksum,
)
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Raw
from scapy.utils import checksum

from lab import NODES

conf.verb = 0

QUIET = 0.15  # seconds in which a packet that must not come would have come
SOON = 2.0


def ip_class(family):
    return IP if family == 4 else IPv6


def ip_of(packet):
    return packet[IP] if IP in packet else packet[IPv6]


def transport_of(packet):
    return next(packet[layer] for layer in (TCP, UDP, SCTP) if layer in packet)


@functools.cache
def link_address(lab, place, interface):
    shown = lab.place(place).run("ip", "-j", "link", "show", "dev", interface).stdout
    return json.loads(shown)[0]["address"]


@functools.cache
def make_reachable(lab, pod, address):
    """Has the pod's node send what is for `address` to the pod; is the link address of the pod's gateway."""
    place = lab.place(pod)
    bridged = place.node == NODES[1]
    device = "cni0" if bridged else pod
    node = lab.place(place.node)
    node.run("ip", "neigh", "replace", address, "lladdr", link_address(lab, pod, "eth0"),
             "dev", device, "nud", "permanent")
    if not bridged:
        node.run("ip", "route", "replace", address, "dev", device)
    return link_address(lab, place.node, device)


class Ghost:
    def __init__(self, world, pod, family, host=99):
        self.place, self.pod, self.family = world.place(pod), pod, family
        self.node = self.place.node
        number = self.node[-1]
        self.address = f"10.244.{number}.{host}" if family == 4 else f"fd00:244:{number}::{host}"
        self.mac = link_address(world.lab, pod, "eth0")
        self.gateway_mac = make_reachable(world.lab, pod, self.address)
        self.capture = self.place.call("capture_open", interface="eth0")
        self.seen = []

    def close(self):
        self.place.call("capture_close", handle=self.capture)

    # Sending.

    def ip(self, dst, **more):
        return ip_class(self.family)(src=self.address, dst=getattr(dst, "address", dst), **more)

    def tcp(self, dst, sport, dport, flags="S", seq=1000, ack=0, payload=b"", **more):
        packet = self.ip(dst) / TCP(sport=sport, dport=dport, flags=flags, seq=seq, ack=ack, **more)
        return built(packet / Raw(payload) if payload else packet)

    def udp(self, dst, sport, dport, payload=b"hello"):
        return built(self.ip(dst) / UDP(sport=sport, dport=dport) / Raw(payload))

    def sctp(self, dst, sport, dport, chunk, tag=0x01020304):
        return built(self.ip(dst) / SCTP(sport=sport, dport=dport, tag=tag) / chunk)

    def send(self, *packets, times=1):
        """IP packets go to the gateway; frames with an Ethernet header go as they are."""
        frames = [packet if Ether in packet else
                  Ether(src=self.mac, dst=self.gateway_mac) / packet for packet in packets]
        self.place.call("send_frames", interface="eth0", times=times,
                        frames=[bytes(frame).hex() for frame in frames])
        return packets[0]

    # Receiving.

    def receive(self, match, what="a packet", timeout=SOON):
        """The next IP packet that came here and matches; others before it are passed over."""
        end = time.monotonic() + timeout
        passed = []
        while True:
            while self.seen:
                packet = self.seen.pop(0)
                if match(packet):
                    return packet
                passed.append(packet.summary())
            left = end - time.monotonic()
            if left <= 0:
                raise AssertionError(f"{self.pod}: waited {timeout:g} s in vain for {what}; "
                                     f"came instead: {passed}")
            self._read(left)

    def quiet(self, match=lambda packet: True, timeout=QUIET):
        """Nothing that matches comes here."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            self._read(end - time.monotonic())
        found = [packet.summary() for packet in self.seen if match(packet)]
        self.seen = []
        assert not found, f"{self.pod}: came, but must not: {found}"

    def count(self, match, timeout=QUIET):
        """How many came that match, until `timeout` seconds bring none."""
        found = 0
        while True:
            self._read(timeout)
            if not self.seen:
                return found
            found += sum(1 for packet in self.seen if match(packet))
            self.seen = []

    def drain(self):
        self._read(0)
        self.seen = []

    def _read(self, timeout):
        for frame in self.place.call("capture_read", handle=self.capture, timeout=timeout):
            packet = Ether(bytes.fromhex(frame))
            if (IP in packet or IPv6 in packet) and not is_chatter(packet):
                self.seen.append(ip_of(packet))

    def receive_tcp(self, **fields):
        return self._receive_transport(TCP, fields)

    def receive_udp(self, **fields):
        return self._receive_transport(UDP, fields)

    def receive_sctp(self, **fields):
        return self._receive_transport(SCTP, fields)

    def _receive_transport(self, layer, fields):
        def match(packet):
            return layer in packet and not is_error(packet) and all(
                packet[layer].getfieldval(name) == value for name, value in fields.items())

        got = self.receive(match, f"{layer.__name__} {fields}")
        check_checksums(got)
        return got


def built(packet):
    """The packet with all lengths and checksums as they go on the wire."""
    return packet.__class__(bytes(packet))


def is_chatter(packet):
    """Redirects, neighbour discovery, reports to multicast groups: kernels send them by themselves."""
    if IPv6 not in packet:
        return ICMP in packet and packet[IP].proto == 1 and packet[ICMP].type == 5
    kind = bytes(packet[IPv6].payload)[:1] if packet[IPv6].nh == 58 else b""
    return packet[IPv6].dst.startswith("ff") or (kind >= b"\x80" and kind not in (b"\x80", b"\x81"))


def is_error(packet):
    """ICMP errors quote packets, and scapy shows the quoted ones as layers too."""
    if IP in packet and packet[IP].proto == 1:
        return packet[ICMP].type in (3, 11, 12)
    return IPv6 in packet and packet[IPv6].nh == 58 and bytes(packet[IPv6].payload)[0] < 128


def rebuilt(packet):
    """The same packet with every checksum computed anew."""
    copy = packet.copy()
    layer = copy
    while layer:
        for name in ("chksum", "cksum"):
            if name in layer.fields:
                del layer.fields[name]
        layer = layer.payload
    return packet.__class__(bytes(copy))


def check_checksums(packet):
    """Every checksum is the one a sender would have computed. UDP over IPv4 may have none."""
    if IP in packet and UDP in packet and packet[UDP].chksum == 0:
        assert checksum(bytes(packet)[: packet.ihl * 4]) == 0, packet.show(dump=True)
        return
    is_fragment = (IP in packet and (packet[IP].frag or packet[IP].flags.MF)) or \
        IPv6ExtHdrFragment in packet
    expected, got = bytes(rebuilt(packet)), bytes(packet)
    if is_fragment:
        length = packet[IP].ihl * 4 if IP in packet else 0
        expected, got = expected[:length], got[:length]
    assert got == expected, f"wrong checksum in:\n{packet.show(dump=True)}"


def expect_like(sent, got, hops=None, **changes):
    """`got` is `sent` with nothing but these changes: src, dst, sport, dport, and `hops` off its TTL."""
    want = sent.copy()
    for name, value in changes.items():
        (transport_of(want) if name.endswith("port") else want).setfieldval(name, value)
    ttl = "ttl" if IP in want else "hlim"
    if hops is None:
        assert got.getfieldval(ttl) <= sent.getfieldval(ttl)
        want.setfieldval(ttl, got.getfieldval(ttl))
    else:
        want.setfieldval(ttl, sent.getfieldval(ttl) - hops)
    want = rebuilt(want)
    assert bytes(got) == bytes(want), (
        f"expected:\n{want.show(dump=True)}\nbut got:\n{got.show(dump=True)}")


def fragments(packet, size=1280):
    """The packet in fragments, in order."""
    if IP in packet:
        return [built(piece) for piece in fragment(packet, size)]
    with_header = IPv6(src=packet.src, dst=packet.dst) / IPv6ExtHdrFragment(id=0x1234) / packet.payload
    return [built(piece) for piece in fragment6(with_header, size)]


def reassembled(pieces):
    """What the receiver's kernel would put together: one unfragmented packet."""
    if IP in pieces[0]:
        pieces = sorted(pieces, key=lambda piece: piece.frag)
        payload = b"".join(bytes(piece.payload) for piece in pieces)
        first = pieces[0]
        return IP(bytes(IP(src=first.src, dst=first.dst, proto=first.proto, id=first.id) / Raw(payload)))
    pieces = sorted(pieces, key=lambda piece: piece[IPv6ExtHdrFragment].offset)
    payload = b"".join(bytes(piece[IPv6ExtHdrFragment].payload) for piece in pieces)
    first = pieces[0]
    number = first[IPv6ExtHdrFragment].nh
    return IPv6(bytes(IPv6(src=first.src, dst=first.dst, nh=number) / Raw(payload)))


def echo_request(source, dst, payload=b"ping-payload", ident=7, seq=3):
    if source.family == 4:
        return built(source.ip(dst) / ICMP(type=8, id=ident, seq=seq) / Raw(payload))
    return built(source.ip(dst) / ICMPv6EchoRequest(id=ident, seq=seq, data=payload))


def is_echo_reply(packet):
    return (ICMP in packet and packet[ICMP].type == 0) or ICMPv6EchoReply in packet


def error_about(quoted, src, dst, kind):
    """An ICMP error. `kind`: "port" (unreachable), "too-big" or "time"."""
    quote = bytes(quoted)[:548] if IP in quoted else bytes(quoted)[:1232]
    if IP in quoted:
        types = {"port": (3, 3), "too-big": (3, 4), "time": (11, 0)}
        header = ICMP(type=types[kind][0], code=types[kind][1])
        if kind == "too-big":
            header.nexthopmtu = 1300
        return built(IP(src=src, dst=dst) / header / Raw(quote))
    types = {"port": (1, 4), "too-big": (2, 0), "time": (3, 0)}
    kind_, code = types[kind]
    word = (1300 if kind == "too-big" else 0).to_bytes(4, "big")
    # The checksum covers a pseudo header: computed here, because scapy knows no such raw ICMPv6 layer.
    body = bytes([kind_, code, 0, 0]) + word + quote
    packet = IPv6(src=src, dst=dst, nh=58) / Raw(body)
    body = body[:2] + in6_chksum(58, packet, body).to_bytes(2, "big") + body[4:]
    return IPv6(bytes(IPv6(src=src, dst=dst, nh=58) / Raw(body)))


def quoted_in(error):
    """The packet that an ICMP error is about; it may be cut off."""
    if IP in error:
        return IP(bytes(error[ICMP].payload))
    return IPv6(bytes(error.payload)[8:])


def check_error_checksum(error):
    """Of the ICMP message, and of the quoted IPv4 header."""
    if IP in error:
        assert checksum(bytes(error[ICMP])) == 0, error.show(dump=True)
        assert checksum(bytes(error)[: error.ihl * 4]) == 0, error.show(dump=True)
        quoted = bytes(error[ICMP].payload)
        assert checksum(quoted[: (quoted[0] & 15) * 4]) == 0, quoted_in(error).show(dump=True)
        return
    body = bytes(error.payload)
    bare = body[:2] + b"\0\0" + body[4:]
    header = IPv6(src=error.src, dst=error.dst, nh=58) / Raw(bare)
    assert in6_chksum(58, header, bare) == int.from_bytes(body[2:4], "big"), error.show(dump=True)


def error_type(error):
    """("port" | "too-big" | "time" | other) of an ICMP error."""
    if IP in error:
        code = (error[ICMP].type, error[ICMP].code)
        return {(3, 3): "port", (3, 4): "too-big", (11, 0): "time"}.get(code, str(code))
    body = bytes(error.payload)
    return {(1, 4): "port", (2, 0): "too-big", (3, 0): "time"}.get((body[0], body[1]), str(body[:2]))
