# SPDX-License-Identifier: BSD-2-Clause
"""Maps that have become too small are replaced by larger ones under traffic: at a start, and later."""

import contextlib
import json
import re
import struct
import time

import pytest

from lab import Agent, ip_text, let_pass, wait_for
from manifests import Folder, endpoint, many_services, next_vip, service, slice_
from outside import NODE_PORT, publish
from programs import hold_flows, map_fill
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


def flow_key(entry):
    return json.dumps(entry["key"], sort_keys=True)


def halves(agent):
    """The keys of all confirmed halves."""
    return sorted(flow_key(entry) for entry in agent.dump("flows"))


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


def test_a_later_start_with_more_flows_makes_the_table_grow_and_no_connection_ends():
    with World("tc", "--max-flows", "1000") as made:
        agent = made.agents["node1"]
        vip = made.simple("web", 4, BACKENDS)
        with made.place("pod1a").socket("tcp", vip, 80) as session:
            name = session.exchange()["answer"]["name"]
            assert session.exchange()["answer"]["name"] == name
            before = halves(agent)
            assert before
            restart(agent, "tc", "--max-flows", "5000")
            agent.wait_for_log("map flows grows to 10000 entries")
            assert (room(agent, "flows"), halves(agent)) == (10000, before)
            assert session.exchange()["answer"]["name"] == name
            restart(agent, "tc", "--max-flows", "1000")
            agent.wait_for_log("--max-flows 1000 has no effect: the map flows of an earlier start is in use and "
                               "keeps its room for 5000; `fairlead cleanup")
            assert session.exchange()["answer"]["name"] == name
        assert sorted(path.name for path in agent.pin_dir.iterdir() if path.name.endswith(("_new", "_held"))) == []


SMALL_TABLE = ["--max-flows", "600", "--timeout", "tcp-closed=3"]
KINDS_EACH = 40


class Conversations:
    """TCP and UDP through TC: of a pod with a ClusterIP, and of a client from outside with a NodePort of node1 and
    backends elsewhere (source NAT). Each keeps its backend; others come and go meanwhile."""

    def __init__(self, made):
        self.made, self.sockets, self.asking = made, [], []
        vip = made.simple("inside", 4, BACKENDS)
        outside = publish(made, NODE_PORT, 4, ["pod2b", "pod2c"], name="outside")
        self.ways = [("pod1a", vip, 80), ("client", outside.address, outside.port)]

    def __enter__(self):
        for place, address, port in self.ways:
            place = self.made.place(place)
            self.sockets += [place.socket(proto, address, port) for proto in ("tcp", "udp") for _ in range(KINDS_EACH)]
        self.names = [self.say(sock) for sock in self.sockets]
        self.check()  # the client has answered: the flow is confirmed
        for place, address, port in self.ways:
            place = self.made.place(place)
            self.asking.append((place, place.call("asking_start", targets=[[address, port, "tcp"], [address, port, "udp"]],
                                                  pause=0.01)))
            self.asking.append((place, place.call("holding_start", targets=[[address, port, "tcp"]] * 8, pause=0.01)))
        return self

    @staticmethod
    def say(sock):
        result = sock.exchange()
        assert "answer" in result, result
        return result["answer"]["name"]

    def check(self):
        assert [self.say(sock) for sock in self.sockets] == self.names

    def __exit__(self, kind, *_):
        states = [place.call("asking_stop", handle=handle) for place, handle in self.asking]
        for sock in self.sockets:
            sock.close()
        if not kind:
            assert not [failure for state in states for failure in state["failures"]], states
            assert all(state["count"] > 20 for state in states)


def held_pins(agent):
    return sorted(path.name for path in agent.pin_dir.iterdir() if path.name.endswith(("_new", "_held")))


def wait_for_end_of_flows(agent):
    """All are closed now, or expire."""
    wait_for(lambda: not [entry for entry in agent.dump("flows") if "FLOW_CLOS" in entry["value"]["flow"]["state"]],
             "closed flows to leave the table", 30, 0.5)


@pytest.mark.parametrize("xdp", ["off", "generic"])
def test_the_table_of_flows_grows_at_a_start_under_conversations_of_every_kind(xdp):
    with World("tc", *SMALL_TABLE, "--xdp", xdp) as made:
        agent = made.agents["node1"]
        with Conversations(made) as conversations:
            before = set(halves(agent))
            assert len(before) > 5 * KINDS_EACH
            restart(agent, "tc", "--max-flows", "1200", *SMALL_TABLE[2:], "--xdp", xdp)
            agent.wait_for_log("map flows grows to 2400 entries")
            conversations.check()
        assert room(agent, "flows") == 2400
        assert held_pins(agent) == []
        wait_for_end_of_flows(agent)


def kill_while_hooks_are_replaced(agent):
    """Starts the agent with larger and larger tables, until one is killed in the midst of it. Returns its --max-flows."""
    for flows in range(1200, 6000, 300):
        agent.options = ("--hooks", "tc", "--max-flows", str(flows), *SMALL_TABLE[2:])
        agent.start(ready=False)
        end = time.monotonic() + 60
        while not (agent.pin_dir / "flows_new").exists():
            assert time.monotonic() < end and agent.running(), agent.text()
        agent.kill()
        if held_pins(agent) == ["flow_checks_new", "flow_sweeper_new", "flows_held", "flows_new"]:
            return flows
    return pytest.fail("the agent was never killed while flows were held")


def then_flows_are_confirmed(made, agent, conversations):
    known = set(halves(agent))
    place, address, port = conversations.ways[0]
    with made.place(place).socket("tcp", address, port) as more:
        for _ in range(3):
            assert "answer" in more.exchange()
        assert set(halves(agent)) - known


def test_an_agent_that_is_killed_while_hooks_are_replaced_leaves_the_flows_to_the_next_one():
    with World("tc", *SMALL_TABLE) as made:
        agent = made.agents["node1"]
        with Conversations(made) as conversations:
            agent.stop()
            flows = kill_while_hooks_are_replaced(agent)
            conversations.check()
            let_pass(2)
            conversations.check()
            agent.start()
            agent.wait_for_log(f"an earlier agent ended while the map flows grew: it goes on to {2 * flows} entries")
            conversations.check()
            then_flows_are_confirmed(made, agent, conversations)
        assert room(agent, "flows") == 2 * flows
        assert held_pins(agent) == []
        wait_for_end_of_flows(agent)


def test_an_agent_that_was_killed_before_it_replaced_a_hook_held_the_flows_in_vain():
    with World("tc", *SMALL_TABLE) as made:
        agent = made.agents["node1"]
        with Conversations(made) as conversations:
            agent.kill()
            hold_flows(agent.pin_dir)
            conversations.check()
            known = set(halves(agent))
            let_pass(1)
            assert set(halves(agent)) == known, "none comes, and none goes"
            agent.start()
            agent.wait_for_log("an earlier agent ended while it held the flows: they are released")
            conversations.check()
            then_flows_are_confirmed(made, agent, conversations)
        assert room(agent, "flows") == 1200
        assert held_pins(agent) == []
        wait_for_end_of_flows(agent)


def test_a_cleanup_takes_what_an_agent_left_that_was_killed_while_flows_were_held():
    with World("tc", *SMALL_TABLE) as made:
        agent = made.agents["node1"]
        agent.stop()
        kill_while_hooks_are_replaced(agent)
        assert agent.cleanup().returncode == 0
        assert not agent.pin_dir.exists()


FLOWS, CLIENTS = 65536, 65536  # the defaults
QUICK_END = ["--timeout", "tcp-closed=3"]


def given_nearly_full(agent):
    """The programs count flows in `flow_sweeper`. Writing there ends the timer, which the next agent starts."""
    agent.stop()
    nearly_full = struct.pack("<QQII", 0, 0, 1, FLOWS * 3 // 4)
    map_fill(agent.pin_dir / "flow_sweeper", [(struct.pack("<I", 0), nearly_full)])


def test_a_table_of_flows_that_is_nearly_full_grows_while_the_agent_runs():
    with World("tc", *QUICK_END) as made:
        agent = made.agents["node1"]
        with Conversations(made) as conversations:
            given_nearly_full(agent)
            agent.start()
            assert room(agent, "flows") == 2 * FLOWS
            agent.wait_for_log("map flows grows to 262144 entries")
            agent.wait_for_log("the programs use larger maps")
            conversations.check()
            assert room(agent, "flows") == 4 * FLOWS
            let_pass(5)
            # What waits now are the flows that there are.
            assert len([line for line in agent.log if "grows" in line]) == 1
            then_flows_are_confirmed(made, agent, conversations)
            agent.stop()
            agent.start()
            assert room(agent, "flows") == 4 * FLOWS
            assert not [line for line in agent.log if "has no effect" in line or "grows" in line]
            conversations.check()
        assert held_pins(agent) == []
        wait_for_end_of_flows(agent)


def test_a_table_of_flows_whose_size_a_flag_sets_does_not_grow_while_the_agent_runs():
    with World("tc", "--max-flows", str(FLOWS)) as made:
        agent = made.agents["node1"]
        given_nearly_full(agent)
        agent.start()
        let_pass(6)
        assert not [line for line in agent.log if "grows" in line]
        assert room(agent, "flows") == 2 * FLOWS


def test_affinity_grows_while_the_agent_runs_and_no_client_loses_its_backend():
    with World("socket,tc") as made:
        agent = made.agents["node1"]
        vip = made.simple("sticky", 4, BACKENDS, sessionAffinity="ClientIP")
        places = [made.place(name) for name in ("pod1a", "pod1b", "pod1c")]
        names = [place.ask(vip)["answer"]["name"] for place in places]
        entry = next(entry for entry in agent.dump("affinity") if entry["value"]["backend"])
        value = struct.pack("<III", *(entry["value"][name] for name in ("backend", "generation", "last_use_s")))
        service_id = struct.pack("<II", entry["key"]["service"], 0)
        map_fill(agent.pin_dir / "affinity", (
            (bytes(10) + b"\xff\xff\x0b" + number.to_bytes(3, "big") + service_id, value)
            for number in range(CLIENTS * 3 // 4)))
        agent.wait_for_log("map affinity grows to 131072 entries", 60)
        agent.wait_for_log("the programs use larger maps")
        assert room(agent, "affinity") == 2 * CLIENTS
        assert len(agent.dump("affinity")) >= CLIENTS * 3 // 4
        for place, name in zip(places, names):
            assert {place.ask(vip)["answer"]["name"] for _ in range(10)} == {name}


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


def test_addresses_of_services_that_another_proxy_has_find_room_at_a_start_and_later():
    """Otherwise, they would pass for addresses that no Service has, and those are dropped (rule C44)."""
    with World("socket,tc", *SMALL, "--service-cidr", "10.96.0.0/12,fd00:96::/108") as made:
        agent = made.agents["node1"]
        first = room(agent, "addresses")

        def left_alone(name, count):
            vips = [next_vip(4) for _ in range(count)]
            made.folder.write(name, *(service(f"{name}-{number}", vip, namespace="many",
                                              labels={"service.kubernetes.io/service-proxy-name": "other"})
                                      for number, vip in enumerate(vips)))
            return set(vips)

        def are_known(vips):
            return vips <= {ip_text(entry["key"]) for entry in agent.dump("addresses")}

        vips = left_alone("some", first)
        agent.wait_for_log("the programs use larger maps", 60)
        wait_for(lambda: are_known(vips), "all addresses in the map")
        second = room(agent, "addresses")
        assert second > first
        assert agent.json("status")["verdict"] != "DEGRADED"
        agent.stop()
        vips |= left_alone("more", second)
        agent.start()
        assert are_known(vips)
        assert room(agent, "addresses") > second
        assert not any("is full" in line for line in agent.log)


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
