# SPDX-License-Identifier: BSD-2-Clause
"""What an agent says at its start of settings of the node that keep traffic from backends."""

import pytest

from world import World

DROPS = "netfilter drops forwarded packets by policy"


@pytest.fixture(name="made", scope="module")
def fixture_made():
    with World("tc") as world:
        yield world


def notes_of(agent):
    """{what status says of the node: whether it harms traffic}."""
    return {item["name"]: item["harmful"] for item in agent.json("status")["degraded"]}


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
    assert f"write 2 to /proc/sys/net/ipv4/conf/{overlay}/rp_filter" in agent.text() or not is_warned
