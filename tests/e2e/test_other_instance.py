# SPDX-License-Identifier: BSD-2-Clause
"""What an instance of fairlead with other pins has left on the links and the cgroup that an agent uses."""

import json
import subprocess

import pytest

from lab import Agent, PODS, wait_for
from programs import tcx_programs
from world import World

OTHERS = "other-instance"


@pytest.fixture(name="shared", scope="module")
def fixture_shared():
    with World("socket,tc", "--hook-check", "1") as world:
        yield world


@pytest.fixture(name="made")
def fixture_made(shared):
    """A world whose agent on node1 runs, before the test and after it."""
    agent = shared.agents["node1"]
    if not agent.running():
        agent.start()
    if "tcx" not in agent.fairlead("links").stdout:
        pytest.skip("this kernel has no tcx")
    yield shared
    shared.clear()


def another_agent(world, node="node1"):
    """An agent on the same links and cgroup, with another --pin-dir."""
    agent = Agent(world.lab, node, world.folder.path, "--hook-check", "1")
    agent.pin_dir = world.lab.directory / node / "other-pins"
    return agent


def degraded(agent):
    return [item["name"] for item in agent.json("status")["degraded"]]


def hooks(world, node):
    """{(device, hook, program)} of what is on the node's links, and of its cgroup's socket hooks."""
    links = {(device, *found) for device in ("eth0", *PODS[node])
             for found in tcx_programs(f"{world.lab.id}-{node}", device)}
    shown = json.loads(world.place(node).run("bpftool", "-j", "cgroup", "show", world.lab.cgroup(node)).stdout or "[]")
    assert links and shown
    return links | {("cgroup", item["attach_type"], item["id"]) for item in shown}


def names(world, client, vip):
    result = world.place(client).ask(vip, 80, timeout=0.5)
    return result.get("answer", {}).get("name")


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
def test_hooks_of_another_instance_are_named_and_removed(made, family):
    old = made.agents["node1"]
    vip, gone = made.simple("web", family, ["pod1b"]), made.simple("gone", family, ["pod1c"])
    assert names(made, "pod1a", gone) == "pod1c"
    old.stop()
    made.withdraw("gone")
    elsewhere = hooks(made, "node2")
    agent = another_agent(made).start()
    try:
        agent.wait_for_log("hooks of another fairlead are where ours are")
        assert OTHERS in degraded(agent)
        remedy = f"`fairlead cleanup --others --pin-dir {agent.pin_dir} --cgroup {made.lab.cgroup('node1')}`"
        assert remedy in agent.text()
        assert remedy in agent.fairlead("status", check=False).stdout
        assert [remedy in item["meaning"] for item in agent.json("status")["degraded"] if item["name"] == OTHERS] == [True]
        # What is silent without the warning: the old programs serve what the new ones leave alone.
        assert names(made, "pod1a", gone) == "pod1c"

        before = hooks(made, "node1")
        done = agent.fairlead("cleanup", "--others", "--cgroup", made.lab.cgroup("node1"))
        assert "removed a tcx hook of the link pod1a" in done.stderr
        assert "removed a socket hook of the cgroup" in done.stderr

        agent.wait_for_log("the hooks of another fairlead are gone")
        assert OTHERS not in degraded(agent)
        assert len(hooks(made, "node1")) * 2 == len(before)
        assert names(made, "pod1a", gone) is None
        assert names(made, "pod1a", vip) == "pod1b"
        assert "somebody" not in agent.text().lower(), agent.text()
        assert hooks(made, "node2") == elsewhere
        done = agent.fairlead("cleanup", "--others", "--cgroup", made.lab.cgroup("node1"))
        assert "no hook of another fairlead" in done.stderr
    finally:
        agent.stop()
        agent.cleanup()
        old.cleanup()


class PoorAgent(Agent):
    """Root with the capabilities of deploy/kubernetes: it cannot look links up by their ids."""

    def command(self):
        return ["setpriv", "--bounding-set", "-all,+bpf,+perfmon,+net_admin", *super().command()]


def test_the_status_names_them_where_the_agent_may_not_look(made):
    old = made.agents["node1"]
    old.stop()
    agent = PoorAgent(made.lab, "node1", made.folder.path, "--hook-check", "1")
    agent.pin_dir = made.lab.directory / "node1" / "poor-pins"
    agent.pin_dir.mkdir()
    made.place("node1").run("mount", "-t", "bpf", "bpf", agent.pin_dir)
    agent.start()
    try:
        assert OTHERS in degraded(agent)
        assert "another fairlead" not in agent.text()
        agent.fairlead("cleanup", "--others", "--cgroup", made.lab.cgroup("node1"))
        assert OTHERS not in degraded(agent)
    finally:
        agent.stop()
        agent.cleanup()
        old.cleanup()


def test_an_agent_alone_on_its_node_finds_no_other(made):
    for agent in made.agents.values():
        assert OTHERS not in degraded(agent)
        assert "another fairlead" not in agent.text()
    made.simple("web", 4, ["pod1b"])
    agent = made.agents["node1"]
    agent.kill()
    agent.start()
    assert OTHERS not in degraded(agent)


def test_a_cleanup_says_what_another_instance_has_left(made):
    old = made.agents["node1"]
    old.stop()
    agent = another_agent(made).start()
    agent.stop()
    done = agent.cleanup()
    assert "hooks of another fairlead remain" in done.stderr
    assert f"--others --pin-dir {agent.pin_dir}" in done.stderr
    done = old.cleanup()
    assert "another fairlead" not in done.stderr


def test_hooks_of_an_agent_with_other_pins_stay_where_its_pins_are_not_named(made):
    """A directory in which no agent has its pins says nothing about whose a hook is."""
    agent = made.agents["node1"]
    before = hooks(made, "node1")
    for pins in (made.lab.directory / "no-pins", made.lab.directory):
        done = made.place("node1").run(agent.program, "cleanup", "--others", "--pin-dir", pins,
                                       "--cgroup", made.lab.cgroup("node1"), check=False)
        assert done.returncode == 1
        assert f"no agent runs with the pins in {pins}: name the --pin-dir of the one that runs" in done.stderr
    assert hooks(made, "node1") == before


def test_hooks_that_the_agent_attaches_meanwhile_are_not_taken_for_anothers(made):
    """Links of new pods while `cleanup --others` compares links with pins."""
    agent, node = made.agents["node1"], made.place("node1")
    cleanups = [node.start(agent.program, "cleanup", "--others", "--pin-dir", agent.pin_dir,
                           "--cgroup", made.lab.cgroup("node1"), stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for number in range(40):
        node.run("ip", "link", "add", f"veth-new{number}", "type", "veth", "peer", "name", f"veth-far{number}")
    try:
        for process in cleanups:
            assert "no hook of another fairlead" in process.communicate(timeout=30)[1]
        assert "somebody has removed" not in agent.text()
    finally:
        for number in range(40):
            node.run("ip", "link", "del", f"veth-new{number}", check=False)


def test_filters_of_another_instance_are_taken_over(made):
    """On clsact fairlead has one place on a link: an agent that uses tcx removes the filters of one that did not."""
    node, old = made.place("node1"), made.agents["node1"]
    old.stop()
    old.cleanup()

    def filters():
        return node.run("tc", "filter", "show", "dev", "pod1a", "ingress").stdout.count("fl_ingress:[")

    clsact = another_agent(made)
    clsact.options = (*clsact.options, "--clsact")
    clsact.start()
    clsact.kill()
    assert filters() == 1
    old.start()
    wait_for(lambda: filters() == 0, "the filters to go")
    clsact.cleanup()


def test_an_option_of_others_that_is_wrong_is_named(made):
    done = made.agents["node1"].lab.place("node1").run(
        made.agents["node1"].program, "cleanup", "--others", "--cgroup", "/proc", check=False)
    assert done.returncode == 1
    assert "/proc is not a cgroup v2" in done.stderr
