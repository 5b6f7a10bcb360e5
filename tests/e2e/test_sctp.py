# SPDX-License-Identifier: BSD-2-Clause
"""SCTP through Services: packets made by scapy, which computes the checksum of each anew."""

import itertools

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6ExtHdrFragment
from scapy.layers.sctp import (
    SCTP,
    SCTPChunkAbort,
    SCTPChunkCookieAck,
    SCTPChunkCookieEcho,
    SCTPChunkData,
    SCTPChunkInit,
    SCTPChunkInitAck,
    SCTPChunkShutdown,
    SCTPChunkShutdownAck,
    SCTPChunkShutdownComplete,
)

from manifests import endpoint, next_vip, service, service_port, slice_
from packets import (
    Ghost,
    check_error_checksum,
    error_about,
    error_type,
    expect_like,
    fragments,
    is_error,
    quoted_in,
    reassembled,
)

HOOKS = ["tc"]

each_family = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
each_way = pytest.mark.parametrize("client_pod, backend_pod", [
    ("pod1a", "pod1b"), ("pod1a", "pod2b"), ("pod2a", "pod2b"), ("pod2a", "pod1b")])
one_way = pytest.mark.parametrize("client_pod, backend_pod", [("pod1a", "pod2b")])

_ports = itertools.count(30000)


def is_fragment(packet):
    return bool(packet.frag or packet.flags.MF) if IP in packet else IPv6ExtHdrFragment in packet


def is_first_fragment(packet):
    return packet.frag == 0 if IP in packet else packet[IPv6ExtHdrFragment].offset == 0


class Association:
    """A client and a backend without kernels, and an SCTP port of a Service between them."""

    def __init__(self, world, client_pod, backend_pod, family):
        self.world, self.family = world, family
        self.client = Ghost(world, client_pod, family, 99)
        self.backend = Ghost(world, backend_pod, family, 98)
        self.hops = 1 if self.client.node == self.backend.node else 2
        self.vip, self.port = next_vip(family), next(_ports)
        self.publish([endpoint(self.backend.address, family, nodeName=self.backend.node)])

    def publish(self, endpoints):
        self.world.publish(
            service("sctp", self.vip, [service_port(80, "SCTP", "sctp", 8080)]),
            slice_("sctp", endpoints, [{"name": "sctp", "protocol": "SCTP", "port": 8080}], self.family),
            name="sctp")

    def close(self):
        self.client.close()
        self.backend.close()

    def ask(self, chunk, tag=0x01020304):
        """A packet of the client's, which must arrive with nothing changed but where it goes."""
        sent = self.client.send(self.client.sctp(self.vip, self.port, 80, chunk, tag))
        got = self.backend.receive_sctp(sport=self.port)
        expect_like(sent, got, self.hops, dst=self.backend.address, dport=8080)
        return got

    def answer(self, chunk, tag=0x05060708):
        sent = self.backend.send(self.backend.sctp(self.client, 8080, self.port, chunk, tag))
        got = self.client.receive_sctp(dport=self.port)
        expect_like(sent, got, self.hops, src=self.vip, sport=80)
        return got

    def set_up(self):
        self.ask(SCTPChunkInit(init_tag=0x05060708), tag=0)
        self.answer(SCTPChunkInitAck(init_tag=0x01020304))
        self.ask(SCTPChunkCookieEcho(cookie=b"c" * 64))
        self.answer(SCTPChunkCookieAck())


@pytest.fixture
def association(world, client_pod, backend_pod, family):
    made = Association(world, client_pod, backend_pod, family)
    yield made
    made.close()


@each_family
@each_way
def test_an_association_is_translated_from_its_begin_to_its_end(association):
    association.set_up()
    for size in (1, 2, 3, 4, 100, 1400):
        association.ask(SCTPChunkData(data=b"q" * size, tsn=size))
        association.answer(SCTPChunkData(data=b"a" * size, tsn=size))
    association.ask(SCTPChunkShutdown())
    association.answer(SCTPChunkShutdownAck())
    association.ask(SCTPChunkShutdownComplete())


@each_family
@one_way
def test_an_abort_reaches_the_client(association):
    association.set_up()
    association.answer(SCTPChunkAbort())


@each_family
@one_way
def test_an_init_without_a_backend_is_refused(association):
    association.publish([])
    init = association.client.sctp(association.vip, association.port, 80, SCTPChunkInit(), 0)
    association.client.send(init)
    error = association.client.receive(is_error, "port unreachable")
    check_error_checksum(error)
    assert error_type(error) == "port"
    assert (error.src, error.dst) == (association.vip, association.client.address)
    assert bytes(init).startswith(bytes(quoted_in(error)))


@each_family
@one_way
def test_a_packet_of_no_association_is_refused(association):
    association.client.send(association.client.sctp(association.vip, association.port, 80,
                                                    SCTPChunkData(data=b"lost")))
    assert error_type(association.client.receive(is_error, "port unreachable")) == "port"
    association.backend.quiet(lambda packet: SCTP in packet)


@each_family
@one_way
def test_a_too_big_error_reaches_the_backend_in_its_own_terms(association):
    association.set_up()
    sent = association.backend.sctp(association.client, 8080, association.port, SCTPChunkData(data=b"d" * 1300))
    association.backend.send(sent)
    got = association.client.receive_sctp(dport=association.port)
    association.client.send(error_about(got, association.client.address, association.vip, "too-big"))
    error = association.backend.receive(is_error, "a too-big error")
    check_error_checksum(error)
    assert error_type(error) == "too-big"
    quoted = quoted_in(error)
    assert (quoted.src, quoted.dst) == (association.backend.address, association.client.address)
    assert (quoted[SCTP].sport, quoted[SCTP].dport) == (8080, association.port)


def in_fragments(association, chunks):
    """A packet that is sent in two fragments; it, and these."""
    whole = association.client.sctp(association.vip, association.port, 80, chunks)
    return whole, fragments(whole, 1000 if association.family == 4 else 1280)


@each_family
@one_way
def test_a_chunk_in_fragments_arrives_whole(association):
    association.set_up()
    for size in range(1400, 1404):
        whole, pieces = in_fragments(association, SCTPChunkData(data=b"f" * size))
        association.client.send(*pieces)
        got = reassembled([association.backend.receive(is_fragment) for _ in pieces])
        want = SCTP(bytes(whole[SCTP]))
        want.dport, want.chksum = 8080, None
        assert bytes(got[SCTP]) == bytes(want)


@each_family
@one_way
def test_a_first_fragment_whose_checksum_cannot_be_known_goes_nowhere(association):
    """Its only whole chunk does not say what follows."""
    association.set_up()
    _, pieces = in_fragments(association, SCTPChunkData(data=b"f" * 400) / SCTPChunkData(data=b"g" * 1000))
    association.client.send(*pieces)
    association.backend.quiet(is_first_fragment)
    association.ask(SCTPChunkData(data=b"on"))
