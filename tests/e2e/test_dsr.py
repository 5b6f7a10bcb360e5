# SPDX-License-Identifier: BSD-2-Clause
"""Direct server return: node1 is dialled, node2 has the backend and answers the client itself."""

import json

import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether

import manifests
from lab import address_of, wait_for
from test_outside import (BIG, CLUSTER_IP, EXTERNAL_IP, KINDS, LOCAL, NODE_PORT, REMOTE, each_family,
                          each_kind, each_proto, publish, route_services)

HOOKS = ["tc"]
OPTIONS = ["--forwarding", "dsr"]


@pytest.fixture(autouse=True)
def cluster(world):
    """Both nodes are known to both agents, and node1 is the way to all Services."""
    route_services(world, {family: address_of("node1", family) for family in (4, 6)})
    world.folder.write("nodes", manifests.node("node1"), manifests.node("node2"))
    world.settle()


@each_kind
@each_proto
@each_family
def test_backends_elsewhere_see_the_client_and_answer_as_the_frontend(world, kind, proto, family):
    frontend = publish(world, kind, family)
    client = {address_of("client", family)}
    assert frontend.ask_all(world, proto, 30) == {LOCAL: client, REMOTE: client}


@pytest.fixture(scope="module")
def node_server(shared_world):
    """An echo server on node2 itself; its port."""
    port = 9080
    shared_world.lab.serve("node2", ports=[port])
    return port


@each_proto
@each_family
def test_a_backend_that_is_the_other_node_itself_sees_the_client(world, node_server, proto, family):
    backend = manifests.endpoint("node2", family)
    for kind in KINDS:
        frontend = publish(world, kind, family, [backend], target=node_server)
        assert frontend.ask_all(world, proto, 3) == {"node2": {address_of("client", family)}}


def segmentation(world, place, state):
    for feature in ("tso", "gso", "gro"):
        world.place(place).run("ethtool", "-K", "eth0", feature, state, check=False)


@pytest.fixture(params=[(), ("node1",), ("client", "node1", "node2")], ids=["whole", "cut", "small"])
def offloads(world, request):
    """Places whose link wants segments: none; the kernel of node1 cuts what it has encapsulated; or
    nothing larger than a segment is ever sent."""
    for place in request.param:
        segmentation(world, place, "off")
    yield request.param
    for place in request.param:
        segmentation(world, place, "on")


def outer_ids(world, capture):
    """The ids of encapsulated IPv4 packets on the wire, of which those to ports are not counted up."""
    frames = [Ether(bytes.fromhex(octets)) for octets in
              world.place("wire").call("capture_read", handle=capture, timeout=0.5)]
    return {frame[IP].id for frame in frames if IP in frame and frame[IP].proto == 4}


def test_segments_that_the_kernel_cuts_are_still_of_their_connection(world):
    segmentation(world, "node1", "off")
    frontend = publish(world, NODE_PORT, 4, [REMOTE])
    capture = world.place("wire").call("capture_open", interface="node1")
    try:
        assert "error" not in frontend.ask(world, message=BIG)
        assert len(outer_ids(world, capture)) > 1
    finally:
        world.place("wire").call("capture_close", handle=capture)
        segmentation(world, "node1", "on")
    flush_learned(world)


@each_kind
@each_family
def test_much_is_sent_both_ways_in_spite_of_the_outer_header(world, offloads, kind, family):
    frontend = publish(world, kind, family, [REMOTE])
    with world.place("client").socket("tcp", frontend.address, frontend.port) as sock:
        for _ in range(20):
            assert "error" not in sock.exchange(message=BIG)
            assert "error" not in sock.exchange(message="fill 60000\n")
        assert sock.mtu() == 1500 - (20 if family == 4 else 40)
    flush_learned(world)


def flush_learned(world):
    for place in ("client", "node1", "node2", REMOTE):
        world.place(place).run("ip", "route", "flush", "cache")
        world.place(place).run("ip", "-6", "route", "flush", "cache")
