# SPDX-License-Identifier: BSD-2-Clause
"""An agent with a folder of manifests and no API server that would check and complete them."""

import itertools

import pytest

from lab import DEADLINE, Agent, wait_for
from manifests import Folder, next_vip, node, service, service_port, slice_

_names = itertools.count()


class FolderAgent(Agent):
    """An agent with a folder and pins of its own."""

    def __init__(self, lab, *options):
        self.directory = lab.directory / f"folder-{next(_names)}"
        self.folder = Folder(self.directory / "manifests")
        super().__init__(lab, "node1", self.folder.path, "--hooks", "socket", *options)
        self.pin_dir = self.directory / "pins"

    def end_status(self):
        """The exit status of an agent that ends by itself."""
        self.start(ready=False)
        status = self.process.wait(DEADLINE)
        self.wanted = False
        self._reader.join(DEADLINE)
        self.check_sanitizers()
        return status

    def vips(self):
        return {address for address, _, _ in self.frontends()}

    def vips_of(self, name):
        """The addresses of a Service as `fairlead services` shows them."""
        return {frontend["address"] for port in self.json("services", name) for frontend in port.get("frontends", ())}


@pytest.fixture
def make(lab):
    made = []

    def one(*options):
        made.append(FolderAgent(lab, *options))
        return made[-1]

    yield one
    for agent in made:
        if agent.running():
            agent.stop()
        agent.cleanup()


def bare_service(name, **spec):
    """A Service whose ClusterIP an API server would choose."""
    made = service(name, next_vip(4), **spec)
    for field in ("clusterIP", "clusterIPs", "ipFamilies"):
        del made["spec"][field]
    return made


# ClusterIPs that manifests leave out.


def test_a_service_without_a_cluster_ip_says_what_to_do(make):
    agent = make()
    agent.folder.write("web", bare_service("web"))
    agent.start()
    remedy = ("it has no clusterIP: write one (None if it is headless), or give the agent a --service-cidr "
              "to choose it from")
    assert f"web.yaml:1: Service default/web: {remedy}" in agent.text()
    assert remedy in agent.fairlead("services").stdout
    assert "API server" not in agent.fairlead("services").stdout


def test_a_service_without_a_cluster_ip_gets_one_that_a_restart_finds_again(make):
    agent = make("--service-cidr", "10.98.0.0/28,fd00:98::/112")
    names = [f"web-{number}" for number in range(9)]
    for name in reversed(names):
        agent.folder.write(name, bare_service(name, ipFamilyPolicy="PreferDualStack"))
        if not agent.running():
            agent.start()
        wait_for(lambda name=name: len(agent.vips_of(f"default/{name}")) == 2, f"the addresses of {name}")
    before = {name: agent.vips_of(f"default/{name}") for name in names}
    assert len(agent.vips()) == 2 * len(names)
    agent.stop()
    agent.start()
    assert {name: agent.vips_of(f"default/{name}") for name in names} == before
    agent.folder.write("written", service("written", "10.98.0.1"))
    agent.folder.remove("web-4")
    wait_for(lambda: "10.98.0.1" in agent.vips() and not before["web-4"] & agent.vips(), "the changes")
    assert all(agent.vips_of(f"default/{name}") == before[name] for name in names if name != "web-4")


def test_agents_with_the_same_folder_choose_the_same(make):
    names = [f"web-{number}" for number in range(9)]
    chosen = []
    for order in (names, names[::-1]):
        agent = make("--service-cidr", "10.98.0.0/16")
        for name in order:
            agent.folder.write(name, bare_service(name))
        agent.start()
        chosen.append([agent.vips_of(f"default/{name}") for name in names])
        agent.stop()
        agent.cleanup()
    assert chosen[0] == chosen[1]
    assert len(set.union(*chosen[0])) == len(names)


def test_a_service_for_which_the_range_has_no_address_says_so(make):
    agent = make("--service-cidr", "10.98.0.0/30")
    agent.folder.write("web", bare_service("a"), bare_service("b"))
    agent.start()
    assert agent.vips() == {"10.98.0.2"}
    assert ("web.yaml:3: Service default/b: --service-cidr has no free IPv4 address for it: write a clusterIP, "
            "or give the agent another range" in agent.text())
    assert "it has no clusterIP: --service-cidr has none for it, as the log says" in agent.fairlead("services").stdout


# What only several files together show.


def test_a_port_that_no_slice_has_is_reported(make):
    agent = make()
    agent.folder.write("web", service("web", next_vip(4)))
    agent.folder.write("slices", slice_("web", ["10.244.9.1"], [
        {"name": "tpc", "port": 8080, "protocol": "TCP"}, {"name": "udp", "port": 8080, "protocol": "UDP"}]))
    agent.start()
    assert ('web.yaml:1: Service default/web: spec.ports[0] gets no traffic: none of the Service\'s EndpointSlices '
            'has a port "tcp" (TCP), they have "tpc" (TCP), "udp" (UDP); make the names match' in agent.text())


def test_a_thousand_mistakes_at_the_start_take_a_few_lines(make):
    agent = make()
    for number in range(10):
        agent.folder.write(f"web-{number}", service(f"web-{number}", next_vip(4), **{f"x{field}": 1 for field in range(100)}))
    agent.start()
    agent.stop()
    told = [line for line in agent.log if "unknown field" in line]
    assert len(told) == 11, agent.text()
    assert "(and 989 more like it in " in told[-1]


def test_what_an_api_server_would_refuse_is_reported_with_both_names(make):
    agent = make()
    vip = next_vip(4)
    agent.folder.write("a", service("a", vip))
    agent.folder.write("b", service("b", vip))
    for name in ("c", "d"):
        agent.folder.write(name, service(name, next_vip(4), [service_port(80, nodePort=30980)], type="NodePort"))
    agent.start()
    for name, other in (("a", "b"), ("b", "a")):
        assert (f"{name}.yaml:1: Service default/{name}: its clusterIP {vip} is also that of Service default/{other}: "
                "write a different one" in agent.text())
    for name, other in (("c", "d"), ("d", "c")):
        assert (f"{name}.yaml:1: Service default/{name}: spec.ports[0].nodePort 30980 is also that of Service "
                f"default/{other}: write a different one" in agent.text())


def test_a_slice_and_nodes_that_are_nobodys_are_reported(make):
    agent = make()
    agent.folder.write("web", service("web", next_vip(4)))
    agent.folder.write("slices", slice_("web", ["10.244.9.1"]), slice_("wbe", ["10.244.9.1"], name="typo"),
                       slice_("web", ["10.244.9.1"], namespace="shop", name="elsewhere"))
    agent.folder.write("nodes", node("node2"))
    agent.start()
    for place, named in (("default/typo", "default/wbe"), ("shop/elsewhere", "shop/web")):
        assert any("slices.yaml:" in line and f"EndpointSlice {place}: no file has the Service {named} that its "
                   "label kubernetes.io/service-name names: correct the label or the namespace" in line
                   for line in agent.log), agent.text()
    assert f"{agent.folder.path}: none of the Nodes is this node, node1: add it" in agent.text()


def test_a_protocol_that_kubernetes_does_not_have_is_shown_and_reported(make):
    agent = make()
    agent.folder.write("web", service("web", next_vip(4), [{"port": 80, "protocol": "tcp"}]))
    agent.start()
    assert "Service default/web: spec.ports[0].protocol tcp is not served, did you mean TCP?" in agent.text()
    assert "its protocol tcp is not served" in agent.fairlead("services").stdout


# Refusing.


def test_with_strict_a_mistake_at_the_start_ends_the_agent_with_its_sentence(make):
    agent = make("--strict")
    agent.folder.write("web", service("web", next_vip(4), prots=[]))
    agent.folder.write("good", service("good", next_vip(4)))
    assert agent.end_status() == 1
    assert "web.yaml:1: Service default/web: unknown field spec.prots, did you mean ports?" in agent.text()
    assert f"--strict: correct the 1 mistake in {agent.folder.path} that is named above" in agent.text()


def test_with_strict_every_mistake_at_the_start_can_be_read_however_many_there_are(make):
    agent = make("--strict")
    for number in range(30):
        agent.folder.write(f"web-{number}", service(f"web-{number}", next_vip(4), prots=[]))
        agent.folder.write(f"bad-{number}", {"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"B{number}"}})
    assert agent.end_status() == 1
    for number in range(30):
        assert f"web-{number}.yaml:1: Service default/web-{number}: unknown field spec.prots" in agent.text()
        assert f"bad-{number}.yaml:1: " in agent.text()
    told = len([line for line in agent.log if ".yaml:1: " in line])
    assert f"--strict: correct the {told} mistakes in {agent.folder.path} that are named above" in agent.text()


def test_with_strict_a_change_with_a_mistake_is_refused_and_the_state_before_it_stays(make):
    agent = make("--strict")
    vip, other = next_vip(4), next_vip(4)
    agent.folder.write("web", service("web", vip), slice_("web", ["10.244.9.1"]))
    agent.start()
    agent.folder.write("web", service("web", other, prots=[]), slice_("web", ["10.244.9.1"]))
    agent.wait_for_log("web.yaml: refused because of --strict; the objects it had before stay in use")
    assert "unknown field spec.prots, did you mean ports?" in agent.text()
    assert agent.vips() == {vip}
    agent.folder.write("web", service("web", other), slice_("web", ["10.244.9.1"]))
    wait_for(lambda: agent.vips() == {other}, "the corrected file's ClusterIP")


def test_with_strict_half_of_a_change_is_refused_until_the_other_half_is_there(make):
    agent = make("--strict")
    vip = next_vip(4)
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    agent.folder.write("web", service("web", vip, ports=ports))
    agent.folder.write("slices", slice_("web", ["10.244.9.1"], [{"name": "http", "port": 8080, "protocol": "TCP"}]))
    agent.start()
    agent.folder.write("web", service("web", vip, ports=[dict(ports[0], name="web", port=81)]))
    agent.wait_for_log("Service default/web is refused because of --strict; what it and its EndpointSlices were before "
                       "stays in use")
    assert ('web.yaml:1: Service default/web: spec.ports[0] gets no traffic: none of the Service\'s EndpointSlices '
            'has a port "web" (TCP), they have "http" (TCP); make the names match' in agent.text())
    assert {port for _, port, _ in agent.frontends()} == {80}
    assert agent.json("status")["source"]["rejected_objects"] == 1
    agent.folder.write("slices", slice_("web", ["10.244.9.1"], [{"name": "web", "port": 8080, "protocol": "TCP"}]))
    wait_for(lambda: {port for _, port, _ in agent.frontends()} == {81}, "both halves")
