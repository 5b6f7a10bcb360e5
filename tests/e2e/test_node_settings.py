# SPDX-License-Identifier: BSD-2-Clause
"""What an agent says at its start of settings of the node that keep traffic from backends."""

import pytest

from world import World

DROPS = "netfilter drops forwarded packets by policy"


@pytest.fixture(name="made", scope="module")
def fixture_made():
    with World("tc") as world:
        yield world


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
    # What it is about, and that the remedy helps.
    assert made.place("pod1a").ask(vip, 80, timeout=0.5).get("error") == "timeout"
    nft(f"table {family} filter {{ chain FORWARD {{ ip daddr 10.244.0.0/16 accept; ip saddr 10.244.0.0/16 accept; }} }}")
    assert made.place("pod1a").ask(vip, 80)["answer"]["name"] == "pod1b"


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
