# SPDX-License-Identifier: BSD-2-Clause
"""What load balancers hear at a Service's healthCheckNodePort (docs/behaviour.md, health)."""

import itertools
import pathlib
import re
import sys

import pytest

from http_get import HEALTH, answers, get
from kube import KubeAgent, kubeconfig
from lab import Agent, DEADLINE, wait_for
from manifests import endpoint, next_vip, node, service, slice_, slice_ports, terminating
from test_http import hold_port
from apiserver.client import ApiServerProcess

HOOKS = ["socket"]

_ports = itertools.count(31000)
_names = itertools.count()

BODY = """{
\t"service": {
\t\t"namespace": "default",
\t\t"name": "%s"
\t},
\t"localEndpoints": %d,
\t"serviceProxyHealthy": true
}"""

# The bytes of an answer, as they come: urllib would hide its headers' and its end's details.
_RAW = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as made:
    made.sendall(sys.argv[3].encode().decode("unicode_escape").encode())
    data = b""
    while piece := made.recv(4096):
        data += piece
sys.stdout.buffer.write(data)
"""


@pytest.fixture
def node1(world):
    return world.place("node1")


@pytest.fixture
def client(world):
    return world.place("client")


def balancer(name, vips, port, **spec):
    return service(name, vips, **{"type": "LoadBalancer", "externalTrafficPolicy": "Local",
                                  "healthCheckNodePort": port, **spec})


def url(place, port, family=4, path="/"):
    address = place.address(family)
    return f"http://[{address}]:{port}{path}" if family == 6 else f"http://{address}:{port}{path}"


def weight(place, at, port, family=4):
    """(status, local endpoints) that a balancer hears."""
    answer = get(place, url(at, port, family))
    return answer.status, int(answer.headers["X-Load-Balancing-Endpoint-Weight"])


def test_the_answer_is_kube_proxys(world, node1, client):
    port = next(_ports)
    world.publish(balancer("web", next_vip(4), port), slice_("web", ["pod1a", "pod1b", "pod2a"]))
    answer = get(client, url(node1, port, path="/any/path?query=1"))
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Load-Balancing-Endpoint-Weight"] == "2"
    assert answer.body == BODY % ("web", 2)
    assert weight(client, world.place("node2"), port) == (200, 1)


@pytest.mark.parametrize("request_line,body", [
    ("GET /", ""), ("POST /x", "some body"), ("PUT /", "x" * 3000), ("DELETE /", ""), ("OPTIONS *", ""),
    ("BREW /coffee", "")])
def test_any_method_is_answered(world, node1, client, request_line, body):
    port = next(_ports)
    world.publish(balancer("web", next_vip(4), port), slice_("web", ["pod1a"]))
    request = (f"{request_line} HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n"
               f"Content-Length: {len(body)}\\r\\n\\r\\n{body}")
    raw = client.run(sys.executable, "-c", _RAW, node1.address(4), port, request).stdout
    head, _, got = raw.replace("\r\n", "\n").partition("\n\n")
    assert head.splitlines()[0] == "HTTP/1.1 200 OK"
    assert got == BODY % ("web", 1)


def test_a_node_without_ready_endpoints_is_unavailable(world, node1, client):
    port, vip = next(_ports), next_vip(4)
    world.publish(balancer("web", vip, port), slice_("web", ["pod2a"]), name="web")
    answer = get(client, url(node1, port))
    assert (answer.status, answer.body) == (503, BODY % ("web", 0))
    for endpoints in ([terminating("pod1a", 4)], [endpoint("pod1a", 4, ready=False)]):
        world.publish(balancer("web", vip, port), slice_("web", endpoints), name="web")
        assert weight(client, node1, port) == (503, 0)
    world.publish(balancer("web", vip, port), slice_("web", ["pod1a"]), name="web")
    assert weight(client, node1, port) == (200, 1)


def test_an_address_counts_once_over_slices_and_ports(world, node1, client):
    port = next(_ports)
    world.publish(balancer("web", next_vip(4), port), slice_("web", ["pod1a", "pod1b"], name="web-1"),
                  slice_("web", ["pod1b", "pod1c"], slice_ports(8081), name="web-2"))
    assert weight(client, node1, port) == (200, 3)


@pytest.mark.parametrize("spec", [
    {"type": "NodePort"}, {"externalTrafficPolicy": "Cluster"}, {"type": "ClusterIP"}, {"healthCheckNodePort": 0}])
def test_only_load_balancers_with_policy_local_are_checked(world, node1, client, spec):
    port, vip = next(_ports), next_vip(4)
    world.publish(balancer("web", vip, port), slice_("web", ["pod1a"]), name="web")
    assert answers(client, url(node1, port))
    world.publish(balancer("web", vip, port, **spec), slice_("web", ["pod1a"]), name="web")
    assert not answers(client, url(node1, port))


def test_the_port_moves_with_the_service_and_goes_with_it(world, node1, client):
    old, new, vip = next(_ports), next(_ports), next_vip(4)
    name = world.publish(balancer("web", vip, old), slice_("web", ["pod1a"]), name="web")
    assert weight(client, node1, old) == (200, 1)
    world.publish(balancer("web", vip, new), slice_("web", ["pod1a"]), name="web")
    assert weight(client, node1, new) == (200, 1)
    assert not answers(client, url(node1, old))
    world.withdraw(name)
    assert not answers(client, url(node1, new))


def test_services_exchange_their_ports(world, node1, client):
    one, two, vips = next(_ports), next(_ports), [next_vip(4), next_vip(4)]
    for ports in ((one, two), (two, one)):
        world.publish(balancer("a", vips[0], ports[0]), balancer("b", vips[1], ports[1]),
                      slice_("a", ["pod1a"]), slice_("b", ["pod1a", "pod1b"]), name="both")
        assert get(client, url(node1, ports[0])).body == BODY % ("a", 1)
        assert get(client, url(node1, ports[1])).body == BODY % ("b", 2)


def test_one_listener_answers_both_families_of_a_dual_stack_service(world, node1, client):
    port = next(_ports)
    world.publish(balancer("web", [next_vip(4), next_vip(6)], port), slice_("web", ["pod1a"]),
                  slice_("web", ["pod1a", "pod1b"], family=6))
    assert weight(client, node1, port, 4) == (200, 1)
    assert weight(client, node1, port, 6) == (200, 2)
    assert world.agents["node1"].text().count("cannot answer health checks") == 0
    assert len(node1.run("ss", "-Hltn", f"sport = :{port}").stdout.splitlines()) == 1


def test_an_ipv6_service_is_checked_by_either_family(world, node1, client):
    port = next(_ports)
    world.publish(balancer("web", next_vip(6), port), slice_("web", ["pod1a"], family=6))
    assert weight(client, node1, port, 6) == (200, 1)
    assert weight(client, node1, port, 4) == (200, 1)


def test_the_proxys_own_health_server_goes_on_beside_it(world, node1):
    world.publish(balancer("web", next_vip(4), next(_ports)), slice_("web", ["pod1a"]))
    assert get(node1, HEALTH + "/livez").status == 200


def test_five_hundred_services_cost_descriptors_and_no_threads(world, node1, client):
    agent = world.agents["node1"]
    before = tasks_of(agent), descriptors_of(agent)
    first = next(_ports)
    ports = [first, *(next(_ports) for _ in range(499))]
    world.publish(*(item for number, port in enumerate(ports) for item in (
        balancer(f"many-{number}", next_vip(4), port), slice_(f"many-{number}", ["pod1a"]))), name="many")
    for number in (0, 250, 499):
        assert get(client, url(node1, ports[number])).body == BODY % (f"many-{number}", 1)
    assert tasks_of(agent) == before[0]
    assert abs(descriptors_of(agent) - before[1] - 500) <= 8
    world.withdraw("many")
    assert not answers(client, url(node1, ports[250]))
    wait_for(lambda: descriptors_of(agent) <= before[1] + 8, "the descriptors to be closed")


def tasks_of(agent):
    return len(list(pathlib.Path(f"/proc/{agent.process.pid}/task").iterdir()))


def descriptors_of(agent):
    return len(list(pathlib.Path(f"/proc/{agent.process.pid}/fd").iterdir()))


# The addresses that NodePorts are served on.


@pytest.fixture
def start_limited(shared_world):
    """An agent with --nodeport-addresses in the place of node2's."""
    shared_world.agents["node2"].stop()
    made = []

    def start(addresses):
        agent = Agent(shared_world.lab, "node2", shared_world.folder.path, "--hooks", "socket",
                      f"--nodeport-addresses={addresses}")
        made.append(agent)
        return agent.start()

    yield start
    for agent in made:
        agent.stop()
    shared_world.agents["node2"].start()


def listening(place, port):
    """The addresses that somebody listens on in a place, without loopback ones."""
    lines = place.run("ss", "-Hltn", f"sport = :{port}").stdout.splitlines()
    found = {line.split()[3].rpartition(":")[0].strip("[]") for line in lines}
    return {address for address in found if address not in ("127.0.0.1", "::1")}


def test_it_is_served_on_the_addresses_that_nodeports_are(world, client, start_limited):
    node2, port = world.place("node2"), next(_ports)
    world.folder.write("web", balancer("web", next_vip(4), port), slice_("web", ["pod2a"]))
    world.written.append("web")
    start_limited("172.18.0.0/16,fd00:18::/64")
    both = {node2.address(4), node2.address(6)}
    wait_for(lambda: listening(node2, port) == both, f"listeners at {both}")
    assert weight(client, node2, port, 4) == (200, 1)
    assert weight(client, node2, port, 6) == (200, 1)
    node2.run("ip", "addr", "add", "172.18.0.77/16", "dev", "eth0")
    try:
        wait_for(lambda: listening(node2, port) == both | {"172.18.0.77"}, "the new address")
    finally:
        node2.run("ip", "addr", "del", "172.18.0.77/16", "dev", "eth0")
    wait_for(lambda: listening(node2, port) == both, "the address to be left")


# A port that is taken, and Events: with the API server.


@pytest.fixture
def server(shared_world):
    with ApiServerProcess(netns=f"/run/netns/{shared_world.lab.id}-node2", tokens=["secret"]) as made:
        made.put(node("node2"))
        yield made


@pytest.fixture
def agent(shared_world, server):
    """In the place of node2's agent."""
    shared_world.agents["node2"].stop()
    made = KubeAgent(shared_world.lab, "node2", kubeconfig(server), "--hooks", "socket",
                     name=f"agent-{next(_names)}")
    made.start()
    yield made
    made.end()
    shared_world.agents["node2"].start()


@pytest.mark.parametrize("namespace", ["default", "shop"])
def test_a_taken_port_is_told_and_had_when_it_is_free(world, server, agent, client, namespace):
    node2, port = world.place("node2"), next(_ports)
    holder = hold_port(node2, port)
    objects = [balancer("web", next_vip(4), port), slice_("web", ["pod2a"])]
    for item in objects:
        item["metadata"]["namespace"] = namespace
    server.put_all(objects)
    event = wait_for(lambda: next((item for item in server.posted_events()
                                   if item["reason"] == "FailedToStartServiceHealthcheck"), None), "the Event")
    assert event["type"] == "Warning"
    assert event["regarding"] == {"kind": "Service", "apiVersion": "v1", "namespace": namespace, "name": "web",
                                  "uid": f"{namespace}/web"}
    assert event["metadata"]["namespace"] == namespace
    assert event["note"] == (f'node node2 failed to start healthcheck "{namespace}/web" on port {port}: '
                             "Address already in use")
    assert len(agent.warnings(f"cannot answer health checks of Service {namespace}/web")) == 1
    holder.stdin.close()
    assert holder.wait(DEADLINE) == 0
    wait_for(lambda: answers(client, url(node2, port)), "the retry")
    assert weight(client, node2, port) == (200, 1)
    assert re.search(rf"answering health checks of Service {namespace}/web at port {port}", agent.text())


def test_an_event_about_a_service_that_cannot_be_posted_names_the_service(world, server, agent):
    holder = hold_port(world.place("node2"), port := next(_ports))
    wait_for(lambda: server.posted_events(), "the Event of the start")
    server.forbid("events", "create")
    server.put_all([balancer("web", next_vip(4), port), slice_("web", ["pod2a"])])
    agent.wait_for_log("cannot post the Event FailedToStartServiceHealthcheck of Service default/web: HTTP 403")
    holder.stdin.close()
    assert holder.wait(DEADLINE) == 0


def test_a_taken_port_is_tried_again_with_the_next_publish(world, server, agent, client):
    node2, port, vip = world.place("node2"), next(_ports), next_vip(4)
    holder = hold_port(node2, port)
    server.put_all([balancer("web", vip, port), slice_("web", ["pod2a"])])
    agent.wait_for_log("cannot answer health checks of Service default/web")
    holder.stdin.close()
    assert holder.wait(DEADLINE) == 0
    server.put(service("other", next_vip(4)))
    wait_for(lambda: answers(client, url(node2, port)), "the publish to open it", deadline=4.0)


def test_the_api_servers_changes_are_followed(world, server, agent, client):
    node2, port, vip = world.place("node2"), next(_ports), next_vip(4)
    server.put_all([balancer("web", vip, port), slice_("web", ["pod2a"])])
    wait_for(lambda: answers(client, url(node2, port)), "the port")
    server.put(slice_("web", ["pod2a", "pod2b"]))
    wait_for(lambda: weight(client, node2, port) == (200, 2), "two endpoints")
    server.put(balancer("web", vip, port, externalTrafficPolicy="Cluster"))
    wait_for(lambda: not answers(client, url(node2, port)), "the port to close")
