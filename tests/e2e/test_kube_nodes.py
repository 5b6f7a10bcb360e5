# SPDX-License-Identifier: BSD-2-Clause
"""With direct server return the agent knows all nodes of the API server, and only then."""

import pytest

from kube import KubeAgent, kubeconfig
from lab import ip_text, wait_for
from manifests import next_vip, node, service
from apiserver.client import ApiServerProcess

THIS, OTHER = "CLUSTER_NODE_THIS", "CLUSTER_NODE_OTHER"


def other_node(number):
    made = node("node2")
    made["metadata"]["name"] = f"node-{number}"
    made["status"]["addresses"] = [{"type": "InternalIP", "address": f"192.0.2.{number}"},
                                   {"type": "ExternalIP", "address": f"198.51.100.{number}"}]
    return made


@pytest.fixture
def server(lab):
    with ApiServerProcess(netns=f"/run/netns/{lab.id}-node1") as made:
        made.put(node("node1"))
        made.put_all([other_node(number) for number in range(1, 6)])
        yield made


@pytest.fixture
def agent(lab, server, request):
    made = KubeAgent(lab, "node1", kubeconfig(server), "-v", "3", *request.param)
    made.start()
    yield made
    made.end()


def with_options(*options):
    return pytest.mark.parametrize("agent", [options], indirect=True)


def known(agent):
    return {ip_text(entry["key"]): entry["value"] for entry in agent.dump("cluster_nodes")}


OWN = {"172.18.0.11": THIS, "fd00:18::11": THIS}


def others(*numbers):
    return {f"192.0.2.{number}": OTHER for number in numbers}


@with_options("--forwarding", "dsr")
def test_nodes_are_followed(server, agent):
    assert known(agent) == {**OWN, **others(1, 2, 3, 4, 5)}
    server.delete("nodes", "node-3")
    server.put(other_node(6))
    wait_for(lambda: known(agent) == {**OWN, **others(1, 2, 4, 5, 6)}, "the nodes that there are")


@with_options("--forwarding", "hybrid")
def test_nodes_that_went_while_nobody_watched_are_forgotten_only_with_a_complete_list(server, agent):
    agent.stop()
    server.delete("nodes", "node-1")
    server.put(other_node(7))
    server.put(service("later", next_vip(4)))
    agent.start()
    assert known(agent) == {**OWN, **others(2, 3, 4, 5, 7)}


@with_options()
def test_with_source_nat_other_nodes_are_not_even_asked_for(agent):
    assert agent.status()["forwarding"] == "snat"
    assert known(agent) == {}
    assert not any("listed 6 nodes" in line for line in agent.log)
    assert any("listed 1 nodes" in line for line in agent.log)
