# SPDX-License-Identifier: BSD-2-Clause
"""Backends elsewhere behind WireGuard between the nodes."""

import contextlib
import shutil

from cluster import FAMILIES, NODES, address_of
from tap import Skip
from topology import OTHER, add_address, between_nodes, network

NEEDS = ("wireguard",)
DEVICE, PORT = "fl-wg", 51820


@contextlib.contextmanager
def wireguard(cluster):
    ends = {node: {4: f"172.22.0.{node[-1]}", 6: f"fd00:22::{node[-1]}"} for node in NODES}
    keys, public = {}, {}
    for node in NODES:
        keys[node] = cluster.lab.directory / f"{node}.key"
        place = cluster.place(node)
        place.run("sh", "-c", f"umask 077; wg genkey >{keys[node]}")
        public[node] = place.run("sh", "-c", f"wg pubkey <{keys[node]}").stdout.strip()
    for node in NODES:
        place, other = cluster.place(node), OTHER[node]
        place.run("ip", "link", "add", DEVICE, "type", "wireguard")
        place.run("wg", "set", DEVICE, "private-key", keys[node], "listen-port", PORT, "peer", public[other],
                  "allowed-ips", "0.0.0.0/0,::/0", "endpoint", f"{address_of(other, 4)}:{PORT}")
        for family in FAMILIES:
            add_address(place, DEVICE, network(ends[node][family], family))
        place.run("ip", "link", "set", DEVICE, "up")
    with between_nodes(cluster, DEVICE, ends):
        yield ends


def story(cluster):
    if not shutil.which("wg"):
        raise Skip("wg is not installed (package wireguard-tools)")
    with wireguard(cluster) as ends:
        cluster.check_outside("wireguard", hidden_as=ends["node1"])
        cluster.check_inside("wireguard", backends=["pod2b"])
