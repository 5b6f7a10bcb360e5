# SPDX-License-Identifier: BSD-2-Clause
"""XDP on uplinks: real packets that turn round in a driver, and everything that goes up to TC.

A veth's driver sends frames to its peer only if that has GRO on, and shows XDP checksums that their
sender has left to a link which never finishes them. In the worlds here senders finish their own.
"""

import contextlib
import json

import pytest

import programs
from lab import address_of, wait_for
from outside import (CLUSTER_IP, EXTERNAL_IP, LOAD_BALANCER, LOCAL, NODE_PORT, REMOTE, publish,
                     route_services)
from uplinks import CHECK, finish_checksums, offload, peers_take_frames, wait_for_xdp, xdp_of
from world import World

BIG = "x" * 60000 + "\n"

each_family = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
each_proto = pytest.mark.parametrize("proto", ["tcp", "udp"])
each_kind = pytest.mark.parametrize("kind", [NODE_PORT, EXTERNAL_IP, CLUSTER_IP])


@contextlib.contextmanager
def world_of(*options):
    with World("tc", *options) as made:
        finish_checksums(made.lab)
        peers_take_frames(made.lab)
        route_services(made, {family: address_of("node1", family) for family in (4, 6)})
        yield made


@pytest.fixture(scope="module", params=["native", "generic"])
def either(request):
    """Both nodes with XDP in either mode."""
    with world_of("--xdp", request.param, *CHECK) as made:
        made.mode = request.param
        for agent in made.agents.values():
            wait_for_xdp(agent, request.param)
        yield made


@pytest.fixture
def world(either):
    yield either
    either.clear()


@pytest.fixture
def native(world):
    if world.mode != "native":
        pytest.skip("of native XDP")
    return world


def counted(agent, name="xdp"):
    """How often this has happened, by `fairlead status`; packets that XDP forwarded."""
    return agent.json("status")["counters"][name]["packets"]


# What XDP forwards.


@each_kind
@each_proto
@each_family
def test_a_client_reaches_a_backend_elsewhere_through_xdp(world, kind, proto, family):
    frontend = publish(world, kind, family, [REMOTE])
    before = counted(world.agents["node1"])
    assert frontend.ask_all(world, proto, 20) == {REMOTE: {address_of("node1", family)}}
    # Now and then a packet goes by TC, for its neighbour's sake.
    packets = counted(world.agents["node1"]) - before
    assert packets >= (100 if proto == "tcp" else 30), packets


@each_proto
@each_family
def test_backends_here_and_elsewhere_are_chosen_alike(world, proto, family):
    frontend = publish(world, NODE_PORT, family, [LOCAL, REMOTE])
    results = world.place("client").ask_many(200, frontend.address, frontend.port, proto=proto)
    names = [result["answer"]["name"] for result in results]
    assert 60 <= names.count(LOCAL) <= 140, names.count(LOCAL)
    assert frontend.ask_all(world, proto, 20, until=(LOCAL, REMOTE)) == {
        LOCAL: {address_of("client", family)}, REMOTE: {address_of("node1", family)}}


@each_family
def test_much_data_goes_through(world, family):
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    before = counted(world.agents["node1"])
    assert "error" not in frontend.ask(world, "tcp", message=BIG, timeout=10.0)
    assert counted(world.agents["node1"]) - before >= len(BIG) // 1500


@each_proto
@each_family
def test_checksums_that_a_sender_leaves_to_its_link_are_no_obstacle(world, proto, family):
    """TC sees to such packets."""
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    finish_checksums(world.lab, "on")
    try:
        assert frontend.ask_all(world, proto, 10) == {REMOTE: {address_of("node1", family)}}
    finally:
        finish_checksums(world.lab)


@each_proto
@each_family
def test_neighbours_that_are_not_known_are_asked_for(world, proto, family):
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    for _ in range(3):
        world.place("node1").run("ip", f"-{family}", "neigh", "flush", "dev", "eth0")
        assert set(frontend.ask_all(world, proto, 1)) == {REMOTE}


@each_proto
@each_family
def test_what_nobody_answers_is_dropped_and_counted(world, proto, family):
    agent = world.agents["node1"]
    other = "192.0.2.0/24" if family == 4 else "2001:db8:99::/64"
    for kind, spec, reason in [
            (LOAD_BALANCER, {"loadBalancerSourceRanges": [other]}, "source-range"),
            (NODE_PORT, {"externalTrafficPolicy": "Local"}, "no-local-backend")]:
        frontend = publish(world, kind, family, [REMOTE], **spec)
        before = counted(agent, reason)
        assert frontend.ask(world, proto, timeout=0.3).get("error") == "timeout"
        assert counted(agent, reason) > before


@each_proto
@each_family
def test_a_frontend_without_backends_refuses(world, proto, family):
    frontend = publish(world, NODE_PORT, family, [])
    result = frontend.ask(world, proto, timeout=2.0)
    assert result.get("error") == "ECONNREFUSED", result


@contextlib.contextmanager
def restarted(agent, *options):
    """An agent with other options, for a while."""
    usual = agent.options
    agent.stop()
    agent.options = options
    try:
        agent.start()
        yield
    finally:
        if agent.running():
            agent.stop()
        agent.options = usual
        agent.start()


def test_one_node_with_xdp_and_one_without_work_together(native):
    """What node2 sends back is the same for node1, whoever sends it."""
    agent = native.agents["node2"]
    with restarted(agent, "--hooks", "tc", "--xdp", "off"):
        for family in (4, 6):
            frontend = publish(native, NODE_PORT, family, [REMOTE])
            for proto in ("tcp", "udp"):
                before = counted(native.agents["node1"])
                assert frontend.ask_all(native, proto, 10) == {REMOTE: {address_of("node1", family)}}
                assert counted(native.agents["node1"]) > before


# How it is attached.


def link_of(world, node="node1"):
    shown = world.place(node).run("ip", "-j", "-d", "link", "show", "eth0").stdout
    return json.loads(shown)[0]


def program_of(world):
    """The number of the program that node1's uplink runs, or None."""
    return link_of(world).get("xdp", {}).get("prog", {}).get("id")


def test_status_and_links_say_what_each_uplink_got(world):
    agent = world.agents["node1"]
    assert xdp_of(agent) == (world.mode, None)
    assert f"xdp       eth0: {world.mode}\n" in agent.fairlead("status", check=False).stdout
    links = {item["name"]: item["xdp"] for item in agent.json("links")}
    assert links == {"lo": "none", "eth0": world.mode, "pod1a": "none", "pod1b": "none", "pod1c": "none"}


def test_it_goes_on_while_no_agent_runs_and_a_restart_replaces_it_in_place(world):
    agent = world.agents["node1"]
    frontend = publish(world, NODE_PORT, 4, [REMOTE])
    first = program_of(world)
    agent.kill()
    assert program_of(world) == first
    before = counted(agent)
    assert set(frontend.ask_all(world, "tcp", 5)) == {REMOTE}
    assert counted(agent) > before
    with world.place("client").socket("tcp", frontend.address, frontend.port) as sock:
        assert sock.exchange(message="before\n")["answer"]["name"] == REMOTE
        agent.start()
        wait_for_xdp(agent, world.mode)
        assert program_of(world) not in (first, None)
        assert sock.exchange(message="after\n")["answer"]["name"] == REMOTE


@pytest.mark.parametrize("options, why", [
    (["--xdp", "off"], "switched off"), ([], "no hardware is behind the link")], ids=["off", "auto"])
def test_it_is_detached_where_it_is_not_wanted(world, options, why):
    agent = world.agents["node1"]
    frontend = publish(world, NODE_PORT, 4, [REMOTE])
    with restarted(agent, "--hooks", "tc", *options):
        assert program_of(world) is None
        assert xdp_of(agent) == ("off", why)
        assert set(frontend.ask_all(world, "tcp", 5)) == {REMOTE}
    wait_for_xdp(agent, world.mode)


def test_what_somebody_removes_is_attached_again(world):
    agent = world.agents["node1"]
    index = link_of(world)["ifindex"]
    (agent.pin_dir / f"link_{index}_xdp").unlink()
    agent.wait_for_log("link eth0: somebody has removed or replaced the XDP hook, attaching it again")
    wait_for_xdp(agent, world.mode)
    wait_for(lambda: program_of(world), "a program on the uplink")


def test_a_peer_that_takes_no_frames_is_left_to_tc(native):
    """Frames that XDP sends to it would be lost in silence."""
    agent = native.agents["node1"]
    frontend = publish(native, NODE_PORT, 4, [REMOTE])
    offload(native.place("wire"), "node1", "gro", "off")
    wait_for_xdp(agent, "off", "the link's peer takes no frames: switch GRO on there")
    assert set(frontend.ask_all(native, "tcp", 5)) == {REMOTE}
    peers_take_frames(native.lab)
    wait_for_xdp(agent, "native")


def somebody_s_xdp(world):
    """Another owner's program on node1's uplink."""
    return programs.attached(programs.load_xdp_verdict(programs.XDP_PASS), f"{world.lab.id}-node1", "eth0",
                             programs.BPF_XDP)


def test_somebody_s_program_stays_and_tc_does_the_work(world):
    agent = world.agents["node1"]
    frontend = publish(world, NODE_PORT, 4, [REMOTE])
    agent.stop()
    assert agent.cleanup().returncode == 0
    assert program_of(world) is None
    with somebody_s_xdp(world):
        theirs = program_of(world)
        agent.start()
        assert xdp_of(agent) == ("off", "another program is there")
        agent.wait_for_log("link eth0: no XDP, TC does the work: another program is there")
        assert set(frontend.ask_all(world, "tcp", 5)) == {REMOTE}
        assert counted(agent) == 0
        assert program_of(world) == theirs
    wait_for_xdp(agent, world.mode)
