# SPDX-License-Identifier: BSD-2-Clause
"""Direct server return: node1 is dialled, node2 has the backend and answers the client itself."""

import json
import sys
import time

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

import manifests
from lab import address_of, wait_for
from test_outside import (BIG, EXTERNAL_IP, KINDS, LOCAL, NODE_PORT, OVERLAY_MTU, REMOTE, each_family, each_kind,
                          each_proto, overlay, publish, route_services)  # noqa: F401 (fixture)

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
    assert frontend.ask_all(world, proto, 30, until=(LOCAL, REMOTE)) == {LOCAL: client, REMOTE: client}


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


@each_family
def test_much_is_sent_both_ways_in_spite_of_the_outer_header(world, offloads, family):
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    with world.place("client").socket("tcp", frontend.address, frontend.port) as sock:
        for _ in range(20):
            assert "error" not in sock.exchange(message=BIG)
            assert "error" not in sock.exchange(message="fill 60000\n")
        assert sock.mtu() == 1500 - (20 if family == 4 else 40)
    flush_learned(world)


# Three datagrams in one packet (UDP_SEGMENT), and how many were answered.
SEND_SEGMENTS = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
sock = socket.socket(family, socket.SOCK_DGRAM)
sock.settimeout(2)
sock.connect((sys.argv[1], int(sys.argv[2])))
sock.setsockopt(socket.IPPROTO_UDP, 103, 1000)
sock.send((b"x" * 999 + b"\\n") * 3)
print(len([sock.recv(65535) for _ in range(3)]))
"""


@pytest.mark.parametrize("cut", ["on", "off"], ids=["whole", "cut"])
@each_family
def test_datagrams_that_were_sent_in_one_go_all_arrive(world, family, cut):
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    world.place("node1").run("ethtool", "-K", "eth0", "tx-udp-segmentation", cut)
    try:
        told = world.place("client").run(sys.executable, "-c", SEND_SEGMENTS, frontend.address, frontend.port)
        assert told.stdout.strip() == "3"
    finally:
        world.place("node1").run("ethtool", "-K", "eth0", "tx-udp-segmentation", "on")


def flush_learned(world):
    for place in ("client", "node1", "node2", REMOTE):
        world.place(place).run("ip", "route", "flush", "cache")
        world.place(place).run("ip", "-6", "route", "flush", "cache")


@each_proto
@each_family
def test_clients_on_the_backends_node_are_served(world, proto, family):
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    # A neighbour of the backend, the backend itself, and its node, which are told apart or hidden.
    for client, seen in (("pod2a", "pod2a"), (REMOTE, "node1"), ("node2", "node1")):
        assert frontend.ask_all(world, proto, 3, client=client) == {REMOTE: {address_of(seen, family)}}


# The way between the nodes.


@pytest.mark.parametrize("kind", [NODE_PORT, EXTERNAL_IP])
@each_proto
@each_family
def test_backends_behind_an_overlay_see_the_client(world, overlay, kind, proto, family):
    frontend = publish(world, kind, family, [REMOTE])
    assert frontend.ask_all(world, proto, 3) == {REMOTE: {address_of("client", family)}}


@each_family
def test_the_client_learns_what_fits_through_an_overlay(world, overlay, family):
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    with world.place("client").socket("tcp", frontend.address, frontend.port) as sock:
        for _ in range(3):
            assert "error" not in sock.exchange(message=BIG)
            assert "error" not in sock.exchange(message="fill 60000\n")
        assert sock.mtu() == OVERLAY_MTU - (20 if family == 4 else 40)


@pytest.fixture
def router(world):
    """The wire routes between the nodes, and knows only afterwards that pods of node2 take less."""
    routes = []
    for family, prefix in ((4, "10.244.2.0/24"), (6, "fd00:244:2::/64")):
        routes.append((family, prefix))
        world.place("node1").run("ip", "route", "replace", prefix, "via", address_of("wire", family))
        world.place("wire").run("ip", "route", "replace", prefix, "via", address_of("node2", family),
                                "mtu", "lock", 1400)
    yield 1400
    for family, prefix in routes:
        world.place("node1").run("ip", "route", "replace", prefix, "via", address_of("node2", family))
        world.place("wire").run("ip", "route", "replace", prefix, "via", address_of("node2", family))
    flush_learned(world)


@each_family
def test_the_client_learns_what_a_router_behind_the_node_can_take(world, router, family):
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    with world.place("client").socket("tcp", frontend.address, frontend.port) as sock:
        for _ in range(3):
            assert "error" not in sock.exchange(message=BIG)
        assert sock.mtu() == router - (20 if family == 4 else 40)
    flush_learned(world)


@each_family
def test_the_backend_learns_what_the_client_can_take(world, family):
    """An error about a reply comes to the frontend, and goes on to the node that sent it."""
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    bits = 32 if family == 4 else 128
    client = address_of("client", family)
    for place, via in (("node2", "wire"), ("wire", None)):
        way = ["via", address_of(via, family)] if via else ["dev", "br0"]
        world.place(place).run("ip", "route", "replace", f"{client}/{bits}", *way,
                               *(["mtu", "lock", 1300] if via is None else []))
    try:
        with world.place("client").socket("tcp", frontend.address, frontend.port) as sock:
            for _ in range(3):
                assert "error" not in sock.exchange(message="fill 60000\n")
        assert counted(world, "node2", "icmp-translated")
    finally:
        for place in ("node2", "wire"):
            world.place(place).run("ip", "route", "del", f"{client}/{bits}")
        flush_learned(world)


# Who may send such packets.


def counted(world, node, name):
    return world.agents[node].json("status")["counters"][name]["packets"]


def mac(world, place):
    return json.loads(world.place(place).run("ip", "-j", "link", "show", "eth0").stdout)[0]["address"]


@each_family
def test_packets_that_no_node_has_encapsulated_are_dropped_and_counted(world, family):
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    before = counted(world, "node2", "not-a-node")
    packet = IP if family == 4 else IPv6
    more = {"id": 8080, "flags": "DF"} if family == 4 else {"fl": 8080}
    for source, drops in ((address_of("client", family), 1), (address_of("node1", family), 0)):
        frame = (Ether(src=mac(world, "client"), dst=mac(world, "node2")) /
                 packet(src=source, dst=address_of(REMOTE, family), **more) /
                 packet(src=address_of("client", family), dst=frontend.address) /
                 UDP(sport=40001, dport=frontend.port) / b"hello\n")
        world.place("client").call("send_frames", interface="eth0", frames=[bytes(frame).hex()])
        before += drops
        wait_for(lambda: counted(world, "node2", "not-a-node") == before, "the drop")
    wait_for(lambda: world.agents["node2"].json("flows", "--address", address_of("client", family)),
             "the flow that a node may make")


# Which flows last.


def states(world, client):
    """Of the flows that node1 has of a client."""
    return [flow["state"] for flow in world.agents["node1"].json("flows", "--address", client)]


@each_family
def test_a_connection_is_established_once_the_backends_node_says_so(world, family):
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    sent, taken = counted(world, "node2", "confirmation-sent"), counted(world, "node1", "confirmation")
    with world.place("client").socket("tcp", frontend.address, frontend.port) as sock:
        # Nothing was said on it yet, and perhaps nothing will be for an hour.
        wait_for(lambda: "established" in states(world, address_of("client", family)), "the confirmation")
        assert "error" not in sock.exchange()
    assert counted(world, "node2", "confirmation-sent") > sent
    assert counted(world, "node1", "confirmation") > taken


@each_family
def test_who_hears_no_answer_has_no_established_flow(world, family):
    """A SYN, and then as many ACKs as it likes, from an address where no answer comes to."""
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    nobody = "172.18.0.77" if family == 4 else "fd00:18::77"
    packet = IP if family == 4 else IPv6
    segments = [TCP(sport=40001, dport=frontend.port, flags="S", seq=1000)]
    segments += [TCP(sport=40001, dport=frontend.port, flags="A", seq=1001, ack=ack) / b"hello"
                 for ack in (1, 5000, 0x7fffffff, 0xfffffff0)]
    for segment in segments:
        frame = (Ether(src=mac(world, "client"), dst=mac(world, "node1")) /
                 packet(src=nobody, dst=frontend.address) / segment)
        world.place("client").call("send_frames", interface="eth0", frames=[bytes(frame).hex()])
    wait_for(lambda: states(world, nobody), "the flow")
    time.sleep(0.5)  # a confirmation would be here by now
    assert states(world, nobody) in (["replied"], ["closed"])


# What is decided when.


def test_nodes_come_and_go(world):
    frontend = publish(world, NODE_PORT, 4, [REMOTE])
    client = {address_of("client", 4)}
    assert frontend.ask_all(world, "tcp", 3) == {REMOTE: client}
    world.folder.write("nodes", manifests.node("node2"))
    world.settle()
    # node1 does not know what others know it by.
    assert frontend.ask_all(world, "tcp", 3) == {REMOTE: {address_of("node1", 4)}}
    status = world.agents["node1"].json("status")
    assert "no-node-address" in {item["name"] for item in status["degraded"]}
    world.folder.write("nodes", manifests.node("node1"), manifests.node("node2"))
    world.settle()
    assert frontend.ask_all(world, "tcp", 3) == {REMOTE: client}


@each_family
def test_an_endpoint_that_is_on_no_node_gets_source_nat(world, family):
    backend = manifests.endpoint(REMOTE, family)
    del backend["nodeName"]
    frontend = publish(world, NODE_PORT, family, [backend])
    assert frontend.ask_all(world, "tcp", 3) == {REMOTE: {address_of("node1", family)}}


@each_family
def test_one_client_port_is_used_at_two_frontends_at_once(world, family):
    one, two = (publish(world, NODE_PORT, family, [REMOTE], name=name) for name in ("one", "two"))
    client = world.place("client")
    with client.socket("tcp", one.address, one.port, source_port=5000) as first:
        with client.socket("tcp", two.address, two.port, source_port=5000) as second:
            ports = set()
            for sock in (first, second, first, second):
                result = sock.exchange()
                assert result["answer"]["name"] == REMOTE
                ports.add(result["answer"]["client_port"])
            assert len(ports) == 2 and "5000" in {str(port) for port in ports}


@each_family
def test_explain_says_which_way_a_packet_goes(world, family):
    frontend = publish(world, NODE_PORT, family)
    client = address_of("client", family)
    dialled = f"[{frontend.address}]" if family == 6 else frontend.address
    for arguments in ((), ("-o", "json")):
        told = world.agents["node1"].fairlead("explain", f"{dialled}:{frontend.port}/tcp", "--from", client,
                                              "--link", "eth0", *arguments).stdout
    answer = json.loads(told)
    assert answer["source_nat"] is False
    assert {(item["direct_server_return"], item["seen_as"]) for item in answer["candidates"]} == {(True, client), (False, client)}


@pytest.fixture
def restarted(world):
    """Starts the agents anew with other options."""
    options = {node: agent.options for node, agent in world.agents.items()}

    def restart(forwarding, *more):
        for agent in world.agents.values():
            agent.stop()
            agent.options = ("--hooks", "tc", "--forwarding", forwarding, *more)
            agent.start()

    yield restart
    for node, agent in world.agents.items():
        agent.stop()
        agent.options = options[node]
        agent.start()


@each_family
def test_connections_keep_what_they_began_with(world, restarted, family):
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    with world.place("client").socket("tcp", frontend.address, frontend.port) as encapsulated:
        assert encapsulated.exchange()["answer"]["client"] == address_of("client", family)
        restarted("snat")
        assert frontend.ask_all(world, "tcp", 3) == {REMOTE: {address_of("node1", family)}}
        with world.place("client").socket("tcp", frontend.address, frontend.port) as translated:
            assert "error" not in encapsulated.exchange(message=BIG)
            restarted("dsr")
            assert frontend.ask_all(world, "tcp", 3) == {REMOTE: {address_of("client", family)}}
            assert "error" not in encapsulated.exchange()
            assert "error" not in translated.exchange()


@each_family
def test_hybrid_is_direct_for_tcp_and_source_nat_for_udp(world, restarted, family):
    restarted("hybrid")
    assert world.agents["node1"].json("status")["forwarding"] == "hybrid"
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    assert frontend.ask_all(world, "tcp", 3) == {REMOTE: {address_of("client", family)}}
    assert frontend.ask_all(world, "udp", 3) == {REMOTE: {address_of("node1", family)}}


def test_xdp_leaves_direct_server_return_to_tc(world, restarted):
    restarted("dsr", "--xdp", "generic")
    for family in (4, 6):
        frontend = publish(world, NODE_PORT, family)
        client = {address_of("client", family)}
        for proto in ("tcp", "udp"):
            assert frontend.ask_all(world, proto, 20, until=(LOCAL, REMOTE)) == {LOCAL: client, REMOTE: client}
