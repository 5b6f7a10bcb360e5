# SPDX-License-Identifier: BSD-2-Clause
"""Publishing: atomic for each service port, stable over restarts, nothing left behind."""

import json
import pathlib
import re
import subprocess
import time

import pytest

from lab import FAIRLEAD, NODES, address_of, let_pass, wait_for
from manifests import both_protocols, endpoint, next_vip, service, slice_, slice_ports
from world import World

HOOKS = ["socket,tc", "tc"]
BACKENDS = ["pod1b", "pod1c", "pod2b", "pod2c"]

each_family = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])


class Replacement:
    """Two Services whose backends are replaced all the time by others, of other numbers.

    The first has ports 8080 to 8083, the second 8084 to 8087, and a set of backends is one port on some
    of the pods. So a client that gets an answer from a port of the other Service was sent to a backend
    that is in neither the old nor the new set.
    """

    SETS = [(["pod1b", "pod2b"], 0), (["pod1c"], 1), (BACKENDS, 2), (["pod2c", "pod1b", "pod2b"], 3)]

    def __init__(self, world):
        self.world = world
        self.vips = {(first, family): next_vip(family) for first in (8080, 8084) for family in (4, 6)}
        for first in (8080, 8084):
            world.publish(service(f"s{first}", [self.vips[first, 4], self.vips[first, 6]],
                                  both_protocols()), name=f"s{first}")
        self.swap(0)
        world.settle()

    def swap(self, number):
        for shift, first in enumerate((8080, 8084)):
            pods, port = self.SETS[(number + shift) % len(self.SETS)]
            self.world.folder.write(f"e{first}", *[
                slice_(f"s{first}", pods, slice_ports(first + port), family) for family in (4, 6)])

    def targets(self, *protocols):
        return [[vip, 80, proto] for vip in self.vips.values() for proto in protocols]

    def check(self, state):
        assert not state["failures"], state["failures"][:5]
        first_port = {vip: first for (first, _), vip in self.vips.items()}
        for key in state["answers"]:
            vip, _, who = key.split()
            name, _, port = who.rpartition(":")
            assert 0 <= int(port) - first_port[vip] < 4, f"{vip} was answered by {who}"
            pods, _ = self.SETS[int(port) - first_port[vip]]
            assert name in pods, f"{vip} was answered by {who}"


def test_thousands_of_replacements_never_leave_a_client_without_a_right_backend(world):
    replacement = Replacement(world)
    clients = [world.place(name) for name in ("pod1a", "pod2a", "node1")]
    before = changed_service_ports(world)
    handles = [place.call("asking_start", targets=replacement.targets("tcp", "udp"), threads=2)
               for place in clients]
    for number in range(1, 2001):
        replacement.swap(number)
        if number % 10 == 0:
            world.settle()
    states = [place.call("asking_stop", handle=handle) for place, handle in zip(clients, handles)]
    for state in states:
        assert state["count"] > 100
        replacement.check(state)
    assert changed_service_ports(world) - before >= 2000


def changed_service_ports(world):
    return world.agents["node1"].json("status")["publish"]["changed_service_ports"]


def test_each_replacement_is_complete_for_the_next_connection(world):
    """No request that begins after a change is visible goes to a backend of the old set."""
    vip = world.simple("web", 4, ["pod1b"])
    place = world.place("pod1a")
    for number in range(40):
        pods, port = Replacement.SETS[number % 4]
        world.change("web", 4, vip, pods, target=8080 + port)
        for proto in ("tcp", "udp"):
            for result in place.ask_many(5, vip, proto=proto):
                assert result["answer"]["port"] == 8080 + port
                assert result["answer"]["name"] in pods


def test_a_change_of_the_cluster_ip_moves_the_service(world):
    old, new = next_vip(4), next_vip(4)
    world.publish(service("moving", old), slice_("moving", ["pod2b"]), name="moving")
    assert "answer" in world.place("pod1a").ask(old)
    world.publish(service("moving", new), slice_("moving", ["pod2b"]), name="moving")
    assert "answer" in world.place("pod1a").ask(new)
    for agent in world.agents.values():
        addresses = {address for address, _, _ in agent.frontends()}
        assert new in addresses and old not in addresses


def test_backend_ids_do_not_change_when_others_come_and_go(world):
    vip = world.simple("web", 4, ["pod1b", "pod2b"])
    agent = world.agents["node1"]
    kept = (address_of("pod2b", 4), 8080, 6)
    number = agent.backends()[kept][0]
    for others in (["pod1c"], [], ["pod1b", "pod1c", "pod2c"]):
        world.change("web", 4, vip, ["pod2b"] + others)
        assert agent.backends()[kept][0] == number


# An agent that stops, dies, or comes again.


@pytest.fixture
def traffic(world):
    """Clients that ask without pause; afterwards no request may have failed."""
    vips = [world.simple("steady", 4, BACKENDS), world.simple("steady6", 6, BACKENDS)]
    targets = [[vip, 80, proto] for vip in vips for proto in ("tcp", "udp")]
    clients = [world.place(name) for name in ("pod1a", "node1")]
    handles = [place.call("asking_start", targets=targets) for place in clients]
    yield vips
    for place, handle in zip(clients, handles):
        state = place.call("asking_stop", handle=handle)
        assert not state["failures"], state["failures"][:5]
        assert state["count"] > 20


def in_use(agent):
    """Backends that a service port has, without those that only wait to be forgotten."""
    return {key: value for key, value in agent.backends().items() if value[1] == "BACKEND_ACTIVE"}


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_an_agent_started_again_changes_nothing_under_traffic(world, traffic, end):
    agent = world.agents["node1"]
    before = in_use(agent)
    for _ in range(2):
        getattr(agent, end)()
        agent.start()
        assert in_use(agent) == before
    results = world.place("pod1a").ask_many(40, traffic[0], until=BACKENDS)
    assert {result["answer"]["name"] for result in results} == set(BACKENDS)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_without_an_agent_everything_goes_on(world, traffic, end):
    agent = world.agents["node1"]
    getattr(agent, end)()
    try:
        results = world.place("pod1a").ask_many(40, traffic[0], until=BACKENDS)
        assert {result["answer"]["name"] for result in results} == set(BACKENDS)
        assert world.place("pod1a").ask(traffic[0], 81)["error"] == "ECONNREFUSED"
        assert "steady" in agent.fairlead("services").stdout
    finally:
        agent.start()


def programs_on(agent):
    """The programs on the hooks of a node, by id."""
    place = agent.lab.place(agent.node)
    net = json.loads(place.run("bpftool", "-j", "net").stdout)
    cgroup = place.run("bpftool", "-j", "cgroup", "show", agent.lab.cgroup(agent.node)).stdout.strip()
    return net, sorted(program["id"] for program in json.loads(cgroup or "[]"))


# Somewhere in the middle: when pinned maps are opened, when maps are made, when programs are loaded.
@pytest.mark.parametrize("descriptors", [30, 44, 66])
def test_a_start_that_fails_leaves_everything_as_it_was(world, traffic, descriptors):
    agent = world.agents["node1"]
    agent.stop()
    try:
        pins, programs = sorted(path.name for path in agent.pin_dir.iterdir()), programs_on(agent)
        failed = world.place("node1").run("prlimit", f"--nofile={descriptors}", *agent.command(), check=False)
        assert failed.returncode == 1, failed.stderr
        assert "Too many open files" in failed.stderr
        assert sorted(path.name for path in agent.pin_dir.iterdir()) == pins
        assert programs_on(agent) == programs
        results = world.place("pod1a").ask_many(40, traffic[0], until=BACKENDS)
        assert {result["answer"]["name"] for result in results} == set(BACKENDS)
    finally:
        agent.start()


def test_affinity_survives_an_agent_that_starts_again(world):
    vips = [world.simple(f"sticky{number}", 4, BACKENDS, sessionAffinity="ClientIP")
            for number in range(8)]
    place = world.place("pod1a")
    before = [place.ask(vip)["answer"]["name"] for vip in vips]
    world.agents["node1"].kill()
    world.agents["node1"].start()
    assert [place.ask(vip)["answer"]["name"] for vip in vips] == before


@pytest.mark.parametrize("client", ["pod1a", "node1"])
def test_a_session_survives_an_agent_that_starts_again(world, client):
    vip = world.simple("web", 4, BACKENDS)
    with world.place(client).socket("tcp", vip, 80) as sock:
        name = sock.exchange()["answer"]["name"]
        world.agents["node1"].kill()
        assert sock.exchange()["answer"]["name"] == name
        world.agents["node1"].start()
        assert sock.exchange()["answer"]["name"] == name


def test_what_changed_while_no_agent_ran_is_published_by_the_next(world):
    agent = world.agents["node1"]
    vip = world.simple("web", 4, ["pod1b"])
    gone = world.simple("gone", 4, ["pod1b"])
    agent.stop()
    new = next_vip(4)
    world.folder.remove("gone")
    world.folder.write("web", service("web", vip), slice_("web", ["pod2b"]))
    world.folder.write("new", service("new", new), slice_("new", ["pod2c"]))
    world.written.append("new")
    agent.start()
    place = world.place("pod1a")
    assert {result["answer"]["name"] for result in place.ask_many(10, vip)} == {"pod2b"}
    assert place.ask(new)["answer"]["name"] == "pod2c"
    assert gone not in {address for address, _, _ in agent.frontends()}


def test_a_second_agent_on_the_same_pins_is_refused_with_a_sentence(world):
    agent = world.agents["node1"]
    done = world.place("node1").run(*agent.command(), check=False)
    assert done.returncode not in (0, None)
    assert len(done.stderr.strip().splitlines()) >= 1
    assert str(agent.pin_dir) in done.stderr or "already" in done.stderr
    assert agent.running()
    world.simple("still", 4, ["pod1b"])


def test_no_netfilter_rule_is_on_the_node(world):
    world.simple("web", 4, BACKENDS)
    for node in NODES:
        for path in ("/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"):
            assert world.place(node).run("cat", path, check=False).stdout == ""


# Leaving.


def cgroup_programs(cgroup):
    shown = subprocess.run(["bpftool", "-j", "cgroup", "show", cgroup], capture_output=True, text=True,
                           check=True).stdout
    return json.loads(shown) if shown.strip() else []


def net_programs(world, node):
    shown = json.loads(world.place(node).run("bpftool", "-j", "net", "show").stdout)
    return [program for kind in ("tc", "xdp") for program in shown[0].get(kind, [])]


def mount_bpffs_above_the_pins(lab):
    """As on most nodes, where one is at /sys/fs/bpf before the agent comes."""
    for node in NODES:
        subprocess.run(["mount", "-t", "bpf", "bpf", lab.pin_dir(node).parent], check=True)


@pytest.mark.parametrize("options, prepare", [
    ([], None), (["--clsact"], None), (["--xdp", "generic"], mount_bpffs_above_the_pins)],
    ids=["tcx", "clsact", "below-a-bpffs"])
def test_cleanup_leaves_nothing(options, prepare):
    with World("socket,tc", *options, prepare=prepare) as made:
        vip = made.simple("web", 4, BACKENDS)
        assert "answer" in made.place("pod1a").ask(vip)
        agent = made.agents["node1"]
        cgroup = made.lab.cgroup("node1")
        assert cgroup_programs(cgroup)
        ids = programs_of(*made.agents.values())
        agent.stop()
        assert cgroup_programs(cgroup)
        agent.cleanup()
        assert cgroup_programs(cgroup) == []
        assert net_programs(made, "node1") == []
        qdiscs = json.loads(made.place("node1").run("tc", "-j", "qdisc", "show").stdout)
        assert not [qdisc for qdisc in qdiscs if qdisc["kind"] == "clsact"]
        assert not agent.pin_dir.exists()
        assert str(agent.pin_dir) not in pathlib.Path("/proc/self/mountinfo").read_text()
        made.agents["node2"].stop()
        made.agents["node2"].cleanup()
        wait_for(lambda: not ids & {program["id"] for program in bpftool("prog", "show")},
                 "the programs to be gone from the kernel")


def bpftool(*arguments):
    return json.loads(subprocess.run(["bpftool", "-j", *arguments], capture_output=True, text=True,
                                     check=True).stdout)


def programs_of(*agents):
    """Ids of the loaded programs that have these agents' maps: others may run on the machine."""
    maps = {bpftool("map", "show", "pinned", agent.pin_dir / "frontends")["id"] for agent in agents}
    return {program["id"] for program in bpftool("prog", "show")
            if maps & set(program.get("map_ids", []))}


def test_cleanup_where_nothing_is_does_no_harm(lab):
    done = lab.place("node1").run(FAIRLEAD, "cleanup", "--pin-dir", lab.pin_dir("node1"), check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("prepare", [None, mount_bpffs_above_the_pins], ids=["mounted", "below-a-bpffs"])
def test_cleanup_leaves_what_is_somebody_elses_and_names_it(prepare):
    """Somebody else's pins are on the same bpffs, say because the pin directory is /sys/fs/bpf itself."""
    with World("socket,tc", serve=False, prepare=prepare) as made:
        agent = made.agents["node1"]
        agent.stop()
        directory, foreign = agent.pin_dir / "somebody", agent.pin_dir / "old_map"
        directory.mkdir()
        made.place("node1").run("bpftool", "map", "create", foreign, "type", "array", "key", "4", "value", "8",
                                "entries", "1", "name", "old_map")
        done = agent.fairlead("cleanup", check=False)
        assert done.returncode == 1
        named = re.search(r"it holds what is not ours \((.*)\); remove that if nobody needs it", done.stderr)
        assert set(named[1].split(", ")) == {"somebody", "old_map"}, done.stderr
        assert {path.name for path in agent.pin_dir.iterdir()} - {"maps.debug", "progs.debug"} == {"somebody", "old_map"}
        foreign.unlink()
        directory.rmdir()
        agent.cleanup()
        assert not agent.pin_dir.exists()


def test_after_cleanup_an_agent_can_start_again():
    with World("socket,tc") as made:
        vip = made.simple("web", 4, BACKENDS)
        agent = made.agents["node1"]
        agent.stop()
        agent.cleanup()
        assert "error" in made.place("pod1a").ask(vip, timeout=0.2)
        agent.start()
        assert "answer" in made.place("pod1a").ask(vip)


# Full.


def test_a_service_port_that_does_not_fit_is_refused_by_name_and_the_others_are_unaffected():
    with World("socket,tc", "--max-slots", "64", serve=True) as made:
        vip = made.simple("small", 4, BACKENDS)
        many = [endpoint(f"10.9.{number // 250}.{number % 250 + 1}", 4) for number in range(200)]
        big = next_vip(4)
        made.publish(service("big", big), slice_("big", many), name="big")
        place = made.place("pod1a")
        results = place.ask_many(40, vip, until=BACKENDS)
        assert {result["answer"]["name"] for result in results} == set(BACKENDS)
        agent = made.agents["node1"]
        assert any("default/big" in line for line in agent.log), agent.text()
        assert "big" in agent.fairlead("services", check=False).stdout
        after = made.simple("after", 4, ["pod2b"])
        assert place.ask(after)["answer"]["name"] == "pod2b"
        made.withdraw("big")
        made.publish(service("big", big), slice_("big", ["pod1c"]), name="big")
        assert place.ask(big)["answer"]["name"] == "pod1c"


# Speed, loosely: a person would notice more.


@each_family
def test_a_rewritten_manifest_is_live_within_a_tenth_of_a_second(world, family):
    vip = world.simple("web", family, ["pod1b"])
    place = world.place("pod1a")
    took = []
    for number in range(10):
        expected = ["pod2b", "pod1b"][number % 2]
        begun = time.monotonic()
        world.folder.write("web", service("web", vip), slice_("web", [expected], family=family))
        wait_for(lambda: place.ask(vip).get("answer", {}).get("name") == expected, "the new backend")
        took.append(time.monotonic() - begun)
    assert sorted(took)[len(took) // 2] < 0.1, took


def test_an_affinity_that_was_only_a_setting_before_is_live_at_once(world):
    vip = world.simple("web", 4, BACKENDS)
    place = world.place("pod1a")
    world.change("web", 4, vip, BACKENDS, sessionAffinity="ClientIP")
    assert len({result["answer"]["name"] for result in place.ask_many(20, vip)}) == 1
    world.change("web", 4, vip, BACKENDS)
    assert len({result["answer"]["name"] for result in place.ask_many(40, vip)}) > 1


def test_time_that_passes_does_not_change_what_is_published(world):
    vip = world.simple("web", 4, BACKENDS)
    before = world.agents["node1"].frontends()
    let_pass(1.0)
    assert world.agents["node1"].frontends() == before
    assert "answer" in world.place("pod1a").ask(vip)
