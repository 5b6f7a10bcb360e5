# SPDX-License-Identifier: BSD-2-Clause
"""XDP on uplinks: real packets that turn round in a driver, and everything that goes up to TC.

A veth's driver takes frames for its peer only if that has GRO on, and shows XDP checksums that
their sender has not finished unless it was told to finish them. The world here has both set.
"""

import contextlib
import json
import os

import pytest

import programs
from lab import Agent, address_of, all_pods, wait_for
from manifests import both_protocols, next_vip, service, slice_, slice_ports
from test_outside import Frontend
from world import World

REMOTE, LOCAL = "pod2b", "pod1b"
NODE_PORT, EXTERNAL_IP, CLUSTER_IP = "NodePort", "external IP", "ClusterIP"

each_family = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
each_proto = pytest.mark.parametrize("proto", ["tcp", "udp"])
each_kind = pytest.mark.parametrize("kind", [NODE_PORT, EXTERNAL_IP, CLUSTER_IP])

_ports = iter(range(31700, 32700))
_hosts = iter(range(10, 250))


def offload(place, device, feature, state):
    place.run("ethtool", "-K", device, feature, state)


def finish_checksums(lab, state="off"):
    for name in ("client", *all_pods()):
        offload(lab.place(name), "eth0", "tx", state)


def peers_take_frames(lab, state="on"):
    """What is at the other end of the nodes' uplinks."""
    for name in ("node1", "node2"):
        offload(lab.place("wire"), name, "gro", state)


@contextlib.contextmanager
def world_of(*options):
    with World("tc", *options) as made:
        finish_checksums(made.lab)
        peers_take_frames(made.lab)
        ranges = {4: ["203.0.113.0/24", "10.96.0.0/16"], 6: ["2001:db8:113::/64", "fd00:96::/112"]}
        for family, wanted in ranges.items():
            for range_ in wanted:
                made.place("client").run("ip", "route", "replace", range_, "via",
                                         address_of("node1", family))
        yield made


@pytest.fixture(scope="module", params=["native", "generic"])
def world(request):
    with world_of("--xdp", request.param) as made:
        made.mode = request.param
        yield made


def publish(world, kind, family, backends, **spec):
    vip, port, ports = next_vip(family), 80, both_protocols()
    address = vip
    if kind == NODE_PORT:
        port, address = next(_ports), address_of("node1", family)
        ports = [{**item, "nodePort": port} for item in ports]
        spec = {"type": "NodePort", **spec}
    elif kind == EXTERNAL_IP:
        address = ("203.0.113." if family == 4 else "2001:db8:113::") + str(next(_hosts))
        spec = {"externalIPs": [address], **spec}
    world.publish(service("web", vip, ports, **spec),
                  slice_("web", backends, slice_ports(), family), name="web")
    return Frontend(kind, address, port)


def counted(agent, name):
    """How often this has happened, by `fairlead status`."""
    return agent.json("status")["counters"][name]["packets"]


def xdp_of(agent, link="eth0"):
    return next(item for item in agent.json("status")["hooks"]["xdp"] if item["link"] == link)


@each_kind
@each_proto
@each_family
def test_a_client_reaches_a_backend_elsewhere_through_xdp(world, kind, proto, family):
    frontend = publish(world, kind, family, [REMOTE])
    before = counted(world.agents["node1"], "xdp")
    assert frontend.ask_all(world, proto, 20) == {REMOTE: {address_of("node1", family)}}
    packets = counted(world.agents["node1"], "xdp") - before
    # A packet for each neighbour goes by TC now and then.
    assert packets >= (40 if proto == "tcp" else 20), packets
