# SPDX-License-Identifier: BSD-2-Clause
"""Packets are lost, come late, twice and in another order: no request fails that would not without Services."""

import contextlib

from cluster import DOWN, FAMILIES, NODE_PORTS, SCTP_TARGET, TARGET, UP, address_of
from tap import note, promise

NEEDS = ("sch_netem",)
WEATHER = ("delay", "3ms", "2ms", "loss", "2%", "duplicate", "3%", "reorder", "20%", "50%")
COUNT = 6  # connections at a time, from each of so many askers, and datagrams four times as many
PATIENCE = 30
TRIES = 8  # of a question in a datagram, where one of 25 is lost on the two ways


@contextlib.contextmanager
def weather(cluster):
    """On all that comes to the nodes and the client."""
    wire = cluster.place("wire")
    for link in ("node1", "node2", "client"):
        wire.run("tc", "qdisc", "replace", "dev", link, "root", "netem", *WEATHER)
    try:
        yield
    finally:
        for link in ("node1", "node2", "client"):
            wire.run("tc", "qdisc", "del", "dev", link, "root")


def failed_streams(client, targets):
    """Connections, all at once, that do not carry much both ways."""
    going = [client.begin("ask_many", count=COUNT, proto="tcp", address=address, port=port, message=message,
                          timeout=PATIENCE)
             for address, port in targets for message in (UP, DOWN)]
    return [result for finish in going for result in finish(timeout=20 * PATIENCE) if "error" in result]


def failed_questions(cluster, client, targets):
    """Datagrams that are not answered however often they are sent."""
    results = [cluster.ask("udp", client, address, port, tries=TRIES)
               for address, port in targets for _ in range(4 * COUNT)]
    return [result for result in results if "error" in result]


def failed_associations(cluster, client, targets):
    results = [cluster.ask_sctp(client, address, port, (5000,) * 4) for address, port in targets]
    return [result for result in results if "error" in result]


def story(cluster):
    outside = cluster.place("client")
    frontends = {proto: [(address_of(node, family), NODE_PORTS[backend, proto])
                         for node, backend in (("node1", "pod2b"), ("node2", "pod1b")) for family in FAMILIES]
                 for proto in cluster.protocols}
    directly = [(address_of("pod2b", family), TARGET) for family in FAMILIES]
    with weather(cluster):
        ways = (("without a Service", directly, directly, [(address, SCTP_TARGET) for address, _ in directly]),
                ("by NodePort", *(frontends.get(proto) for proto in ("tcp", "udp", "sctp"))))
        for way, streams, questions, associations in ways:
            failed = failed_streams(outside, streams)
            promise(not failed, f"netem: {way}, {2 * COUNT * len(streams)} TCP connections", *failed[:5])
            failed = failed_questions(cluster, "client", questions)
            promise(not failed, f"netem: {way}, {4 * COUNT * len(questions)} questions by UDP, repeated", *failed[:5])
            if "sctp" in cluster.protocols:
                failed = failed_associations(cluster, "client", associations)
                promise(not failed, f"netem: {way}, {len(associations)} associations of SCTP", *failed[:5])
        note(cluster.place("wire").run("tc", "-s", "qdisc", "show", "dev", "node1").stdout)
