# SPDX-License-Identifier: BSD-2-Clause
"""node1's uplink is a bond of two links, one of which fails."""

import contextlib
import json

from cluster import addresses_of, wait_for
from topology import uplink_addresses

NEEDS = ("bonding",)
BOND, SECOND = "bond0", "eth1"


@contextlib.contextmanager
def bond(cluster):
    node, wire = cluster.place("node1"), cluster.place("wire")
    wire.run("ip", "link", "add", "node1b", "type", "veth", "peer", "name", SECOND, "netns", f"{cluster.lab.id}-node1")
    wire.run("ip", "link", "set", "node1b", "master", "br0", "up")
    node.run("ip", "link", "add", BOND, "type", "bond", "mode", "active-backup", "miimon", 100)
    for member in ("eth0", SECOND):
        node.run("ip", "link", "set", member, "down")
        node.run("ip", "addr", "flush", "dev", member)
        node.run("ip", "link", "set", member, "master", BOND)
    node.run("ip", "link", "set", BOND, "up")
    uplink_addresses(cluster, "node1", BOND)
    cluster.wait_for_link("node1", BOND, has_address=True)
    try:
        yield node
    finally:
        node.run("ip", "link", "del", BOND)
        wire.run("ip", "link", "del", "node1b")
        node.run("ip", "link", "set", "eth0", "up")
        uplink_addresses(cluster, "node1", "eth0")


def active(node):
    shown = node.run("ip", "-j", "-d", "link", "show", BOND).stdout
    return json.loads(shown)[0]["linkinfo"]["info_data"].get("active_slave")


def greet(node):
    """Has the bridge learn which member is active: it may have heard the other one last, which drops what it gets."""
    for address in addresses_of("client").values():
        wait_for(lambda to=address: node.ping(to).returncode == 0, "the client beyond the bond")


def story(cluster):
    with bond(cluster) as node:
        wait_for(lambda: active(node) == "eth0", "the bond's first link", pause=0.1)
        greet(node)
        cluster.check_outside("bond", hidden_as=addresses_of("node1"))
        cluster.check_inside("bond", backends=["pod2b"])
        cluster.place("wire").run("ip", "link", "set", "node1", "down")
        wait_for(lambda: active(node) == SECOND, "the bond's second link", pause=0.1)
        cluster.check_outside("bond, after a link failed", hidden_as=addresses_of("node1"))
        cluster.place("wire").run("ip", "link", "set", "node1", "up")
