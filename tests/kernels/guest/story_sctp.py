# SPDX-License-Identifier: BSD-2-Clause
"""Sockets of SCTP through ClusterIPs and NodePorts, backends here and elsewhere, by source NAT and direct server
return, with messages of less and much more than a packet; nothing that arrives has a wrong checksum.
"""

from cluster import FAMILIES, NODE_PORTS, SCTP_TARGET, SERVICE_PORT, VIPS, addresses_of
from tap import note, promise

NEEDS = ("sctp",)
SIZES = (100, 1400, 2000, 5000, 20000, 60000)
COUNTED = ("SctpChecksumErrors", "SctpOutOfBlues", "SctpAborteds", "SctpT3Retransmits")


def check(cluster, what, client, backend, addresses, port, seen=None):
    for family in FAMILIES:
        result = cluster.ask_sctp(client, addresses[family], port, SIZES)
        told = result["done"] == len(SIZES) and result["name"] == backend
        promise(told and (not seen or result["seen"] == seen[family]),
                f"sctp: {what}, IPv{family}, messages of {SIZES[0]} to {SIZES[-1]} bytes", result)


def counters(cluster, name):
    shown = cluster.place(name).run("cat", "/proc/net/sctp/snmp").stdout
    return dict(line.split() for line in shown.splitlines() if line)


def story(cluster):
    vips = {name: {family: VIPS[name, family] for family in FAMILIES} for name in ("pod1b", "pod2b")}
    for backend in ("pod1b", "pod2b"):
        check(cluster, f"pod1a to {backend} itself (the lab is sound)", "pod1a", backend, addresses_of(backend), SCTP_TARGET)
    for client, backend in (("pod1a", "pod1b"), ("pod1a", "pod2b"), ("pod2a", "pod2b"), ("node1", "pod1b"), ("node1", "pod2b")):
        check(cluster, f"{client} to the ClusterIP of {backend}", client, backend, vips[backend], SERVICE_PORT)
    outside = addresses_of("client")
    for node, backend, how, seen in (("node1", "pod1b", "backend on that node", outside),
                                     ("node1", "pod2b", "backend elsewhere, source NAT", addresses_of("node1")),
                                     ("node2", "pod1b", "backend elsewhere, direct server return", outside)):
        check(cluster, f"from outside to a NodePort, {how}", "client", backend, addresses_of(node),
              NODE_PORTS[backend, "sctp"], seen)
    for name in ("client", "pod1a", "pod2a", "node1", "pod1b", "pod2b"):
        found = counters(cluster, name)
        note(f"{name}: " + ", ".join(f"{key} {found[key]}" for key in COUNTED if key in found))
        promise(found["SctpChecksumErrors"] == "0", f"sctp: no packet came to {name} with a wrong checksum", found)
