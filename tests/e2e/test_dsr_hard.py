# SPDX-License-Identifier: BSD-2-Clause
"""Direct server return when the way is not smooth: narrow links, fragments, ports used again, other links."""

import pytest

import manifests
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
)

HOOKS = ["tc"]
OPTIONS = ["--forwarding", "dsr"]
OUTER = {4: 20, 6: 40}

each_family = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
each_proto = pytest.mark.parametrize("proto", ["tcp", "udp"])
each_kind = pytest.mark.parametrize("kind", [NODE_PORT, EXTERNAL_IP])


@pytest.fixture(autouse=True)
def cluster(world):
    route_services(world, {family: address_of("node1", family) for family in (4, 6)})
    world.folder.write("nodes", manifests.node("node1"), manifests.node("node2"))
    world.settle()


@each_kind
@each_family
def test_a_client_learns_of_a_narrow_link_between_the_nodes(world, kind, family):
    frontend = publish(world, kind, family, [REMOTE])
    with narrow_router(world, "node1", host(address_of(REMOTE, family), family),
                       address_of("node2", family), family):
        with world.place("client").socket("tcp", frontend.address, frontend.port, timeout=5) as sock:
            assert "error" not in sock.exchange(message=BIG)
            assert "error" not in sock.exchange(message=FILL)
            assert sock.mtu() == NARROW - OUTER[family]


@each_kind
@each_family
def test_a_backend_learns_of_a_narrow_link_on_its_own_way_to_the_client(world, kind, family):
    frontend = publish(world, kind, family, [REMOTE])
    client = address_of("client", family)
    with narrow_router(world, "node2", host(client, family), None, family):
        with world.place("client").socket("tcp", frontend.address, frontend.port, timeout=5) as sock:
            assert "error" not in sock.exchange(message=FILL)
            assert "error" not in sock.exchange(message=BIG)
        assert learned_mtu(world, REMOTE, client) == NARROW


@each_kind
@each_family
def test_fragments_may_come_in_any_order_behind_the_first(world, kind, family):
    frontend = publish(world, kind, family, [REMOTE])
    client = world.place("client")
    with client.socket("udp", frontend.address, frontend.port) as sock:
        port = sock.name()["name"][1]
        for order in ((0, 1, 2, 3), (0, 3, 2, 1), (0, 2, 3, 1), (0, 1, 1, 3, 3, 2)):
            pieces = pieces_of(client, frontend, family, port, 4500)
            client.call("send_frames", interface="eth0",
                        frames=frames_to(world, family, [pieces[number] for number in order]))
            answer = sock.receive()
            assert answer.get("answer", {}).get("name") == REMOTE, (order, answer)
            assert answer["answer"]["client"] == client.address(family)


@each_family
def test_large_datagrams_go_both_ways_once_the_client_knows_what_fits(world, family):
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    for message in (BIG, FILL):
        answer = wait_for(lambda: frontend.ask(world, "udp", message=message, timeout=0.3).get("answer"),
                          "an answer", 5)
        assert answer["client"] == address_of("client", family)


@each_proto
@each_family
def test_a_client_port_is_used_again_at_once_through_the_same_and_other_frontends(world, proto, family):
    same = publish(world, EXTERNAL_IP, family, [REMOTE])
    other = publish(world, NODE_PORT, family, [REMOTE], name="other")
    third = publish(world, CLUSTER_IP, family, [REMOTE], name="third")
    for number in range(24):
        frontend = (same, other, same, third)[number % 4]
        result = frontend.ask(world, proto, source_port=5200, aborts=proto == "tcp")
        assert result.get("answer", {}).get("name") == REMOTE, (number, result)


@each_proto
@each_family
def test_a_flow_goes_on_when_its_packets_come_by_another_link(world, proto, family):
    frontend = publish(world, EXTERNAL_IP, family, [LOCAL, REMOTE])
    with second_link(world):
        route_by(world, "eth0", family)
        for _ in range(6):
            with world.place("client").socket(proto, frontend.address, frontend.port) as sock:
                first = sock.exchange()["answer"]
                for way in ("side", "eth0"):
                    route_by(world, way, family)
                    assert sock.exchange()["answer"] == first
