# SPDX-License-Identifier: BSD-2-Clause
"""Flows of connections that are over leave the table by themselves, whoever confirmed them."""

from lab import wait_for
from world import World

OVER = ["--timeout", "tcp-closed=1"]
PATIENCE = 30  # seconds: flows are looked at every 10


def test_flows_end_after_another_start_and_without_an_agent():
    with World("tc", *OVER) as made:
        agent = made.agents["node1"]
        vip = made.simple("web", 4, ["pod2b"])
        client = made.place("pod1a")
        assert "answer" in client.ask(vip)
        assert agent.json("flows")
        agent.stop()
        agent.start()
        assert "answer" in client.ask(vip)
        agent.stop()
        assert agent.json("flows")
        wait_for(lambda: not agent.json("flows"), "the end of all flows", PATIENCE, pause=0.2)
        assert "answer" in client.ask(vip)
        agent.start()
