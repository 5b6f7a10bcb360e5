# SPDX-License-Identifier: BSD-2-Clause
"""The pins under a running agent: their bpffs is unmounted, hidden, or they are removed; and where it will not last."""

import json
import subprocess

import pytest

from lab import let_pass, wait_for
from manifests import many_services
from world import World

CHECK = ("--hook-check", "1")


@pytest.fixture(name="shared", scope="module")
def fixture_shared():
    with World("socket,tc", *CHECK) as world:
        yield world


@pytest.fixture(name="made")
def fixture_made(shared):
    yield shared
    shared.clear()


def mount_bpffs(path):
    subprocess.run(["mount", "-t", "bpf", "bpf", path], check=True)


def link_ids(world, agent):
    """{name of the pin: id of the BPF link}."""
    names = [path.name for path in agent.pin_dir.iterdir()
             if path.name.startswith(("cgroup_", "link_")) and path.name != "link_sources"]
    shown = {name: world.place(agent.node).run("bpftool", "-j", "link", "show", "pinned", agent.pin_dir / name)
             for name in names}
    return {name: json.loads(done.stdout)["id"] for name, done in shown.items()}


def map_id(world, agent, name="frontends"):
    done = world.place(agent.node).run("bpftool", "-j", "map", "show", "pinned", agent.pin_dir / name)
    return json.loads(done.stdout)["id"]


def harmful(agent):
    """What is degraded, without the notes: an older kernel has some of its own."""
    return [item["name"] for item in agent.json("status")["degraded"] if item["harmful"]]


def expect_served(world, vip):
    for client in ("pod1a", "node1"):
        assert world.place(client).ask(vip, 80)["answer"]["name"] == "pod1b"


def test_a_bpffs_that_was_unmounted_is_pinned_to_again(made):
    """The next bpffs that is mounted there gets the same maps and links: nothing is attached anew."""
    agent = made.agents["node1"]
    vip = made.simple("web", 4, ["pod1b"])
    frontends, links = map_id(made, agent), link_ids(made, agent)
    subprocess.run(["umount", "--lazy", agent.pin_dir], check=True)
    agent.wait_for_log(f"the pins in {agent.pin_dir} are out of reach (No such device): no bpffs is mounted there")
    expect_served(made, vip)
    mount_bpffs(agent.pin_dir)
    agent.wait_for_log("they are pinned again")
    assert map_id(made, agent) == frontends
    assert link_ids(made, agent) == links
    assert "somebody" not in agent.text().lower(), agent.text()
    assert agent.text().count("are out of reach") == 1
    assert harmful(agent) == []
    expect_served(made, vip)
    agent.stop()
    agent.start()
    assert link_ids(made, agent) == links
    expect_served(made, vip)


def test_a_bpffs_that_is_mounted_over_the_pins_gets_them(made):
    agent = made.agents["node1"]
    vip = made.simple("web", 4, ["pod1b"])
    links = link_ids(made, agent)
    mount_bpffs(agent.pin_dir)
    wait_for(lambda: (agent.pin_dir / "frontends").exists() and link_ids(made, agent) == links,
             "the pins in the bpffs that was mounted over them")
    expect_served(made, vip)
    subprocess.run(["umount", "--lazy", agent.pin_dir], check=True)
    wait_for(lambda: (agent.pin_dir / "frontends").exists() and link_ids(made, agent) == links,
             "the pins where they were")
    expect_served(made, vip)


def test_a_single_map_that_lost_its_pin_is_pinned_again(made):
    agent = made.agents["node1"]
    slots = map_id(made, agent, "slots")
    (agent.pin_dir / "slots").unlink()
    wait_for(lambda: (agent.pin_dir / "slots").exists(), "the map's pin")
    assert map_id(made, agent, "slots") == slots


def test_a_pin_that_was_removed_before_a_mount_is_in_what_is_mounted(made):
    """The maps are all there at once: what moved, and what had no pin to move."""
    agent = made.agents["node1"]
    names = {path.name for path in agent.pin_dir.iterdir()}
    (agent.pin_dir / "slots").unlink()
    mount_bpffs(agent.pin_dir)
    wait_for(lambda: {path.name for path in agent.pin_dir.iterdir()} >= names, "the pins in what was mounted over them")
    subprocess.run(["umount", "--lazy", agent.pin_dir], check=True)
    wait_for(lambda: {path.name for path in agent.pin_dir.iterdir()} >= names, "the pins where they were")


def test_maps_that_cannot_reach_their_pins_do_not_grow():
    """A plane opened anew would find no pins, and begin without flows and without the hooks of the one before."""
    with World("socket,tc", *CHECK) as made:
        agent = made.agents["node1"]
        vip = made.simple("web", 4, ["pod1b"])
        subprocess.run(["umount", "--lazy", agent.pin_dir], check=True)
        agent.wait_for_log("are out of reach")
        made.folder.write("many", *many_services(3000))
        let_pass(5)
        expect_served(made, vip)
        assert agent.running() and "larger maps" not in agent.text(), agent.text()
        mount_bpffs(agent.pin_dir)
        agent.wait_for_log("they are pinned again")
        assert agent.dump("unprogrammed")
        expect_served(made, vip)


def test_pins_that_somebody_removed_are_made_again(made):
    agent = made.agents["node1"]
    vip = made.simple("web", 4, ["pod1b"])
    frontends = map_id(made, agent)
    for path in list(agent.pin_dir.iterdir()):
        if path.suffix != ".debug":  # the kernel's own
            path.unlink()
    wait_for(lambda: (agent.pin_dir / "frontends").exists(), "the maps' pins")
    assert map_id(made, agent) == frontends
    wait_for(lambda: (agent.pin_dir / "cgroup_connect4").exists() and (agent.pin_dir / "cgroup_bind6").exists(),
             "the links' pins")
    wait_for(lambda: harmful(agent) == [], "all hooks")
    expect_served(made, vip)
    made.agents["node1"].stop()
    made.agents["node1"].start()
    expect_served(made, vip)
