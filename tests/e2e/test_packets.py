# SPDX-License-Identifier: BSD-2-Clause
"""Crafted packets that only the TC hooks can serve, compared byte by byte at the other end."""

import itertools

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import (
    HBHOptUnknown,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    PadN,
)
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from lab import let_pass
from manifests import endpoint, next_vip, service, service_port, slice_, slice_ports
from packets import (
    Ghost,
    built,
    check_checksums,
    check_error_checksum,
    echo_request,
    error_about,
    error_type,
    expect_like,
    fragments,
    is_echo_reply,
    is_error,
    quoted_in,
    reassembled,
    transport_of,
)

HOOKS = ["tc"]

each_family = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
# Where the client and its backend are: behind routed veths, on a bridge, on the same node or not.
each_way = pytest.mark.parametrize("client_pod, backend_pod", [
    ("pod1a", "pod1b"), ("pod1a", "pod2b"), ("pod2a", "pod2b"), ("pod2a", "pod1b")])
one_way = pytest.mark.parametrize("client_pod, backend_pod", [("pod1a", "pod2b"), ("pod2a", "pod1b")])

_ports = itertools.count(20000)


class Scene:
    """A client and a backend without kernels, and a Service between them."""

    def __init__(self, world, client_pod, backend_pod, family):
        self.world, self.family = world, family
        self.client = Ghost(world, client_pod, family, 99)
        self.backend = Ghost(world, backend_pod, family, 98)
        self.vip = self.service("ghost", [self.backend])
        self.port = next(_ports)
        self.extra = []
        self.hops = 1 if self.client.node == self.backend.node else 2

    def service(self, name, ghosts, **spec):
        return self.world.simple(name, self.family, self.endpoints(ghosts), **spec)

    def endpoints(self, ghosts, **conditions):
        return [endpoint(ghost.address, self.family, nodeName=ghost.node, **conditions)
                for ghost in ghosts]

    def extra_backend(self, pod, host=97):
        ghost = Ghost(self.world, pod, self.family, host)
        self.extra.append(ghost)
        return ghost

    def close(self):
        for ghost in (self.client, self.backend, *self.extra):
            ghost.close()

    # The steps of a TCP connection.

    def syn(self, vip=None, port=None, **fields):
        """The client's SYN; the SYN as the backend sees it."""
        port = port or self.port
        sent = self.client.send(self.client.tcp(vip or self.vip, port, 80, "S", **fields))
        got = self.backend.receive_tcp(flags="S", seq=sent[TCP].seq)
        return sent, got

    def syn_ack(self, syn, ghost=None):
        """The backend's answer to a SYN it saw; the answer as the client sees it."""
        ghost = ghost or self.backend
        sent = ghost.send(ghost.tcp(syn.src, 8080, syn[TCP].sport, "SA", seq=5000,
                                    ack=syn[TCP].seq + 1))
        return sent, self.client.receive_tcp(flags="SA", ack=syn[TCP].seq + 1)

    def connect(self):
        """A complete handshake."""
        _, syn = self.syn()
        self.syn_ack(syn)
        ack = self.client.send(self.client.tcp(self.vip, self.port, 80, "A", 1001, 5001))
        got = self.backend.receive_tcp(flags="A", seq=1001)
        expect_like(ack, got, dst=self.backend.address, dport=8080)


@pytest.fixture
def scene(world, request):
    made = Scene(world, request.getfixturevalue("client_pod"), request.getfixturevalue("backend_pod"),
                 request.getfixturevalue("family"))
    yield made
    made.close()


# Translation.


@each_family
@each_way
def test_each_segment_of_a_tcp_connection_is_translated_and_nothing_else_is_changed(
        scene, client_pod, backend_pod, family):
    client, backend, port = scene.client, scene.backend, scene.port
    options = [("MSS", 1400), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)]
    sent, syn = scene.syn(options=options)
    expect_like(sent, syn, scene.hops, dst=backend.address, dport=8080)
    sent, syn_ack = scene.syn_ack(syn)
    expect_like(sent, syn_ack, scene.hops, src=scene.vip, sport=80)
    for flags, payload in (("A", b""), ("PA", b"request"), ("PA", b"odd"), ("FA", b"")):
        sent = client.send(client.tcp(scene.vip, port, 80, flags, 1001, 5001, payload))
        got = backend.receive_tcp(flags=flags)
        expect_like(sent, got, scene.hops, dst=backend.address, dport=8080)
        sent = backend.send(backend.tcp(client, 8080, port, flags, 5001, 1001, payload))
        got = client.receive_tcp(flags=flags)
        expect_like(sent, got, scene.hops, src=scene.vip, sport=80)


@each_family
@each_way
def test_udp_is_translated_and_nothing_else_is_changed(scene, client_pod, backend_pod, family):
    for payload in (b"", b"x", b"hello", b"y" * 1400):
        sent = scene.client.send(scene.client.udp(scene.vip, scene.port, 80, payload))
        got = scene.backend.receive_udp(sport=scene.port)
        expect_like(sent, got, scene.hops, dst=scene.backend.address, dport=8080)
        sent = scene.backend.send(scene.backend.udp(scene.client, 8080, scene.port, payload[::-1]))
        got = scene.client.receive_udp(dport=scene.port)
        expect_like(sent, got, scene.hops, src=scene.vip, sport=80)


@one_way
@pytest.mark.parametrize("family", [4], ids=["ipv4"])
def test_udp_without_a_checksum_stays_without(scene, client_pod, backend_pod, family):
    sent = scene.client.udp(scene.vip, scene.port, 80)
    sent[UDP].chksum = 0
    scene.client.send(sent)
    got = scene.backend.receive_udp(sport=scene.port)
    assert got[UDP].chksum == 0
    assert got[IP].dst == scene.backend.address


@one_way
@pytest.mark.parametrize("family", [4], ids=["ipv4"])
@pytest.mark.parametrize("proto", [TCP, UDP], ids=["tcp", "udp"])
def test_ipv4_options_stay(scene, client_pod, backend_pod, family, proto):
    transport = TCP(sport=scene.port, dport=80, flags="S", seq=1000) if proto is TCP else \
        UDP(sport=scene.port, dport=80)
    packet = scene.client.ip(scene.vip, options=[IPOption(b"\x01\x01\x01\x01")] * 2)
    sent = scene.client.send(built(packet / transport / Raw(b"body")))
    got = scene.backend.receive(lambda packet: proto in packet and packet.ihl == 7)
    check_checksums(got)
    expect_like(sent, got, scene.hops, dst=scene.backend.address, dport=8080)


@one_way
@pytest.mark.parametrize("family", [6], ids=["ipv6"])
@pytest.mark.parametrize("proto", [TCP, UDP], ids=["tcp", "udp"])
@pytest.mark.parametrize("headers", [
    IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)]),
    IPv6ExtHdrDestOpt(options=[HBHOptUnknown(otype=0x1E, optdata=b"abcd")]),
    # More than seven bytes of padding, and the kernel would drop it.
    IPv6ExtHdrHopByHop(options=[HBHOptUnknown(otype=0x1E, optdata=b"0123456789")]) /
    IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)]),
], ids=["hop-by-hop", "destination", "both"])
def test_ipv6_extension_headers_stay(scene, client_pod, backend_pod, family, proto, headers):
    transport = TCP(sport=scene.port, dport=80, flags="S", seq=1000) if proto is TCP else \
        UDP(sport=scene.port, dport=80)
    sent = scene.client.send(built(scene.client.ip(scene.vip) / headers / transport / Raw(b"body")))
    got = scene.backend.receive(lambda packet: proto in packet and not is_error(packet))
    expect_like(sent, got, scene.hops, dst=scene.backend.address, dport=8080)


@each_family
@one_way
def test_a_frame_with_a_priority_tag_is_translated(scene, client_pod, backend_pod, family):
    """VLAN 0 carries only a priority: the node takes such a frame as its own."""
    packet = scene.client.udp(scene.vip, scene.port, 80)
    scene.client.send(Ether(src=scene.client.mac, dst=scene.client.gateway_mac)
                      / Dot1Q(vlan=0, prio=5) / packet)
    got = scene.backend.receive_udp(sport=scene.port)
    expect_like(packet, got, scene.hops, dst=scene.backend.address, dport=8080)


# Fragments.


@each_family
@each_way
def test_a_datagram_in_fragments_is_translated_both_ways(scene, client_pod, backend_pod, family):
    payload = bytes(range(256)) * 14
    whole = scene.client.udp(scene.vip, scene.port, 80, payload)
    pieces = fragments(whole)
    assert len(pieces) >= 3
    scene.client.send(*pieces)
    got = reassembled([scene.backend.receive(is_fragment) for _ in pieces])
    check_checksums(got)
    assert (got.dst, got[UDP].dport, bytes(got[UDP].payload)) == (scene.backend.address, 8080, payload)
    scene.backend.send(*fragments(scene.backend.udp(scene.client, 8080, scene.port, payload)))
    got = reassembled([scene.client.receive(is_fragment) for _ in pieces])
    check_checksums(got)
    assert (got.src, got[UDP].sport, bytes(got[UDP].payload)) == (scene.vip, 80, payload)


def is_fragment(packet):
    if IP in packet:
        return bool(packet[IP].frag or packet[IP].flags.MF) and not is_error(packet)
    return IPv6ExtHdrFragment in packet and not is_error(packet)


@each_family
@one_way
def test_a_fragment_whose_first_was_not_seen_is_dropped(scene, client_pod, backend_pod, family):
    pieces = fragments(scene.client.udp(scene.vip, scene.port, 80, b"z" * 3000))
    scene.client.send(*pieces[1:])
    scene.backend.quiet(is_fragment)
    scene.client.send(*pieces)
    got = reassembled([scene.backend.receive(is_fragment) for _ in pieces])
    check_checksums(got)


@one_way
@pytest.mark.parametrize("family", [6], ids=["ipv6"])
def test_an_atomic_fragment_is_translated(scene, client_pod, backend_pod, family):
    packet = scene.client.ip(scene.vip) / IPv6ExtHdrFragment(id=77) / UDP(
        sport=scene.port, dport=80) / Raw(b"atom")
    sent = scene.client.send(built(packet))
    got = scene.backend.receive(lambda packet: UDP in packet)
    expect_like(sent, got, scene.hops, dst=scene.backend.address, dport=8080)


@each_family
@pytest.mark.parametrize("client", ["pod1a", "pod2a"])
@pytest.mark.parametrize("backend", ["pod1b", "pod2b"])
def test_a_socket_s_large_datagram_and_its_large_answer_arrive(world, client, backend, family):
    vip = world.simple("large", family, [backend])
    message = "fill 6000\n"
    place = world.place(client)
    result = place.ask(vip, proto="udp", message=message)
    assert result["answer"]["length"] > 6000
    result = place.ask(vip, proto="udp", message="q" * 6000 + "\n")
    assert result["answer"]["name"] == backend


# ICMP errors.


ERRORS = ("port", "too-big", "time")


@each_family
@each_way
@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_an_error_about_a_request_reaches_the_client_as_one_about_the_frontend(
        scene, client_pod, backend_pod, family, proto):
    client, backend = scene.client, scene.backend
    if proto == "tcp":
        _, got = scene.syn()
    else:
        client.send(client.udp(scene.vip, scene.port, 80))
        got = backend.receive_udp(sport=scene.port)
    for kind in ERRORS:
        backend.send(error_about(got, backend.address, client.address, kind))
        error = client.receive(is_error, f"an ICMP error ({kind})")
        check_error_checksum(error)
        assert error_type(error) == kind
        assert error.src == scene.vip
        quoted = quoted_in(error)
        assert (quoted.src, quoted.dst) == (client.address, scene.vip)
        assert (transport_of(quoted).sport, transport_of(quoted).dport) == (scene.port, 80)


@each_family
@one_way
def test_an_error_from_a_router_keeps_its_sender(scene, client_pod, backend_pod, family):
    router = scene.extra_backend(scene.backend.pod, 96)
    _, got = scene.syn()
    router.send(error_about(got, router.address, scene.client.address, "too-big"))
    error = scene.client.receive(is_error, "an ICMP error")
    check_error_checksum(error)
    assert error.src == router.address
    assert quoted_in(error).dst == scene.vip


@each_family
@each_way
def test_an_error_about_an_answer_reaches_the_backend_as_one_about_itself(
        scene, client_pod, backend_pod, family):
    client, backend = scene.client, scene.backend
    client.send(client.udp(scene.vip, scene.port, 80))
    backend.receive_udp(sport=scene.port)
    backend.send(backend.udp(client, 8080, scene.port, b"answer"))
    got = client.receive_udp(dport=scene.port)
    for kind in ERRORS:
        client.send(error_about(got, client.address, scene.vip, kind))
        error = backend.receive(is_error, f"an ICMP error ({kind})")
        check_error_checksum(error)
        assert error_type(error) == kind
        assert (error.src, error.dst) == (client.address, backend.address)
        quoted = quoted_in(error)
        assert (quoted.src, quoted.dst) == (backend.address, client.address)
        assert (transport_of(quoted).sport, transport_of(quoted).dport) == (8080, scene.port)


@each_family
@one_way
def test_an_error_about_no_flow_is_dropped(scene, client_pod, backend_pod, family):
    """Nobody can spoof errors to a backend through a ClusterIP."""
    client, backend = scene.client, scene.backend
    never_sent = built(plain_ip(family, scene.vip, client.address) / UDP(sport=80, dport=4) / b"xx")
    client.send(error_about(never_sent, client.address, scene.vip, "port"))
    backend.quiet(is_error)


def plain_ip(family, src, dst):
    return (IP if family == 4 else IPv6)(src=src, dst=dst)


@each_family
@each_way
def test_a_packet_whose_ttl_runs_out_tells_its_sender_about_the_frontend(
        scene, client_pod, backend_pod, family):
    limit = "ipv4/icmp_ratelimit" if family == 4 else "ipv6/icmp/ratelimit"
    scene.world.place(scene.client.node).run("sh", "-c", f"echo 0 >/proc/sys/net/{limit}")
    packet = scene.client.udp(scene.vip, scene.port, 80)
    setattr(packet, "ttl" if family == 4 else "hlim", 1)
    scene.client.send(built(without_ip_checksum(packet)))
    error = scene.client.receive(is_error, "time exceeded")
    check_error_checksum(error)
    assert error_type(error) == "time"
    assert quoted_in(error).dst == scene.vip
    assert transport_of(quoted_in(error)).dport == 80


def without_ip_checksum(packet):
    if IP in packet:
        del packet[IP].chksum
    return packet


@each_family
@pytest.mark.parametrize("client, backend, node, device", [
    ("pod1a", "pod2b", "node1", "eth0"),   # the client's own node says that the packet is too big
    ("pod1a", "pod2b", "node2", "pod2b"),  # a bridge port: no router there, see below
    ("pod2a", "pod1b", "node1", "pod1b"),  # the backend's node says it
    ("pod1a", "pod1b", "node1", "pod1b"),
], ids=["near-uplink", "far-bridge-port", "far-veth", "same-node"])
def test_path_mtu_discovery_works_through_a_frontend(world, client, backend, node, device, family):
    vip = world.simple("narrow", family, [backend])
    devices = ["cni0", device] if device == "pod2b" else [device]
    place = world.place(client)
    try:
        for name in devices:
            world.place(node).run("ip", "link", "set", name, "mtu", 1400)
        with place.socket("tcp", vip, 80, timeout=5) as sock:
            result = sock.exchange(message="m" * 100000 + "\n")
            assert result.get("answer", {}).get("name") == backend, result
            assert sock.mtu() == 1400
    finally:
        for name in reversed(devices):
            world.place(node).run("ip", "link", "set", name, "mtu", 1500)
        for pod in ("pod1a", "pod2a", "pod1b", "pod2b"):
            world.place(pod).run("ip", "-6" if family == 6 else "-4", "route", "flush", "cache")


# Flows.


@each_family
@one_way
@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_one_client_port_to_two_frontends_with_one_backend_stays_two_conversations(
        scene, client_pod, backend_pod, family, proto):
    client, backend, port = scene.client, scene.backend, scene.port
    vips = [scene.vip, scene.service("second", [backend])]
    seen = []
    for number, vip in enumerate(vips):
        if proto == "tcp":
            client.send(client.tcp(vip, port, 80, "S", 1000 + number))
            seen.append(backend.receive_tcp(flags="S", seq=1000 + number))
        else:
            client.send(client.udp(vip, port, 80, b"%d" % number))
            seen.append(backend.receive(lambda packet: UDP in packet))
    source_ports = [transport_of(packet).sport for packet in seen]
    assert source_ports[0] == port and source_ports[1] != port
    for number, vip in enumerate(vips):
        if proto == "tcp":
            backend.send(backend.tcp(seen[number].src, 8080, source_ports[number], "SA", 5000,
                                     1001 + number))
            got = client.receive_tcp(flags="SA", ack=1001 + number)
        else:
            backend.send(backend.udp(seen[number].src, 8080, source_ports[number], b"%d" % number))
            got = client.receive(lambda packet: UDP in packet)
            assert bytes(got[UDP].payload) == b"%d" % number
        assert (got.src, transport_of(got).sport, transport_of(got).dport) == (vip, 80, port)
        check_checksums(got)


@each_family
@one_way
def test_a_later_direct_connection_with_the_same_port_goes_beside_the_flow(
        scene, client_pod, backend_pod, family):
    """It gets another source port, as with netfilter, and both go on."""
    client, backend, port = scene.client, scene.backend, scene.port
    scene.connect()
    sent = client.send(client.tcp(backend, port, 8080, "S", 7000))
    got = backend.receive_tcp(flags="S", seq=7000)
    other = got[TCP].sport
    assert other != port
    expect_like(sent, got, scene.hops, sport=other)
    sent = backend.send(backend.tcp(client, 8080, other, "SA", 9000, 7001))
    expect_like(sent, client.receive_tcp(ack=7001), scene.hops, dport=port)
    sent = client.send(client.tcp(backend, port, 8080, "A", 7001, 9001))
    expect_like(sent, backend.receive_tcp(seq=7001), scene.hops, sport=other)
    client.send(client.tcp(scene.vip, port, 80, "PA", 1001, 5001, b"go on"))
    assert backend.receive_tcp(seq=1001, flags="PA")[TCP].sport == port


@each_family
@one_way
def test_direct_traffic_is_not_changed(scene, client_pod, backend_pod, family):
    # Nobody else's: flows may avoid a port at a backend to which a datagram went straight.
    client, backend, port = scene.client, scene.extra_backend(scene.backend.pod, host=93), scene.port
    sent = client.send(client.udp(backend, port, 8080))
    expect_like(sent, backend.receive_udp(sport=port), scene.hops)
    sent = backend.send(backend.udp(client, 8080, port))
    expect_like(sent, client.receive_udp(dport=port), scene.hops)


@each_family
@one_way
def test_a_syn_on_an_established_flow_goes_where_that_goes(scene, client_pod, backend_pod, family):
    """The old backend drains, so a new choice would be the other one; but anybody can send a SYN."""
    world, backend = scene.world, scene.backend
    scene.connect()
    other = scene.extra_backend(backend.pod)
    draining = scene.endpoints([backend], ready=False, serving=True, terminating=True)
    world.change("ghost", family, scene.vip, draining + scene.endpoints([other]))
    scene.client.send(scene.client.tcp(scene.vip, scene.port, 80, "S", 90000))
    got = backend.receive_tcp(flags="S", seq=90000)
    assert got.dst == backend.address
    scene.client.send(scene.client.tcp(scene.vip, scene.port, 80, "PA", 1001, 5001, b"go on"))
    assert backend.receive_tcp(seq=1001, flags="PA").dst == backend.address


@each_family
@one_way
@pytest.mark.parametrize("ending", ["fin", "rst"])
def test_a_client_port_used_again_after_the_end_is_a_new_connection(
        scene, client_pod, backend_pod, family, ending):
    client, backend, port = scene.client, scene.backend, scene.port
    scene.connect()
    if ending == "fin":
        client.send(client.tcp(scene.vip, port, 80, "FA", 1001, 5001))
        backend.receive_tcp(flags="FA")
        backend.send(backend.tcp(client, 8080, port, "FA", 5001, 1002))
        client.receive_tcp(flags="FA")
    else:
        client.send(client.tcp(scene.vip, port, 80, "R", 1001))
        backend.receive_tcp(flags="R")
    _, syn = scene.syn(seq=50000)
    assert scene.syn_ack(syn)[1].src == scene.vip


@each_family
@one_way
def test_datagrams_of_one_client_port_stay_with_one_backend(scene, client_pod, backend_pod, family):
    others = [scene.extra_backend(scene.backend.pod, host) for host in (97, 96, 95)]
    scene.world.change("ghost", family, scene.vip, scene.endpoints([scene.backend, *others]))
    addresses = set()
    for number in range(12):
        scene.client.send(scene.client.udp(scene.vip, scene.port, 80, b"%d" % number))
        addresses.add(scene.backend.receive_udp(sport=scene.port).dst)
    assert len(addresses) == 1


@each_family
@pytest.mark.parametrize("pod", ["pod1b", "pod2b"])
@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_a_pod_that_meets_itself_sees_and_hears_from_the_frontend(world, pod, proto, family):
    ghost = Ghost(world, pod, family, 94)
    vip = world.simple("self", family,
                       [endpoint(ghost.address, family, nodeName=ghost.node)])
    port = next(_ports)
    make = ghost.tcp if proto == "tcp" else ghost.udp
    ghost.send(make(vip, port, 80))
    got = ghost.receive_tcp(dport=8080) if proto == "tcp" else ghost.receive_udp(dport=8080)
    assert (got.src, got.dst) == (vip, ghost.address)
    source_port = transport_of(got).sport
    ghost.send(ghost.tcp(got.src, 8080, source_port, "SA", 5, 1001) if proto == "tcp" else
               ghost.udp(got.src, 8080, source_port, b"back"))
    back = ghost.receive_tcp(sport=80) if proto == "tcp" else ghost.receive_udp(sport=80)
    assert (back.src, back.dst, transport_of(back).dport) == (vip, ghost.address, port)
    ghost.close()


# Refusals.


@each_family
@pytest.mark.parametrize("pod", ["pod1a", "pod2a"])
@pytest.mark.parametrize("port", [80, 81], ids=["no-endpoint", "no-such-port"])
def test_a_refused_syn_gets_a_reset_that_its_sender_will_believe(world, pod, port, family):
    client = Ghost(world, pod, family)
    vip = world.simple("empty", family, [])
    source_port = next(_ports)
    client.send(client.tcp(vip, source_port, port, "S", 4242, payload=b"fast open"))
    reset = client.receive_tcp(sport=port)
    assert (reset.src, reset.dst) == (vip, client.address)
    assert reset[TCP].flags == "RA"
    assert (reset[TCP].dport, reset[TCP].seq) == (source_port, 0)
    assert reset[TCP].ack == 4242 + 1 + len(b"fast open")
    client.close()


@each_family
@pytest.mark.parametrize("pod", ["pod1a", "pod2a"])
def test_a_segment_of_no_known_connection_gets_a_reset_with_its_sequence(world, pod, family):
    client = Ghost(world, pod, family)
    vip = world.simple("web", family, ["pod1b"])
    client.send(client.tcp(vip, next(_ports), 80, "A", 700, 900))
    reset = client.receive_tcp(sport=80)
    assert reset[TCP].flags == "R"
    assert reset[TCP].seq == 900
    client.close()


@each_family
def test_a_reset_is_never_answered(world, family):
    client = Ghost(world, "pod1a", family)
    vip = world.simple("empty", family, [])
    client.send(client.tcp(vip, next(_ports), 80, "R", 700), client.tcp(vip, next(_ports), 80, "RA", 7, 9))
    client.quiet(lambda packet: TCP in packet)
    client.close()


@each_family
@pytest.mark.parametrize("pod", ["pod1a", "pod2a"])
@pytest.mark.parametrize("port", [80, 81], ids=["no-endpoint", "no-such-port"])
def test_a_refused_datagram_gets_port_unreachable_that_quotes_it(world, pod, port, family):
    client = Ghost(world, pod, family)
    vip = world.simple("empty", family, [])
    sent = client.send(client.udp(vip, next(_ports), port, b"anybody?"))
    error = client.receive(is_error, "port unreachable")
    check_error_checksum(error)
    assert error_type(error) == "port"
    assert (error.src, error.dst) == (vip, client.address)
    quoted = bytes(quoted_in(error))
    assert len(quoted) >= 28 and bytes(sent).startswith(quoted[:len(bytes(sent))])
    client.close()


@each_family
def test_an_icmp_error_is_never_answered(world, family):
    client = Ghost(world, "pod1a", family)
    vip = world.simple("empty", family, [])
    quoted = built(plain_ip(family, vip, client.address) / UDP(sport=80, dport=4) / b"xx")
    client.send(error_about(quoted, client.address, vip, "port"))
    client.quiet(is_error)
    client.close()


@each_family
def test_a_later_fragment_is_never_refused(world, family):
    client = Ghost(world, "pod1a", family)
    vip = world.simple("empty", family, [])
    client.send(*fragments(client.udp(vip, next(_ports), 80, b"q" * 3000))[1:])
    client.quiet(is_error)
    client.close()


@each_family
def test_refusals_are_limited(world, family):
    """Ten thousand SYNs in a moment: no more refusals than two CPUs may send in two seconds."""
    client = Ghost(world, "pod1a", family)
    vip = world.simple("empty", family, [])
    syns = [client.tcp(vip, 1024 + number, 80) for number in range(100)]
    client.send(*syns, times=100)
    assert 0 < client.count(is_reset) <= 4000
    let_pass(1.1)  # each CPU counts by the second
    client.send(syns[0])
    assert client.receive(is_reset, "a refusal, with the flood over")
    client.close()


def is_reset(packet):
    return TCP in packet and "R" in packet[TCP].flags


@each_family
@pytest.mark.parametrize("pod", ["pod1a", "pod2a"])
def test_an_echo_request_is_answered_with_what_it_said(world, pod, family):
    client = Ghost(world, pod, family)
    vip = world.simple("web", family, ["pod1b"])
    for payload in (b"", b"odd", b"ping" * 300):
        client.send(echo_request(client, vip, payload, ident=77, seq=5))
        reply = client.receive(is_echo_reply, "an echo reply")
        check_checksums(reply)
        assert (reply.src, reply.dst) == (vip, client.address)
        body = reply[ICMP] if family == 4 else reply.payload
        assert (body.id, body.seq) == (77, 5)
        assert bytes(body)[8:] == payload
    client.close()


@each_family
@pytest.mark.parametrize("number", [47, 50, 132], ids=["gre", "esp", "sctp"])
def test_a_protocol_that_no_service_has_is_refused(world, number, family):
    client = Ghost(world, "pod1a", family)
    vip = world.simple("web", family, ["pod1b"])
    header = client.ip(vip, proto=number) if family == 4 else client.ip(vip, nh=number)
    sent = client.send(built(header / Raw(b"\0" * 40)))
    error = client.receive(is_error, "port unreachable")
    check_error_checksum(error)
    assert error_type(error) == "port"
    assert (error.src, error.dst) == (vip, client.address)
    assert bytes(sent).startswith(bytes(quoted_in(error)))
    client.close()


@each_family
def test_truncated_packets_for_a_cluster_ip_go_nowhere(world, family):
    client = Ghost(world, "pod1a", family)
    vip = world.simple("web", family, ["pod1b", "pod2b"])
    whole = bytes(client.tcp(vip, next(_ports), 80, payload=b"payload"))
    header = 20 if family == 4 else 40
    cut = []
    for length in range(header, header + 20):
        packet = (IP if family == 4 else IPv6)(whole[:length])
        if family == 4:
            packet.len = length
            del packet.chksum
        else:
            packet.plen = length - header
        cut.append(packet.__class__(bytes(packet)))
    client.send(*cut)
    client.quiet()
    client.close()


@each_family
def test_policy_local_without_an_endpoint_here_drops_in_silence(world, family):
    client = Ghost(world, "pod1a", family)
    vip = world.simple("local", family, ["pod2b"], internalTrafficPolicy="Local")
    client.send(client.tcp(vip, next(_ports), 80), client.udp(vip, next(_ports), 80))
    client.quiet(lambda packet: TCP in packet or UDP in packet or is_error(packet))
    client.close()


# Backends that leave.


@each_family
@one_way
def test_datagrams_move_from_a_backend_that_left(scene, client_pod, backend_pod, family):
    scene.client.send(scene.client.udp(scene.vip, scene.port, 80))
    scene.backend.receive_udp(sport=scene.port)
    other = scene.extra_backend(scene.backend.pod)
    scene.world.change("ghost", family, scene.vip, scene.endpoints([other]))
    sent = scene.client.send(scene.client.udp(scene.vip, scene.port, 80, b"again"))
    expect_like(sent, other.receive(lambda packet: UDP in packet and packet[UDP].dport == 8080
                                    and packet.dst == other.address),
                scene.hops, dst=other.address, dport=8080)


@each_family
@one_way
def test_a_connection_whose_backend_is_gone_from_a_service_with_none_left_is_refused(
        scene, client_pod, backend_pod, family):
    scene.world.change("ghost", family, scene.vip, [])
    scene.client.send(scene.client.tcp(scene.vip, scene.port, 80, "S", 100))
    assert "R" in scene.client.receive_tcp(sport=80)[TCP].flags


@each_family
def test_a_connection_s_segments_cross_while_its_service_is_replaced(world, family):
    """The flow is the connection's: other Services and lists may come and go."""
    vip = world.simple("web", family, ["pod2b"])
    with world.place("pod1a").socket("tcp", vip, 80) as sock:
        for number in range(5):
            name = world.publish(service(f"other{number}", next_vip(family),
                                         [service_port(80, "TCP", "tcp")]),
                                 slice_(f"other{number}", ["pod1b"], slice_ports(8080), family))
            assert sock.exchange()["answer"]["name"] == "pod2b"
            world.withdraw(name)
            assert sock.exchange()["answer"]["name"] == "pod2b"
