# SPDX-License-Identifier: BSD-2-Clause
"""The node's own conversations, and those it masquerades, from a port that is a NodePort as well; processes that
are bound to a VIP; and addresses that leave the node."""

import contextlib
import itertools

import pytest

from lab import address_of, ip_text, wait_for
from manifests import both_protocols, next_vip, service, slice_, slice_ports
from outside import CLUSTER_IP, EXTERNAL_IP, LOAD_BALANCER, LOCAL, REMOTE, publish, route_services
from uplinks import CHECK, prepare_for_xdp, wait_for_xdp
from world import World

HOOKS = {"tc": ("tc",), "socket+tc": ("socket,tc",), "xdp": ("tc", "--xdp", "native", *CHECK)}
SERVER_PORT = 5353  # of a server outside of the cluster
SPARE = {4: "172.18.0.51", 6: "fd00:18::51"}
LENGTH = {4: 24, 6: 64}

_node_ports = itertools.count(30100)

each_family = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
each_proto = pytest.mark.parametrize("proto", ["tcp", "udp"])
each_time = pytest.mark.parametrize("published", ["before", "after"])
each_backend = pytest.mark.parametrize("backend", [LOCAL, REMOTE], ids=["local", "remote"])


@pytest.fixture(scope="module", params=HOOKS)
def each_world(request):
    options = HOOKS[request.param]
    with World(*options, prepare=prepare_for_xdp if "--xdp" in options else None) as made:
        made.lab.serve("client", ports=[SERVER_PORT])
        route_services(made, {family: address_of("node1", family) for family in (4, 6)})
        if "--xdp" in options:
            wait_for_xdp(made.agents["node1"], "native")
        yield made


@pytest.fixture
def world(each_world):
    yield each_world
    each_world.clear()


class NodePort:
    """A Service with a NodePort of node1, whose number is known before it is there."""

    def __init__(self, world, family, backend):
        self.world, self.family, self.backend = world, family, backend
        self.address, self.port = address_of("node1", family), next(_node_ports)

    def publish(self):
        ports = [{**item, "nodePort": self.port} for item in both_protocols()]
        self.world.publish(service("web", next_vip(self.family), ports, type="NodePort"),
                           slice_("web", [self.backend], slice_ports(), self.family), name="web")

    def serves(self, proto):
        """The NodePort's clients reach its backend."""
        result = self.world.place("client").ask(self.address, self.port, proto)
        return result.get("answer", {}).get("name") == self.backend


@contextlib.contextmanager
def masquerade(world, family, *ports):
    """What pods of node1 send out of it gets the node's address, and one of these source ports."""
    ip = "ip" if family == 4 else "ip6"
    chosen = f":{ports[0]}-{ports[-1]} fully-random" if len(ports) > 1 else f":{ports[0]}"
    path = world.lab.directory / "masquerade.nft"
    path.write_text(f"table {ip} fl-masquerade {{\nchain postrouting {{\ntype nat hook postrouting priority 100;\n" +
                    "".join(f'oifname "eth0" {ip} daddr {address_of("client", family)} meta l4proto {proto} '
                            f"masquerade to {chosen}\n" for proto in ("tcp", "udp")) + "}\n}\n")
    node = world.place("node1")
    node.run("nft", "-f", path)
    try:
        yield
    finally:
        node.run("nft", "flush", "ruleset")


def then_goes_on(sock, port, family):
    result = sock.exchange()
    assert "error" not in result, result
    answer = result["answer"]
    assert (answer["name"], answer["client"], answer["client_port"]) == ("client", address_of("node1", family), port)


@each_time
@each_backend
@each_proto
@each_family
def test_a_masqueraded_conversation_has_the_port_of_a_node_port(world, family, proto, backend, published):
    node_port, outside = NodePort(world, family, backend), address_of("client", family)
    if published == "before":
        node_port.publish()
    with masquerade(world, family, node_port.port), \
            world.place("pod1a").socket(proto, outside, SERVER_PORT) as sock:
        then_goes_on(sock, node_port.port, family)
        node_port.publish()
        then_goes_on(sock, node_port.port, family)
        assert node_port.serves(proto)
        then_goes_on(sock, node_port.port, family)
    assert node_port.serves(proto)


@each_time
@each_backend
@each_proto
@each_family
def test_a_process_of_the_node_has_the_port_of_a_node_port(world, family, proto, backend, published):
    node_port, outside = NodePort(world, family, backend), address_of("client", family)
    if published == "before":
        node_port.publish()
    # Out of sight of the bind hooks: as a port that the kernel has chosen.
    with world.place("node1", unseen=True).socket(proto, outside, SERVER_PORT, source=node_port.address,
                                                  source_port=node_port.port) as sock:
        then_goes_on(sock, node_port.port, family)
        node_port.publish()
        then_goes_on(sock, node_port.port, family)
        assert node_port.serves(proto)
        then_goes_on(sock, node_port.port, family)
    assert node_port.serves(proto)


@each_family
def test_a_connected_socket_hears_its_server_first_after_the_node_port_came(world, family):
    """Nothing has left by the port since it is a NodePort."""
    node_port, outside = NodePort(world, family, REMOTE), address_of("client", family)
    with world.place("node1", unseen=True).socket("udp", outside, source=node_port.address,
                                                  source_port=node_port.port) as waiting, \
            world.place("client").socket("udp", node_port.address, source=outside, source_port=5400) as server:
        assert "error" not in waiting.connect(address=outside, port=5400)
        node_port.publish()
        assert "error" not in server.send_to(address=node_port.address, port=node_port.port,
                                             message=f"server {outside}:5400 0\n")
        assert waiting.receive().get("answer", {}).get("name") == "server"


@each_time
@each_family
def test_an_unconnected_socket_asks_from_the_port_of_a_node_port(world, family, published):
    node_port, outside = NodePort(world, family, REMOTE), address_of("client", family)
    if published == "before":
        node_port.publish()
    with world.place("node1", unseen=True).socket("udp", outside, source=node_port.address,
                                                  source_port=node_port.port) as sock:
        for _ in range(2):
            result = sock.exchange_with(address=outside, port=SERVER_PORT)
            assert result.get("answer", {}).get("client_port") == node_port.port, result
            node_port.publish()


@each_proto
@each_family
def test_no_masqueraded_conversation_fails_where_every_port_is_a_node_port(world, family, proto):
    ports = [next(_node_ports) for _ in range(40)]
    items = [{**item, "nodePort": port, "name": f"{item['name']}{port}", "port": port}
             for port in ports for item in both_protocols()]
    slices = [{"name": item["name"], "protocol": item["protocol"], "port": 8080} for item in items]
    world.publish(service("many", next_vip(family), items, type="NodePort"),
                  slice_("many", [REMOTE], slices, family), name="many")
    with masquerade(world, family, *ports):
        results = world.place("pod1a").ask_many(30, address_of("client", family), SERVER_PORT, proto)
    assert [result for result in results if "error" in result] == []
    assert {result["answer"]["client_port"] for result in results} <= set(ports)


@contextlib.contextmanager
def shared_vip(world, family):
    """A load balancer's address that both nodes have on a link of their own."""
    frontend = publish(world, LOAD_BALANCER, family, [REMOTE], name="shared")
    prefix = f"{frontend.address}/{32 if family == 4 else 128}"
    nodes = [world.place(name) for name in world.agents]
    # The kernel would ask for the gateway in the VIP's name, of which the wire knows nothing.
    assert nodes[0].ping(address_of("wire", family)).returncode == 0
    for node in nodes:
        node.run("ip", "addr", "add", prefix, "dev", "lo")
    world.settle()
    try:
        for agent in world.agents.values():
            wait_for(lambda: has_node_vip(agent, frontend.address), f"the VIP as an address of {agent.node}")
        yield frontend
    finally:
        for node in nodes:
            node.run("ip", "addr", "del", prefix, "dev", "lo")


def has_node_vip(agent, address):
    """Both flags, ADDRESS_NODE and ADDRESS_EXTERNAL."""
    return any(ip_text(entry["key"]) == address and entry["value"]["flags"] & 0x18 == 0x18
               for entry in agent.dump("addresses"))


@pytest.mark.parametrize("connected", [True, False], ids=["connected", "unconnected"])
@each_proto
@each_family
def test_a_process_bound_to_a_vip_reaches_a_backend_elsewhere(world, family, proto, connected):
    if proto == "tcp" and not connected:
        pytest.skip("TCP connects")
    with shared_vip(world, family) as vip:
        frontend = publish(world, CLUSTER_IP, family, [REMOTE], name="web")
        for port in (0, 4711):
            result = frontend.ask(world, proto, "node1", source=vip.address, source_port=port, connected=connected)
            assert result.get("answer", {}).get("name") == REMOTE, result
            assert result["answer"]["client"] == address_of("node1", family)


@each_proto
@each_family
def test_a_process_bound_to_a_vip_keeps_it_for_a_backend_of_its_node(world, family, proto):
    with shared_vip(world, family) as vip:
        frontend = publish(world, CLUSTER_IP, family, [LOCAL], name="web")
        result = frontend.ask(world, proto, "node1", source=vip.address)
        assert result.get("answer", {}).get("client") == vip.address, result


@each_family
def test_much_data_goes_both_ways_from_a_process_bound_to_a_vip(world, family):
    with shared_vip(world, family) as vip:
        frontend = publish(world, CLUSTER_IP, family, [REMOTE], name="web")
        for _ in range(3):
            result = frontend.ask(world, "tcp", "node1", source=vip.address, message="fill 60000\n", timeout=10.0)
            assert result.get("answer", {}).get("length", 0) > 60000, result


# The address that took the clients' place leaves the node. The node is another one afterwards.


@contextlib.contextmanager
def node_that_moves(world, family):
    """node1 has a spare address; what it yields takes the first one away."""
    node, first = world.place("node1"), address_of("node1", family)
    node.run("sysctl", "-q", "-w", "net.ipv4.conf.all.promote_secondaries=1")
    flags = ["nodad"] if family == 6 else []
    node.run("ip", "addr", "add", f"{SPARE[family]}/{LENGTH[family]}", "dev", "eth0", *flags)
    route_services(world, {family: SPARE[family]} | {other: address_of("node1", other) for other in {4, 6} - {family}})
    try:
        yield lambda: node.run("ip", "addr", "del", f"{first}/{LENGTH[family]}", "dev", "eth0")
    finally:
        node.run("ip", "addr", "replace", f"{first}/{LENGTH[family]}", "dev", "eth0", *flags)


@pytest.mark.parametrize("hooks", ["tc", "xdp"])
@each_family
def test_a_flow_whose_source_has_left_the_node_ends(hooks, family):
    options = HOOKS[hooks]
    with World(*options, prepare=prepare_for_xdp if "--xdp" in options else None) as world:
        if "--xdp" in options:
            wait_for_xdp(world.agents["node1"], "native")
        with node_that_moves(world, family) as address_leaves:
            frontend = publish(world, EXTERNAL_IP, family, [REMOTE])
            client = world.place("client")
            with client.socket("tcp", frontend.address, frontend.port) as connection, \
                    client.socket("udp", frontend.address, frontend.port) as datagrams:
                first = address_of("node1", family)
                assert connection.exchange()["answer"]["client"] == first
                assert datagrams.exchange()["answer"]["client"] == first
                address_leaves()
                # Not by a timeout of the client, which waits 2 s for each answer.
                wait_for(lambda: datagrams.exchange().get("answer", {}).get("client") == SPARE[family],
                         "an answer by another address", 10)
                assert wait_for(lambda: connection.exchange().get("error") not in (None, "timeout"),
                                "the end of the connection", 10)
                assert frontend.ask(world)["answer"]["client"] == SPARE[family]
