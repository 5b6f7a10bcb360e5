# SPDX-License-Identifier: BSD-2-Clause
"""Only what the stack of a node would have taken is touched, with real switches, links and neighbours."""

import contextlib
import itertools
import json
import time

import pytest
from scapy.layers.inet import ICMP, TCP
from scapy.layers.inet6 import ICMPv6DestUnreach
from scapy.layers.l2 import Dot1Q, Ether

from lab import NODES, address_of, wait_for
from manifests import endpoint
from outside import (CLUSTER_IP, EXTERNAL, EXTERNAL_IP, LOCAL, NODE_PORT, REMOTE, publish, route_services,
                     udp_to, wait_for_hook)
from packets import built, ip_class, ip_of, link_address

HOOKS = ["tc"]
PORTS = ("node1", "node2", "client")  # of the switch
CONNECTIONS = 40
STRANGER = "02:00:00:00:00:99"  # nobody's address
MARTIANS = {4: ("127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"), 6: ("::", "::1", "ff0e::1")}
NEIGHBOUR_WAIT = 2.5  # seconds, at least, in which the kernel asks for a neighbour

each_family = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
each_proto = pytest.mark.parametrize("proto", ["tcp", "udp"])
each_kind = pytest.mark.parametrize("kind", [NODE_PORT, EXTERNAL_IP, CLUSTER_IP])

_ports = itertools.count(20000)


@pytest.fixture(autouse=True)
def routes(world):
    route_services(world, {family: address_of("node1", family) for family in (4, 6)})


def counted(world, node, name):
    return world.agents[node].json("status")["counters"][name]["packets"]


@contextlib.contextmanager
def flooding(world):
    """The switch knows no longer who is where, and sends each frame to everybody."""
    wire = world.place("wire")
    for port in PORTS:
        wire.run("ip", "link", "set", port, "type", "bridge_slave", "learning", "off", "fdb_flush")
    try:
        yield
    finally:
        for port in PORTS:
            wire.run("ip", "link", "set", port, "type", "bridge_slave", "learning", "on")


@each_kind
@each_proto
@each_family
def test_a_flooded_frame_is_served_by_the_node_that_it_is_for(world, kind, proto, family):
    frontend = publish(world, kind, family)
    with flooding(world):
        flows, skipped = counted(world, "node2", "new-flow"), counted(world, "node2", "skipped")
        seen = frontend.ask_all(world, proto, CONNECTIONS)
        assert counted(world, "node2", "new-flow") == flows
        if kind != NODE_PORT:  # that is an address of the other node's alone
            assert counted(world, "node2", "skipped") >= skipped + CONNECTIONS
    assert seen == {LOCAL: {address_of("client", family)}, REMOTE: {address_of("node1", family)}}


def frame_to(world, family, frontend, mac, **tcp):
    client = world.place("client")
    segment = TCP(sport=next(_ports), dport=frontend.port, **tcp)
    packet = built(ip_class(family)(src=client.address(family), dst=frontend.address) / segment)
    return Ether(src=link_address(world.lab, "client", "eth0"), dst=mac) / packet


@each_family
def test_a_flooded_frame_is_refused_by_the_node_that_it_is_for(world, family):
    """Whoever else answered would teach the switch that the node's address is behind his port."""
    frontend = publish(world, EXTERNAL_IP, family, backends=())
    client, own = world.place("client"), link_address(world.lab, "node1", "eth0")
    capture = client.call("capture_open", interface="eth0")
    with flooding(world):
        for _ in range(5):
            client.call("send_frames", interface="eth0", frames=[
                bytes(frame_to(world, family, frontend, STRANGER)).hex(),
                bytes(frame_to(world, family, frontend, own)).hex()])

        resets = []

        def all_are_there():
            for data in client.call("capture_read", handle=capture, timeout=0.05):
                frame = Ether(bytes.fromhex(data))
                if TCP in frame and ip_of(frame).src == frontend.address:
                    resets.append(frame)
            return len(resets) >= 5

        wait_for(all_are_there, "a reset for each frame to the node")
    assert [frame.src for frame in resets] == [own] * 5
    assert all(frame[TCP].flags.R for frame in resets)


@each_family
def test_a_packet_from_nobody_is_left_to_the_stack(world, family):
    frontend = publish(world, EXTERNAL_IP, family)
    client, own = world.place("client"), link_address(world.lab, "node1", "eth0")
    flows, skipped = counted(world, "node1", "new-flow"), counted(world, "node1", "skipped")
    for source in MARTIANS[family]:
        packet = built(ip_class(family)(src=source, dst=frontend.address) /
                       TCP(sport=next(_ports), dport=frontend.port))
        frame = Ether(src=link_address(world.lab, "client", "eth0"), dst=own) / packet
        client.call("send_frames", interface="eth0", frames=[bytes(frame).hex()])
    wait_for(lambda: counted(world, "node1", "skipped") == skipped + len(MARTIANS[family]),
             "all of them, left alone")
    assert counted(world, "node1", "new-flow") == flows


def tagged(world, family, frontend, port, vlan):
    client = world.place("client")
    packet = udp_to(client, frontend, family, port, b"hello\n")
    return bytes(Ether(src=link_address(world.lab, "client", "eth0"),
                       dst=link_address(world.lab, "node1", "eth0")) / Dot1Q(vlan=vlan) / packet).hex()


@each_family
def test_a_tag_that_the_node_has_no_link_for_is_left_to_the_stack(world, family):
    frontend = publish(world, EXTERNAL_IP, family, [REMOTE])
    flows, skipped = counted(world, "node1", "new-flow"), counted(world, "node1", "skipped")
    world.place("client").call("send_frames", interface="eth0",
                               frames=[tagged(world, family, frontend, next(_ports), 5)])
    wait_for(lambda: counted(world, "node1", "skipped") > skipped, "the frame, left alone")
    assert counted(world, "node1", "new-flow") == flows


@each_family
def test_a_tag_is_served_by_the_link_that_the_node_has_for_it(world, family):
    frontend = publish(world, EXTERNAL_IP, family, [REMOTE])
    client, node = world.place("client"), world.place("node1")
    made = node.run("ip", "link", "add", "link", "eth0", "name", "eth0.5", "type", "vlan", "id", 5, check=False)
    if "Unknown device type" in made.stderr:
        pytest.skip("this kernel has no VLANs")
    try:
        node.run("ip", "link", "set", "eth0.5", "up")
        wait_for_hook(world, "eth0.5")
        with client.socket("udp", frontend.address, frontend.port) as sock:
            client.call("send_frames", interface="eth0",
                        frames=[tagged(world, family, frontend, sock.name()["name"][1], 5)])
            assert sock.receive()["answer"]["name"] == REMOTE
    finally:
        node.run("ip", "link", "del", "eth0.5")


@contextlib.contextmanager
def guest_on_uplink(world, family):
    """A pod of node1 with an address of its own on the uplink (macvlan), whose Services node2 serves."""
    node, pod = world.place("node1"), world.place("pod1c")
    address = "172.18.0.50" if family == 4 else "fd00:18::50"
    services = f"{EXTERNAL[family]}0/24" if family == 4 else f"{EXTERNAL[family]}/64"
    node.run("ip", "link", "add", "link", "eth0", "name", "fl-guest", "type", "macvlan", "mode", "bridge")
    node.run("ip", "link", "set", "fl-guest", "netns", f"{world.lab.id}-pod1c")
    pod.run("ip", "addr", "add", f"{address}/{24 if family == 4 else 64}", "dev", "fl-guest",
            *(["nodad"] if family == 6 else []))
    pod.run("ip", "link", "set", "fl-guest", "up")
    pod.run("ip", "route", "add", services, "via", address_of("node2", family), "dev", "fl-guest",
            "src", address)
    try:
        yield address
    finally:
        pod.run("ip", "link", "del", "fl-guest")


@each_proto
@each_family
def test_a_guest_on_the_uplink_reaches_what_another_node_serves(world, proto, family):
    frontend = publish(world, EXTERNAL_IP, family, [REMOTE])
    flows = counted(world, "node1", "new-flow"), counted(world, "node2", "new-flow")
    with guest_on_uplink(world, family) as address:
        seen = frontend.ask_all(world, proto, 3, client="pod1c")
    assert seen == {REMOTE: {address}}
    assert counted(world, "node1", "new-flow") == flows[0]
    assert counted(world, "node2", "new-flow") == flows[1] + 3


@each_kind
@each_family
def test_a_client_hears_that_there_is_no_route_to_the_backend(world, kind, family):
    frontend = publish(world, kind, family, [REMOTE])
    node, backend = world.place("node1"), address_of(REMOTE, family)
    for route in ("unreachable", "prohibit"):
        node.run("ip", "route", "add", route, backend)
        try:
            error = frontend.ask(world, "tcp").get("error")
        finally:
            node.run("ip", "route", "del", route, backend)
        assert error in ("EHOSTUNREACH", "ENETUNREACH", "EACCES"), (route, error)
    assert frontend.ask(world, "tcp")["answer"]["name"] == REMOTE


@each_proto
@each_family
def test_a_client_hears_that_nobody_answers_at_the_backends_address(world, proto, family):
    """As a pod does: once the kernel has asked three times."""
    nobody = "172.18.0.77" if family == 4 else "fd00:18::77"
    frontend = publish(world, EXTERNAL_IP, family, [endpoint(nobody, family, nodeName="node2")])
    told = counted(world, "node1", "no-neighbour")
    client = world.place("client")
    if proto == "tcp":
        begun = time.monotonic()
        assert frontend.ask(world, "tcp", timeout=15)["error"] == "EHOSTUNREACH"
        assert time.monotonic() - begun >= NEIGHBOUR_WAIT
    else:
        capture = client.call("capture_open", interface="eth0")
        error = ICMP if family == 4 else ICMPv6DestUnreach
        with client.socket("udp", frontend.address, frontend.port, timeout=0.3) as sock:
            def is_told():
                sock.exchange()
                frames = client.call("capture_read", handle=capture, timeout=0)
                return [frame[error] for frame in map(Ether, map(bytes.fromhex, frames)) if error in frame]

            answer = wait_for(is_told, "an error of the router")[0]
        assert (answer.type, answer.code) == ((3, 1) if family == 4 else (1, 3))
    assert counted(world, "node1", "no-neighbour") > told


def test_nodes_are_told_apart_by_their_links(world):
    """What the agents say of the links that these tests are about."""
    for node in NODES:
        shown = json.loads(world.place(node).run("ip", "-j", "link", "show", "eth0").stdout)[0]
        info = next(entry["value"] for entry in world.agents[node].dump("links")
                    if entry["key"] == shown["ifindex"])
        octets = [int(octet, 0) if isinstance(octet, str) else octet for octet in info["mac"]]
        assert ":".join(f"{octet:02x}" for octet in octets) == shown["address"]
