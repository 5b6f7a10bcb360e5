# SPDX-License-Identifier: BSD-2-Clause
"""`fairlead explain`: what it says of a packet is what the datapath does with it, and it leaves no trace."""

import itertools
import json
import random

import pytest

from lab import FAIRLEAD, address_of, all_pods
from manifests import both_protocols, endpoint, next_vip, node, service, slice_, slice_ports, terminating

HOOKS = ["tc", "socket,tc"]
OPTIONS = ["--service-cidr", "10.96.0.0/16,fd00:96::/112"]
RANGES = {4: ["203.0.113.0/24", "10.96.0.0/16"], 6: ["2001:db8:113::/64", "fd00:96::/112"]}
EXTERNAL = {4: "203.0.113.", 6: "2001:db8:113::"}
UNUSED = {4: "10.96.250.250", 6: "fd00:96::fafa"}
LOCAL, REMOTE = "pod1b", "pod2b"  # node1 explains
BOTH = (LOCAL, REMOTE)
CLIENTS = ["client", "pod1a", "node1", "pod2a"]
REPEATS = 20

only_tc = pytest.mark.hooks("tc")
only_sockets = pytest.mark.hooks("socket,tc")
each_family = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])

_node_ports = itertools.count(31500)
_externals = itertools.count(100)


@pytest.fixture(autouse=True)
def routes(world):
    for family, ranges in RANGES.items():
        for range_ in ranges:
            world.place("client").run("ip", "route", "replace", range_, "via", address_of("node1", family))


def dst(address, port, proto="tcp"):
    text = f"[{address}]" if ":" in address else address
    return f"{text}:{port}/{proto}"


def explain(world, targets, source, *options):
    """The answers to questions about packets from one place; to one question, the answer alone."""
    many = not isinstance(targets, str)
    done = world.agents["node1"].fairlead("explain", *(targets if many else [targets]), "--from", source,
                                          "-o", "json", *options, check=False)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    return [answers] if many and len(targets) == 1 else answers


def explain_all(world, questions):
    """The answers to (target, source) in their order. To load programs takes time: once a source."""
    answers = {}
    for source in {source for _, source in questions}:
        targets = [target for target, of in questions if of == source]
        answers.update(zip(((target, source) for target in targets), explain(world, targets, source)))
    return [answers[question] for question in questions]


def step(answer, name):
    return next((item["text"] for item in answer["steps"] if item["step"] == name), None)


def backends_of(answer):
    return {item["address"] for item in answer["candidates"]}


class Services:
    """Several Services in one manifest; each with TCP and UDP, all frontends, and backends of its own."""

    def __init__(self, family):
        self.family, self.objects, self.found = family, [], {}

    def add(self, name, backends=BOTH, **spec):
        vip, node_port = next_vip(self.family), next(_node_ports)
        external, balancer = (f"{EXTERNAL[self.family]}{next(_externals)}" for _ in range(2))
        ports = [{**port, "nodePort": node_port} for port in both_protocols()]
        made = service(name, vip, ports, type="LoadBalancer", externalIPs=[external], **spec)
        made["status"] = {"loadBalancer": {"ingress": [{"ip": balancer}]}}
        self.objects += [made, slice_(name, list(backends), slice_ports(), self.family)]
        self.found[name] = {"ClusterIP": (vip, 80), "ExternalIP": (external, 80),
                            "LoadBalancer": (balancer, 80),
                            "NodePort": (address_of("node1", self.family), node_port)}

    def publish(self, world):
        world.publish(*self.objects, name="explained")
        return self

    def at(self, name, kind="ClusterIP"):
        return self.found[name][kind]


# That it is not noticed.


def dumps(world):
    """Every pinned map of node1, entry by entry."""
    agent, found = world.agents["node1"], {}
    for pin in sorted(agent.pin_dir.iterdir()):
        done = world.place("node1").run("bpftool", "map", "dump", "pinned", pin, check=False)
        if done.returncode == 0:
            found[pin.name] = done.stdout
    return found


@only_tc
def test_it_leaves_no_trace_in_any_table(world):
    services = Services(4)
    services.add("sticky", sessionAffinity="ClientIP")
    services.add("empty", [])
    services.publish(world)
    client = address_of("client", 4)
    address, port = services.at("sticky")
    with world.place("client").socket("tcp", address, port, source_port=5006) as sock:
        sock.exchange()
        targets = [dst(address, port), dst(address, port, "udp"), dst(address, 81), f"{address}/icmp",
                   dst(*services.at("empty", "NodePort"))]
        # The agent would forget what other tests have used.
        world.agents["node1"].stop()
        before = dumps(world)
        assert {"flows", "new_flows", "affinity", "counters", "service_stats", "address_flows"} <= set(before)
        explain(world, targets[:3] * REPEATS, f"{client}:5006")
        explain(world, targets * REPEATS, client)
        explain(world, targets, address_of("pod1a", 4))
        after = dumps(world)
        world.agents["node1"].start()
        assert [name for name in before if before[name] != after.get(name)] == []
        assert "error" not in sock.exchange()


# What it says.


@only_tc
@each_family
def test_it_says_what_becomes_of_a_packet_and_why(world, family):
    def addresses(*places):
        return {address_of(place, family) for place in places}

    services = Services(family)
    services.add("web")
    services.add("local", internalTrafficPolicy="Local", externalTrafficPolicy="Local")
    services.add("away", [REMOTE], internalTrafficPolicy="Local", externalTrafficPolicy="Local")
    services.add("empty", [])
    services.add("going", [terminating(LOCAL, family), terminating(REMOTE, family)])
    services.add("ranged", loadBalancerSourceRanges=[
        f"{address_of('pod1a', family)}/{32 if family == 4 else 128}"])
    services.publish(world)
    own = address_of("node1", family)
    # (Service, frontend or an address and port, client): action, reason, candidates, source NAT, near
    cases = [
        ("web", "ClusterIP", "client", "dnat", "new-flow", BOTH, True, False),
        ("web", "NodePort", "client", "dnat", "new-flow", BOTH, True, False),
        ("web", "ClusterIP", "pod1a", "dnat", "new-flow", BOTH, False, True),
        ("web", "ClusterIP", "node1", "dnat", "new-flow", BOTH, False, True),
        ("local", "ExternalIP", "client", "dnat", "new-flow", [LOCAL], False, False),
        ("local", "ExternalIP", "pod1a", "dnat", "new-flow", BOTH, False, True),
        ("local", "ClusterIP", "pod1a", "dnat", "new-flow", [LOCAL], False, True),
        ("away", "LoadBalancer", "client", "drop", "no-local-backend", [], False, False),
        ("away", "LoadBalancer", "pod1a", "dnat", "new-flow", [REMOTE], False, True),
        ("away", "ClusterIP", "pod1a", "drop", "no-local-backend", [], False, True),
        ("empty", "NodePort", "client", "reject", "no-backend", [], False, False),
        ("going", "ClusterIP", "client", "dnat", "new-flow", BOTH, True, False),
        ("ranged", "LoadBalancer", "client", "drop", "source-range", [], False, False),
        ("ranged", "LoadBalancer", "pod1a", "dnat", "new-flow", BOTH, False, True),
        (None, (services.at("web")[0], 81), "client", "reject", "no-such-port", [], False, False),
        (None, (services.at("web", "ExternalIP")[0], 81), "client", "none", "no-such-frontend", [],
         False, False),
        (None, (own, 9), "client", "none", "no-such-frontend", [], False, False),
        (None, (UNUSED[family], 80), "client", "drop", "unused-address", [], False, False),
        (None, (address_of("pod2c", family), 80), "client", "none", "not-ours", [], False, False),
        (None, (address_of(REMOTE, family), 8080), "pod1a", "none", "backend", [], False, True),
    ]
    protos = itertools.cycle(["tcp", "udp"])
    questions, wanted = [], []
    for name, kind, client, *expected in cases:
        address, port = services.at(name, kind) if name else kind
        proto = next(protos)
        questions.append((dst(address, port, proto), address_of(client, family)))
        action, reason, candidates, source_nat, near = expected
        wanted.append({
            "action": action, "reason": reason, "candidates": addresses(*candidates),
            "source_nat": source_nat, "near": near,
            "service": name and {"namespace": "default", "name": name, "port_name": proto,
                                 "protocol": proto.upper()},
            "frontend": name and {"address": address, "port": port, "kind": kind}})
    for question, answer, expected in zip(questions, explain_all(world, questions), wanted):
        found = {**{key: answer[key] for key in ("action", "reason", "source_nat", "frontend")},
                 "candidates": backends_of(answer), "near": answer["client"]["near"],
                 "service": answer["service"] and {
                     key: value for key, value in answer["service"].items() if key != "id"}}
        assert found == expected, question
        assert answer["client"]["why"] and step(answer, "verdict"), question
        assert answer["backend"] is None or answer["backend"]["address"] in expected["candidates"]


@only_tc
@each_family
def test_candidates_tell_where_they_are_and_as_whom_the_client_is_seen_there(world, family):
    port = {"name": "sctp", "protocol": "SCTP", "port": 38412}
    services, vip = Services(family), next_vip(family)
    services.add("web")
    services.objects += [service("amf", vip, [{**port, "targetPort": 38412}]),
                         slice_("amf", [REMOTE], [port], family)]
    services.publish(world)
    address = services.at("web")[0]
    answer, echo, sctp, named = explain(world, [
        dst(address, 80), f"{address}/ICMP", dst(vip, 38412, "Sctp"), "default/web:udp/udp"],
        address_of("client", family))
    shown = {item["address"]: item for item in answer["candidates"]}
    here, there = shown[address_of(LOCAL, family)], shown[address_of(REMOTE, family)]
    assert {key: value for key, value in here.items() if key != "id"} == {
        "address": address_of(LOCAL, family), "port": 8080, "state": "active", "local": True,
        "action": "dnat", "reason": None, "source_nat": False,
        "direct_server_return": False, "seen_as": address_of("client", family)}
    assert {key: value for key, value in there.items() if key != "id"} == {
        "address": address_of(REMOTE, family), "port": 8080, "state": "active", "local": False,
        "action": "dnat", "reason": None, "source_nat": True,
        "direct_server_return": False, "seen_as": address_of("node1", family)}
    assert (answer["hook"], answer["link"], answer["policy"]) == ("ingress", "eth0", "Cluster")
    # Echo requests are answered; SCTP is served; a name stands for the ClusterIP.
    assert (echo["action"], echo["reason"], echo["service"]) == ("none", "echo", None)
    assert (sctp["action"], backends_of(sctp)) == ("dnat", {address_of(REMOTE, family)})
    assert named["frontend"] == {"address": address, "port": 80, "kind": "ClusterIP"}


@only_tc
def test_a_backend_that_cannot_be_reached_is_told(world):
    services = Services(4)
    services.add("web", [LOCAL, endpoint("192.0.2.7", 4, nodeName="node2")])
    services.publish(world)
    place = world.place("node1")
    place.run("ip", "route", "add", "unreachable", "192.0.2.0/24")
    try:
        answer = explain(world, dst(*services.at("web")), address_of("client", 4))
    finally:
        place.run("ip", "route", "del", "unreachable", "192.0.2.0/24")
    assert {item["address"]: (item["action"], item["reason"]) for item in answer["candidates"]} == {
        address_of(LOCAL, 4): ("dnat", None), "192.0.2.7": ("reject", "unreachable-route")}


@only_tc
@each_family
def test_a_client_that_is_remembered_has_one_candidate(world, family):
    services = Services(family)
    services.add("sticky", sessionAffinity="ClientIP")
    services.publish(world)
    question = (dst(*services.at("sticky")), address_of("client", family))
    before = explain(world, *question)
    assert before["affinity"] == {"timeout_seconds": 10800, "remembered": False}
    assert len(before["candidates"]) == 2
    name = world.place("client").ask(*services.at("sticky"))["answer"]["name"]
    after = explain(world, *question)
    assert after["affinity"]["remembered"] and backends_of(after) == {address_of(name, family)}


@only_tc
@each_family
def test_a_connection_that_is_there_goes_where_it_went(world, family):
    services = Services(family)
    services.add("web")
    services.publish(world)
    address, port = services.at("web", "NodePort")
    with world.place("client").socket("tcp", address, port, source_port=5005) as sock:
        name = sock.exchange()["answer"]["name"]
        source = dst(address_of("client", family), 5005).rpartition("/")[0]
        answer = explain(world, dst(address, port), source)
        assert (answer["action"], answer["reason"]) == ("dnat", "existing-flow")
        assert backends_of(answer) == {address_of(name, family)}
        assert answer["source_nat"] == (name == REMOTE)
        assert "established" in step(answer, "packet")


@only_tc
@each_family
def test_a_conversation_whose_backend_left_chooses_again(world, family):
    services = Services(family)
    services.add("web", [REMOTE])
    services.publish(world)
    address, port = services.at("web", "NodePort")
    with world.place("client").socket("udp", address, port, source_port=5007) as sock:
        sock.exchange()
        source = dst(address_of("client", family), 5007).rpartition("/")[0]
        assert explain(world, dst(address, port, "udp"), source)["reason"] == "existing-flow"
        world.publish(services.objects[0], slice_("web", [LOCAL], slice_ports(), family), name="explained")
        answer = explain(world, dst(address, port, "udp"), source)
    assert (answer["reason"], backends_of(answer)) == ("reselected", {address_of(LOCAL, family)})


@only_tc
def test_people_read_it_step_by_step(world):
    services = Services(4)
    services.add("web", externalTrafficPolicy="Local")
    services.publish(world)
    done = world.agents["node1"].fairlead(
        "explain", dst(*services.at("web", "LoadBalancer")), "--from", address_of("client", 4))
    lines = done.stdout.splitlines()
    address, port = services.at("web", "LoadBalancer")
    assert lines[0] == f"TCP from 172.18.0.100:50000 to {address}:{port}: dnat"
    names = [line[2:17].strip() for line in lines if line.startswith("  ") and line[2] != " "]
    assert names == ["packet", "hook", "frontend", "client", "policy", "candidates", "source", "verdict"]
    assert "externalTrafficPolicy Local, the client is far: endpoints on this node only" in done.stdout
    assert max(map(len, lines)) < 160


# What is done is what was said.


@only_tc
@each_family
def test_real_connections_do_what_was_explained(world, family):
    number = random.randrange(1 << 32)
    print(f"seed {number}")
    dice = random.Random(number)
    services = Services(family)
    for index in range(6):
        services.add(f"random{index}", dice.sample([LOCAL, "pod1c", REMOTE, "pod2c"], dice.randrange(4)),
                     internalTrafficPolicy=dice.choice(["Cluster", "Local"]),
                     externalTrafficPolicy=dice.choice(["Cluster", "Local"]))
    services.publish(world)
    # A process of the node reaches addresses of the node through its sockets only.
    pairs = [(client, f"random{index}", dice.choice(["ClusterIP", "ExternalIP", "NodePort"]))
             for index, client in enumerate(["client", "pod1a", "client", "node1", "client", "pod1a"])]
    pairs = [(client, name, "ClusterIP" if client == "node1" else kind) for client, name, kind in pairs]
    answers = explain_all(world, [(dst(*services.at(name, kind)), address_of(client, family))
                                  for client, name, kind in pairs])
    for (client, name, kind), answer in zip(pairs, answers):
        address, port = services.at(name, kind)
        what = f"{client} to {name} {kind}: {answer['reason']}"
        if answer["action"] == "dnat":
            expected = [place for place in all_pods() if address_of(place, family) in backends_of(answer)]
            results = world.place(client).ask_many(60, address, port, until=expected)
            names = {result["answer"]["name"] for result in results}
            assert {address_of(place, family) for place in names} == backends_of(answer), what
            seen = {item["address"]: item["seen_as"] for item in answer["candidates"]}
            for result in results:
                assert result["answer"]["client"] == seen[address_of(result["answer"]["name"], family)]
        else:
            error = {"reject": "ECONNREFUSED", "drop": "timeout"}[answer["action"]]
            assert world.place(client).ask(address, port, timeout=0.5).get("error") == error, what


# Where it is asked.


@only_sockets
@each_family
def test_a_process_of_the_node_is_served_by_connect(world, family):
    services = Services(family)
    services.add("web", externalTrafficPolicy="Local")
    services.publish(world)
    address, port = services.at("web", "NodePort")
    loopback = "127.0.0.1" if family == 4 else "::1"
    own, looped, unknown = explain(world, [dst(address, port), dst(loopback, port), dst(loopback, 9)],
                                   address_of("node1", family))
    for answer in (own, looped):
        assert (answer["hook"], answer["action"], answer["client"]["near"]) == ("socket", "dnat", True)
        assert backends_of(answer) == {address_of(place, family) for place in BOTH}
    assert unknown["action"] == "none"
    results = world.place("node1").ask_many(30, loopback, port, until=BOTH)
    assert {result["answer"]["name"] for result in results} == set(BOTH)


@only_sockets
@pytest.mark.parametrize("client", ["node1", "pod1a"])
def test_a_process_is_remembered_by_its_network_namespace(world, client):
    services = Services(4)
    services.add("sticky", sessionAffinity="ClientIP")
    services.publish(world)
    name = world.place(client).ask(*services.at("sticky"))["answer"]["name"]
    answer = explain(world, dst(*services.at("sticky")), address_of(client, 4))
    assert answer["affinity"]["remembered"] and backends_of(answer) == {address_of(name, 4)}


@only_tc
def test_another_link_is_asked_where_it_is_named(world):
    services = Services(4)
    services.add("web", externalTrafficPolicy="Local")
    services.publish(world)
    question = (dst(*services.at("web", "ExternalIP")), address_of("client", 4), "--link")
    through_pod, nowhere = (explain(world, *question, link) for link in ("pod1a", "lo"))
    assert through_pod["client"]["near"] and len(through_pod["candidates"]) == 2
    assert (nowhere["action"], nowhere["reason"], nowhere["hook"]) == ("none", "no-hook", None)


@only_tc
def test_it_works_while_no_agent_runs_and_asks_as_that_one_was_configured(world):
    services = Services(4)
    services.add("web", externalTrafficPolicy="Local")
    services.objects += [node("node1"), node("node2")]
    services.publish(world)
    agent = world.agents["node1"]
    options = agent.options
    agent.stop()
    agent.options = (*options, "--cluster-cidr", "10.244.0.0/16,fd00:244::/32", "--forwarding", "hybrid", "--clsact")
    agent.start()
    agent.stop()
    targets = [dst(*services.at("web", "ExternalIP")), dst(*services.at("web")),
               dst(*services.at("web"), "udp")]
    try:
        far, tcp, udp = explain(world, targets, address_of("client", 4))
        near = explain(world, targets[0], address_of("pod2a", 4))
    finally:
        agent.options = options
        agent.start()
    # Near is who is in a range, with TCP a backend elsewhere answers straight.
    assert (far["client"]["near"], backends_of(far)) == (False, {address_of(LOCAL, 4)})
    assert (near["client"]["near"], len(near["candidates"])) == (True, 2)
    assert near["client"]["why"] == "its address is in the range 10.244.0.0/16"
    elsewhere = [next(item for item in answer["candidates"] if not item["local"]) for answer in (tcp, udp)]
    assert [(item["direct_server_return"], item["source_nat"], item["seen_as"]) for item in elsewhere] == [
        (True, False, address_of("client", 4)), (False, True, address_of("node1", 4))]


@only_tc
@pytest.mark.parametrize("arguments, status, text", [
    (["10.96.0.1:80/tcp"], 2, "--from says where the packet comes from"),
    (["10.96.0.1/tcp", "--from", "10.0.0.1"], 2, "need a port"),
    (["10.96.0.1:80/quic", "--from", "10.0.0.1"], 2, "the protocol is tcp, udp, sctp or icmp"),
    (["[fd00::1]:80/tcp", "--from", "10.0.0.1"], 2, "different families"),
    (["10.96.0.1:80/tcp", "--from", "10.0.0.1", "--link", "none"], 1, "there is no link `none`"),
    (["shop/nothing:80/tcp", "--from", "10.0.0.1"], 1, "no programmed port of a Service shop/nothing"),
])
def test_what_cannot_be_asked_gets_a_sentence(world, arguments, status, text):
    done = world.agents["node1"].fairlead("explain", *arguments, check=False)
    assert (done.returncode, done.stdout) == (status, "")
    assert text in done.stderr


@only_tc
def test_wherever_it_fails_it_says_why(world):
    """Each question what a map or program is fails once."""
    agent, vip = world.agents["node1"], world.simple("web", 4, [LOCAL])
    command = [FAIRLEAD, "explain", "--pin-dir", agent.pin_dir, dst(vip, 80), "--from", address_of("client", 4)]
    library, said = world.lab.library("refused_bpf"), ""
    for number in range(1, 60):
        done = world.place("node1").run("env", f"LD_PRELOAD={library}", f"REFUSED_INFO={number}", *command, check=False)
        assert not done.returncode or done.stderr.startswith("fairlead: "), (number, done.stderr)
        said += done.stderr
    assert not done.returncode, done.stderr
    for sentence in (f"cannot open the map {agent.pin_dir}/node_ports: Cannot allocate memory",
                     "cannot use the map slots: Cannot allocate memory"):
        assert sentence in said
