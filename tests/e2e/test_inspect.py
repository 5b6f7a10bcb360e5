# SPDX-License-Identifier: BSD-2-Clause
"""What people see: the subcommands on a live world, and the maps as bpftool shows them."""

import pytest

from lab import address_of, ip_text, swap16, wait_for
from manifests import next_vip, service
from outside import HOOKED
from packets import Ghost

HOOKS = ["tc"]
BACKENDS = ["pod1b", "pod2b"]


def counter(world, name, node="node1"):
    return world.agents[node].json("status")["counters"].get(name, {}).get("packets", 0)


@pytest.mark.parametrize("command", ["services", "backends", "flows", "affinity", "links", "status"])
def test_every_command_shows_a_table_and_json(world, command):
    vip = world.simple("web", 4, BACKENDS, sessionAffinity="ClientIP")
    assert "answer" in world.place("pod1a").ask(vip)
    agent = world.agents["node1"]
    assert agent.json(command)
    shown = agent.fairlead(command, check=False).stdout
    assert len(shown.splitlines()) > 1
    assert "\033" not in shown
    assert agent.fairlead(command, "--help").stdout


def test_services_shows_frontends_backends_and_readiness(world):
    vip = world.simple("web", 4, BACKENDS, internalTrafficPolicy="Local")
    row = next(row for row in world.agents["node1"].json("services", "default/web")
               if row["protocol"] == "TCP")
    assert row["frontends"] == [{"address": vip, "port": 80, "kind": "ClusterIP"}]
    assert (row["ready"], row["total"], row["internal_policy"]) == (2, 2, "Local")
    assert {backend["address"] for backend in row["backends"]} == {
        address_of(pod, 4) for pod in BACKENDS}


def test_filters_find_by_name_and_by_address(world):
    vip = world.simple("web", 4, BACKENDS)
    world.simple("other", 4, BACKENDS)
    agent = world.agents["node1"]
    assert {row["name"] for row in agent.json("services", "--address", vip)} == {"web"}
    assert {row["name"] for row in agent.json("services", "default/oth*")} == {"other"}
    assert agent.fairlead("services", "default/nothing", check=False).returncode == 1


def test_an_unprogrammed_service_says_why(world):
    world.publish(service("quiet", "None"))
    rows = world.agents["node1"].json("services", "default/quiet")
    assert rows and not rows[0]["programmed"] and rows[0]["reason"] == "headless"


def test_flows_shows_a_connection_with_names(world):
    vip = world.simple("web", 4, ["pod2b"])
    with world.place("pod1a").socket("tcp", vip, 80) as sock:
        sock.exchange()
        flow = next(flow for flow in world.agents["node1"].json("flows")
                    if flow["frontend"]["address"] == vip)
    assert flow["client"]["address"] == address_of("pod1a", 4)
    assert flow["backend"]["address"] == address_of("pod2b", 4)
    assert flow["service"]["name"] == "web"
    assert flow["state"] == "established"


def test_affinity_shows_who_is_bound_to_what(world):
    vip = world.simple("sticky", 4, BACKENDS, sessionAffinity="ClientIP")
    name = world.place("pod1a").ask(vip)["answer"]["name"]
    entry = next(entry for entry in world.agents["node1"].json("affinity")
                 if entry["service"]["name"] == "sticky")
    assert entry["client"]["address"] == address_of("pod1a", 4)
    assert entry["backend"]["address"] == address_of(name, 4)
    assert entry["remaining_seconds"] > 10000


@pytest.mark.parametrize("name, backends, port, what", [
    ("no-backend", [], 80, "SYN"), ("no-such-port", BACKENDS, 81, "SYN"),
    ("no-flow", BACKENDS, 80, "ACK")])
def test_every_refusal_has_a_counter(world, name, backends, port, what):
    vip = world.simple("web", 4, backends)
    ghost = Ghost(world, "pod1a", 4)
    before = counter(world, name)
    ghost.send(ghost.tcp(vip, 4444, port, "S" if what == "SYN" else "A"))
    wait_for(lambda: counter(world, name) == before + 1, f"counter {name}")
    ghost.close()


def test_a_drop_for_policy_local_has_a_counter(world):
    vip = world.simple("web", 4, ["pod2b"], internalTrafficPolicy="Local")
    before = counter(world, "no-local-backend")
    world.place("pod1a").ask(vip, timeout=0.1)
    assert counter(world, "no-local-backend") > before


def test_status_exits_zero_when_nothing_harms_traffic_and_names_the_source(world):
    agent = world.agents["node1"]
    status = agent.json("status")
    assert status["verdict"] == "NOTE"
    assert status["source"]["name"].rstrip("/").endswith("manifests")
    assert status["node_name"] == "node1"
    # Socket hooks are off in this world, and status says so.
    assert {item["name"] for item in status["degraded"]}


def test_a_pin_directory_without_a_datapath_exits_3(lab):
    from lab import FAIRLEAD

    for command in ("services", "backends", "flows", "affinity", "links", "status"):
        done = lab.place("node1").run(FAIRLEAD, command, "--pin-dir", "/run/nowhere", check=False)
        assert done.returncode == 3, (command, done.returncode)
        assert len(done.stderr.strip().splitlines()) == 1


def test_wrong_usage_exits_2(lab):
    from lab import FAIRLEAD

    for arguments in (["services", "--frobnicate"], ["nonsense"], ["agent", "--frobnicate"]):
        done = lab.place("node1").run(FAIRLEAD, *arguments, check=False)
        assert done.returncode == 2, (arguments, done.returncode, done.stderr)


def test_bpftool_shows_named_fields(world):
    """With bpftool alone one can read the maps: fields have names, and so do states and kinds."""
    vip = world.simple("web", 4, BACKENDS, sessionAffinity="ClientIP")
    world.publish(service("quiet", "None"))
    agent = world.agents["node1"]

    def dumped(name, wanted):
        return next(entry for entry in agent.dump(name) if wanted(entry["key"], entry["value"]))

    frontend = dumped("frontends", lambda key, value: ip_text(key["vip"]) == vip and key["proto"] == 6)
    assert frontend["key"]["vip"][""][""]["ipv4"] == [int(octet) for octet in vip.split(".")]
    assert {**frontend["key"], "vip": vip} == {"vip": vip, "port": swap16(80), "proto": 6, "pad": 0}
    assert frontend["value"]["kind"] == "FRONTEND_CLUSTER_IP"
    number = frontend["value"]["service"]
    assert dumped("services", lambda key, value: key == number)["value"]["cluster_slots"]["count"] == 2
    names = dumped("service_names", lambda key, value: key == number)["value"]
    assert (names["family"], names["type"]) == ("FAMILY_IPV4", "SERVICE_TYPE_CLUSTER_IP")
    states = {ip_text(entry["value"]["addr"]): entry["value"]["state"] for entry in agent.dump("backends")}
    assert {states[address_of(pod, 4)] for pod in BACKENDS} == {"BACKEND_ACTIVE"} and states["::"] == "BACKEND_FREE"
    with world.place("pod1a").socket("tcp", vip, 80) as sock:
        sock.exchange()
        flow = dumped("flows", lambda key, value: ip_text(key["dst"]) == vip)
    assert flow["key"]["direction"] == "FLOW_ORIGINAL"
    assert (flow["value"]["flow"]["state"], flow["value"]["flow"]["kind"]) == (
        "FLOW_ESTABLISHED", "FRONTEND_CLUSTER_IP")
    assert dumped("affinity", lambda key, value: key["service"] == number)["key"]["client_kind"] == "AFFINITY_ADDRESS"
    link = dumped("links", lambda key, value: value["is_near"])["value"]
    assert link["role"] == "LINK_POD" and link["hook"] in HOOKED and link["xdp"] == "LINK_XDP_NONE"
    assert "UNPROGRAMMED_HEADLESS" in {entry["value"]["reason"] for entry in agent.dump("unprogrammed")}
    assert agent.dump("agent_status")[0]["value"]["forwarding"] == "FORWARDING_SNAT"


def test_bpftool_shows_counters_by_name(world):
    vip = world.simple("empty", 4, [])
    agent = world.agents["node1"]
    before = counter(world, "no-backend")
    assert "error" in world.place("pod1a").ask(vip)
    assert counter(world, "no-backend") > before
    dumped, = agent.dump("counters")
    shown = agent.json("status")["counters"]
    assert {name.replace("-", "_") for name in shown} == set(dumped["values"][0]["value"])
    for what in ("packets", "bytes"):
        assert sum(cpu["value"]["no_backend"][what] for cpu in dumped["values"]) == shown["no-backend"][what]


def test_what_is_shown_stays_while_no_agent_runs(world):
    world.simple("web", 4, BACKENDS)
    agent = world.agents["node1"]
    before = agent.json("services", "default/web")
    agent.stop()
    try:
        assert agent.json("services", "default/web") == before
        assert "answer" in world.place("pod1a").ask(before[0]["frontends"][0]["address"])
    finally:
        agent.start()


def test_a_vip_is_not_known_by_chance(world):
    """A fresh address is in no map: the others' tests stand on that."""
    vip = next_vip(4)
    assert vip not in {address for address, _, _ in world.agents["node1"].frontends()}
