# SPDX-License-Identifier: BSD-2-Clause
"""Backends elsewhere behind vxlan (as flannel has it), ipip and ip6tnl (as Calico has it)."""

import contextlib

from cluster import FAMILIES, NODES, NODE_PORTS, address_of
from tap import promise
from topology import OTHER, add_address, between_nodes, host, network, pods_of

NEEDS = ("vxlan", "ipip", "ip6_tunnel")
VXLAN, VXLAN_MAC = "flannel.1", "02:00:00:00:01:0{}"
IPIP = {4: "fl-ipip", 6: "fl-ip6"}


def base(node, family):
    """The address of a node in its own range of pods, by which flannel names it."""
    return pods_of(node, family).split("/")[0]


def mac(node):
    return VXLAN_MAC.format(node[-1])


@contextlib.contextmanager
def vxlan(cluster):
    for node in NODES:
        place, other = cluster.place(node), OTHER[node]
        place.run("ip", "link", "add", VXLAN, "address", mac(node), "mtu", 1450, "type", "vxlan", "id", 1, "local",
                  address_of(node, 4), "dev", "eth0", "dstport", 8472, "nolearning")
        for family in FAMILIES:
            add_address(place, VXLAN, host(base(node, family), family))
            place.run("ip", "neigh", "replace", base(other, family), "lladdr", mac(other), "dev", VXLAN,
                      "nud", "permanent")
        place.run("ip", "link", "set", VXLAN, "up")
        place.run("bridge", "fdb", "append", mac(other), "dev", VXLAN, "dst", address_of(other, 4))
    ends = {node: {family: base(node, family) for family in FAMILIES} for node in NODES}
    with between_nodes(cluster, VXLAN, ends, "onlink"):
        yield ends


@contextlib.contextmanager
def ipip(cluster):
    ends = {node: {4: f"172.21.0.{node[-1]}", 6: f"fd00:21::{node[-1]}"} for node in NODES}
    for node in NODES:
        place = cluster.place(node)
        for family, kind in ((4, ["ipip"]), (6, ["ip6tnl", "mode", "ip6ip6", "encaplimit", "none"])):
            place.run("ip", "link", "add", IPIP[family], "type", *kind, "local", address_of(node, family), "remote",
                      address_of(OTHER[node], family))
            add_address(place, IPIP[family], network(ends[node][family], family))
            place.run("ip", "link", "set", IPIP[family], "up")
    with between_nodes(cluster, IPIP, ends):
        yield ends


def check_large(cluster, word):
    """SCTP never cuts a message anew that was too big for the way: it sends it again in fragments."""
    for family in FAMILIES:
        result = cluster.ask_sctp("client", address_of("node1", family), NODE_PORTS["pod2b", "sctp"], (20000,))
        promise(result["done"] == 1, f"{word}: an SCTP message larger than fits, from outside, IPv{family}", result)


def story(cluster):
    for word, overlay in (("vxlan", vxlan), ("ipip", ipip)):
        with overlay(cluster) as ends:
            cluster.check_outside(word, hidden_as=ends["node1"])
            if "sctp" in cluster.protocols:
                check_large(cluster, word)
            cluster.check_inside(word, backends=["pod2b"])
