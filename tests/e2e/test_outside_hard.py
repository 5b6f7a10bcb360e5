# SPDX-License-Identifier: BSD-2-Clause
"""Clients from outside when the way is not smooth: narrow links, links that come and go, fragments out of
order, tags and options, ports that are used again at once."""

import socket

import pytest
from scapy.layers.l2 import Dot1Q, Ether

from lab import address_of, wait_for
from outside import (
    BIG,
    CLUSTER_IP,
    EXTERNAL_IP,
    FILL,
    LOCAL,
    NARROW,
    NODE_PORT,
    REMOTE,
    frames_to,
    host,
    learned_mtu,
    narrow_router,
    pieces_of,
    publish,
    route_by,
    route_services,
    second_link,
    udp_to,
    wait_for_hook,
)
from packets import link_address

HOOKS = ["tc"]
# Four times "no operation"; a destination option that is padding.
IP_OPTIONS, IPV6_DSTOPTS = 4, 59
OPTIONS_OF = {4: (socket.IPPROTO_IP, IP_OPTIONS, "01010101"),
              6: (socket.IPPROTO_IPV6, IPV6_DSTOPTS, "0000010400000000")}

each_family = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
each_proto = pytest.mark.parametrize("proto", ["tcp", "udp"])
each_kind = pytest.mark.parametrize("kind", [NODE_PORT, EXTERNAL_IP])
each_backend = pytest.mark.parametrize("backend", [LOCAL, REMOTE], ids=["here", "elsewhere"])


@pytest.fixture(autouse=True)
def routes(world):
    route_services(world, {family: address_of("node1", family) for family in (4, 6)})


def seen_address(backend, family):
    return address_of("client" if backend == LOCAL else "node1", family)


# A narrow link in the middle of the way.


@each_kind
@each_family
def test_a_client_learns_of_a_narrow_link_between_node_and_backend(world, kind, family):
    frontend = publish(world, kind, family, [REMOTE])
    with narrow_router(world, "node1", host(address_of(REMOTE, family), family),
                       address_of("node2", family), family):
        with world.place("client").socket("tcp", frontend.address, frontend.port, timeout=5) as sock:
            assert "error" not in sock.exchange(message=BIG)
            assert "error" not in sock.exchange(message=FILL)
            assert sock.mtu() == NARROW


@each_family
def test_a_backend_learns_of_a_narrow_link_on_its_way_back_to_the_node(world, family):
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    node = address_of("node1", family)
    with narrow_router(world, "node2", host(node, family), None, family):
        with world.place("client").socket("tcp", frontend.address, frontend.port, timeout=5) as sock:
            assert "error" not in sock.exchange(message=BIG)
            assert "error" not in sock.exchange(message=FILL)
        assert learned_mtu(world, REMOTE, node) == NARROW


@each_backend
@each_kind
@each_family
def test_a_backend_learns_of_a_narrow_link_between_node_and_client(world, kind, backend, family):
    frontend = publish(world, kind, family, [backend])
    client = address_of("client", family)
    with narrow_router(world, "node1", host(client, family), None, family):
        with world.place("client").socket("tcp", frontend.address, frontend.port, timeout=5) as sock:
            assert "error" not in sock.exchange(message=FILL)
            assert "error" not in sock.exchange(message=BIG)
        assert learned_mtu(world, backend, seen_address(backend, family)) == NARROW


@each_family
def test_datagrams_are_cut_for_a_narrow_link_in_either_direction(world, family):
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    long = "x" * 1400 + "\n"
    with narrow_router(world, "node1", host(address_of(REMOTE, family), family),
                       address_of("node2", family), family):
        with world.place("client").socket("udp", frontend.address, frontend.port, timeout=0.2) as sock:
            wait_for(lambda: "error" not in sock.exchange(message=long), "an answer to what is cut", 5)
            assert sock.mtu() == NARROW
    with narrow_router(world, "node1", host(address_of("client", family), family), None, family):
        with world.place("client").socket("udp", frontend.address, frontend.port, timeout=0.2) as sock:
            wait_for(lambda: "error" not in sock.exchange(message="fill 1400\n"), "what is cut", 5)


# Fragments.


@each_backend
@each_kind
@each_family
def test_fragments_may_come_in_any_order_behind_the_first(world, kind, backend, family):
    frontend = publish(world, kind, family, [backend])
    client = world.place("client")
    with client.socket("udp", frontend.address, frontend.port) as sock:
        port = sock.name()["name"][1]
        for order in ((0, 1, 2, 3), (0, 3, 2, 1), (0, 2, 3, 1), (0, 1, 1, 3, 3, 2)):
            pieces = pieces_of(client, frontend, family, port, 4500)
            assert len(pieces) == 4
            client.call("send_frames", interface="eth0",
                        frames=frames_to(world, family, [pieces[number] for number in order]))
            answer = sock.receive()
            assert answer.get("answer", {}).get("name") == backend, (order, answer)
            assert answer["answer"]["client"] == seen_address(backend, family)


@each_family
def test_a_datagram_is_lost_whose_first_fragment_comes_last_and_the_next_is_not(world, family):
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    client = world.place("client")
    with client.socket("udp", frontend.address, frontend.port, timeout=0.2) as sock:
        port = sock.name()["name"][1]
        pieces = pieces_of(client, frontend, family, port, 4500)
        client.call("send_frames", interface="eth0", frames=frames_to(world, family, reversed(pieces)))
        assert sock.receive().get("error") == "timeout"
        assert sock.exchange()["answer"]["name"] == REMOTE


@each_backend
@each_family
def test_large_datagrams_go_both_ways_in_fragments(world, backend, family):
    frontend = publish(world, NODE_PORT, family, [backend])
    assert frontend.ask(world, "udp", message=BIG)["answer"]["name"] == backend
    assert frontend.ask(world, "udp", message=FILL)["answer"]["length"] > 60000


# Ports that are used again.


@each_backend
@each_proto
@each_family
def test_a_client_port_is_used_again_at_once_through_the_same_and_other_frontends(
        world, backend, proto, family):
    same = publish(world, EXTERNAL_IP, family, [backend])
    other = publish(world, NODE_PORT, family, [backend], name="other")
    third = publish(world, CLUSTER_IP, family, [backend], name="third")
    for number in range(24):
        frontend = (same, other, same, third)[number % 4]
        result = frontend.ask(world, proto, source_port=5200, aborts=proto == "tcp")
        assert result.get("answer", {}).get("name") == backend, (number, result)


@each_proto
@each_family
def test_many_clients_with_one_port_are_told_apart(world, proto, family):
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    client, held = world.place("client"), []
    prefix = "172.18.0." if family == 4 else "fd00:18::"
    more = [f"{prefix}{number}" for number in range(150, 160)]
    length = 24 if family == 4 else 64
    for address in more:
        client.run("ip", "addr", "add", f"{address}/{length}", "dev", "eth0",
                   *([] if family == 4 else ["nodad"]))
    try:
        for address in more:
            held.append(client.socket(proto, frontend.address, frontend.port, source=address,
                                      source_port=5300))
        ports = []
        for _ in range(2):
            answers = [sock.exchange()["answer"] for sock in held]
            assert {answer["client"] for answer in answers} == {address_of("node1", family)}
            ports.append([answer["client_port"] for answer in answers])
        assert len(set(ports[0])) == len(more)
        assert ports[0] == ports[1]
    finally:
        for sock in held:
            sock.close()
        for address in more:
            client.run("ip", "addr", "del", f"{address}/{length}", "dev", "eth0")


# Links that come, go, and are others than before.


@each_proto
@each_backend
@each_family
def test_a_flow_goes_on_when_its_packets_come_by_another_link(world, backend, proto, family):
    frontend = publish(world, EXTERNAL_IP, family, [backend])
    with second_link(world):
        route_by(world, "eth0", family)
        with world.place("client").socket(proto, frontend.address, frontend.port) as sock:
            first = sock.exchange()["answer"]
            for way in ("side", "eth0", "side"):
                route_by(world, way, family)
                assert sock.exchange()["answer"] == first
    route_by(world, "eth0", family)


@each_family
def test_links_that_vanish_and_come_back_disturb_nobody_else(world, family):
    frontends = [publish(world, NODE_PORT, family, [backend], name=backend) for backend in (LOCAL, REMOTE)]
    other = publish(world, EXTERNAL_IP, family, [LOCAL, REMOTE], name="side")
    client = world.place("client")
    targets = [[item.address, item.port, proto] for item in frontends for proto in ("tcp", "udp")]
    asking = client.call("asking_start", targets=targets, pause=0.001)
    holding = client.call("holding_start", targets=targets[::2], pause=0.001)
    try:
        for _ in range(2):
            with second_link(world):
                assert other.ask_all(world, "udp", 10)
                assert other.ask_all(world, "tcp", 10)
            assert "error" in other.ask(world, "udp", timeout=0.1)
        enough = client.call("asking_state", handle=asking)["count"] + 100
        wait_for(lambda: client.call("asking_state", handle=asking)["count"] > enough, "answers")
    finally:
        asked, held = (client.call("asking_stop", handle=handle) for handle in (asking, holding))
    assert not asked["failures"] and not held["failures"], (asked["failures"], held["failures"])
    assert asked["count"] and held["count"]


@each_family
def test_backends_are_reached_again_when_their_link_has_come_back(world, family):
    """A link between the nodes, over which alone a backend is reached."""
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    net = {4: ("172.23.0.{}", 24), 6: ("fd00:23::{}", 64)}[family]
    node = world.place("node1")
    backend = host(address_of(REMOTE, family), family)

    def make():
        for name, other, number in (("node1", "node2", 1), ("node2", "node1", 2)):
            place = world.place(name)
            place.run("ip", "link", "add", "fl-over", "type", "vxlan", "id", 9, "dstport", 4792,
                      "local", address_of(name, 4), "remote", address_of(other, 4), "dev", "eth0")
            place.run("ip", "addr", "add", f"{net[0].format(number)}/{net[1]}", "dev", "fl-over",
                      *([] if family == 4 else ["nodad"]))
            place.run("ip", "link", "set", "fl-over", "up")
        node.run("ip", "route", "replace", backend, "via", net[0].format(2))
        wait_for_hook(world, "fl-over")

    def remove():
        for name in ("node1", "node2"):
            world.place(name).run("ip", "link", "del", "fl-over")

    for _ in range(2):
        make()
        with world.place("client").socket("udp", frontend.address, frontend.port, timeout=0.2) as sock:
            assert wait_for(lambda: sock.exchange().get("answer"), "an answer")["client"] == net[0].format(1)
            remove()
            # The flow keeps the address of the link that is gone; a new one gets another.
            answer = wait_for(lambda: frontend.ask(world, "udp", timeout=0.2).get("answer"), "a new flow")
            assert answer["client"] == address_of("node1", family)


# What headers may hold.


@each_kind
@each_family
@pytest.mark.parametrize("backend", [REMOTE, LOCAL], ids=["elsewhere", "here"])
def test_frames_with_priority_tags_are_served(world, kind, backend, family):
    """What has a tag goes to another node without."""
    frontend = publish(world, kind, family, [backend])
    client = world.place("client")
    with client.socket("udp", frontend.address, frontend.port) as sock:
        packet = udp_to(client, frontend, family, sock.name()["name"][1], b"hello\n")
        link = Ether(src=link_address(world.lab, "client", "eth0"),
                     dst=link_address(world.lab, "node1", "eth0")) / Dot1Q(vlan=0, prio=3)
        for _ in range(2):
            client.call("send_frames", interface="eth0", frames=[bytes(link / packet).hex()])
            answer = sock.receive()["answer"]
            assert (answer["name"], answer["client"]) == (backend, seen_address(backend, family))


@each_backend
@each_proto
@each_kind
@each_family
def test_packets_with_options_are_served(world, kind, backend, proto, family):
    frontend = publish(world, kind, family, [backend])
    seen = frontend.ask_all(world, proto, 3, options=[OPTIONS_OF[family]])
    assert seen == {backend: {seen_address(backend, family)}}
