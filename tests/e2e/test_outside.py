# SPDX-License-Identifier: BSD-2-Clause
"""Clients from outside: who answers them at which frontend, and as whom they are seen there."""

import json

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6TimeExceeded, IPv6
from scapy.layers.l2 import Ether

from lab import address_of, wait_for
from manifests import endpoint
from outside import (
    CLUSTER_IP,
    EXTERNAL_IP,
    KINDS,
    LOAD_BALANCER,
    LOCAL,
    NODE_PORT,
    REMOTE,
    policy_local,
    publish,
    route_services,
    second_link,
    wait_for_hook,
)

HOOKS = ["tc"]
OVERLAY_MTU = 1450
BIG = "x" * 60000 + "\n"

each_family = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
each_proto = pytest.mark.parametrize("proto", ["tcp", "udp"])
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def routes(world):
    route_services(world, {family: address_of("node1", family) for family in (4, 6)})


@pytest.fixture(scope="module")
def node_server(shared_world):
    """An echo server on node1 itself; its port."""
    port = 9080
    shared_world.lab.serve("node1", ports=[port])
    return port


# Who answers, and whom he sees.


@each_kind
@each_proto
@each_family
def test_policy_cluster_uses_all_backends_and_hides_the_client_from_those_elsewhere(
        world, kind, proto, family):
    frontend = publish(world, kind, family)
    assert frontend.ask_all(world, proto, 30, until=(LOCAL, REMOTE)) == {
        LOCAL: {address_of("client", family)}, REMOTE: {address_of("node1", family)}}


@each_kind
@each_proto
@each_family
def test_policy_local_uses_backends_of_the_node_and_shows_them_the_client(world, kind, proto, family):
    frontend = publish(world, kind, family, **policy_local(kind))
    assert frontend.ask_all(world, proto) == {LOCAL: {address_of("client", family)}}


@each_kind
@each_proto
@each_family
def test_policy_local_without_a_backend_on_the_node_drops(world, kind, proto, family):
    frontend = publish(world, kind, family, [REMOTE], **policy_local(kind))
    result = frontend.ask(world, proto, timeout=0.3)
    assert result.get("error") == "timeout", result


@each_kind
@each_proto
@each_family
def test_no_backend_at_all_refuses(world, kind, proto, family):
    frontend = publish(world, kind, family, [])
    result = frontend.ask(world, proto, timeout=2.0)
    assert result.get("error") == "ECONNREFUSED", result
    assert result["seconds"] < 1.0


@each_proto
@each_family
def test_a_node_port_of_the_second_node_leads_to_the_first(world, proto, family):
    frontend = publish(world, NODE_PORT, family, [LOCAL], here="node2")
    assert frontend.ask_all(world, proto) == {LOCAL: {address_of("node2", family)}}


@each_proto
@each_family
def test_a_backend_that_is_the_node_itself_sees_the_client(world, node_server, proto, family):
    backend = endpoint("node1", family)
    for kind in KINDS:
        frontend = publish(world, kind, family, [backend], target=node_server)
        assert frontend.ask_all(world, proto, 3) == {"node1": {address_of("client", family)}}


@each_proto
@each_family
def test_a_pod_of_the_node_keeps_its_address_at_each_frontend(world, proto, family):
    for kind in KINDS:
        frontend = publish(world, kind, family, [REMOTE])
        assert frontend.ask_all(world, proto, 3, client="pod1a") == {
            REMOTE: {address_of("pod1a", family)}}


@each_proto
@each_family
def test_a_pod_reaches_itself_through_each_frontend(world, proto, family):
    for kind in KINDS:
        frontend = publish(world, kind, family, [LOCAL])
        assert set(frontend.ask_all(world, proto, 3, client=LOCAL)) == {LOCAL}


@each_proto
@each_family
def test_only_clients_in_the_source_ranges_reach_a_load_balancer_ip(world, proto, family):
    client = address_of("client", family)
    frontend = publish(world, LOAD_BALANCER, family,
                       loadBalancerSourceRanges=[f"{client}/{32 if family == 4 else 128}"])
    assert set(frontend.ask_all(world, proto, until=(LOCAL, REMOTE))) == {LOCAL, REMOTE}
    other = "192.0.2.0/24" if family == 4 else "2001:db8:99::/64"
    frontend = publish(world, LOAD_BALANCER, family, loadBalancerSourceRanges=[other])
    assert frontend.ask(world, proto, timeout=0.3).get("error") == "timeout"


# Ways.


@each_proto
@each_family
def test_neighbours_that_are_not_resolved_are_asked_for(world, proto, family):
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    for _ in range(3):
        for node in ("node1", "node2"):
            world.place(node).run("ip", f"-{family}", "neigh", "flush", "dev", "eth0")
        assert set(frontend.ask_all(world, proto, 1)) == {REMOTE}


@pytest.fixture
def client_tunnel(world):
    with second_link(world):
        yield


@each_proto
@each_family
@pytest.mark.parametrize("kind", [EXTERNAL_IP, CLUSTER_IP])
def test_what_comes_by_one_link_may_go_back_by_another(world, client_tunnel, kind, proto, family):
    frontend = publish(world, kind, family)
    assert frontend.ask_all(world, proto, until=(LOCAL, REMOTE)) == {
        LOCAL: {address_of("client", family)}, REMOTE: {address_of("node1", family)}}


@pytest.fixture
def overlay(world):
    """node1 reaches the pods of node2 through a vxlan link, and node2 answers node1 there."""
    for node, other, host in (("node1", "node2", 1), ("node2", "node1", 2)):
        place = world.place(node)
        place.run("ip", "link", "add", "fl-vx", "type", "vxlan", "id", 7, "dstport", 4790,
                  "local", address_of(node, 4), "remote", address_of(other, 4), "dev", "eth0")
        place.run("ip", "addr", "add", f"172.21.0.{host}/24", "dev", "fl-vx")
        place.run("ip", "addr", "add", f"fd00:21::{host}/64", "dev", "fl-vx", "nodad")
        place.run("ip", "link", "set", "fl-vx", "up")
    node = world.place("node1")
    node.run("ip", "route", "replace", "10.244.2.0/24", "via", "172.21.0.2")
    node.run("ip", "route", "replace", "fd00:244:2::/64", "via", "fd00:21::2")
    index = wait_for_hook(world, "fl-vx")
    wait_for(lambda: any(entry["key"] == index for entry in world.agents["node1"].dump("link_sources")),
             "the new link's addresses")
    yield {4: "172.21.0.1", 6: "fd00:21::1"}
    node.run("ip", "route", "replace", "10.244.2.0/24", "via", address_of("node2", 4))
    node.run("ip", "route", "replace", "fd00:244:2::/64", "via", address_of("node2", 6))
    for name in ("node1", "node2"):
        world.place(name).run("ip", "link", "del", "fl-vx")
    # What was learned of the MTU on the way.
    world.place("client").run("ip", "route", "flush", "cache")
    world.place("client").run("ip", "-6", "route", "flush", "cache")


@each_kind
@each_proto
@each_family
def test_backends_behind_an_overlay_are_reached(world, overlay, kind, proto, family):
    frontend = publish(world, kind, family, [REMOTE])
    assert frontend.ask_all(world, proto, 3) == {REMOTE: {overlay[family]}}


@each_family
def test_the_client_learns_what_fits_through_an_overlay(world, overlay, family):
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    with world.place("client").socket("tcp", frontend.address, frontend.port) as sock:
        # Up and down, more than fits in a packet.
        assert "error" not in sock.exchange(message=BIG)
        assert "error" not in sock.exchange(message="fill 60000\n")
        assert sock.mtu() == OVERLAY_MTU


@each_family
def test_datagrams_are_cut_to_what_fits_once_the_client_knows(world, overlay, family):
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    message = "x" * (1500 - 48 - 1) + "\n"
    with world.place("client").socket("udp", frontend.address, frontend.port, timeout=0.5) as sock:
        wait_for(lambda: "error" not in sock.exchange(message=message), "an answer to what is cut",
                 deadline=5)
        assert sock.mtu() == OVERLAY_MTU


# Hops.


@each_family
def test_traceroute_shows_the_node(world, family):
    frontend = publish(world, EXTERNAL_IP, family, [REMOTE])
    client, node = world.place("client"), world.place("node1")

    def mac(place):
        return json.loads(place.run("ip", "-j", "link", "show", "eth0").stdout)[0]["address"]

    ip = (IP(src=client.address(4), dst=frontend.address, ttl=1) if family == 4 else
          IPv6(src=client.address(6), dst=frontend.address, hlim=1))
    frame = Ether(src=mac(client), dst=mac(node)) / ip / UDP(sport=40001, dport=frontend.port) / b"probe"
    capture = client.call("capture_open", interface="eth0")
    try:
        client.call("send_frames", interface="eth0", frames=[bytes(frame).hex()])

        def told():
            for octets in client.call("capture_read", handle=capture, timeout=0.2):
                packet = Ether(bytes.fromhex(octets))
                if family == 4 and ICMP in packet and packet[ICMP].type == 11:
                    return packet
                if family == 6 and ICMPv6TimeExceeded in packet:
                    return packet
            return None

        packet = wait_for(told, "time exceeded", deadline=5)
    finally:
        client.call("capture_close", handle=capture)
    assert packet[IP if family == 4 else IPv6].src == node.address(family)
    assert frontend.address in repr(packet)


# Ports.


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


@each_proto
@each_family
def test_a_client_port_is_used_again_and_again(world, proto, family):
    frontend = publish(world, NODE_PORT, family, [LOCAL, REMOTE])
    other = publish(world, NODE_PORT, family, [REMOTE, LOCAL], name="other")
    for _ in range(5):
        for each in (frontend, other):
            if proto == "udp":
                assert "error" not in each.ask(world, proto, source_port=5001)
    for number in range(20):
        assert "error" not in frontend.ask(world, proto, source_port=5100 + number)


# What survives.


@each_kind
@each_family
def test_connections_outlive_a_restart_of_the_agent(world, kind, family):
    frontend = publish(world, kind, family, [REMOTE])
    with world.place("client").socket("tcp", frontend.address, frontend.port) as sock:
        assert "error" not in sock.exchange()
        agent = world.agents["node1"]
        agent.stop()
        assert "error" not in sock.exchange()
        agent.start()
        assert "error" not in sock.exchange()


@each_family
def test_a_connection_outlives_its_node_port(world, family):
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    with world.place("client").socket("tcp", frontend.address, frontend.port) as sock:
        assert "error" not in sock.exchange()
        publish(world, CLUSTER_IP, family, [REMOTE])
        assert frontend.ask(world, timeout=0.5).get("error") == "ECONNREFUSED"
        assert "error" not in sock.exchange()
