# SPDX-License-Identifier: BSD-2-Clause
"""External frontends as clients on the node see them: NodePorts, external IPs, load-balancer IPs."""

import itertools
import json
import subprocess
import sys

import pytest

from lab import HERE, address_of, ip_text, wait_for
from manifests import both_protocols, next_vip, node, service, slice_, slice_ports

HOOKS = ["socket,tc", "socket"]
ADDRESS_RETIRED = 2
BACKENDS = ["pod1b", "pod2b"]
LOOPBACKS = {4: ["127.0.0.1", "127.1.2.3"], 6: ["::1"]}
EXTERNAL = {4: "203.0.113.", 6: "2001:db8:113::"}

each_family = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
each_proto = pytest.mark.parametrize("proto", ["tcp", "udp"])
each_client = pytest.mark.parametrize("client", ["pod1a", "pod2a", "node1"])

_node_ports = itertools.count(30080)
_externals = itertools.count(10)


def next_external(family):
    return f"{EXTERNAL[family]}{next(_externals)}"


def node_ports(port=80, target=8080):
    """Both protocols, at one NodePort nobody had before."""
    number = next(_node_ports)
    return number, [{**item, "nodePort": number} for item in both_protocols(port, target)]


def balanced(made, *ingress):
    """The same Service with a load balancer's status; ingress: addresses or entries."""
    entries = [{"ip": item} if isinstance(item, str) else item for item in ingress]
    return {**made, "status": {"loadBalancer": {"ingress": entries}}}


def publish(world, family, ports=None, backends=BACKENDS, ingress=(), name="web", **spec):
    vip = next_vip(family)
    made = service(name, vip, ports or both_protocols(), **spec)
    world.publish(balanced(made, *ingress), slice_(name, backends, slice_ports(), family), name=name)
    return vip


def names(results):
    failed = [result for result in results if "error" in result]
    assert not failed, f"{len(failed)} of {len(results)} requests failed, first: {failed[0]}"
    return {result["answer"]["name"] for result in results}


def ask_all(world, client, address, port, proto, **options):
    return names(world.place(client).ask_many(20, address, port, proto=proto, **options))


def kinds_of(agent):
    """{(address, port): kind} of what is programmed."""
    return {(item["address"], item["port"]): item["kind"]
            for port in agent.json("services") for item in port.get("frontends", [])}


# Reaching backends.


@each_family
@each_proto
@each_client
@pytest.mark.parametrize("kind", ["external IP", "load-balancer IP"])
def test_an_external_address_leads_to_every_backend(world, client, proto, family, kind):
    address = next_external(family)
    if kind == "external IP":
        publish(world, family, externalIPs=[address])
    else:
        publish(world, family, type="LoadBalancer", ingress=[address])
    assert ask_all(world, client, address, 80, proto, until=BACKENDS) == set(BACKENDS)


@each_family
@each_proto
@each_client
def test_a_node_port_leads_to_every_backend(world, client, proto, family):
    number, ports = node_ports()
    publish(world, family, ports, type="NodePort")
    here = "node2" if client == "pod2a" else "node1"
    assert ask_all(world, client, address_of(here, family), number, proto, until=BACKENDS) == set(BACKENDS)


@each_family
@each_proto
def test_a_node_port_is_served_on_loopback_for_processes_of_the_node(world, proto, family):
    number, ports = node_ports()
    publish(world, family, ports, type="NodePort")
    for address in LOOPBACKS[family]:
        assert ask_all(world, "node1", address, number, proto, until=BACKENDS) == set(BACKENDS)
        for result in world.place("node1").ask_many(2, address, number, proto=proto):
            assert result["peer"] == [address, number]


@each_family
def test_an_unconnected_socket_gets_answers_from_the_loopback_address_it_sent_to(world, family):
    number, ports = node_ports()
    publish(world, family, ports, type="NodePort")
    for address in LOOPBACKS[family]:
        result = world.place("node1").ask(address, number, "udp", connected=False)
        assert result["sender"] == [address, number]


@each_family
@each_proto
def test_a_socket_that_is_bound_to_loopback_is_left_alone(world, proto, family):
    number, ports = node_ports()
    publish(world, family, ports, type="NodePort")
    loopback = LOOPBACKS[family][0]
    result = world.place("node1").ask(loopback, number, proto, source=loopback, timeout=0.5)
    assert result.get("error") == "ECONNREFUSED", result


@each_family
@each_proto
def test_the_loopback_addresses_of_a_pod_are_its_own(world, proto, family):
    number, ports = node_ports()
    publish(world, family, ports, type="NodePort")
    result = world.place("pod1a").ask(LOOPBACKS[family][0], number, proto, timeout=0.5)
    assert result.get("error") == "ECONNREFUSED", result


@each_family
@each_proto
def test_loopback_is_near_and_has_the_affinity_of_the_service(world, proto, family):
    number, ports = node_ports()
    publish(world, family, ports, ["pod2b"], type="NodePort", externalTrafficPolicy="Local")
    assert ask_all(world, "node1", LOOPBACKS[family][0], number, proto) == {"pod2b"}
    vip = publish(world, family, ports, type="NodePort", externalTrafficPolicy="Local",
                  sessionAffinity="ClientIP")
    chosen = ask_all(world, "node1", LOOPBACKS[family][0], number, proto)
    assert len(chosen) == 1
    assert ask_all(world, "node1", vip, 80, proto) == chosen


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


@each_family
@each_proto
def test_a_process_of_the_node_that_has_the_vip_is_near(world, extra_address, proto, family):
    address = next_external(family)
    extra_address(address)
    publish(world, family, backends=["pod2b"], externalIPs=[address], externalTrafficPolicy="Local")
    assert ask_all(world, "node1", address, 80, proto) == {"pod2b"}


@each_family
def test_the_number_of_a_node_port_is_free_at_addresses_that_serve_none(world, extra_address, family):
    number, ports = node_ports()
    address = next_external(family)
    extra_address(address)
    publish(world, family, ports, type="NodePort")
    server = world.place("node1").start(
        sys.executable, "-c", "import socket, sys\n"
        "family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\n"
        "listening = socket.socket(family)\n"
        "listening.bind((sys.argv[1], int(sys.argv[2])))\n"
        "listening.listen()\n"
        "print('ready', flush=True)\n"
        "accepted, _ = listening.accept()\n"
        "print('accepted', flush=True)\n", address, str(number), stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout.readline() == "ready\n"
        assert ask_all(world, "node1", address_of("node1", family), number, "tcp", until=BACKENDS) == set(BACKENDS)
        world.place("node1").ask(address, number, "tcp", timeout=0.3)
        assert server.stdout.readline() == "accepted\n"
    finally:
        server.kill()
        server.wait()


@each_family
@each_proto
def test_unknown_ports_of_external_addresses_are_left_alone(world, proto, family):
    """They reach whoever has the address: here the node itself, which has a server at 8085."""
    address = address_of("node1", family)
    publish(world, family, externalIPs=[address])
    assert ask_all(world, "node1", address, 80, proto, until=BACKENDS) == set(BACKENDS)
    # The echo servers of pods listen at 8085; nobody does on the node.
    assert world.place("node1").ask(address, 8085, proto)["error"] == "ECONNREFUSED"
    vip = next_external(family)
    publish(world, family, externalIPs=[vip], name="other")
    assert world.place("pod1a").ask(vip, 8085, proto, timeout=0.3).get("error") != "ECONNREFUSED"


@each_family
@each_proto
def test_ip_mode_proxy_is_left_to_the_balancer(world, proto, family):
    proxied, ours = next_external(family), next_external(family)
    publish(world, family, type="LoadBalancer",
            ingress=[{"ip": proxied, "ipMode": "Proxy"}, {"ip": ours, "ipMode": "VIP"}])
    assert ask_all(world, "pod1a", ours, 80, proto, until=BACKENDS) == set(BACKENDS)
    assert world.place("pod1a").ask(proxied, 80, proto, timeout=0.3)["error"] != "ECONNREFUSED"
    assert (proxied, 80, 6) not in world.agents["node1"].frontends()


# Policies, for near clients.


@each_family
@each_proto
@each_client
def test_near_clients_reach_all_backends_whatever_the_external_policy(world, client, proto, family):
    number, ports = node_ports()
    address = next_external(family)
    publish(world, family, ports, ["pod1b", "pod2b"], type="LoadBalancer", ingress=[address],
            externalTrafficPolicy="Local")
    here = "node2" if client == "pod2a" else "node1"
    both = {"pod1b", "pod2b"}
    assert ask_all(world, client, address, 80, proto, until=list(both)) == both
    assert ask_all(world, client, address_of(here, family), number, proto, until=list(both)) == both


@each_family
@each_proto
def test_internal_policy_local_says_nothing_about_external_frontends(world, proto, family):
    address = next_external(family)
    vip = publish(world, family, externalIPs=[address], internalTrafficPolicy="Local")
    assert ask_all(world, "pod1a", address, 80, proto, until=BACKENDS) == set(BACKENDS)
    assert ask_all(world, "pod1a", vip, 80, proto) == {"pod1b"}


@each_family
@each_proto
def test_without_endpoints_external_frontends_refuse(world, proto, family):
    number, ports = node_ports()
    address = next_external(family)
    publish(world, family, ports, [], type="LoadBalancer", ingress=[address])
    for target, port in ((address, 80), (address_of("node1", family), number),
                         (LOOPBACKS[family][0], number)):
        result = world.place("node1").ask(target, port, proto, timeout=1)
        assert result.get("error") == "ECONNREFUSED", (target, port, result)


# Source ranges.


@each_family
@each_proto
def test_the_node_may_use_a_load_balancer_ip_if_its_own_address_is_in_a_range(world, proto, family):
    address, number = next_external(family), node_ports()[0]
    ports = [{**item, "nodePort": number} for item in both_protocols()]
    other = "198.51.100.0/24" if family == 4 else "2001:db8:51::/64"
    own = f"{address_of('node1', family)}/{32 if family == 4 else 128}"
    publish(world, family, ports, type="LoadBalancer", ingress=[address],
            loadBalancerSourceRanges=[other, f" {own} "])
    assert ask_all(world, "node1", address, 80, proto, until=BACKENDS) == set(BACKENDS)
    publish(world, family, ports, type="LoadBalancer", ingress=[address],
            loadBalancerSourceRanges=[other])
    result = world.place("node1").ask(address, 80, proto, timeout=0.5)
    assert result.get("error") in ("timeout", "EPERM"), result
    # Ranges are about load-balancer IPs only.
    assert ask_all(world, "node1", address_of("node1", family), number, proto, until=BACKENDS) == set(BACKENDS)
    publish(world, family, ports, type="LoadBalancer", ingress=[address])
    assert ask_all(world, "node1", address, 80, proto, until=BACKENDS) == set(BACKENDS)


@each_family
@each_proto
def test_a_range_of_everybody_and_ranges_of_the_other_family_open_it(world, proto, family):
    address = next_external(family)
    for ranges in (["198.51.100.0/24" if family == 6 else "2001:db8:51::/64"],
                   ["198.51.100.1/32", "0.0.0.0/0", "2001:db8:51::/64", "::/0"]):
        publish(world, family, type="LoadBalancer", ingress=[address],
                loadBalancerSourceRanges=ranges)
        assert ask_all(world, "pod1a", address, 80, proto, until=BACKENDS) == set(BACKENDS)


# Binding NodePorts.


def listen(world, place, address, port, proto="tcp"):
    """The result of a bind() there."""
    code = ("import socket, sys\n"
            "kind = socket.SOCK_STREAM if sys.argv[3] == 'tcp' else socket.SOCK_DGRAM\n"
            "family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\n"
            "socket.socket(family, kind).bind((sys.argv[1], int(sys.argv[2])))\n")
    return world.place(place).run(sys.executable, "-c", code, address, port, proto, check=False)


@each_proto
@each_family
def test_a_process_of_the_node_cannot_bind_a_node_port(world, family, proto):
    number, ports = node_ports()
    places = [address_of("node1", family), "0.0.0.0" if family == 4 else "::", LOOPBACKS[family][0]]
    for address in places:
        assert listen(world, "node1", address, number, proto).returncode == 0
    publish(world, family, ports, type="NodePort")
    for address in places:
        done = listen(world, "node1", address, number, proto)
        assert "Address already in use" in done.stderr, done.stderr
        assert listen(world, "node1", address, number + 1000, proto).returncode == 0
    # A pod has addresses of its own.
    assert listen(world, "pod1a", "0.0.0.0" if family == 4 else "::", number, proto).returncode == 0
    agent = world.agents["node1"]
    wait_for(lambda: any("process python3" in line and "web" in line and f":{number}/" in line
                         and "was not allowed to bind" in line for line in agent.log),
             lambda: f"who was refused, in the log:\n{agent.text()[-1500:]}")
    world.withdraw("web")
    for address in places:
        assert listen(world, "node1", address, number, proto).returncode == 0


def test_who_listens_at_a_node_port_already_goes_on(world):
    number, ports = node_ports()
    server = world.place("node1").start(sys.executable, HERE / "server.py", "first", str(number),
                                        stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout.readline() == "ready\n"
        address = address_of("node1", 4)
        with world.place("node1").socket("tcp", address, number) as held:
            assert held.exchange()["answer"]["name"] == "first"
            publish(world, 4, ports, type="NodePort")
            assert held.exchange()["answer"]["name"] == "first"
            assert ask_all(world, "node1", address, number, "tcp", until=BACKENDS) == set(BACKENDS)
    finally:
        server.kill()
        server.wait()


# What changes.


@each_family
def test_frontends_come_and_go_with_the_service(world, family):
    number, ports = node_ports()
    first, second = next_external(family), next_external(family)
    agent = world.agents["node1"]

    def programmed():
        return {(address, port) for address, port, _ in agent.frontends()
                if address in (first, second) or port == number}

    publish(world, family, ports, type="LoadBalancer", ingress=[first])
    addresses = {(address_of("node1", family), number), (LOOPBACKS[family][0], number)}
    assert programmed() == addresses | {(first, 80)}
    publish(world, family, ports, type="LoadBalancer", ingress=[first, second], externalIPs=[first])
    assert programmed() == addresses | {(first, 80), (second, 80)}
    publish(world, family, type="LoadBalancer", ingress=[second])
    assert programmed() == {(second, 80)}
    assert ask_all(world, "pod1a", second, 80, "tcp", until=BACKENDS) == set(BACKENDS)
    world.withdraw("web")
    assert programmed() == set()


def test_a_restart_changes_nothing_that_need_not_change(world):
    number, ports = node_ports()
    address = next_external(4)
    agent = world.agents["node1"]
    publish(world, 4, ports, type="LoadBalancer", ingress=[address],
            loadBalancerSourceRanges=["10.244.0.0/16", "172.18.0.0/16", "2001:db8::/32"])

    def programmed():
        """VIPs of before leave when their last flow has ended, whoever runs."""
        return {name: sorted(repr(entry) for entry in agent.dump(name)
                             if name != "addresses" or entry["value"]["flags"] != ADDRESS_RETIRED)
                for name in ("frontends", "addresses", "services", "source_ranges")}

    before = programmed()
    assert len(before["source_ranges"]) >= 2
    agent.stop()
    assert ask_all(world, "node1", "127.0.0.1", number, "tcp", until=BACKENDS) == set(BACKENDS)
    agent.start()
    assert programmed() == before
    world.withdraw("web")
    assert not [entry for entry in agent.dump("source_ranges")]


def test_kinds_are_told_by_the_command_line(world):
    number, ports = node_ports()
    external, balancer = next_external(4), next_external(4)
    vip = publish(world, 4, ports, type="LoadBalancer", ingress=[balancer], externalIPs=[external])
    kinds = kinds_of(world.agents["node1"])
    assert kinds[(vip, 80)] == "ClusterIP"
    assert kinds[(external, 80)] == "ExternalIP"
    assert kinds[(balancer, 80)] == "LoadBalancer"
    assert kinds[(address_of("node1", 4), number)] == "NodePort"
    assert kinds[("127.0.0.1", number)] == "NodePort"


# On which addresses.


def node_port_addresses(agent, number):
    return {address for address, port, _ in agent.frontends()
            if port == number and address not in ("127.0.0.1", "::1")}


def test_the_primary_addresses_are_those_of_the_node_object(world):
    number, ports = node_ports()
    made = service("web", [next_vip(4), next_vip(6)], ports, type="NodePort")
    world.publish(made, slice_("web", BACKENDS, slice_ports()), name="web")
    agent = world.agents["node1"]
    own = {address_of("node1", 4), address_of("node1", 6)}
    assert node_port_addresses(agent, number) == own
    # The Node says it better than the links do, and is followed.
    moved = node("node1")
    moved["status"]["addresses"] = [{"type": "InternalIP", "address": "10.244.1.1"},
                                    {"type": "InternalIP", "address": address_of("node1", 6)}]
    world.publish(moved, name="node")
    assert node_port_addresses(agent, number) == {"10.244.1.1", address_of("node1", 6)}
    world.withdraw("node")
    assert node_port_addresses(agent, number) == own


@pytest.fixture
def node1_again(world):
    """Starts node1's agent with other options, and with its own afterwards."""
    agent = world.agents["node1"]
    options = agent.options

    def again(*more):
        agent.stop()
        agent.options = (*options, *more)
        agent.start()
        return agent

    yield again
    agent.stop()
    agent.options = options
    agent.start()


@each_family
def test_addresses_in_the_listed_ranges_come_and_go(world, node1_again, family):
    number, ports = node_ports()
    publish(world, family, ports, type="NodePort")
    listed, extra = ("192.0.2.0/24", "192.0.2.7") if family == 4 else ("2001:db8:7::/64", "2001:db8:7::7")
    agent = node1_again("--nodeport-addresses", listed)
    assert node_port_addresses(agent, number) == set()
    place = world.place("node1")
    place.run("ip", "addr", "add", extra, "dev", "eth0", *(["nodad"] if family == 6 else []))
    try:
        wait_for(lambda: node_port_addresses(agent, number) == {extra}, "the NodePort at the address")
        assert ask_all(world, "node1", extra, number, "tcp", until=BACKENDS) == set(BACKENDS)
    finally:
        place.run("ip", "addr", "del", f"{extra}/{32 if family == 4 else 128}", "dev", "eth0")
    wait_for(lambda: not node_port_addresses(agent, number), "no NodePort at the address")


def test_without_bind_protection_a_node_port_can_be_bound(world, node1_again):
    number, ports = node_ports()
    publish(world, 4, ports, type="NodePort")
    assert listen(world, "node1", "0.0.0.0", number).returncode
    node1_again("--nodeport-bind-protection=false")
    assert listen(world, "node1", "0.0.0.0", number).returncode == 0


# What programs are told of the surroundings.


def link_index(world, place, name):
    return json.loads(world.place(place).run("ip", "-j", "link", "show", name).stdout)[0]["ifindex"]


def test_links_of_pods_are_near_and_others_are_not(world, node1_again):
    agent = world.agents["node1"]
    by_role = {entry["key"]: (entry["value"]["role"], entry["value"]["is_near"])
               for entry in agent.dump("links")}
    assert sorted(near for _, near in by_role.values())[-3:] == [1, 1, 1], by_role
    assert all(near == (role == "LINK_POD") for role, near in by_role.values()), by_role
    agent = node1_again("--detect-local-mode", "InterfaceNamePrefix", "--pod-interface-name-prefix", "eth")
    near = [entry["key"] for entry in agent.dump("links") if entry["value"]["is_near"]]
    assert near == [link_index(world, "node1", "eth0")]


def test_ports_of_the_named_bridge_are_near(world):
    agent = world.agents["node2"]
    options = agent.options
    agent.stop()
    agent.options = (*options, "--detect-local-mode", "BridgeInterface", "--pod-bridge-interface", "cni0")
    agent.start()
    try:
        near = {entry["key"] for entry in agent.dump("links") if entry["value"]["is_near"]}
        ports = [item["ifname"] for item in json.loads(
            world.place("node2").run("ip", "-j", "link", "show", "master", "cni0").stdout)]
        assert near == {link_index(world, "node2", port) for port in ports}
    finally:
        agent.stop()
        agent.options = options
        agent.start()


def test_sources_are_the_addresses_of_the_links_or_of_the_node(world):
    agent = world.agents["node1"]
    sources = {entry["key"]: (ip_text(entry["value"]["ipv4"]), ip_text(entry["value"]["ipv6"]))
               for entry in agent.dump("link_sources")}
    assert sources[link_index(world, "node1", "eth0")] == (address_of("node1", 4), address_of("node1", 6))
    assert all(own[0] != "::" for own in sources.values()), sources


def test_near_ranges_follow_the_options_and_the_node(world, node1_again):
    def ranges(agent):
        return {(ip_text(entry["key"]["addr"]), entry["key"]["prefix"])
                for entry in agent.dump("near_ranges")}

    agent = node1_again("--cluster-cidr", "10.244.0.0/16,fd00:244::/32")
    assert ranges(agent) == {("10.244.0.0", 112), ("fd00:244::", 32)}
    made = node("node1")
    made["spec"] = {"podCIDRs": ["10.244.1.0/24", "fd00:244:1::/64", "10.244.2.0/24"]}
    world.publish(made, name="node")
    agent.stop()
    agent.options = (*agent.options[:-2], "--detect-local-mode", "NodeCIDR")
    agent.start()
    assert ranges(agent) == {("10.244.1.0", 120), ("fd00:244:1::", 64)}
    made["spec"] = {"podCIDRs": ["10.244.9.0/24"]}
    world.publish(made, name="node")
    assert ranges(agent) == {("10.244.9.0", 120)}


def test_ranges_of_cluster_ips_come_from_options_and_objects(world, node1_again):
    agent = node1_again("--service-cidr", "10.96.0.0/16")

    def count():
        return agent.dump("service_ranges")[0]["value"]["count"]

    assert count() == 1
    world.publish({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
                   "metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/16", "fd00:97::/112"]}},
                  name="more")
    assert count() == 3
    world.withdraw("more")
    assert count() == 1
