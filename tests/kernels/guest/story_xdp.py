# SPDX-License-Identifier: BSD-2-Clause
"""node1's uplink is a virtio network card with native XDP: its driver says itself what XDP has sent, both ways."""

import contextlib
import json
import pathlib
import re
import subprocess

from cluster import FAMILIES, NODE_PORTS, READY, address_of, addresses_of
from lab import wait_for
from tap import Skip, note, promise
from topology import uplink_addresses

NEEDS = ("virtio_net",)
CARD, CABLE_END = "eth0", "eth1"  # of the guest itself: a cable joins them
COUNT = 40  # datagrams in a conversation; the first of each way opens it, and is TC's
# What each queue received and XDP sent on; there are sums as well.
SENT = re.compile(r"\s*rx_?(queue_)?\d+_xdp_(tx|redirects): (\d+)")


def is_virtio(name):
    driver = pathlib.Path(f"/sys/class/net/{name}/device/driver")
    return driver.exists() and driver.resolve().name == "virtio_net"


@contextlib.contextmanager
def virtio_uplink(cluster):
    """The card takes the place of node1's veth, the other end of its cable that of the veth's port on the wire."""
    node, wire = cluster.place("node1"), cluster.place("wire")
    mac = json.loads(node.run("ip", "-j", "link", "show", "eth0").stdout)[0]["address"]
    node.run("ip", "link", "set", "eth0", "down")
    node.run("ip", "link", "set", "eth0", "name", "veth0")
    for name, place in ((CARD, "node1"), (CABLE_END, "wire")):
        subprocess.run(["ip", "link", "set", name, "netns", f"{cluster.lab.id}-{place}"], check=True)
    wire.run("ip", "link", "set", CABLE_END, "master", "br0", "up")
    node.run("ip", "addr", "flush", "dev", "veth0")
    node.run("ip", "link", "set", CARD, "address", mac, "up")
    uplink_addresses(cluster, "node1", CARD)
    try:
        yield node
    finally:
        for name, place in ((CARD, node), (CABLE_END, wire)):
            place.run("ip", "link", "set", name, "netns", "1")
        node.run("ip", "link", "set", "veth0", "name", "eth0")
        node.run("ip", "link", "set", "eth0", "up")
        uplink_addresses(cluster, "node1", "eth0")


@contextlib.contextmanager
def agent_with(agent, *options):
    """The agent, started anew with more options."""
    before = agent.options
    agent.stop()
    agent.options = (*before, *options)
    agent.start(ready=False)
    agent.wait_for_log("ready: ", READY)
    try:
        yield agent
    finally:
        agent.stop()
        agent.options = before


def sent_by_xdp(node):
    shown = node.run("ethtool", "-S", CARD).stdout
    return sum(int(found[3]) for found in map(SENT.match, shown.splitlines()) if found)


def converse(client, address, port):
    """Datagrams of one conversation that were not answered."""
    with client.socket("udp", address, port, timeout=5) as sock:
        return [result for result in (sock.exchange() for _ in range(COUNT)) if "error" in result]


def story(cluster):
    if not (is_virtio(CARD) and is_virtio(CABLE_END)):
        raise Skip(f"{CARD} and {CABLE_END} are no virtio network cards")
    client = cluster.place("client")
    with virtio_uplink(cluster) as node, agent_with(cluster.agents["node1"], "--xdp", "native") as agent:
        links = agent.json("status")["hooks"]["xdp"]
        promise([(item["link"], item["mode"]) for item in links] == [(CARD, "native")], "xdp: status says native",
                links)
        wait_for(lambda: node.ping(address_of("node2", 4)).returncode == 0, "node2 beyond the card")
        cluster.check("xdp: from outside to a NodePort, backend elsewhere", "client", "pod2b", addresses_of("node1"),
                      seen=addresses_of("node1"))
        cluster.check("xdp: from outside to a NodePort, backend on that node", "client", "pod1b", addresses_of("node1"))
        cluster.check("xdp: from pod1a to the ClusterIP of pod2b", "pod1a", "pod2b")
        for family in FAMILIES:
            before = sent_by_xdp(node)
            failed = converse(client, address_of("node1", family), NODE_PORTS["pod2b", "udp"])
            sent = sent_by_xdp(node) - before
            promise(not failed, f"xdp: {COUNT} datagrams of a conversation are answered, IPv{family}", *failed[:5])
            promise(sent >= 2 * (COUNT - 2),
                    f"xdp: the driver counts that XDP sent them and their answers, IPv{family}")
            note(f"IPv{family}: XDP sent {sent} of {2 * COUNT} frames")
