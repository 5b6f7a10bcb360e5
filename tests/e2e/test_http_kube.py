# SPDX-License-Identifier: BSD-2-Clause
"""Health and metrics of an agent whose source is the Kubernetes API."""

import datetime
import itertools
import json

import pytest

from http_get import HEALTH, METRICS, get, scrape, value
from kube import KubeAgent, kubeconfig
from lab import DEADLINE, wait_for
from manifests import next_vip, node, service, slice_, triggered_slice
from apiserver.client import ApiServerProcess

PROGRAMMING = "kubeproxy_network_programming_duration_seconds"
NO_LOCAL = "kubeproxy_sync_proxy_rules_no_local_endpoints_total"
_names = itertools.count()


@pytest.fixture
def server(lab):
    with ApiServerProcess(netns=f"/run/netns/{lab.id}-node1", tokens=["secret"]) as made:
        made.put(node("node1"))
        yield made


@pytest.fixture
def start(lab):
    agents = []

    def make(server, *options, wait=True):
        agent = KubeAgent(lab, "node1", kubeconfig(server), "--hooks", "socket", *options,
                          name=f"agent-{next(_names)}")
        agents.append(agent)
        return agent.start(ready=wait)

    yield make
    for agent in agents:
        agent.end()


@pytest.fixture
def node1(lab):
    return lab.place("node1")


def test_changes_are_pending_until_the_source_is_complete(server, start, node1):
    server.put_all([service("web", next_vip(4)), slice_("web", ["10.244.9.1"])])
    fault = server.faults.add(resource="endpointslices", silent="forever")
    agent = start(server, wait=False)
    agent.wait_for_log("serving metrics")
    name = "kubeproxy_sync_proxy_rules_service_changes_pending"
    wait_for(lambda: value(scrape(node1), name) == 1, "a pending change of a Service")
    answer = get(node1, HEALTH + "/readyz")
    assert answer.status == 503
    assert "[-]source synced failed: the source is not read completely yet" in answer.body
    assert get(node1, HEALTH + "/livez").status == 200
    server.faults.clear(fault)
    server.drop_connections()
    agent.wait_for_log("ready: ")
    wait_for(lambda: get(node1, HEALTH + "/readyz").status == 200, "readiness")
    scraped = scrape(node1)
    assert value(scraped, name) == 0
    assert value(scraped, "kubeproxy_sync_proxy_rules_service_changes_total") >= 1
    assert value(scraped, "kubeproxy_sync_proxy_rules_endpoint_changes_total") >= 1


def test_the_delay_since_the_trigger_is_measured_but_not_for_old_changes_nor_removals(server, start, node1):
    long_ago = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
    server.put_all([service("web", next_vip(4)), triggered_slice("web", ["10.244.9.1"], long_ago)])
    agent = start(server)
    assert value(scrape(node1), PROGRAMMING + "_count") == 0
    server.put(triggered_slice("web", ["10.244.9.2"]))
    agent.wait_for_backends("web", ["10.244.9.2"])
    wait_for(lambda: value(scrape(node1), PROGRAMMING + "_count", ip_family="IPv4") == 1, "the measurement")
    assert value(scrape(node1), PROGRAMMING + "_sum") < DEADLINE
    server.delete("endpointslices", "web-v4", "default")
    agent.wait_for_backends("web", [])
    scraped = scrape(node1)
    assert value(scraped, PROGRAMMING + "_count", ip_family="IPv4") == 1
    assert value(scraped, PROGRAMMING + "_count", ip_family="IPv6") == 0


def test_service_ports_with_policy_local_and_endpoints_elsewhere_only_are_counted(server, start, node1):
    far = service("far", next_vip(4), internalTrafficPolicy="Local")
    none = service("none", next_vip(4), internalTrafficPolicy="Local")
    elsewhere = slice_("far", ["10.244.9.1"])
    for endpoint in elsewhere["endpoints"]:
        endpoint["nodeName"] = "node2"
    server.put_all([far, none, elsewhere])
    start(server)
    ports = len(far["spec"]["ports"])
    assert value(scrape(node1), NO_LOCAL, ip_family="IPv4", traffic_policy="internal") == ports
    assert value(scrape(node1), NO_LOCAL, ip_family="IPv4", traffic_policy="external") == 0
    assert value(scrape(node1), NO_LOCAL, ip_family="IPv6") == 0


def test_requests_to_the_server_are_counted_and_timed_as_client_go_does(server, start, node1):
    """Which times lists, but no watches, and so no lists that are streamed as one either."""
    server.set(streaming_lists="invalid")
    start(server)
    host = f"127.0.0.1:{server.port}"
    scraped = scrape(node1)
    assert value(scraped, "rest_client_requests_total", code="200", method="GET", host=host) >= 4
    name = "rest_client_request_duration_seconds"
    assert 1 <= value(scraped, name + "_count", verb="GET", host=host) <= (
        value(scraped, "rest_client_requests_total", host=host))
    server.set_tokens(["another"])
    server.drop_connections()
    wait_for(lambda: value(scrape(node1), "rest_client_requests_total", code="401") > 0, "a refused request")
    server.stop_listening()
    wait_for(lambda: value(scrape(node1), "rest_client_requests_total", code="<error>") > 0,
             "a request without an answer")


def test_a_server_that_is_gone_is_told_and_does_not_make_the_node_unready(server, start, node1):
    start(server)
    assert value(scrape(node1), "fairlead_source_reachable") == 1
    assert "[+]source reachable ok" in get(node1, HEALTH + "/readyz?verbose").body
    server.stop_listening()
    wait_for(lambda: value(scrape(node1), "fairlead_source_reachable") == 0, "an unreachable source")
    answer = get(node1, HEALTH + "/readyz?verbose")
    assert answer.status == 200
    assert "[-]source reachable failed: " in answer.body and "(not fatal)" in answer.body
    assert get(node1, HEALTH + "/healthz").status == 200
    server.start_listening()
    wait_for(lambda: value(scrape(node1), "fairlead_source_reachable") == 1, "a source within reach")


def test_a_node_that_the_server_does_not_have_is_not_eligible(server, start, node1):
    start(server)
    assert get(node1, HEALTH + "/healthz").status == 200
    server.delete("nodes", "node1")
    wait_for(lambda: get(node1, HEALTH + "/healthz").status == 503, "a node that is not eligible")
    body = json.loads(get(node1, HEALTH + "/healthz").body)
    assert (body["nodeEligible"], body["healthy"]) == (False, True)
    assert get(node1, HEALTH + "/livez").status == 200
    assert get(node1, METRICS + "/healthz").status == 200
