# SPDX-License-Identifier: BSD-2-Clause
"""SCTP sockets through ClusterIPs and NodePorts, to backends here and elsewhere, with messages larger than a packet."""

import contextlib

from cluster import (FAMILIES, MULTIHOMED, MULTIHOMED_PORT, NODE_PORTS, SCTP_TARGET, SERVICE_PORT, VIPS, address_of,
                     addresses_of)
from tap import note, promise
from topology import add_address, host

NEEDS = ("sctp",)
FITTING = (100, 1300)
SIZES = (100, 1400, 2000, 5000, 20000, 60000)
COUNTED = ("SctpChecksumErrors", "SctpOutOfBlues", "SctpAborteds", "SctpT3Retransmits")


def check(cluster, what, client, backend, addresses, port, seen=None, sizes=SIZES):
    for family in FAMILIES:
        result = cluster.ask_sctp(client, addresses[family], port, sizes)
        told = result["done"] == len(sizes) and result["name"] == backend
        promise(told and (not seen or result["seen"] == seen[family]),
                f"sctp: {what}, IPv{family}, messages of {sizes[0]} to {sizes[-1]} bytes", result)


def counters(cluster, name):
    shown = cluster.place(name).run("cat", "/proc/net/sctp/snmp").stdout
    return dict(line.split() for line in shown.splitlines() if line)


SECOND = {"pod1a": {4: "10.244.1.111", 6: "fd00:244:1::111"}, "pod2b": {4: "10.244.2.112", 6: "fd00:244:2::112"}}


@contextlib.contextmanager
def second_addresses(cluster):
    """A client and a server with two addresses of each family.

    A server may answer by the other address than was dialled, which a client of a Service cannot know; so the kernel
    prefers the first.
    """
    for name, addresses in SECOND.items():
        for family, address in addresses.items():
            add_address(cluster.place(name), "eth0", host(address, family), "preferred_lft", 0)
    for family in FAMILIES:
        cluster.place("node1").run("ip", "route", "add", host(SECOND["pod1a"][family], family), "dev", "pod1a")
        cluster.serve_sctp("pod2b", MULTIHOMED_PORT, [address_of("pod2b", family), SECOND["pod2b"][family]])
    try:
        yield
    finally:
        for name, addresses in SECOND.items():
            for family, address in addresses.items():
                cluster.place(name).run("ip", "addr", "del", host(address, family), "dev", "eth0")
        for address in SECOND["pod1a"].values():
            cluster.place("node1").run("ip", "route", "del", address)


def check_multihomed(cluster):
    """Each end tells the other of its addresses within its packets. Where the ports are the same, the second address of
    the server, and of the client, is reached past the Service, and the association is of use as it is without one."""
    for family in FAMILIES:
        sources = [address_of("pod1a", family), SECOND["pod1a"][family]]
        for what, address in (("directly (the lab is sound)", address_of("pod2b", family)),
                              ("by ClusterIP", MULTIHOMED[family])):
            result = cluster.ask_sctp("pod1a", address, MULTIHOMED_PORT, SIZES * 2, sources=sources)
            promise(result["done"] == 2 * len(SIZES),
                    f"sctp: client and server with two addresses each, {what}, IPv{family}", result)


def story(cluster):
    vips = {name: {family: VIPS[name, family] for family in FAMILIES} for name in ("pod1b", "pod2b")}
    for backend in ("pod1b", "pod2b"):
        check(cluster, f"pod1a to {backend} directly (the lab is sound)", "pod1a", backend, addresses_of(backend),
              SCTP_TARGET)
    for client, backend in (("pod1a", "pod1b"), ("pod1a", "pod2b"), ("pod2a", "pod2b"), ("node1", "pod1b"),
                            ("node1", "pod2b")):
        check(cluster, f"{client} to the ClusterIP of {backend}", client, backend, vips[backend], SERVICE_PORT)
    outside = addresses_of("client")
    for node, backend, how, seen in (("node1", "pod1b", "backend on that node", outside),
                                     ("node1", "pod2b", "backend elsewhere, source NAT", addresses_of("node1"))):
        check(cluster, f"from outside to a NodePort, {how}", "client", backend, addresses_of(node),
              NODE_PORTS[backend, "sctp"], seen)
    # What was too big beside the outer header is never cut in other messages, but sent again in fragments.
    for sizes in (FITTING, SIZES):
        check(cluster, "from outside to a NodePort, backend elsewhere, direct server return", "client", "pod1b",
              addresses_of("node2"), NODE_PORTS["pod1b", "sctp"], outside, sizes)
    with second_addresses(cluster):
        check_multihomed(cluster)
    for name in ("client", "pod1a", "pod2a", "node1", "pod1b", "pod2b"):
        found = counters(cluster, name)
        note(f"{name}: " + ", ".join(f"{key} {found[key]}" for key in COUNTED if key in found))
        promise(found["SctpChecksumErrors"] == "0", f"sctp: no packet came to {name} with a wrong checksum", found)
