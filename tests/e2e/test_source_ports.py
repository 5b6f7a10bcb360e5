# SPDX-License-Identifier: BSD-2-Clause
"""Source ports run out: flows that have one go on, who gets none is told of, and what comes free is used."""

from lab import address_of, wait_for
from outside import LOCAL, NODE_PORT, REMOTE, publish

HOOKS = ["tc"]
PORTS = 4
OPTIONS = ["--source-ports", f"61000-{61000 + PORTS - 1}"]
# Servers of the node have these: clients that ask by them cannot keep their port.
NODES = range(40000, 40200)


def dropped(agent):
    return agent.json("status")["counters"].get("no-port-free", {"packets": 0})["packets"]


def open_flow(client, proto, frontend, port):
    """A socket with an answered flow, or None: no port was left, or some were tried and all were taken."""
    sock = client.socket(proto, frontend.address, timeout=0.2, source_port=port)
    if "error" in sock.connect(address=frontend.address, port=frontend.port) or "error" in sock.exchange():
        sock.close()
        return None
    return sock


def use_up(world, proto, family, ports):
    frontend = publish(world, NODE_PORT, family, [REMOTE], name=f"{proto}{family}")
    elsewhere = publish(world, NODE_PORT, family, ["pod2c"], name="elsewhere")
    here = publish(world, NODE_PORT, family, [LOCAL], name="here")
    client, agent, held = world.place("client"), world.agents["node1"], []
    before = dropped(agent)
    try:
        for _ in range(PORTS):
            held.append(wait_for(lambda: open_flow(client, proto, frontend, next(ports)), "a flow"))
        first = [sock.exchange()["answer"] for sock in held]
        assert len({answer["client_port"] for answer in first}) == PORTS
        for _ in range(3):
            assert frontend.ask(world, proto, timeout=0.2, source_port=next(ports)).get("error") == "timeout"
        assert dropped(agent) >= before + 3
        # A port is taken for one backend only, and not at all for those of the node.
        assert elsewhere.ask(world, proto)["answer"]["client"] == address_of("node1", family)
        assert here.ask(world, proto)["answer"]["client"] == address_of("client", family)
        assert [sock.exchange()["answer"] for sock in held] == first
        # A port of the client's own that the node does not need is kept, and needs none of these.
        assert frontend.ask(world, proto, source_port=5400)["answer"]["client_port"] == 5400
    finally:
        for sock in held:
            sock.close()
    if proto == "tcp":
        wait_for(lambda: "error" not in frontend.ask(world, timeout=0.2, source_port=next(ports)),
                 "a port that was given back")


def test_ports_that_run_out_break_no_flow_and_nobody_else_and_are_told_of(world):
    """All in one test: the agent looks for who found no port every few seconds."""
    variants = [(proto, family) for proto in ("tcp", "udp") for family in (4, 6)]
    world.lab.serve("node1", ports=NODES)
    ports = iter(NODES)
    for proto, family in variants:
        use_up(world, proto, family, ports)
    for proto, family in variants:
        world.agents["node1"].wait_for_log(
            f"default/{proto}{family}:{proto} ({proto.upper()}) were dropped: no source port was left")
