# SPDX-License-Identifier: BSD-2-Clause
"""8021q: an uplink that is a VLAN of another, and a pod behind a VLAN of its link."""

import contextlib

from cluster import FAMILIES, NODES, address_of
from topology import POD, add_address, between_nodes, network, pod_behind

NEEDS = ("8021q",)
UPLINK, TAG = "eth0.100", 100
UPLINK_HOSTS = {"node1": 11, "node2": 12, "client": 100}
POD_LINK, POD_INNER, POD_TAG = f"{POD}.7", "eth0.7", 7


def addresses(name):
    return {4: f"172.19.0.{UPLINK_HOSTS[name]}", 6: f"fd00:19::{UPLINK_HOSTS[name]}"}


def make(place, parent, name, tag):
    place.run("ip", "link", "add", "link", parent, "name", name, "type", "vlan", "id", tag)
    place.run("ip", "link", "set", name, "up")


@contextlib.contextmanager
def tagged_wire(cluster):
    for name in UPLINK_HOSTS:
        place = cluster.place(name)
        make(place, "eth0", UPLINK, TAG)
        for family in FAMILIES:
            add_address(place, UPLINK, network(addresses(name)[family], family))
    try:
        with between_nodes(cluster, UPLINK, {name: addresses(name) for name in NODES}):
            yield
    finally:
        cluster.place("client").run("ip", "link", "del", UPLINK)


@contextlib.contextmanager
def tagged_pod(cluster):
    make(cluster.place("node1"), POD, POD_LINK, POD_TAG)
    make(cluster.place(POD), "eth0", POD_INNER, POD_TAG)
    try:
        with pod_behind(cluster, POD_LINK, POD_INNER):
            yield
    finally:
        cluster.place("node1").run("ip", "link", "del", POD_LINK)
        cluster.place(POD).run("ip", "link", "del", POD_INNER)


@contextlib.contextmanager
def default_route(cluster):
    """The node's own packets to ClusterIPs leave by the VLAN."""
    node = cluster.place("node1")
    for family in FAMILIES:
        node.run("ip", f"-{family}", "route", "replace", "default", "via", addresses("node2")[family], "dev", UPLINK)
    try:
        yield
    finally:
        for family in FAMILIES:
            node.run("ip", f"-{family}", "route", "replace", "default", "via", address_of("wire", family),
                     "dev", "eth0")


def story(cluster):
    with tagged_wire(cluster):
        cluster.check_outside("vlan uplink", addresses("node1"), addresses("node2"), hidden_as=addresses("node1"))
        cluster.check_inside("vlan uplink", backends=["pod2b"])
        with default_route(cluster):
            cluster.check_inside("vlan uplink with the default route", clients=["node1"])
    with tagged_pod(cluster):
        cluster.check_pod("vlan pod", POD)
