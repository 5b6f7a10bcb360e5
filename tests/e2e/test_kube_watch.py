# SPDX-License-Identifier: BSD-2-Clause
"""The agent keeps the datapath true to the API server, through every way in which that misbehaves."""

import itertools
import json
import time

import pytest

from http_get import get, samples, value
from kube import FIXTURES, KubeAgent, kubeconfig, settle
from lab import let_pass, wait_for
from manifests import next_vip, node, service, slice_, zoned_node
from apiserver.client import ApiServerProcess

RESOURCES = ["services", "endpointslices"]
_names = itertools.count()


class Cluster:
    """A server and an agent on node1 that go through the tests of this module together."""

    def __init__(self, lab, **settings):
        self.lab = lab
        self.server = ApiServerProcess(netns=f"/run/netns/{lab.id}-node1", tokens=["secret"], **settings)
        self.server.start()
        self.server.put(node("node1"))
        self.agent = KubeAgent(lab, "node1", kubeconfig(self.server), "--hooks", "socket", "-v", "3")
        self.agent.start()

    def close(self):
        try:
            self.agent.end()
        finally:
            self.server.stop()

    def make(self, *backends, name=None):
        """A Service with these addresses behind it, programmed. Is its name."""
        name = name or f"web-{next(_names)}"
        self.server.put_all([service(name, next_vip(4)), slice_(name, backends)])
        self.agent.wait_for_backends(name, backends)
        return name

    def change(self, name, *backends):
        self.server.put(slice_(name, backends))

    def changed_service_ports(self):
        return self.agent.status()["publish"]["changed_service_ports"]

    def reset(self):
        self.server.faults.clear()
        self.server.thaw_watches()
        self.server.set_tokens(["secret"])
        self.server.delete_all("services")
        self.server.delete_all("endpointslices")
        self.agent.wait_for_services(set())
        self.agent.log.clear()


@pytest.fixture(scope="module")
def shared(lab):
    made = Cluster(lab)
    yield made
    made.close()


@pytest.fixture
def cluster(shared):
    shared.server.wait_for_watch(*RESOURCES)
    shared.agent.log.clear()
    yield shared
    shared.reset()


@pytest.fixture
def server(lab):
    """A server of its own for a test, before its agent starts."""
    with ApiServerProcess(netns=f"/run/netns/{lab.id}-node1") as made:
        made.put(node("node1"))
        yield made


@pytest.fixture
def start(lab):
    """Starts agents for a server, and ends them."""
    agents = []

    def make(server, *options, wait=True, config=None):
        agent = KubeAgent(lab, "node1", config or kubeconfig(server), "--hooks", "socket", "-v", "3", *options,
                          name=f"agent-{next(_names)}")
        agents.append(agent)
        return agent.start(ready=wait)

    yield make
    for agent in agents:
        agent.end()


def fill(server, count, backends=("10.244.9.1",)):
    """Services svc-0, svc-1, ... with a slice each."""
    for number in range(count):
        server.put_all([service(f"svc-{number}", next_vip(4)), slice_(f"svc-{number}", backends)])
    return {f"svc-{number}" for number in range(count)}


# What is watched.


def test_services_and_slices_come_change_and_go(cluster):
    name = cluster.make("10.244.9.1", "10.244.9.2")
    cluster.change(name, "10.244.9.2", "10.244.9.3")
    cluster.agent.wait_for_backends(name, ["10.244.9.2", "10.244.9.3"])
    cluster.server.delete("endpointslices", f"{name}-v4", "default")
    cluster.agent.wait_for_backends(name, [])
    assert name in cluster.agent.services()
    cluster.server.delete("services", name, "default")
    cluster.agent.wait_for_services(set())


def test_the_selectors_are_kube_proxys_but_for_services_of_other_proxies(cluster):
    queries = {name: cluster.server.requests(name)[0]["query"]
               for name in ("services", "endpointslices", "servicecidrs", "nodes")}
    for name in ("endpointslices", "servicecidrs"):
        assert queries[name]["labelSelector"] == (
            "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless")
    assert "labelSelector" not in queries["services"]
    assert queries["services"]["fieldSelector"] == "spec.clusterIP!=None"
    assert queries["nodes"]["fieldSelector"] == "metadata.name=node1"


def test_a_server_that_cannot_select_by_cluster_ip_is_asked_without(server, start):
    """As those before 1.33 answer, whether or not they stream lists."""
    wanted = fill(server, 2)
    server.put(service("headless", "None"))
    fault = server.faults.add(resource="services", status=400, times=2)
    agent = start(server)
    agent.wait_for_services(wanted)
    assert server.faults.struck(fault) == 2
    assert "fieldSelector" not in server.requests("services")[-1]["query"]
    assert agent.warnings("services") == []


def test_a_label_for_another_proxy_makes_a_service_vanish_and_its_removal_brings_it_back(cluster):
    name = cluster.make("10.244.9.1")
    made = cluster.server.get("services", name, "default")
    cluster.server.put({**made, "metadata": {**made["metadata"],
                                             "labels": {"service.kubernetes.io/service-proxy-name": ""}}})
    cluster.agent.wait_for_services(set())
    cluster.server.put({**made, "metadata": {**made["metadata"], "labels": {}}})
    cluster.agent.wait_for_backends(name, ["10.244.9.1"])


@pytest.mark.parametrize("label", ["service-proxy-name", "headless"])
def test_a_slice_with_such_a_label_is_not_seen(cluster, label):
    name = cluster.make("10.244.9.1")
    labelled = slice_(name, ["10.244.9.1"])
    labelled["metadata"]["labels"][f"service.kubernetes.io/{label}"] = ""
    cluster.server.put(labelled)
    cluster.agent.wait_for_backends(name, [])
    assert {row["verdict"] for row in cluster.agent.json("services")} == {"refuse"}
    cluster.change(name, "10.244.9.1")
    cluster.agent.wait_for_backends(name, ["10.244.9.1"])


def test_a_slice_is_the_services_that_its_label_names_whoever_made_it(cluster):
    name = cluster.make("10.244.9.1")
    unlabelled = slice_(name, ["10.244.9.2"], name=f"{name}-unlabelled")
    del unlabelled["metadata"]["labels"]
    made_by_hand = slice_(name, ["10.244.9.3"], name="by-hand")
    made_by_hand["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] = "nobody"
    elsewhere = slice_(name, ["10.244.9.4"], namespace="elsewhere")
    cluster.server.put_all([unlabelled, elsewhere, made_by_hand])
    cluster.agent.wait_for_backends(name, ["10.244.9.1", "10.244.9.3"])


def test_fields_that_decide_nothing_change_nothing(cluster):
    name = cluster.make("10.244.9.1")
    before = cluster.changed_service_ports()
    made = cluster.server.get("services", name, "default")
    made["metadata"]["annotations"] = {"service.kubernetes.io/topology-mode": "Auto",
                                       "service.beta.kubernetes.io/load-balancer-source-ranges": "10.0.0.0/8"}
    made["spec"].update(selector={"app": "another"}, trafficDistribution="PreferClose", loadBalancerIP="192.0.2.1",
                        publishNotReadyAddresses=True, loadBalancerClass="example.com/none",
                        allocateLoadBalancerNodePorts=False)
    for port in made["spec"]["ports"]:
        port.update(targetPort=9, appProtocol="https")
    cluster.server.put(made)
    settle()
    assert cluster.agent.backends_of(name) == {"10.244.9.1"}
    assert cluster.changed_service_ports() == before


def test_other_labels_of_the_node_change_nothing(cluster):
    cluster.make("10.244.9.1")
    before = cluster.agent.publishes(), cluster.changed_service_ports()
    cluster.server.put(node("node1", kubernetes__io__hostname="other", color="red"))
    settle()
    after = cluster.agent.publishes(), cluster.changed_service_ports()
    cluster.server.put(node("node1"))
    assert after == before


def test_the_own_nodes_zone_chooses_among_endpoints_with_hints(cluster):
    name = f"web-{next(_names)}"
    hinted = slice_(name, ["10.244.9.1", "10.244.9.2"])
    for endpoint, zone in zip(hinted["endpoints"], ["a", "b"]):
        endpoint["hints"] = {"forZones": [{"name": zone}]}
    cluster.server.put_all([service(name, next_vip(4)), hinted])
    cluster.agent.wait_for_backends(name, ["10.244.9.1", "10.244.9.2"])
    cluster.server.put(zoned_node("node1", "b"))
    cluster.agent.wait_for_backends(name, ["10.244.9.2"])
    cluster.server.put(node("node1"))
    cluster.agent.wait_for_backends(name, ["10.244.9.1", "10.244.9.2"])


def test_what_a_policy_leaves_out_is_unused_and_only_what_leaves_drains(server, start, lab):
    made = slice_("web", ["10.244.9.1", "10.244.9.2", "10.244.9.3", "10.244.9.4"])
    here, there, leaving, unready = made["endpoints"]
    for endpoint in (here, leaving):
        endpoint["nodeName"] = "node1"
    there["nodeName"] = "node2"
    leaving["conditions"] = {"ready": False, "serving": True, "terminating": True}
    unready["conditions"] = {"ready": False}
    server.put_all([service("web", next_vip(4), internalTrafficPolicy="Local"), made])
    agent = start(server, "--metrics-bind-address", "127.0.0.1:10259")
    agent.wait_for_backends("web", ["10.244.9.1"])
    expected = {"10.244.9.1": "active", "10.244.9.2": "unused", "10.244.9.3": "draining", "10.244.9.4": "unused"}
    for backends in [agent.json("backends"), *(row["backends"] for row in agent.json("services"))]:
        assert {item["address"]: item["state"] for item in backends} == expected
    scraped = samples(get(lab.place("node1"), "http://127.0.0.1:10259/metrics").body)
    ports = len(made["ports"])
    for state, count in (("active", 1), ("unused", 2), ("draining", 1), ("dead", 0)):
        assert value(scraped, "fairlead_backends", state=state) == count * ports, state
    server.put(service("web", agent.json("services")[0]["frontends"][0]["address"]))
    agent.wait_for_backends("web", ["10.244.9.1", "10.244.9.2"])
    assert {item["address"]: item["state"] for item in agent.json("backends")} == {
        **expected, "10.244.9.2": "active"}


def test_a_recorded_cluster_and_its_history_are_followed(server, start):
    server.load(FIXTURES / "services-list.json", FIXTURES / "endpointslices-v1-list.json",
                FIXTURES / "nodes-list.json")
    agent = start(server)
    before = agent.table()
    assert ("shop", "frontend") in {key[:2] for key in before}
    assert ("default", "kubernetes") in {key[:2] for key in before}
    server.replay(FIXTURES / "watch-services.jsonl")
    fresh = start(server)
    wait_for(lambda: agent.table() == fresh.table(), "the state that a fresh list gives")
    assert agent.table() != before


# Lists.


def test_a_list_comes_as_a_stream_where_the_server_has_that(server, start):
    wanted = fill(server, 20)
    agent = start(server)
    agent.wait_for_services(wanted)
    assert server.requests("services", "list") == []
    assert server.requests("services", "watch")[0]["query"]["sendInitialEvents"] == "true"
    server.put_all([service("later", next_vip(4))])
    agent.wait_for_services(wanted | {"later"})


@pytest.mark.parametrize("behaviour", ["invalid", "ignored"])
def test_a_server_without_streamed_lists_is_listed_in_pages(server, start, behaviour):
    server.set(streaming_lists=behaviour)
    wanted = fill(server, 20)
    agent = start(server)
    agent.wait_for_services(wanted)
    request = server.requests("services", "list")[-1]
    assert request["query"]["limit"] == "500"
    assert request["query"]["resourceVersion"] == "0"


def fill_pages(server):
    """More Services than a page has, that are listed in pages: a list from the server's cache comes whole,
    and after a malformed one the newest is asked for."""
    server.set(streaming_lists="invalid")
    wanted = {f"svc-{number}" for number in range(1201)}
    server.put_all([service(name, next_vip(4)) for name in sorted(wanted)])
    server.faults.add(resource="services", verb="list", malformed=True, times=1)
    return wanted


def pages(server):
    return [request for request in server.requests("services", "list") if "continue" in request["query"]]


def test_pages_are_put_together(server, start):
    wanted = fill_pages(server)
    agent = start(server)
    agent.wait_for_services(wanted)
    assert len(pages(server)) == 2


def test_an_expired_page_makes_it_list_again_in_one_go(server, start):
    wanted = fill_pages(server)
    server.faults.add(resource="services", verb="list", continued=True, gone="status", times=1)
    agent = start(server)
    agent.wait_for_services(wanted)
    assert len(pages(server)) == 1
    assert "limit" not in server.requests("services", "list")[-1]["query"]


def test_a_list_that_is_cut_off_in_an_object_is_asked_for_again(server, start):
    server.set(streaming_lists="invalid")
    wanted = fill(server, 20)
    number = server.faults.add(resource="services", verb="list", close="mid-object", times=2)
    agent = start(server)
    agent.wait_for_services(wanted)
    assert server.faults.struck(number) == 2


@pytest.mark.parametrize("fault", [{"truncate": 2000}, {"malformed": True}, {"close": "unfinished"},
                                   {"close_after": 3000, "reset": True}],
                         ids=["truncated", "malformed", "unfinished", "reset"])
@pytest.mark.parametrize("how", ["on", "invalid"], ids=["streamed", "paged"])
def test_a_broken_list_removes_nothing_and_is_asked_for_again(server, start, fault, how):
    server.set(streaming_lists=how)
    wanted = fill(server, 20)
    agent = start(server)
    agent.wait_for_services(wanted)
    number = server.faults.add(resource="services", verb="watch" if how == "on" else "list", skip=0, times=1,
                               **fault)
    server.compact()
    server.drop_watches("services", how="gone")
    wait_for(lambda: server.faults.struck(number), "the fault")
    server.put(service("later", next_vip(4)))
    wait_for(lambda: agent.services() in (wanted, wanted | {"later"}) and "later" in agent.services(),
             lambda: f"nothing but an addition: {agent.services()}\n{agent.text()[-2000:]}")


def test_a_gzipped_list_is_read(server, start):
    server.set(gzip_over=1000, streaming_lists="invalid")
    wanted = fill(server, 50)
    agent = start(server)
    agent.wait_for_services(wanted)
    assert "gzip" in server.requests("services", "list")[0]["headers"]["accept-encoding"]


def test_an_empty_list_is_believed_and_said_loudly(cluster):
    cluster.make("10.244.9.1")
    cluster.server.faults.add(resource="services", empty=True)
    cluster.server.set(streaming_lists="invalid")
    cluster.server.compact()
    cluster.server.drop_watches("services", how="gone")
    cluster.agent.wait_for_services(set())
    cluster.agent.wait_for_log("the server's list of services is empty although there were 1")
    cluster.server.set(streaming_lists="on")


# Watches.


@pytest.mark.parametrize("how", ["end", "unfinished", "mid-object", "reset"])
def test_a_watch_that_ends_goes_on_from_where_it_was(cluster, how):
    name = cluster.make("10.244.9.1")
    seen = cluster.server.requests()[-1]["number"]
    version = cluster.server.resource_version
    assert cluster.server.drop_watches("endpointslices", how=how) == 1
    cluster.change(name, "10.244.9.2")
    cluster.agent.wait_for_backends(name, ["10.244.9.2"])
    assert cluster.server.requests("endpointslices", "list", since=seen) == []
    again = cluster.server.requests("endpointslices", "watch", since=seen)[0]
    assert again["query"]["resourceVersion"] == str(version)


def test_a_bookmark_moves_on_where_the_next_watch_begins(cluster):
    cluster.make("10.244.9.1")
    cluster.server.put(service("unseen", "None"))
    version = cluster.server.resource_version
    cluster.server.bookmark()
    settle()
    seen = cluster.server.requests()[-1]["number"]
    cluster.server.drop_watches("services")
    again = cluster.server.wait_for_request("services", "watch", since=seen)[0]
    assert again["query"]["resourceVersion"] == str(version)


@pytest.mark.parametrize("kind", ["event", "status"])
def test_410_makes_it_list_again_and_publish_only_the_difference(cluster, kind):
    kept, gone, changed = (cluster.make(f"10.244.9.{number}") for number in range(1, 4))
    before = {row["name"]: row["id"] for row in cluster.agent.json("services")}
    publishes = cluster.agent.status()["publish"]["changed_service_ports"]
    cluster.server.set(gone=kind)
    cluster.server.stop_listening()
    cluster.server.delete("services", gone, "default")
    cluster.change(changed, "10.244.9.9")
    cluster.server.compact()
    cluster.server.start_listening()
    cluster.agent.wait_for_services({kept, changed})
    cluster.agent.wait_for_backends(changed, ["10.244.9.9"])
    after = {row["name"]: row["id"] for row in cluster.agent.json("services")}
    assert after == {name: number for name, number in before.items() if name != gone}
    # Both ports of the Service that is gone, and both of the one whose backend changed.
    assert cluster.agent.status()["publish"]["changed_service_ports"] == publishes + 4
    cluster.server.set(gone="event")


@pytest.mark.parametrize("kind", ["event", "status"])
def test_a_server_that_forgets_at_once_is_asked_less_and_less_often(cluster, kind):
    cluster.make("10.244.9.1")
    seen = cluster.server.requests()[-1]["number"]
    fault = cluster.server.faults.add(resource="services", verb="watch", gone=kind)
    cluster.server.drop_watches("services")
    time.sleep(12)
    lists = [request for request in cluster.server.requests("services", "list") if request["number"] > seen]
    assert 2 <= len(lists) <= 6, lists  # about 0.5, 1, 2 and 4 s apart
    cluster.server.faults.clear(fault)
    name = cluster.make("10.244.9.2")
    cluster.agent.wait_for_backends(name, ["10.244.9.2"])
    # A watch that was kept open ends that: the next 410 is no habit.
    time.sleep(1.5)
    cluster.server.compact()
    began = time.monotonic()
    cluster.server.drop_watches("services", how="gone")
    cluster.server.wait_for_watch("services")
    assert time.monotonic() - began < 2


def test_a_list_of_what_is_known_changes_nothing(cluster):
    cluster.make("10.244.9.1")
    before = cluster.changed_service_ports()
    cluster.server.compact()
    for resource in RESOURCES:
        seen = cluster.server.requests()[-1]["number"]
        cluster.server.drop_watches(resource, how="gone")
        cluster.server.wait_for_request(resource, since=seen, count=1)
        cluster.server.wait_for_watch(resource)
    settle()
    assert cluster.changed_service_ports() == before


def test_half_of_all_objects_gone_after_a_restore(cluster):
    names = {cluster.make("10.244.9.1") for _ in range(6)}
    cluster.server.come_back(lose=0.5)
    left = {item["metadata"]["name"] for item in cluster.server.objects("services")}
    assert left < names
    cluster.agent.wait_for_services(left)


@pytest.mark.parametrize("text", ['{"type":"ADDED","object":{"metadata":{}', '{"type":"ADDED"}', "<html>",
                                  '{"type":"ADDED","object":{"kind":"Service"}}'],
                         ids=["cut-off", "no-object", "html", "no-name"])
def test_a_malformed_event_disturbs_nothing(cluster, text):
    name = cluster.make("10.244.9.1")
    cluster.server.send_to_watches(text, "services")
    other = cluster.make("10.244.9.2")
    assert cluster.agent.services() == {name, other}


def test_an_object_that_cannot_be_used_is_named_and_the_others_are_served(cluster):
    bad = service("bad", next_vip(4))
    bad["spec"]["clusterIPs"] = ["10.96.0.300"]
    cluster.server.put(bad)
    cluster.agent.wait_for_log("Service default/bad: spec.clusterIPs \"10.96.0.300\" is not an IP address")
    name = cluster.make("10.244.9.1")
    assert cluster.agent.services() == {name}


def test_a_server_that_goes_silent_is_given_up(server, start):
    wanted = fill(server, 1)
    agent = start(server, "--api-silence", "1")
    agent.wait_for_services(wanted)
    server.freeze_watches()
    server.put(service("later", next_vip(4)))
    agent.wait_for_services(wanted | {"later"})
    assert "has said nothing for 1 s" in agent.text()


# What the server refuses.


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503, 504])
def test_an_error_is_logged_and_outlasted(cluster, status):
    name = cluster.make("10.244.9.1")
    table = cluster.agent.table()
    number = cluster.server.faults.add(resource="endpointslices", status=status)
    cluster.server.drop_watches("endpointslices")
    wait_for(lambda: cluster.server.faults.struck(number) >= 2, "two attempts")
    cluster.agent.wait_for_log(f"HTTP {status}")
    assert cluster.agent.table() == table
    # Servers that failed a moment ago are reported again only when the failure lasts.
    wait_for(lambda: cluster.agent.warnings(f"HTTP {status}"), "the warning")
    assert len(cluster.agent.warnings(f"HTTP {status}")) == 1, cluster.agent.log
    cluster.server.faults.clear()
    cluster.change(name, "10.244.9.2")
    # The longest pause between two attempts is 45 s.
    cluster.agent.wait_for_backends(name, ["10.244.9.2"], deadline=60)


def test_retry_after_is_respected(cluster):
    cluster.make("10.244.9.1")
    seen = cluster.server.requests()[-1]["number"]
    cluster.server.faults.add(resource="services", status=429, headers={"Retry-After": "2"}, times=1)
    cluster.server.drop_watches("services")
    first, second = cluster.server.wait_for_request("services", since=seen, count=2)[:2]
    assert first["status"] == 429
    assert 2.0 <= (second["time_ns"] - first["time_ns"]) / 1e9 < 5.0


def test_attempts_become_rarer(cluster):
    cluster.make("10.244.9.1")
    seen = cluster.server.requests()[-1]["number"]
    cluster.server.faults.add(resource="services", status=500)
    cluster.server.drop_watches("services")
    found = cluster.server.wait_for_request("services", since=seen, count=4)
    pauses = [(b["time_ns"] - a["time_ns"]) / 1e9 for a, b in zip(found, found[1:])]
    assert pauses[0] < 1.0 and pauses[-1] > 0.9, pauses


def test_losing_the_server_changes_nothing(cluster):
    name = cluster.make("10.244.9.1")
    table = cluster.agent.table()
    cluster.server.stop_listening()
    cluster.agent.wait_for_log("no API server answers as it should")
    settle()
    assert cluster.agent.table() == table
    assert "source-unreachable" in cluster.agent.degraded()
    cluster.server.start_listening()
    cluster.change(name, "10.244.9.2")
    cluster.agent.wait_for_backends(name, ["10.244.9.2"])
    wait_for(lambda: "source-unreachable" not in cluster.agent.degraded(), "the end of the outage")


@pytest.mark.parametrize("fault", [{}, {"status": 503, "times": 1}, {"status": 403, "times": 2}],
                         ids=["at-once", "unready", "roles-unread"])
def test_after_an_outage_everything_is_read_again_within_a_second_of_the_first_answer(cluster, fault):
    """As a server that was restarted: it answers, may refuse at first, and has forgotten what was before (410).
    What the agent has to say about that are two lines."""
    name, server, agent = cluster.make("10.244.9.1"), cluster.server, cluster.agent
    everything = ("services", "endpointslices", "nodes", "servicecidrs")
    let_pass(10)  # an outage right after another would be told as one
    agent.log.clear()
    server.stop_listening()
    let_pass(12)  # the pauses between attempts have grown to eight seconds
    cluster.change(name, "10.244.9.2")
    server.compact()
    for resource in everything[:2] if fault else ():
        server.faults.add(resource=resource, **fault)
    seen = server.requests()[-1]["number"]
    server.start_listening()
    wait_for(lambda: "source-unreachable" not in agent.degraded(), "the end of the outage", deadline=30)
    assert agent.backends_of(name) == {"10.244.9.2"}
    server.wait_for_watch(*everything)
    found = server.requests(since=seen)
    first = next(request["time_ns"] for request in found if request["status"] == 200)
    pause = 4.0 if fault else 1.5  # seconds; each refusal that is not the last is followed by a pause
    for resource in everything:
        lists = [request for request in found if request["resource"] == resource
                 and (request["verb"] == "list" or "sendInitialEvents" in request["query"])
                 and request["status"] == 200]
        assert (lists[-1]["time_ns"] - first) / 1e9 < pause, (resource, agent.text()[-2000:])
    told = [line for line in agent.log if line[0] in "EWI"]
    assert len(told) == 2, told
    assert "no API server answers as it should" in told[0] and told[1].endswith(" answers"), told


def test_a_server_that_dies_again_soon_after_an_outage_is_followed_as_soon_as_it_is_back(cluster):
    name, server = cluster.make("10.244.9.1"), cluster.server
    everything = ("services", "endpointslices", "nodes", "servicecidrs")
    server.stop_listening()
    let_pass(12)  # the pauses between attempts have grown to eight seconds
    seen = server.requests()[-1]["number"]
    server.start_listening()
    for resource in everything:
        server.wait_for_request(resource, since=seen)
    server.stop_listening()
    let_pass(0.3)
    server.start_listening()
    seen = server.requests()[-1]["number"]
    cluster.change(name, "10.244.9.2")
    let_pass(4)
    for resource in everything:
        assert server.requests(resource, since=seen), resource
    assert cluster.agent.backends_of(name) == {"10.244.9.2"}


def test_a_load_balancer_that_reaches_no_server_is_an_outage(cluster):
    """All is watched again within a second of the first answer: the others do not wait for their own turn."""
    server = cluster.server
    everything = ("services", "endpointslices", "nodes", "servicecidrs")
    faults = [server.faults.add(resource=resource, status=503, body="no healthy upstream") for resource in everything]
    for resource in everything:
        server.drop_watches(resource)
    cluster.agent.wait_for_log("HTTP 503: no healthy upstream")
    let_pass(20)  # the pauses between attempts have grown to eight seconds and more
    seen = server.requests()[-1]["number"]
    for fault in faults:
        server.faults.clear(fault)
    server.wait_for_watch(*everything)
    answered = [next(request["time_ns"] for request in server.requests(resource, since=seen)
                     if request["status"] == 200) for resource in everything]
    assert (max(answered) - min(answered)) / 1e9 < 1.0, answered


def test_a_resource_that_is_refused_after_an_outage_does_not_make_it_last(cluster):
    server, agent = cluster.server, cluster.agent
    server.stop_listening()
    agent.wait_for_log("no API server answers as it should")
    server.forbid("servicecidrs")
    server.start_listening()
    agent.wait_for_log("servicecidrs: HTTP 403", 30)
    wait_for(lambda: "source-unreachable" not in agent.degraded(), "the end of the outage")
    server.permit("servicecidrs")


@pytest.mark.parametrize("other", [403, 404, 429, 500])
def test_a_resource_that_fails_is_not_asked_more_often_because_another_is_answered(server, start, other):
    start(server)
    seen = server.requests()[-1]["number"]
    server.faults.add(resource="services", status=500)
    server.faults.add(resource="endpointslices", status=other)
    for resource in RESOURCES:
        server.drop_watches(resource)
    let_pass(7)  # pauses of at least 1/4, 1/2, 1, 2 and 4 s
    for resource in RESOURCES:
        assert len(server.requests(resource, since=seen)) <= 6, resource


def test_retry_after_is_respected_while_another_resource_comes_and_goes(server, start):
    start(server)
    seen = server.requests()[-1]["number"]
    server.faults.add(resource="services", status=503, headers={"Retry-After": "3"})
    server.faults.add(resource="endpointslices", status=403, times=4)
    for resource in RESOURCES:
        server.drop_watches(resource)
    found = server.wait_for_request("services", since=seen, count=3)
    pauses = [(b["time_ns"] - a["time_ns"]) / 1e9 for a, b in zip(found, found[1:])]
    assert min(pauses) >= 3.0, pauses


# Start and restart.


@pytest.mark.parametrize("missing", RESOURCES)
def test_nothing_is_removed_before_services_and_endpoints_are_complete(server, start, lab, missing):
    wanted = fill(server, 3)
    agent = start(server)
    agent.wait_for_services(wanted)
    table = agent.table()
    agent.stop()
    server.delete("services", "svc-0", "default")
    server.delete("endpointslices", "svc-1-v4", "default")
    server.faults.add(resource=missing, status=503)
    agent.start(ready=False)
    agent.wait_for_log("HTTP 503")
    agent.wait_for_log("stays in use until the source is complete")
    settle()
    assert agent.table() == table
    server.faults.clear()
    agent.wait_for_services(wanted - {"svc-0"})
    agent.wait_for_backends("svc-1", [])


def test_a_service_that_cannot_be_published_holds_up_no_other(server, start, lab):
    """At a start, and later; it is tried again by a timer only, whatever else changes."""
    fill(server, 2)
    agent = start(server)
    agent.wait_for_services({"svc-0", "svc-1"})
    agent.stop()
    # No user space may write a frozen map any more, for good.
    lab.place("node1").run("bpftool", "map", "freeze", "pinned", str(agent.pin_dir / "source_ranges"))
    server.delete("services", "svc-0", "default")
    vip = next_vip(4)
    ranged = service("ranged", vip, type="LoadBalancer", loadBalancerSourceRanges=["192.0.2.0/24"])
    ranged["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}
    server.put_all([ranged, service("later", next_vip(4))])
    agent.log.clear()
    agent.start()
    agent.wait_for_services({"svc-1", "later"})
    agent.wait_for_log("not everything could be published, trying again in 2 s: default/ranged: ")
    server.put(service("latest", next_vip(4)))
    for number in range(20):
        server.put(slice_("latest", [f"10.244.9.{number + 1}"]))
    agent.wait_for_backends("latest", ["10.244.9.20"])
    let_pass(3)
    assert len(agent.warnings("ranged")) == 1, agent.warnings("ranged")
    server.put(service("ranged", vip))
    agent.wait_for_services({"svc-1", "later", "latest", "ranged"})
    agent.wait_for_log("everything is published again")


def test_a_service_that_cannot_be_published_makes_the_agent_unready_and_not_dead(server, start, lab):
    """The kubelet would restart it for nothing, and a load balancer would take the node from all other Services."""
    fill(server, 2)
    # The agent that most tests here share has the usual port.
    agent, node1 = start(server, "--healthz-bind-address", "127.0.0.1:10266"), lab.place("node1")
    agent.wait_for_services({"svc-0", "svc-1"})
    node1.run("bpftool", "map", "freeze", "pinned", str(agent.pin_dir / "source_ranges"))
    ranged = service("ranged", next_vip(4), type="LoadBalancer", loadBalancerSourceRanges=["192.0.2.0/24"])
    ranged["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}
    server.put(ranged)
    agent.wait_for_log("not everything could be published, trying again in 2 s: default/ranged: ")

    def answer(probe):
        return get(node1, f"http://127.0.0.1:10266/{probe}")

    wait_for(lambda: "[-]publish pending failed: changes wait for" in answer("readyz?verbose").body, "unreadiness", 75)
    assert answer("readyz").status == 503
    assert (answer("livez").status, answer("healthz").status) == (200, 200)
    server.delete("services", "ranged", "default")
    wait_for(lambda: answer("readyz").status == 200, "readiness")


def test_the_first_publish_waits_for_the_node(server, start):
    wanted = fill(server, 1)
    server.delete("nodes", "node1")
    agent = start(server, wait=False)
    agent.wait_for_log("listed 1 services")
    settle()
    assert "ready: " not in agent.text()
    server.put(node("node1"))
    agent.wait_for_services(wanted)


def test_a_node_that_never_comes_is_waited_for_30_seconds(server, start):
    wanted = fill(server, 1)
    server.delete("nodes", "node1")
    begun = time.monotonic()
    agent = start(server, wait=False)
    wait_for(lambda: agent.services() == wanted, "the Services", deadline=60)
    assert 29 < time.monotonic() - begun
    assert agent.warnings("has not reported Node node1 for 30 s: continuing without its zone")


def test_pod_cidrs_that_change_do_not_end_it(server, start):
    wanted = fill(server, 1)
    agent = start(server, "--detect-local-mode", "NodeCIDR")
    agent.wait_for_services(wanted)
    for cidrs in (["10.244.1.0/24"], ["10.244.2.0/24", "fd00:244::/64"], []):
        server.put({**node("node1"), "spec": {"podCIDRs": cidrs}})
        server.put_all([service("later", next_vip(4))])
        agent.wait_for_services(wanted | {"later"})
        server.delete("services", "later", "default")
        agent.wait_for_services(wanted)
    assert agent.running()


# Endpoints of old servers.


def endpoints(name, *addresses):
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": name, "namespace": "default"},
            "subsets": [{"addresses": [{"ip": address} for address in addresses],
                         "ports": [{"name": "tcp", "port": 8080, "protocol": "TCP"}]}]}


def test_endpoints_serve_until_the_server_has_endpointslices(server, start):
    server.set(slice_versions=[])
    server.put_all([service("web", next_vip(4)), endpoints("web", "10.244.9.1")])
    agent = start(server)
    agent.wait_for_backends("web", ["10.244.9.1"])
    server.put(endpoints("web", "10.244.9.2"))
    agent.wait_for_backends("web", ["10.244.9.2"])
    server.put(slice_("web", ["10.244.9.3"]))
    server.set(slice_versions=["v1"])
    wait_for(lambda: agent.backends_of("web") == {"10.244.9.3"}, "the slice's backend", deadline=60)
    wait_for(lambda: not server.watches("endpoints"), "the end of the watch of Endpoints")


# Cost.


def test_what_comes_together_is_published_together(cluster):
    cluster.make("10.244.9.1")
    before = cluster.agent.status()["publish"]["publishes"]
    cluster.server.freeze_watches("endpointslices")
    names = [f"many-{number}" for number in range(50)]
    cluster.server.put_all([service(name, next_vip(4)) for name in names])
    wait_for(lambda: set(names) <= cluster.agent.services(), "the Services")
    cluster.server.put_all([slice_(name, ["10.244.9.1"]) for name in names])
    cluster.server.thaw_watches()
    wait_for(lambda: all(backends for _, backends in cluster.agent.table().values()), "their backends")
    assert cluster.agent.status()["publish"]["publishes"] - before < 60


def modified(*objects):
    """Events of a watch, as one text."""
    return "\n".join(json.dumps({"type": "MODIFIED", "object": {**item, "metadata": {
        **item["metadata"], "resourceVersion": "999999999"}}}, separators=(",", ":")) for item in objects)


def test_events_of_one_wake_up_are_one_publish_and_may_cancel_out(server, start):
    wanted = fill(server, 20)
    agent = start(server)
    agent.wait_for_services(wanted)
    before = agent.status()["publish"]
    server.send_to_watches(modified(*(slice_(name, ["10.244.9.2"]) for name in sorted(wanted))), "endpointslices")
    wait_for(lambda: all(agent.backends_of(name) == {"10.244.9.2"} for name in wanted), "the new backends")
    after = agent.status()["publish"]
    assert after["publishes"] == before["publishes"] + 1
    assert after["changed_service_ports"] == before["changed_service_ports"] + 2 * len(wanted)
    server.send_to_watches(modified(slice_("svc-0", ["10.244.9.3"]), slice_("svc-0", ["10.244.9.2"])),
                           "endpointslices")
    settle()
    assert agent.status()["publish"]["changed_service_ports"] == after["changed_service_ports"]


def test_idle_costs_nothing(cluster):
    cluster.make("10.244.9.1")
    settle()
    before = cluster.agent.cpu_seconds()
    for _ in range(10):
        settle()
    assert cluster.agent.cpu_seconds() - before <= 0.02
