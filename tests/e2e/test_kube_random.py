# SPDX-License-Identifier: BSD-2-Clause
"""Whatever happens, in whatever order: at every quiet point the maps are what a fresh agent would make.

Objects change by chance (random_objects.py) while the API server and the agent fail by chance
(random_faults.py), in rounds. At the end of each everything is calm; when the agent has caught up, all that
it has programmed is compared with what a second agent programs that has just listed the same server. All
the time clients connect to Services that always have a backend, and hold connections to them: none fails.

FAIRLEAD_RANDOM_SECONDS is how long it goes on (`make check-random`: ten minutes), FAIRLEAD_SEED repeats the
changes and faults of another run, though not their timing.
"""

import ipaddress
import itertools
import os
import random
import time

import manifests
import pytest
from kube import ApiServerProcess, Certificates, KubeAgent, kubeconfig
from lab import FAIRLEAD, ROOT, wait_for
from manifests import both_protocols, endpoint, next_vip, service, slice_
from podagent import clock
from random_faults import RandomFaults
from random_objects import NODES_OF_ENDPOINTS, ZONES, RandomObjects

SECONDS = float(os.environ.get("FAIRLEAD_RANDOM_SECONDS") or 25)
SEED = int(os.environ.get("FAIRLEAD_SEED") or random.SystemRandom().randrange(1 << 32))
CATCH_UP = 90.0
LOG = ROOT / "build" / "random.log"  # of all agents, after a failure
BALLAST = 520  # Services that only make lists longer than one page
ROUND = 250    # changes between two quiet points, about
PORT = "172.18.0.1:6443"  # on the wire, which both nodes reach
# Places that always serve, as backends that stay and as those that come and go; and those of clients.
STEADY, OTHERS = "pod1b", ("pod2a", "pod2b")
CLIENT, UNSEEN_CLIENT = "pod1a", "pod1c"
NOBODY = "pod2c"  # no process is in its cgroup


class Marker:
    """A Service that tells how far an agent has come: its port and its backend are of a number.

    Services, slices and the Node come in streams of their own, so each has its part in a mark: the port is
    of the Service, the address of the slice, and which of the slice's addresses counts is of the Node's
    zone. An agent publishes together what it knows at one time. When a second mark is visible, the
    publish that brought the first is complete, and with it all that came before the first.
    """

    def __init__(self, server):
        self.server, self.vip, self.numbers = server, next_vip(4), itertools.count(1)

    def write(self, zone):
        """Writes a mark, and is what is then to be seen."""
        number = next(self.numbers)
        port = 1024 + number % 60000
        zones = (*ZONES, f"mark-{number}")
        addresses = [str(ipaddress.ip_address("10.200.0.0") + number * 8 + place) for place in range(len(zones))]
        endpoints = [endpoint(address, 4, hints={"forZones": [{"name": name}]})
                     for address, name in zip(addresses, zones)]
        ports = [manifests.service_port(port, "TCP", "mark")]
        zone = zone or zones[-1]
        self.server.put_all([
            service("marker", self.vip, ports, "marker"),
            slice_("marker", endpoints, [{"name": "mark", "protocol": "TCP", "port": port}], namespace="marker"),
            manifests.zoned_node("node1", zone)])
        return port, {addresses[zones.index(zone)]}

    def wait_for(self, agent, zone):
        """Returns when an agent has published all that the server holds; then the Node is in this zone."""
        for wanted in (None, zone):
            mark = self.write(wanted)
            wait_for(lambda: self.seen(agent) == mark,
                     lambda: f"mark {mark}, seen is {self.seen(agent)}; the log:\n{agent.text()[-4000:]}",
                     CATCH_UP, 0.02)

    @staticmethod
    def seen(agent):
        rows = [row for row in agent.json("services", "marker/marker") or () if row["programmed"]]
        if not rows:
            return None
        return rows[0]["port"], {item["address"] for item in rows[0]["backends"] if item["in_cluster_set"]}


class FreshAgent(KubeAgent):
    """An agent that says it was node1 but is elsewhere: it programs the same, and serves nobody."""

    def __init__(self, lab, config):
        super().__init__(lab, "node2", config, "--hooks", "socket", name="fresh", program=FAIRLEAD)

    def command(self):
        words = super().command()
        for option, value in (("--node-name", "node1"), ("--cgroup", self.lab.cgroup("node2") / NOBODY)):
            words[words.index(option) + 1] = value
        return words


def programmed(agent, whole=False):
    """All that an agent has programmed, by name, without numbers that are its own business.

    A set of backends that no policy uses any more goes after a grace period: it counts in the `whole`.
    """
    found = {"frontends": agent.frontends()}
    for row in agent.json("services"):
        row.pop("id", None)
        row.pop("stats", None)
        backends = {}
        for item in row.pop("backends", ()):
            is_local = row["internal_policy"] == "Local"
            sets = {name: item[name] for name in ("in_cluster_set", "in_local_set")
                    if whole or (name == "in_local_set") == is_local}
            # One in no set only serves what it has been serving.
            if any(sets.values()):
                backends[item["address"], item["port"]] = {**sets, "state": item["state"], "local": item["local"]}
        key = tuple(row[name] for name in ("namespace", "name", "port_name", "protocol", "family"))
        found[key] = {**row, "backends": backends}
    return found


def differences(here, fresh):
    """What one has and the other has not, or otherwise."""
    found = []
    for key in sorted(here.keys() | fresh.keys(), key=str):
        one, other = here.get(key), fresh.get(key)
        if isinstance(one, set):
            one, other = one - other, other - one
        if isinstance(one, dict) and isinstance(other, dict):
            fields = [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
            if fields == ["backends"]:
                one, other = one["backends"], other["backends"]
                fields = [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
            one, other = ({name: row.get(name) for name in fields} for row in (one, other))
        if one != other:
            found.append(f"{key}\n  is    {one}\n  fresh {other}")
    return found


class Steady:
    """Services that always have one backend that nothing happens to, and others that come and go."""

    def __init__(self, chance):
        self.chance = chance
        self.names = ("plain", "sticky", "local", "both", "split")
        self.history = []
        self.vips = {name: [next_vip(4), next_vip(6)] for name in self.names}

    def service(self, name):
        spec = {}
        if name == "sticky":
            spec["sessionAffinity"] = "ClientIP"
        if name == "local":
            spec["internalTrafficPolicy"] = "Local"
        return service(name, self.vips[name], both_protocols(), "steady", **spec)

    def slices(self, name):
        """The part that stays as it is."""
        return [slice_(name, [endpoint(STEADY, family)], family=family, namespace="steady") for family in (4, 6)]

    def kept(self):
        return [made for name in self.names for made in (self.service(name), *self.slices(name))]

    def change(self):
        """Other backends of one of them, in one of two slices; or what clients shall not notice."""
        chance, name = self.chance, self.chance.choice(self.names)
        if chance.random() < 0.1:
            made = self.service(name)
            made["spec"]["sessionAffinity"] = chance.choice(("None", "ClientIP"))
            return made
        family = chance.choice((4, 6))
        places = chance.sample(OTHERS, chance.randint(0, len(OTHERS)))
        # Not terminating: when such a one is gone its pod is, and with it its connections.
        endpoints = [endpoint(place, family, ready=chance.random() < 0.7) for place in places]
        return slice_(name, endpoints, family=family, name=f"{name}-{chance.choice('xy')}-v{family}",
                      namespace="steady")

    def targets(self, *protos):
        return [(vip, 80, proto) for name in self.names for vip in self.vips[name] for proto in protos]


class Cluster:
    """The server, the agent on node1 and everything that happens to them."""

    def __init__(self, lab, chance):
        self.lab, self.chance = lab, chance
        certificates = lab.directory / "certificates"
        certificates.mkdir()
        self.server = ApiServerProcess(PORT, netns=f"/run/netns/{lab.id}-wire", tokens=["secret"],
                                       tls=Certificates(certificates, PORT.partition(":")[0]))
        self.server.start()
        self.config = kubeconfig(self.server)
        self.steady = Steady(chance)
        self.marker = Marker(self.server)
        self.kept = self.steady.kept() + [manifests.zoned_node("node1", "a")] + [
            made for number in range(BALLAST)
            for made in (service(f"svc-{number}", next_vip(4), [manifests.service_port()], "ballast"),
                         slice_(f"svc-{number}", [f"10.244.9.{1 + number % 40}"], namespace="ballast"))]
        for made in self.kept:
            for item in made.get("endpoints", ()):
                if item["addresses"][0].startswith("10.244.9."):
                    node = NODES_OF_ENDPOINTS[int(item["addresses"][0].split(".")[3]) % 3]
                    item.update({"nodeName": node} if node else {})
        self.server.put_all(self.steady.kept() + [manifests.zoned_node("node1", "a")])
        self.objects = RandomObjects(chance, self.server)
        self.faults = RandomFaults(chance, self, self.some_changes)
        self.agent = KubeAgent(lab, "node1", self.config, "--api-silence", "1", "-v", "3")
        self.clients = []
        self.past = []

    def start(self):
        """An agent with small maps, clients, and an agent whose maps have to grow under them."""
        options = self.agent.options
        self.agent.options = (*options, "--max-services", "64", "--max-backends", "64", "--max-slots", "256")
        self.agent.start()
        self.agent.options = options
        self.start_clients()
        self.server.put_all(self.kept)
        wait_for(self.connections, "the first connections")
        self.stop_agent()
        self.agent.start()
        self.agent.wait_for_log("grows to")

    def close(self):
        try:
            self.agent.end()
        finally:
            self.server.stop()

    def start_clients(self):
        """In a pod, where sockets are translated, and in one whose packets are."""
        for place in (self.lab.place(CLIENT), self.lab.place(UNSEEN_CLIENT, unseen=True)):
            # A UDP socket whose backend left is told so.
            asking = place.call("asking_start", targets=self.steady.targets("tcp", "udp"), threads=2,
                                pause=0.01, timeout=10, again_after=["ECONNABORTED"])
            holding = place.call("holding_start", targets=self.steady.targets("tcp") * 2, pause=0.1,
                                 timeout=10)
            self.clients += [(place, asking), (place, holding)]

    def connections(self):
        """How many answers clients have had; none of them may have been none."""
        count = 0
        for place, handle in self.clients:
            state = place.call("asking_state", handle=handle)
            assert not state["failures"], (
                f"connections of {place.name}, {'unseen by' if place.unseen else 'through'} socket hooks, failed: "
                f"{state['failures'][:5]}; counted was {self.agent.status()['counters']}; what changed:\n"
                + "\n".join(self.steady.history[-100:]))
            count += state["count"]
        return count

    # The agent.

    def remember(self):
        """Keeps what an agent has said for whoever looks into a failure."""
        self.past += [*self.agent.log, f"{clock()} --- the agent ends"]
        self.agent.log = []

    def start_agent(self):
        self.agent.start(ready=False)
        self.agent.wait_for_log("ready: " if self.chance.random() < 0.5 else "watching the API server")

    def stop_agent(self):
        self.agent.stop()
        self.remember()

    def kill_agent(self):
        self.agent.kill()
        self.remember()

    # Rounds.

    def some_changes(self):
        for _ in range(self.chance.randint(1, 12)):
            if self.chance.random() < 0.15:
                made = self.steady.change()
                self.steady.history.append(f"{clock()} {made}")
                self.server.put(made)
                self.objects.count += 1
            else:
                self.objects.change()
        if self.chance.random() < 0.3:
            time.sleep(self.chance.random() * 0.02)  # chance decides what comes together

    def round(self):
        before = self.objects.count
        while self.objects.count - before < ROUND:
            self.some_changes()
            if self.chance.random() < 0.3:
                self.faults.strike()
                self.connections()
            assert self.agent.running(), f"the agent ended:\n{self.agent.text()[-4000:]}"
        self.faults.calm()

    def compare(self, whole=False):
        self.marker.wait_for(self.agent, self.chance.choice(ZONES))
        fresh = FreshAgent(self.lab, self.config)
        try:
            fresh.start()
            wanted = programmed(fresh, whole)
        finally:
            fresh.end()
        if whole:
            wait_for(lambda: not differences(programmed(self.agent, True), wanted),
                     lambda: self.describe(differences(programmed(self.agent, True), wanted)), pause=0.2)
        wrong = differences(programmed(self.agent, whole), wanted)
        assert not wrong, self.describe(wrong)

    def describe(self, wrong):
        objects = self.server.objects("services") + self.server.objects("endpointslices")
        self.past += ["the server has:", *map(str, objects)]
        return (f"{len(wrong)} differences from a fresh agent, with FAIRLEAD_SEED={SEED}:\n" + "\n".join(wrong[:8])
                + f"\nthe last faults were {self.faults.names[-8:]}")


@pytest.fixture
def cluster(lab):
    lab.serve(STEADY, *OTHERS, ports=(8080,))
    made = Cluster(lab, random.Random(SEED))
    yield made
    made.close()


def test_the_maps_are_those_of_a_fresh_agent_at_every_quiet_point_and_no_connection_fails(cluster, capsys):
    with capsys.disabled():
        print(f"\nFAIRLEAD_SEED={SEED} for {SECONDS:g} s", flush=True)
    cluster.start()
    rounds, end = 0, time.monotonic() + SECONDS
    try:
        while time.monotonic() < end:
            cluster.round()
            cluster.compare()
            cluster.connections()
            rounds += 1
        cluster.compare(whole=True)
    except BaseException:
        cluster.remember()
        LOG.write_text("\n".join(cluster.past + [""]), encoding="utf-8")
        print(f"seed {SEED}, round {rounds}; the agents' logs are in {LOG}, their end is\n"
              + "\n".join(cluster.past[-300:]))
        raise
    with capsys.disabled():
        print(f"{rounds} quiet points, {cluster.objects.count} changes, {cluster.faults.count} faults, "
              f"{cluster.connections()} connections", flush=True)
    assert rounds and cluster.connections()
