# SPDX-License-Identifier: BSD-2-Clause
"""Other links in the lab than veths: between the nodes, to a pod, to the outside; and back to what it was."""

import contextlib

from cluster import FAMILIES, NODES, address_of

POD = "pod1c"  # whose link stories exchange
GATEWAYS = {4: "169.254.1.1", 6: "fe80::1"}
GATEWAY_MAC = "ee:ee:ee:ee:ee:ee"
OTHER = dict(zip(NODES, reversed(NODES)))


def pods_of(node, family):
    return f"10.244.{node[-1]}.0/24" if family == 4 else f"fd00:244:{node[-1]}::/64"


def host(address, family):
    return f"{address}/{32 if family == 4 else 128}"


def network(address, family):
    """The address with the width that links between hosts have in the lab."""
    return f"{address}/{24 if family == 4 else 64}"


def add_address(place, device, address, *more):
    """`address` with its width. No host is asked whether it has an address of IPv6 already."""
    place.run("ip", "addr", "replace", address, "dev", device, *(["nodad"] if ":" in address else []), *more)


def route_pods(cluster, node, via, device="eth0", *more):
    """The node reaches the other's pods by `via` of each family; `device`: one name, or one of each family."""
    for family in FAMILIES:
        name = device if isinstance(device, str) else device[family]
        destination = pods_of(OTHER[node], family)
        # Deleted first: a gateway within the destination is not taken where another link leads there.
        cluster.place(node).run("ip", "route", "del", destination, check=False)
        cluster.place(node).run("ip", "route", "add", destination, "via", via[family], "dev", name, *more)


@contextlib.contextmanager
def between_nodes(cluster, device, ends, *more):
    """Pods of the other node are behind a link: its ends' addresses are ends[node][family]."""
    devices = {device} if isinstance(device, str) else set(device.values())
    for node in NODES:
        for name in sorted(devices):
            cluster.wait_for_link(node, name, has_address=True)
        route_pods(cluster, node, ends[OTHER[node]], device, *more)
    try:
        yield
    finally:
        for node in NODES:
            route_pods(cluster, node, {family: address_of(OTHER[node], family) for family in FAMILIES})
            for name in sorted(devices):
                cluster.place(node).run("ip", "link", "del", name)


def move_pod(cluster, device, inner, has_neighbours):
    """POD is reached by `device` of node1, and reaches all by its `inner`."""
    pod, node = cluster.place(POD), cluster.place("node1")
    for place, name in ((node, device), (pod, inner)):
        place.run("ip", "link", "set", name, "up")
    for old in ("eth0", inner):
        pod.run("ip", "addr", "flush", "dev", old, "scope", "global")
    for family in FAMILIES:
        add_address(pod, inner, host(pod.address(family), family))
        if has_neighbours:
            pod.run("ip", "neigh", "replace", GATEWAYS[family], "lladdr", GATEWAY_MAC, "dev", inner, "nud", "permanent")
    if has_neighbours:
        pod.run("ip", "route", "replace", GATEWAYS[4], "dev", inner, "scope", "link")
    for family in FAMILIES:
        via = ["via", GATEWAYS[family]] if has_neighbours else []
        pod.run("ip", f"-{family}", "route", "replace", "default", *via, "dev", inner)
        node.run("ip", "route", "replace", host(pod.address(family), family), "dev", device)


@contextlib.contextmanager
def pod_behind(cluster, device, inner, has_neighbours=True):
    """POD has another link than its veth. The caller has made the pair and ends it."""
    move_pod(cluster, device, inner, has_neighbours)
    cluster.wait_for_link("node1", device)
    try:
        yield
    finally:
        cluster.place(POD).run("ip", "addr", "flush", "dev", inner)
        move_pod(cluster, POD, "eth0", True)


def uplink_addresses(cluster, node, device):
    """Gives a node's addresses and routes to another device than has them; the wire stays what it was."""
    place = cluster.place(node)
    for family in FAMILIES:
        add_address(place, device, network(address_of(node, family), family))
        place.run("ip", f"-{family}", "route", "replace", "default", "via", address_of("wire", family), "dev", device)
    route_pods(cluster, node, {family: address_of(OTHER[node], family) for family in FAMILIES}, device)
