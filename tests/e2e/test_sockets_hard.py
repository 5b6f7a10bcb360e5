# SPDX-License-Identifier: BSD-2-Clause
"""What sockets do beside connecting once and talking: name their peer again, have many, change, be early."""

import itertools
import json
import subprocess
import sys

import pytest

from lab import HERE, address_of, wait_for
from manifests import both_protocols, next_vip, service, slice_, slice_ports

HOOKS = ["socket,tc", "socket"]
BACKENDS = ["pod1b", "pod1c", "pod2b", "pod2c"]
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
TARGETS = range(8080, 8088)
OWN_MEMORY = 8  # DATAGRAM_FRONTENDS_MAX

each_family = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
each_proto = pytest.mark.parametrize("proto", ["tcp", "udp"])
each_client = pytest.mark.parametrize("client", ["pod1a", "node1"])
with_tc = pytest.mark.hooks("socket,tc")

_node_ports = itertools.count(32200)
_externals = itertools.count(30)


def counted(world, name):
    return world.agents["node1"].json("status")["counters"].get(name, {}).get("packets", 0)


def many_services(world, family, backends_of):
    """A Service for each (pods, port): their addresses, published together."""
    vips, objects = [], []
    for number, (pods, target) in enumerate(backends_of):
        vips.append(next_vip(family))
        objects += [service(f"many{number}", vips[-1], both_protocols(80, target)),
                    slice_(f"many{number}", pods, slice_ports(target), family)]
    world.publish(*objects, name="many")
    return vips


def ask_at_once(sock, vips):
    """{VIP: (pod, port) that answered under its name}; all are asked before the first answer is read."""
    for vip in vips:
        assert "error" not in sock.send_to(address=vip, port=80)
    found = {}
    for _ in vips:
        result = sock.receive_from()
        assert "error" not in result, f"{len(found)} of {len(vips)} answers, then {result}"
        address, port = result["sender"]
        assert port == 80 and address in vips and address not in found, result
        found[address] = (result["answer"]["name"], result["answer"]["port"])
    return found


# A connected UDP socket.


@each_family
@each_client
def test_a_connected_udp_socket_that_names_its_peer_again_stays_with_its_backend(world, client, family):
    vip = world.simple("web", family, BACKENDS)
    for _ in range(6):
        with world.place(client).socket("udp", vip, 80, timeout=0.5) as sock:
            name = sock.exchange()["answer"]["name"]
            for _ in range(3):
                result = sock.exchange_with(address=vip, port=80)
                assert result.get("answer", result).get("name") == name, result
                assert result["sender"] == [vip, 80]
            assert sock.exchange()["answer"]["name"] == name


@each_client
def test_so_does_one_of_ipv6_that_names_an_ipv4_peer(world, client):
    vip = f"::ffff:{world.simple('web', 4, BACKENDS)}"
    for _ in range(6):
        with world.place(client).socket("udp", vip, 80, timeout=0.5) as sock:
            name = sock.exchange()["answer"]["name"]
            result = sock.exchange_with(address=vip, port=80)
            assert result.get("answer", result).get("name") == name, result
            assert result["sender"] == [vip, 80]


@each_family
@each_client
def test_nothing_of_the_old_peer_is_left_after_a_disconnect(world, client, family):
    vip = world.simple("web", family, ["pod2b"])
    direct = address_of("pod2b", family)
    with world.place(client).socket("udp", vip, 80) as sock:
        sock.exchange()
        assert "error" not in sock.disconnect()
        assert sock.exchange_with(address=direct, port=8080)["sender"] == [direct, 8080]
        assert sock.exchange_with(address=vip, port=80)["sender"] == [vip, 80]
        sock.connect(address=direct, port=8080)
        assert sock.peer()["peer"] == [direct, 8080]
        assert sock.exchange_with(address=direct, port=8080)["sender"] == [direct, 8080]


@each_family
@each_client
def test_after_a_disconnect_the_old_peer_answers_as_one_that_was_never_connected_to(world, client, family):
    """Linux gives an IPv6 socket nothing from another address then: it must be the old backend's."""
    vip = world.simple("web", family, BACKENDS)
    for _ in range(6):
        with world.place(client).socket("udp", vip, 80, timeout=0.5) as sock:
            sock.exchange()
            sock.disconnect()
            for _ in range(2):
                result = sock.exchange_with(address=vip, port=80)
                assert result.get("sender") == [vip, 80], result


def test_after_a_disconnect_a_frontend_is_one_of_several_again(world):
    vips = [world.simple(f"web{number}", 4, BACKENDS, target=8080 + number) for number in range(2)]
    with world.place("pod1a").socket("udp", vips[0], 80) as sock:
        sock.exchange()
        sock.disconnect()
        found = ask_at_once(sock, vips)
        assert [found[vip][1] for vip in vips] == [8080, 8081]


# Many frontends.


@each_family
@each_client
def test_answers_bear_the_names_of_forty_frontends_at_once(world, client, family):
    expected = [(pod, port) for pod in [*BACKENDS, "pod2a"] for port in TARGETS]
    vips = many_services(world, family, [([pod], port) for pod, port in expected])
    with world.place(client).socket("udp", vips[0]) as sock:
        for _ in range(3):
            assert ask_at_once(sock, vips) == dict(zip(vips, expected))
        for vip, (pod, port) in zip(reversed(vips), reversed(expected)):
            result = sock.exchange_with(address=vip, port=80)
            assert (result["sender"], result["answer"]["name"], result["answer"]["port"]) == ([vip, 80], pod, port)


@each_family
@each_client
def test_a_udp_socket_keeps_the_backends_of_all_its_frontends(world, client, family):
    pairs = (["pod1b", "pod2b"], ["pod1c", "pod2c"])
    vips = many_services(world, family, [(pair, port) for pair in pairs for port in TARGETS])
    assert len(vips) > OWN_MEMORY
    with world.place(client).socket("udp", vips[0]) as sock:
        first = ask_at_once(sock, vips)
        for _ in range(4):
            assert ask_at_once(sock, vips) == first


@each_family
@each_client
@pytest.mark.parametrize("others", [0, OWN_MEMORY + 4], ids=["alone", "among-many"])
def test_a_pod_that_is_asked_directly_in_between_answers_under_its_own_name(world, client, family, others):
    vip = world.simple("web", family, ["pod2b"])
    direct = address_of("pod2b", family)
    rest = many_services(world, family, [(["pod1b", "pod1c"][number % 2:][:1], TARGETS[number // 2])
                                         for number in range(others)])
    with world.place(client).socket("udp", vip) as sock:
        for _ in range(4):
            assert sock.exchange_with(address=vip, port=80)["sender"] == [vip, 80]
            ask_at_once(sock, rest)
            assert sock.exchange_with(address=direct, port=8080)["sender"] == [direct, 8080]
            ask_at_once(sock, rest)


# A server that is its own client.


@each_family
@with_tc
def test_a_udp_server_answers_a_client_of_its_own_pod_that_only_tc_sees(world, family):
    """The VIP takes the client's place, so the server's answer is for a port that the VIP does not have."""
    vip = world.simple("self", family, ["pod1b"])
    hidden = world.place("pod1b", unseen=True)
    for connected in (True, False):
        result = hidden.ask(vip, proto="udp", connected=connected, timeout=1)
        assert result.get("answer", result).get("name") == "pod1b", result
    assert result["sender"] == [vip, 80]


@each_family
def test_a_port_that_nothing_needs_is_still_refused_to_a_datagram_at_once(world, family):
    vip = world.simple("web", family, ["pod1b"])
    result = world.place("pod1a").ask(vip, 81, "udp", connected=False, timeout=1)
    assert (result["error"], result["step"]) == ("ECONNREFUSED", "send"), result


# Source ranges at an address of the node.


@pytest.fixture
def extra_address(world):
    """Gives node1 one more address."""
    place, given = world.place("node1"), []

    def give(address):
        whole = f"{address}/{128 if ':' in address else 32}"
        place.run("ip", "addr", "add", whole, "dev", "eth0", *(["nodad"] if ":" in address else []))
        given.append(whole)

    yield give
    for whole in given:
        place.run("ip", "addr", "del", whole, "dev", "eth0")


@pytest.fixture
def serve_on_node(world):
    """Starts an echo server on node1."""
    servers = []

    def serve(port, name="node1"):
        server = world.place("node1").start(sys.executable, HERE / "server.py", name, str(port),
                                            stdout=subprocess.PIPE, text=True)
        servers.append(server)
        assert server.stdout.readline() == "ready\n"

    yield serve
    for server in servers:
        server.kill()
        server.wait()


def ranged(world, address, family, ranges):
    """A load balancer at the address that serves these ranges only."""
    made = {**service("ranged", next_vip(family), both_protocols(7080), type="LoadBalancer",
                      loadBalancerSourceRanges=ranges),
            "status": {"loadBalancer": {"ingress": [{"ip": address}]}}}
    world.publish(made, slice_("ranged", BACKENDS, slice_ports(), family), name="ranged")


def explained(world, address, proto, source):
    target = f"[{address}]:7080/{proto}" if ":" in address else f"{address}:7080/{proto}"
    done = world.agents["node1"].fairlead("explain", target, "--from", source, "-o", "json")
    return json.loads(done.stdout)


@each_family
@each_proto
def test_source_ranges_hold_for_the_node_where_the_load_balancer_is_one_of_its_addresses(
        world, extra_address, serve_on_node, proto, family):
    """A process that listens there must not get what the ranges keep away from the Service."""
    address = f"203.0.113.{next(_externals)}" if family == 4 else f"2001:db8:113::{next(_externals)}"
    own = address_of("node1", family)
    extra_address(address)
    serve_on_node(7080)
    ranged(world, address, family, ["198.51.100.0/24", "2001:db8:51::/64"])
    before = counted(world, "source-range")
    for connected in ([True] if proto == "tcp" else [True, False]):
        result = world.place("node1").ask(address, 7080, proto, connected=connected, timeout=1)
        assert result.get("error") == "EPERM", result
    assert counted(world, "source-range") > before
    answer = explained(world, address, proto, own)
    assert (answer["action"], answer["reason"], answer["hook"]) == ("drop", "source-range", "socket")
    assert "EPERM" in json.dumps(answer)
    ranged(world, address, family, [f"{own}/{32 if family == 4 else 128}"])
    results = world.place("node1").ask_many(12, address, 7080, proto=proto)
    assert {result.get("answer", result).get("name") for result in results} <= set(BACKENDS), results
    for source in (own, address, LOOPBACK[family]):
        assert explained(world, address, proto, source)["action"] == "dnat", source


@each_family
def test_explain_tells_a_process_that_is_not_bound_from_one_that_is(world, extra_address, family):
    """connect() judges the first by the node's own address, whatever source the kernel gives it later."""
    other, address = (f"203.0.113.{next(_externals)}" if family == 4 else f"2001:db8:113::{next(_externals)}"
                      for _ in range(2))
    extra_address(other)
    ranged(world, address, family, [f"{address_of('node1', family)}/{32 if family == 4 else 128}"])
    assert world.place("node1").ask(address, 7080)["answer"]["name"] in BACKENDS
    answer = explained(world, address, "tcp", other)
    assert answer["action"] == "dnat"
    assert "one that is bound to this address is not let in" in json.dumps(answer)
    bound = world.place("node1").ask(address, 7080, source=other, timeout=0.5)
    assert bound["error"] in ("timeout", "EPERM"), bound


# No memory.


@pytest.fixture
def starved(world):
    """pod1a, whose sockets get no storage."""
    place = world.place("pod1a")
    before = place.run("sysctl", "-n", "net.core.optmem_max", check=False)
    if before.returncode:
        pytest.skip("this kernel has one net.core.optmem_max for all network namespaces")
    place.run("sysctl", "-qw", "net.core.optmem_max=0")
    yield place
    place.run("sysctl", "-qw", f"net.core.optmem_max={before.stdout.strip()}")


@each_family
@each_proto
def test_a_socket_without_storage_is_served_by_tc_or_refused(world, starved, proto, family):
    vip = world.simple("web", family, BACKENDS)
    for connected in ([True] if proto == "tcp" else [True, False]):
        before = counted(world, "socket-state")
        result = starved.ask(vip, proto=proto, connected=connected, timeout=1)
        if world.has_tc:
            assert result.get("answer", result).get("name") in BACKENDS, result
            assert (result.get("peer") or result["sender"]) == [vip, 80]
        else:
            assert result.get("error") == "ECONNREFUSED", result
        assert counted(world, "socket-state") == before + 1


@pytest.fixture
def starved_node(world):
    """node1, whose sockets get no storage."""
    place = world.place("node1")
    before = place.run("sysctl", "-n", "net.core.optmem_max", check=False)
    if before.returncode:
        pytest.skip("this kernel has one net.core.optmem_max for all network namespaces")
    place.run("sysctl", "-qw", "net.core.optmem_max=0")
    yield place
    place.run("sysctl", "-qw", f"net.core.optmem_max={before.stdout.strip()}")


@each_family
@each_proto
def test_what_no_tc_hook_would_meet_is_refused_without_storage(world, starved_node, serve_on_node, proto, family):
    """A process of the node and an address of the node: whoever listens there is not the Service."""
    number, ports = node_port()
    serve_on_node(number)
    publish_node_port(world, family, ports)
    for address in (address_of("node1", family), LOOPBACK[family]):
        result = starved_node.ask(address, number, proto, timeout=1)
        assert result.get("error") == "ECONNREFUSED", (address, result)


# Sockets that were there first.


def node_port():
    number = next(_node_ports)
    return number, [{**item, "nodePort": number} for item in both_protocols()]


def publish_node_port(world, family, ports):
    world.publish(service("late", next_vip(family), ports, type="NodePort"),
                  slice_("late", BACKENDS, slice_ports(), family), name="late")


@each_family
@pytest.mark.parametrize("where", ["node", "loopback"])
def test_a_udp_socket_that_was_connected_before_the_node_port_was_there_reaches_it(world, family, where):
    number, ports = node_port()
    address = address_of("node1", family) if where == "node" else LOOPBACK[family]
    with world.place("node1").socket("udp", address, number, timeout=0.3) as sock:
        assert sock.exchange().get("error") == "ECONNREFUSED"
        publish_node_port(world, family, ports)
        wait_for(lambda: "answer" in sock.exchange(), "an answer of the Service", deadline=5)
        assert sock.exchange()["answer"]["name"] in BACKENDS
        assert sock.peer()["peer"] == [address, number]
    world.agents["node1"].wait_for_log("connected 1 UDP sockets again")


@each_family
@pytest.mark.parametrize("where", ["node", "loopback"])
def test_a_udp_socket_that_talks_to_a_process_at_that_port_goes_on(world, serve_on_node, family, where):
    number, ports = node_port()
    serve_on_node(number, "first")
    address = address_of("node1", family) if where == "node" else LOOPBACK[family]
    with world.place("node1").socket("udp", address, number) as sock, \
            world.place("node1").socket("udp", address, number + 1000, timeout=0.3) as early:
        assert sock.exchange()["answer"]["name"] == "first"
        ports += [{**item, "name": f"more-{item['name']}", "port": 81, "nodePort": number + 1000} for item in ports]
        world.publish(service("late", next_vip(family), ports, type="NodePort"),
                      slice_("late", BACKENDS, slice_ports() + [
                          {**item, "name": f"more-{item['name']}"} for item in slice_ports()], family), name="late")
        wait_for(lambda: "answer" in early.exchange(), "an answer of the Service to the other socket", deadline=5)
        assert sock.exchange()["answer"]["name"] == "first"


# What the kernel has no hook for.


@each_family
@each_client
def test_the_peer_of_an_mptcp_socket_is_the_backend(world, client, family):
    """The connect hook runs on its first subflow, and getpeername's on the socket above it."""
    if world.place(client).run("sysctl", "-n", "net.mptcp.enabled", check=False).stdout.strip() != "1":
        pytest.skip("this kernel has no MPTCP")
    vip = world.simple("web", family, ["pod2b"])
    with world.place(client).socket("mptcp", vip, 80) as sock:
        assert sock.exchange()["answer"]["name"] == "pod2b"
        assert sock.peer()["peer"] == [address_of("pod2b", family), 8080]


@each_family
def test_a_queued_error_is_about_the_backend(world, family):
    vip = world.simple("closed", family, ["pod1b"], target=9999)
    with world.place("pod1a").socket("udp", vip, 80) as sock:
        sock.queue_errors()
        sock.send()
        errors = []
        wait_for(lambda: errors.append(sock.receive_error()) or "about" in errors[-1], "the queued error")
        assert errors[-1]["about"] == [address_of("pod1b", family), 9999]
