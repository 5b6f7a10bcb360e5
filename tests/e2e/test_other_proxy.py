# SPDX-License-Identifier: BSD-2-Clause
"""A Service that another proxy serves, in netfilter, where the ranges of ClusterIPs are known."""

import contextlib

import pytest

from lab import address_of
from manifests import both_protocols, next_vip, service
from outside import route_services

HOOKS = ["socket,tc", "tc"]
OPTIONS = ["--service-cidr", "10.96.0.0/16,fd00:96::/32"]
BACKEND = "pod1b"
OTHER = {"service.kubernetes.io/service-proxy-name": "mesh"}

each_family = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
each_proto = pytest.mark.parametrize("proto", ["tcp", "udp"])
each_client = pytest.mark.parametrize("client", ["pod1a", "client"])


@pytest.fixture(autouse=True)
def routes(world):
    route_services(world, {family: address_of("node1", family) for family in (4, 6)})


@contextlib.contextmanager
def other_proxy(world, family, vip):
    """Translates in netfilter of node1, as kube-proxy does."""
    ip, target = ("ip", address_of(BACKEND, 4)) if family == 4 else ("ip6", f"[{address_of(BACKEND, 6)}]")
    rules = "".join(f"{ip} daddr {vip} {proto} dport 80 dnat {ip} to {target}:8080\n" for proto in ("tcp", "udp"))
    path = world.lab.directory / "other-proxy.nft"
    path.write_text("table inet fl-other-proxy {\n"
                    f"chain prerouting {{\ntype nat hook prerouting priority -100;\n{rules}}}\n"
                    f"chain output {{\ntype nat hook output priority -100;\n{rules}}}\n"
                    "}\n")
    node = world.place("node1")
    node.run("nft", "-f", path)
    try:
        yield
    finally:
        node.run("nft", "delete", "table", "inet", "fl-other-proxy")


def served(world, client, vip, proto):
    result = world.place(client).ask(vip, 80, proto, timeout=5)
    return result.get("answer", {}).get("name") == BACKEND, result


def dropped(world, client, vip, proto):
    result = world.place(client).ask(vip, 80, proto, timeout=0.3)
    return result.get("error") == "timeout", result


def then(judged):
    is_so, result = judged
    assert is_so, result


def publish_others(world, vip):
    world.publish(service("web", vip, both_protocols(), labels=OTHER), name="web")


@each_family
@each_proto
@each_client
def test_a_service_of_another_proxy_is_its_to_translate_until_it_is_deleted(world, client, proto, family):
    vip = next_vip(family)
    with other_proxy(world, family, vip):
        then(dropped(world, client, vip, proto))
        publish_others(world, vip)
        then(served(world, client, vip, proto))
        then(served(world, "node1", vip, proto))
        world.withdraw("web")
        then(dropped(world, client, vip, proto))


@each_family
@each_client
def test_a_service_changes_hands_and_comes_back(world, client, family):
    ours = "pod1c"
    vip = world.simple("web", family, [ours])
    with other_proxy(world, family, vip):
        assert world.place(client).ask(vip, 80)["answer"]["name"] == ours
        publish_others(world, vip)
        then(served(world, client, vip, "tcp"))
        world.change("web", family, vip, [ours])
        assert world.place(client).ask(vip, 80)["answer"]["name"] == ours


@each_family
def test_a_restarted_agent_goes_on_leaving_it_alone(world, family):
    vip, gone = next_vip(family), next_vip(family)
    publish_others(world, vip)
    world.publish(service("gone", gone, both_protocols(), labels=OTHER), name="gone")
    agent = world.agents["node1"]
    with other_proxy(world, family, vip):
        agent.stop()
        then(served(world, "client", vip, "tcp"))
        world.folder.remove("gone")
        agent.start()
        then(served(world, "client", vip, "tcp"))
    with other_proxy(world, family, gone):
        then(dropped(world, "client", gone, "tcp"))
