# SPDX-License-Identifier: BSD-2-Clause
"""Packets are lost, come late, twice and in another order: no request fails that would not without Services."""

import contextlib

from cluster import DOWN, FAMILIES, NODE_PORTS, TARGET, UP, address_of
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


def story(cluster):
    outside = cluster.place("client")
    frontends = {proto: [(address_of(node, family), NODE_PORTS[backend, proto])
                         for node, backend in (("node1", "pod2b"), ("node2", "pod1b")) for family in FAMILIES]
                 for proto in ("tcp", "udp")}
    directly = [(address_of("pod2b", family), TARGET) for family in FAMILIES]
    with weather(cluster):
        for way, streams, questions in (("without a Service", directly, directly),
                                        ("by NodePort", frontends["tcp"], frontends["udp"])):
            failed = failed_streams(outside, streams)
            promise(not failed, f"netem: {way}, {2 * COUNT * len(streams)} TCP connections", *failed[:5])
            failed = failed_questions(cluster, "client", questions)
            promise(not failed, f"netem: {way}, {4 * COUNT * len(questions)} questions by UDP, repeated", *failed[:5])
        note(cluster.place("wire").run("tc", "-s", "qdisc", "show", "dev", "node1").stdout)
