# SPDX-License-Identifier: BSD-2-Clause
"""Maps that have become too small are replaced by larger ones under traffic: at a start, and later."""

import json
import re

import pytest

from lab import Agent, let_pass, wait_for
from manifests import Folder, endpoint, many_services, next_vip, service, slice_
from world import World

BACKENDS = ["pod1b", "pod1c", "pod2b", "pod2c"]
SMALL = ["--max-services", "32", "--max-slots", "64", "--max-backends", "64"]


@pytest.mark.parametrize("hooks", ["socket,tc", "tc"])
def test_maps_grow_when_the_agent_starts_with_more_and_no_request_fails(hooks):
    with World(hooks, *SMALL) as made:
        agent = made.agents["node1"]
        steady = made.simple("steady", 4, BACKENDS)
        many = [endpoint(f"10.9.{number // 250}.{number % 250 + 1}", 4) for number in range(200)]
        big = next_vip(4)
        made.publish(service("big", big), slice_("big", many), name="big")
        assert big not in {address for address, _, _ in agent.frontends()}
        ids = {key: value for key, value in agent.backends().items() if value[1] == "BACKEND_ACTIVE"}
        place = made.place("pod1a")
        handle = place.call("asking_start", targets=[[steady, 80, "tcp"], [steady, 80, "udp"]])
        with place.socket("tcp", steady, 80) as session:
            name = session.exchange()["answer"]["name"]
            agent.stop()
            agent.options = ("--hooks", hooks)
            agent.start()
            agent.wait_for_log("map slots grows")
            assert session.exchange()["answer"]["name"] == name
        state = place.call("asking_stop", handle=handle)
        assert not state["failures"], state["failures"][:5]
        assert big in {address for address, _, _ in agent.frontends()}
        now = agent.backends()
        assert all(now[key] == value for key, value in ids.items())


def room(agent, name):
    done = agent.lab.place(agent.node).run("bpftool", "-j", "map", "show", "pinned", agent.pin_dir / name)
    return json.loads(done.stdout)["max_entries"]


def restart(agent, hooks, *options):
    agent.stop()
    agent.options = ("--hooks", hooks, *options)
    agent.start()


def test_maps_that_are_large_enough_stay_whatever_the_flags_say():
    with World("socket,tc") as made:
        agent = made.agents["node1"]
        vip = made.simple("web", 4, BACKENDS)
        restart(agent, "socket,tc", *SMALL)
        assert not any("grows" in line for line in agent.log)
        agent.wait_for_log("--max-services 32 has no effect: the map services of an earlier start is in use and "
                           "keeps its room for 4096")
        assert "answer" in made.place("pod1a").ask(vip)


def test_a_later_start_with_more_affinity_makes_the_map_grow_and_no_client_loses_its_backend():
    with World("socket,tc", "--max-affinity", "500") as made:
        agent = made.agents["node1"]
        vip = made.simple("sticky", 4, BACKENDS, sessionAffinity="ClientIP")
        place = made.place("pod1a")
        backend = place.ask(vip)["answer"]["name"]
        assert room(agent, "affinity") == 500
        restart(agent, "socket,tc", "--max-affinity", "2000")
        agent.wait_for_log("map affinity grows to 2000 entries")
        assert room(agent, "affinity") == 2000
        assert {place.ask(vip)["answer"]["name"] for _ in range(20)} == {backend}
        restart(agent, "socket,tc", "--max-affinity", "500")
        agent.wait_for_log("--max-affinity 500 has no effect: the map affinity of an earlier start is in use and "
                           "keeps its room for 2000; `fairlead cleanup")
        assert {place.ask(vip)["answer"]["name"] for _ in range(20)} == {backend}


def test_another_size_of_the_table_of_flows_is_refused_by_name_at_a_later_start():
    with World("tc", "--max-flows", "1000") as made:
        agent = made.agents["node1"]
        vip = made.simple("web", 4, BACKENDS)
        with made.place("pod1a").socket("tcp", vip, 80) as session:
            name = session.exchange()["answer"]["name"]
            restart(agent, "tc", "--max-flows", "5000")
            agent.wait_for_log("--max-flows 5000 has no effect: the map flows of an earlier start is in use and "
                               "keeps its room for 1000; `fairlead cleanup")
            assert session.exchange()["answer"]["name"] == name
        restart(agent, "tc", "--max-flows", "1000")
        assert not any("has no effect" in line for line in agent.log)


def test_tables_of_flows_get_their_size_when_tc_hooks_come_at_a_later_start():
    with World("socket", "--max-flows", "1000") as made:
        agent = made.agents["node1"]
        vip = made.simple("web", 4, BACKENDS)
        assert room(agent, "flows") == 1
        restart(agent, "tc", "--max-flows", "1000")
        assert (room(agent, "flows"), room(agent, "new_flows"), room(agent, "own_replies")) == (2000, 65536, 16384)
        place = made.place("pod1a")
        with place.socket("tcp", vip, 80) as first, place.socket("tcp", vip, 80) as second:
            for _ in range(3):
                assert "answer" in first.exchange() and "answer" in second.exchange()


def test_maps_grow_while_the_agent_runs_and_no_request_fails():
    with World("socket,tc") as made:
        agent = made.agents["node1"]
        steady = made.simple("steady", 4, BACKENDS)
        ids = {key: value for key, value in agent.backends().items() if value[1] == "BACKEND_ACTIVE"}
        assert ids
        place = made.place("pod1a")
        handle = place.call("asking_start", targets=[[steady, 80, "tcp"], [steady, 80, "udp"]])
        with place.socket("tcp", steady, 80) as session:
            name = session.exchange()["answer"]["name"]
            objects = many_services(3000)
            vips = {item["spec"]["clusterIP"] for item in objects if item["kind"] == "Service"}
            made.folder.write("many", *objects)
            agent.wait_for_log("the programs use larger maps", 60)
            wait_for(lambda: vips <= {address for address, _, _ in agent.frontends()},
                     "all Services in the maps")
            assert session.exchange()["answer"]["name"] == name
        made.settle()
        state = place.call("asking_stop", handle=handle)
        assert not state["failures"], state["failures"][:5]
        now = agent.backends()
        assert all(now[key] == value for key, value in ids.items())
        assert agent.dump("unprogrammed") == []
        assert len([line for line in agent.log if "map services grows" in line]) == 1


class LimitedAgent(Agent):
    """An agent whose kernel has no memory for a map of services that is larger than at the start."""

    library, is_limited = None, True

    def command(self):
        limits = [f"LD_PRELOAD={self.library}", "ASAN_OPTIONS=verify_asan_link_order=0",
                  "REFUSED_MAP=services", "REFUSED_ENTRIES=4096"]
        return ["env", *limits, *super().command()] if self.is_limited else super().command()


@pytest.fixture(name="limited")
def fixture_limited(lab):
    agent = LimitedAgent(lab, "node1", (lab.directory / "limited"), "--hooks", "socket,tc")
    agent.library = lab.library("refused_bpf")
    yield agent
    if agent.running():
        agent.stop()
    agent.cleanup()


def test_what_fits_is_served_when_there_is_no_memory_for_larger_maps(limited):
    """While the agent runs, at its next start, and until there is memory."""
    agent, folder = limited, Folder(limited.manifests)
    steady, late = next_vip(4), next_vip(4)
    folder.write("steady", service("steady", steady), slice_("steady", [endpoint("10.244.9.1", 4)]))
    agent.start()
    folder.write("zmany", *many_services(3000))
    said = "larger maps cannot be had (libbpf: map 'services': failed to create"
    agent.wait_for_log(said, 60)
    agent.wait_for_log("free some or raise the limit of the agent's cgroup, and restart the agent")

    def is_full_and_goes_on():
        wait_for(lambda: "map-full" in {item["name"] for item in agent.json("status")["degraded"]}, "the full map")
        assert len(agent.dump("unprogrammed")) > 1000
        assert room(agent, "services") == 4096 and len(agent.frontends()) > 4000
        assert steady in {address for address, _, _ in agent.frontends()}

    is_full_and_goes_on()
    # What has room is followed.
    folder.write("steady", service("steady", late), slice_("steady", [endpoint("10.244.9.1", 4)]))
    steady = late
    wait_for(lambda: late in {address for address, _, _ in agent.frontends()}, "the change")
    agent.stop()
    agent.start()
    agent.wait_for_log(said)
    is_full_and_goes_on()
    agent.stop()
    agent.is_limited = False
    agent.start()
    assert agent.dump("unprogrammed") == [] and room(agent, "services") > 4096


def test_without_memory_for_the_first_maps_the_start_says_which_and_what_to_do(limited):
    limited.options = (*limited.options, "--max-services", "5000")
    Folder(limited.manifests)
    limited.start(ready=False)
    limited.wanted = False
    assert limited.process.wait(30) == 1
    assert "there is no memory for the TC programs (libbpf: map 'services': failed to create" in limited.text()
    assert "free some, or raise the limit of the agent's cgroup" in limited.text()


def test_maps_whose_size_a_flag_sets_do_not_grow():
    with World("socket,tc", *SMALL) as made:
        agent = made.agents["node1"]
        vip = made.simple("web", 4, BACKENDS)
        made.folder.write("many", *many_services(40))
        agent.wait_for_log("map services is full: raise --max-services")
        let_pass(2)
        assert "answer" in made.place("pod1a").ask(vip)
        # Others may, for what the Services would need.
        assert not [line for line in agent.log if re.search("map (services|slots|backends) grows", line)]
        assert (room(agent, "services"), room(agent, "slots"), room(agent, "backends")) == (32, 64, 64)
        assert agent.dump("unprogrammed")


def test_the_counters_of_an_older_version_keep_their_counts():
    """That version had an entry for each counter, and fewer of them."""
    with World("tc") as made:
        agent, node = made.agents["node1"], made.place("node1")
        vip = made.simple("empty", 4, [])
        agent.stop()
        pin = agent.pin_dir / "counters"
        node.run("rm", pin)
        node.run("bpftool", "map", "create", pin, "type", "percpu_array", "key", "4", "value", "16",
                 "entries", "30", "name", "counters")
        for reason in range(30):
            # Little endian, and the same on each CPU: as many packets as its place in the list, and no bytes.
            node.run("bpftool", "map", "update", "pinned", pin, "key", str(reason), "0", "0", "0",
                     "value", str(reason), *["0"] * 15)
        agent.start()
        agent.wait_for_log("counters gets the layout of this version")
        counters = agent.json("status")["counters"]
        cpus = counters["connected"]["packets"]
        assert cpus >= 1
        for reason, (name, counter) in enumerate(counters.items()):
            assert counter["packets"] >= (reason * cpus if reason < 30 else 0), (reason, name)
        assert (counters["malformed"]["packets"], counters["malformed"]["bytes"]) == (8 * cpus, 0)
        assert "error" in made.place("pod1a").ask(vip)
        assert agent.json("status")["counters"]["no-backend"]["packets"] > 2 * cpus
