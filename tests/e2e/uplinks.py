# SPDX-License-Identifier: BSD-2-Clause
"""What native XDP needs of the lab's veths, and what an agent says of XDP on its uplink."""

from lab import NODES, all_pods, wait_for

# Agents look that often whether the links' peers take frames by now.
CHECK = ("--hook-check", "1")


def offload(place, device, feature, state):
    place.run("ethtool", "-K", device, feature, state)


def finish_checksums(lab, state="off"):
    """XDP on a veth sees checksums as their sender left them; here senders finish them themselves."""
    for name in ("client", *all_pods()):
        offload(lab.place(name), "eth0", "tx", state)


def peers_take_frames(lab, state="on"):
    """A veth's driver sends frames only to a peer that has GRO on: the other ends of the nodes' uplinks."""
    for name in NODES:
        offload(lab.place("wire"), name, "gro", state)


def xdp_of(agent, link="eth0"):
    """What `fairlead status` says of a link: (mode, reason)."""
    links = agent.json("status")["hooks"]["xdp"]
    return next(((item["mode"], item["reason"]) for item in links if item["link"] == link), None)


def wait_for_xdp(agent, mode, reason=None):
    wait_for(lambda: xdp_of(agent) == (mode, reason),
             lambda: f"XDP {mode} on {agent.node}; it is {xdp_of(agent)}", pause=0.05)


def prepare_for_xdp(lab):
    """For agents that start with --xdp native after that."""
    finish_checksums(lab)
    peers_take_frames(lab)
