# SPDX-License-Identifier: BSD-2-Clause
"""NodeLocal DNSCache assigns a ClusterIP to a link of the node: then its own server answers there."""

import subprocess
import sys

import pytest

from lab import HERE, address_of, wait_for
from manifests import next_vip, service, service_port, slice_

HOOKS = ["socket,tc", "tc"]
each_family = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
each_proto = pytest.mark.parametrize("proto", ["tcp", "udp"])
CLIENTS = ["pod1a", "node1"]


def add_dummy(node, name):
    """A bridge without ports holds addresses just as well, where there are no dummy links."""
    if node.run("ip", "link", "add", name, "type", "dummy", check=False).returncode:
        node.run("ip", "link", "add", name, "type", "bridge")


@pytest.fixture
def cache(world):
    """Assigns addresses to a link of node1, as the cache does, and answers there on port 53."""
    node = world.place("node1")
    add_dummy(node, "nodelocaldns")
    node.run("ip", "link", "set", "nodelocaldns", "up")
    assigned = []

    class Cache:
        def assign(self, vip):
            assigned.append(vip)
            node.run("ip", "addr", "add", vip, "dev", "nodelocaldns",
                     *(["nodad"] if ":" in vip else []))
            world.settle()

        def give_back(self, vip):
            node.run("ip", "addr", "del", f"{vip}/{128 if ':' in vip else 32}", "dev", "nodelocaldns")
            world.settle()

    yield Cache()
    node.run("ip", "link", "del", "nodelocaldns")
    world.settle()


@pytest.fixture
def dns(world):
    """The cache's server on the node, port 53; cluster DNS in a pod, port 8080."""
    server = world.place("node1").start(sys.executable, HERE / "server.py", "the-cache", "53",
                                        stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline() == "ready\n"
    yield
    server.kill()
    server.wait()


def dns_service(world, family):
    vip = next_vip(family)
    ports = [service_port(53, "TCP", "tcp"), service_port(53, "UDP", "udp")]
    world.publish(service("kube-dns", vip, ports, namespace="kube-system"),
                  slice_("kube-dns", ["pod2b"], family=family, namespace="kube-system"))
    return vip


def expect_answer(world, client, vip, proto, name):
    """Links are heard of by another way than manifests, so the last word takes a moment."""
    wait_for(lambda: world.place(client).ask(vip, 53, proto, timeout=0.3).get(
        "answer", {}).get("name") == name, f"{name} to answer {client} at {vip}")


@each_family
@each_proto
def test_a_cluster_ip_on_a_link_of_the_node_is_answered_by_the_node(world, cache, dns, family, proto):
    vip = dns_service(world, family)
    for client in CLIENTS:
        expect_answer(world, client, vip, proto, "pod2b")
    cache.assign(vip)
    for client in CLIENTS:
        expect_answer(world, client, vip, proto, "the-cache")
    expect_answer(world, "pod2a", vip, proto, "pod2b")
    cache.give_back(vip)
    for client in CLIENTS:
        expect_answer(world, client, vip, proto, "pod2b")


def test_the_cli_says_which_link_has_the_address(world, cache):
    vip = dns_service(world, 4)
    cache.assign(vip)
    wait_for(lambda: "nodelocaldns" in world.agents["node1"].fairlead("services", check=False).stdout,
             "the link's name in `fairlead services`")


@each_family
def test_an_address_that_was_there_first_is_left_alone_too(world, cache, dns, family):
    vip = next_vip(family)
    cache.assign(vip)
    ports = [service_port(53, "TCP", "tcp"), service_port(53, "UDP", "udp")]
    world.publish(service("kube-dns", vip, ports), slice_("kube-dns", ["pod2b"], family=family))
    for client in CLIENTS:
        expect_answer(world, client, vip, "udp", "the-cache")


@each_family
def test_other_services_are_served_as_before(world, cache, dns, family):
    cache.assign(dns_service(world, family))
    vip = world.simple("web", family, ["pod1b", "pod2b"])
    results = world.place("pod1a").ask_many(20, vip, until=["pod1b", "pod2b"])
    assert {result["answer"]["name"] for result in results} == {"pod1b", "pod2b"}
    assert world.place("pod1a").ask(address_of("node1", family), 53)["answer"]["name"] == "the-cache"


@each_family
@each_proto
def test_a_cluster_ip_on_kube_proxy_s_link_of_ipvs_is_served(world, family, proto):
    """kube-proxy has left it behind, and nobody answers there."""
    node = world.place("node1")
    add_dummy(node, "kube-ipvs0")
    try:
        there_first, vip = next_vip(family), world.simple("web", family, ["pod1b"])
        for address in (there_first, vip):
            node.run("ip", "addr", "add", address, "dev", "kube-ipvs0", *(["nodad"] if family == 6 else []))
        world.settle()
        world.change("later", family, there_first, ["pod2b"])
        for address, backend in ((vip, "pod1b"), (there_first, "pod2b")):
            for client in ("pod1a", "node1") if world.has_socket else ("pod1a",):
                result = world.place(client).ask(address, 80, proto)
                assert result.get("answer", {}).get("name") == backend, (client, result)
    finally:
        node.run("ip", "link", "del", "kube-ipvs0")
        world.settle()
