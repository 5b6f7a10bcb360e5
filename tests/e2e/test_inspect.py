# SPDX-License-Identifier: BSD-2-Clause
"""What people see: the subcommands on a live world, and the maps as bpftool shows them."""

import json

import pytest

from lab import address_of, wait_for
from manifests import next_vip, service
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
    vip = world.simple("web", 4, BACKENDS)
    for name, fields in (("frontends", {"vip", "port", "proto", "pad"}),):
        entries = world.agents["node1"].dump(name)
        assert set(entries[0]["key"]) == fields
    assert (vip, 80, 6) in world.agents["node1"].frontends()
    assert json.dumps(world.agents["node1"].dump("services")[0])


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
