# SPDX-License-Identifier: BSD-2-Clause
"""What an agent says at its start of settings of the node that keep traffic from backends."""

import shutil
import subprocess

import pytest

from lab import ip_text, wait_for
from manifests import next_vip, service
from world import World

DROPS = "netfilter drops forwarded packets by policy"


@pytest.fixture(name="made", scope="module")
def fixture_made():
    with World("tc") as world:
        yield world


def notes_of(agent):
    """{what status says of the node: whether it harms traffic}."""
    return {item["name"]: item["harmful"] for item in agent.json("status")["degraded"]}


def warnings_of(agent):
    """{link: what `fairlead links` warns of on it}."""
    return {link["name"]: link["warnings"] for link in agent.json("links")}


def restarted(world):
    agent = world.agents["node1"]
    agent.stop()
    return agent.start()


@pytest.fixture(name="nft")
def fixture_nft(made):
    """Loads rules on node1, until the end of the test."""
    node = made.place("node1")

    def load(rules):
        path = made.lab.directory / "rules.nft"
        path.write_text(rules.replace("}", "\n}\n").replace("{ ", "{\n"))
        node.run("nft", "-f", path)

    yield load
    node.run("nft", "flush", "ruleset")
    made.clear()


@pytest.mark.parametrize("family", ["ip", "inet"])
def test_a_forward_policy_that_drops_is_warned_of(made, nft, family):
    vip = made.simple("web", 4, ["pod1b"])
    nft(f"table {family} filter {{ chain FORWARD {{ type filter hook forward priority 0; policy drop; }} }}")
    agent = restarted(made)
    assert f"{DROPS} ({family} filter FORWARD)" in agent.text()
    assert notes_of(agent)["forward-policy"] is False
    assert warnings_of(agent)["pod1a"] == ["forward-policy"] and warnings_of(agent)["eth0"] == []
    # What it is about, and that the remedy helps.
    assert made.place("pod1a").ask(vip, 80, timeout=0.5).get("error") == "timeout"
    nft(f"table {family} filter {{ chain FORWARD {{ ip daddr 10.244.0.0/16 accept; ip saddr 10.244.0.0/16 accept; }} }}")
    assert made.place("pod1a").ask(vip, 80)["answer"]["name"] == "pod1b"


def test_a_forward_policy_that_comes_later_is_seen_and_forgotten_when_it_goes(made, nft):
    agent = made.agents["node1"]
    options, agent.options = agent.options, (*agent.options, "--hook-check", "1")
    try:
        restarted(made)
        assert "forward-policy" not in notes_of(agent)
        nft("table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; } }")
        agent.wait_for_log(f"{DROPS} (ip filter FORWARD)")
        assert "forward-policy" in notes_of(agent)
        nft("table ip filter { chain FORWARD { type filter hook forward priority 0; policy accept; } }")
        agent.wait_for_log("netfilter drops no forwarded packets by policy any more")
        assert "forward-policy" not in notes_of(agent)
    finally:
        agent.options = options


LEGACY = ["iptables-legacy", "ip6tables-legacy"]


def legacy_tables(node):
    return {family: set(node.run("cat", f"/proc/self/net/{family}_tables_names").stdout.split()) for family in ("ip", "ip6")}


def test_the_look_at_tables_makes_none(made):
    before = legacy_tables(made.place("node1"))
    restarted(made).json("status")
    assert legacy_tables(made.place("node1")) == before


@pytest.fixture(name="legacy")
def fixture_legacy(made):
    """Runs iptables-legacy on node1; what it has set of FORWARD is accepted again at the end of the test."""
    node, used = made.place("node1"), []

    def run(program, *arguments):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
        done = subprocess.run(node.command(program, *arguments), text=True, capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"this kernel refuses {program}: {done.stderr.strip()}")
        used.append((program, arguments))

    yield run
    for program, arguments in used:
        if "-P" in arguments:
            node.run(program, *arguments[:-1], "ACCEPT")
    made.clear()


@pytest.mark.parametrize("program, table", [
    (program, table) for program in LEGACY for table in ("filter", "mangle")])
def test_a_forward_policy_of_iptables_legacy_is_warned_of(made, legacy, program, table):
    family = 6 if program.startswith("ip6") else 4
    vip = made.simple("web", family, ["pod1b"])
    legacy(program, "-t", table, "-P", "FORWARD", "DROP")
    agent = restarted(made)
    assert f"{DROPS} ({program} {table} FORWARD)" in agent.text()
    assert notes_of(agent)["forward-policy"] is False
    assert made.place("pod1a").ask(vip, 80, timeout=0.5).get("error") == "timeout"
    legacy(program, "-t", table, "-P", "FORWARD", "ACCEPT")
    assert made.place("pod1a").ask(vip, 80)["answer"]["name"] == "pod1b"
    assert DROPS not in restarted(made).text()


def test_other_policies_of_iptables_legacy_are_not_warned_of(made, legacy):
    legacy("iptables-legacy", "-t", "filter", "-N", "FORWARD-OTHER")
    legacy("iptables-legacy", "-t", "filter", "-A", "FORWARD-OTHER", "-j", "DROP")
    legacy("iptables-legacy", "-t", "raw", "-L", "-n")
    try:
        assert DROPS not in restarted(made).text()
    finally:
        made.place("node1").run("iptables-legacy", "-F", "FORWARD-OTHER")
        made.place("node1").run("iptables-legacy", "-X", "FORWARD-OTHER")


@pytest.mark.parametrize("rules", [
    "",
    "table ip filter { chain FORWARD { type filter hook forward priority 0; policy accept; } }",
    "table ip filter { chain INPUT { type filter hook input priority 0; policy drop; iifname lo accept; } }",
    "table bridge filter { chain FORWARD { type filter hook forward priority 0; policy drop; } }",
    "table ip filter { chain FORWARD { drop; } }",
], ids=["none", "accept", "input", "bridge", "no-hook"])
def test_other_chains_are_not_warned_of(made, nft, rules):
    nft(rules)
    assert DROPS not in restarted(made).text()


LOCAL_PORT = "may become the port of a socket of this node"


@pytest.fixture(name="ports")
def fixture_ports(made):
    """Sets net.ipv4.ip_local_* of node1, and the agent's options, until the end of the test."""
    node, agent = made.place("node1"), made.agents["node1"]
    options = agent.options

    def setting(name, value):
        node.run("sysctl", "-qw", f"net.ipv4.ip_local_{name}={value}")

    agent.options = (*options, "--hook-check", "1")
    setting("port_range", "32768 60999")
    yield setting
    setting("reserved_ports", "")
    agent.options = options
    made.clear()


def with_node_port(made, number):
    made.publish(service("web", next_vip(4), [{"port": 80, "nodePort": number}], type="NodePort"))


def test_a_node_port_that_sockets_of_the_node_may_get_is_warned_of_until_it_is_reserved(made, ports):
    with_node_port(made, 40000)
    agent = restarted(made)
    agent.wait_for_log(f"1 NodePort (40000 of Service default/web) {LOCAL_PORT}, as net.ipv4.ip_local_port_range is 32768-60999")
    assert notes_of(agent)["node-port-range"] is False
    ports("reserved_ports", "30000-32767,39990-40010")
    agent.wait_for_log("no NodePort may become the port of a socket of this node any more")
    assert "node-port-range" not in notes_of(agent)
    ports("reserved_ports", "30000-32767")
    wait_for(lambda: "node-port-range" in notes_of(agent), "the note of a port that is reserved no more")


@pytest.mark.parametrize("number, options", [(30080, ()), (40000, ("--nodeport-addresses", "192.0.2.0/24,2001:db8::/32"))],
                         ids=["outside-the-range", "served-nowhere"])
def test_other_node_ports_are_not_warned_of(made, ports, number, options):
    with_node_port(made, number)
    agent = made.agents["node1"]
    agent.options = (*agent.options, *options)
    assert LOCAL_PORT not in restarted(made).text()
    assert "node-port-range" not in notes_of(agent)


STRICT = "the reverse path filter is strict"


@pytest.fixture(name="overlay")
def fixture_overlay(made):
    """A tunnel to other nodes, with a name that only a path has room for, and the agent as it was after the test."""
    node, agent = made.place("node1"), made.agents["node1"]
    options = agent.options
    node.run("ip", "link", "add", "vx.0", "type", "vxlan", "id", 1, "dstport", 4789, "local", node.address(4))
    yield "vx.0"
    node.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=2")  # as scripts/lab has it
    node.run("ip", "link", "del", "vx.0")
    agent.options = options


@pytest.mark.parametrize("forwarding, of_all, of_link, is_warned", [
    ("dsr", 0, 1, True), ("dsr", 1, 0, True), ("dsr", 2, 1, False), ("dsr", 1, 2, False), ("dsr", 0, 0, False),
    ("snat", 1, 1, False)])
def test_a_strict_reverse_path_filter_of_an_overlay_is_warned_of(made, overlay, forwarding, of_all, of_link, is_warned):
    """The larger of the two settings counts."""
    agent = made.agents["node1"]
    made.place("node1").run("sysctl", "-qw", f"net.ipv4.conf.all.rp_filter={of_all}",
                            f"net/ipv4/conf/{overlay}/rp_filter={of_link}")
    agent.options = (*agent.options, "--forwarding", forwarding)
    restarted(made)
    assert (f"link {overlay}: {STRICT}" in agent.text()) == is_warned
    assert notes_of(agent).get("strict-overlay") == (True if is_warned else None)
    assert warnings_of(agent)[overlay] == (["strict-overlay"] if is_warned else [])
    assert f"write 2 to /proc/sys/net/ipv4/conf/{overlay}/rp_filter" in agent.text() or not is_warned


IN_DOUBT = "link second is taken for a pod's, but"


def doubt_of(agent):
    return next((item["doubt"] for item in agent.json("links") if item["name"] == "second"), "gone")


def node_addresses(agent):
    return {ip_text(entry["key"]) for entry in agent.dump("addresses")}


@pytest.fixture(name="second")
def fixture_second(made):
    """A link from node1 to the client: a network without a gateway, where the node has no address yet."""
    node, client, agent = made.place("node1"), made.place("client"), made.agents["node1"]
    options = agent.options
    node.run("ip", "link", "add", "second", "type", "veth", "peer", "name", "second",
             "netns", f"{made.lab.id}-client")
    for place in (node, client):
        place.run("ip", "link", "set", "second", "up")
    wait_for(lambda: doubt_of(agent) is None, "the link")
    yield node, client
    node.run("ip", "link", "del", "second")
    made.clear()
    if agent.options != options:
        agent.options = options
        restarted(made)


def test_a_second_uplink_that_is_taken_for_a_pods_link_is_warned_of(made, second):
    """What is warned of, too: a backend on another node answers the client itself, by a way that it does not have."""
    node, client = second
    agent = made.agents["node1"]
    vip = made.simple("web", 4, ["pod2a"])
    assert "doubtful-pod" not in notes_of(agent)
    node.run("ip", "address", "add", "172.30.7.1/24", "dev", "second")
    client.run("ip", "address", "add", "172.30.7.2/24", "dev", "second")
    client.run("ip", "route", "add", vip, "via", "172.30.7.1", "src", "172.30.7.2")
    agent.wait_for_log(f"{IN_DOUBT} the node has an address there, in a network with others")
    assert notes_of(agent)["doubtful-pod"] is False
    shown = agent.fairlead("links", "second").stdout
    assert "but the node has an address there, in a network with others: see --links-uplink" in shown
    assert client.ask(vip, 80, timeout=0.5).get("error") == "timeout"
    agent.options = (*agent.options, "--links-uplink", "second")
    restarted(made)
    assert client.ask(vip, 80)["answer"]["name"] == "pod2a"
    assert doubt_of(agent) is None
    assert "doubtful-pod" not in notes_of(agent) and IN_DOUBT not in agent.text()


@pytest.mark.parametrize("address, is_doubted", [
    ("172.30.7.1/32", False), ("172.30.7.1/30", False), ("172.30.7.1/29", True),
    ("fd00:30::1/128", False), ("fd00:30::1/126", False), ("fd00:30::1/64", True)])
def test_an_address_for_one_pod_alone_is_no_reason_for_doubt(made, second, address, is_doubted):
    node, _ = second
    agent = made.agents["node1"]
    node.run("ip", "address", "add", address, "dev", "second", *(["nodad"] if ":" in address else []))
    node.run("ip", "route", "add", "172.31.7.9/32", "dev", "second")
    wait_for(lambda: address.split("/")[0] in node_addresses(agent), "the address in the maps")
    assert bool(doubt_of(agent)) == is_doubted
    node.run("ip", "address", "del", address, "dev", "second")
    wait_for(lambda: doubt_of(agent) is None, "no doubt without the address")


def test_a_default_route_by_a_pods_link_is_a_reason_for_doubt(made, second):
    node, _ = second
    agent = made.agents["node1"]
    node.run("ip", "route", "add", "default", "dev", "second", "metric", 9000)
    agent.wait_for_log(f"{IN_DOUBT} a default route leads to it")
    node.run("ip", "route", "del", "default", "dev", "second", "metric", 9000)
    wait_for(lambda: doubt_of(agent) is None, "no doubt without the route")
    node.run("ip", "route", "add", "default", "via", "172.30.7.9", "dev", "second", "metric", 9000, "onlink")
    wait_for(lambda: "uplink" in agent.fairlead("links", "second").stdout.split(), "the gateway by it")
    assert doubt_of(agent) is None
