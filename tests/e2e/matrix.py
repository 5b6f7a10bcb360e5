# SPDX-License-Identifier: BSD-2-Clause
"""The matrix of frontends, clients, policies, protocols and families: its cells, its Services, its rules.

The rules are the promises of docs/behaviour.md in words (groups D to G). They know nothing of the program.
"""

import dataclasses
import itertools

import uplinks
from lab import address_of, all_pods, node_of
from manifests import node, service, service_port, slice_
from world import World

CLUSTER_IP, NODE_PORT, EXTERNAL_IP, LOAD_BALANCER = "cluster-ip", "node-port", "external-ip", "load-balancer-ip"
KINDS = (CLUSTER_IP, NODE_PORT, EXTERNAL_IP, LOAD_BALANCER)
CLUSTER, LOCAL = "Cluster", "Local"
PROTOCOLS = ("tcp", "udp", "sctp")
SOURCE_NAT, DSR, HYBRID = "source-nat", "dsr", "hybrid"

# The node that outsiders' routes lead to, and whose NodePorts all dial.
NODE = "node1"
BACKENDS = {"everywhere": ("pod1b", "pod1c", "pod2b", "pod2c"), "elsewhere": ("pod2b", "pod2c")}
TARGET_PORT = 8080

# Repeated questions: so many at least, and as many as it takes until all have answered that should.
AT_LEAST, AT_MOST = 16, 400
# Sockets of one host never have one port at once, seen or unseen by hooks: the latter get theirs from here.
UNSEEN_PORTS = range(11000, 20000, 50)
SILENCE = 0.1  # seconds in which an answer that must not come would have come

EXTERNAL = {4: ("203.0.113.", "192.0.2."), 6: ("2001:db8:113::", "2001:db8:99::")}
RANGES = {4: ("203.0.113.0/24", "192.0.2.0/24", "10.96.0.0/16"),
          6: ("2001:db8:113::/64", "2001:db8:99::/64", "fd00:96::/112")}


@dataclasses.dataclass(frozen=True)
class Client:
    """Who dials: a place of the lab. `unseen`: his sockets are not the socket hooks', his packets TC's."""

    words: str
    place: str
    unseen: bool = False
    protocols: tuple = PROTOCOLS


POD = Client("from-a-pod", "pod1a")
PROCESS = Client("from-a-process", NODE)
OTHER_POD = Client("from-a-pod-of-the-other-node", "pod2a")
OUTSIDE = Client("from-outside", "client")
# SCTP has no sockets here, only packets: those of the others pass TC anyway.
POD_BY_PACKETS = Client("from-a-pod-by-packets", "pod1a", True, ("tcp", "udp"))
PROCESS_BY_PACKETS = Client("from-a-process-by-packets", NODE, True, ("tcp", "udp"))
CLIENTS = (POD, PROCESS, OTHER_POD, OUTSIDE, POD_BY_PACKETS, PROCESS_BY_PACKETS)


@dataclasses.dataclass(frozen=True)
class Cell:
    kind: str
    policy: str  # the one that counts for the kind; the other one is the opposite
    backends: str
    client: Client
    proto: str
    family: int

    def __str__(self):
        where = "-backends-elsewhere" if self.backends == "elsewhere" else ""
        return (f"{self.kind}-{self.policy.lower()}-policy{where}-{self.client.words}-"
                f"{self.proto}-ipv{self.family}")


# The rules.


def deciding_node(cell):
    """The first node on the packet's way that serves the address decides.

    Each node serves ClusterIPs, external IPs and load-balancer IPs, and its own NodePorts.
    """
    is_served_at_home = cell.kind != NODE_PORT and node_of(cell.client.place)
    return node_of(cell.client.place) if is_served_at_home else NODE


def is_near(cell):
    return node_of(cell.client.place) == deciding_node(cell)


def answerers(cell):
    """Who may answer. ClusterIPs' policy counts for everybody, that of other frontends for far clients."""
    everyone = BACKENDS[cell.backends]
    counts = cell.kind == CLUSTER_IP or not is_near(cell)
    if cell.policy == LOCAL and counts:
        return {name for name in everyone if node_of(name) == deciding_node(cell)}
    return set(everyone)


def seen_client(cell, backend, forwarding):
    """Whom a backend sees: the client, but the node where the answer must come back through it.

    That is so for far clients' packets to other nodes, where the answer does not go straight to the client.
    """
    goes_straight = forwarding == DSR or (forwarding == HYBRID and cell.proto == "tcp")
    must_come_back = not is_near(cell) and node_of(backend) != deciding_node(cell)
    hides = must_come_back and not goes_straight
    return address_of(deciding_node(cell) if hides else cell.client.place, cell.family)


def expected(cell, forwarding):
    """{who answers: the client's address that he sees}; nobody answers where it is empty."""
    return {name: seen_client(cell, name, forwarding) for name in answerers(cell)}


# The cells.


def is_possible(cell):
    """What the node sends to its own address never leaves it: only socket hooks see that."""
    is_own_address = cell.kind == NODE_PORT and node_of(cell.client.place) == NODE == cell.client.place
    by_packets = cell.client.unseen or cell.proto == "sctp"
    return cell.proto in cell.client.protocols and not (is_own_address and by_packets)


def all_cells():
    everywhere = (Cell(kind, policy, "everywhere", client, proto, family)
                  for kind, policy, client, proto, family in
                  itertools.product(KINDS, (CLUSTER, LOCAL), CLIENTS, PROTOCOLS, (4, 6)))
    elsewhere = (Cell(kind, LOCAL, "elsewhere", client, proto, family)
                 for kind, client, proto, family in
                 itertools.product(KINDS, (POD, OTHER_POD, OUTSIDE), PROTOCOLS, (4, 6)))
    return [cell for cell in itertools.chain(everywhere, elsewhere) if is_possible(cell)]


# The Services: all of them have all frontends.


def services():
    """(name, internal policy, external policy, backends)"""
    return (("inside-local", LOCAL, CLUSTER, "everywhere"), ("outside-local", CLUSTER, LOCAL, "everywhere"),
            ("local-elsewhere", LOCAL, LOCAL, "elsewhere"))


def service_of(cell):
    if cell.backends == "elsewhere":
        return "local-elsewhere"
    is_inside = (cell.kind == CLUSTER_IP) == (cell.policy == LOCAL)
    return "inside-local" if is_inside else "outside-local"


def number_of(name):
    return next(number for number, item in enumerate(services()) if item[0] == name)


def dialled(cell):
    """Address and port of the cell's frontend."""
    number = number_of(service_of(cell))
    if cell.kind == NODE_PORT:
        return address_of(NODE, cell.family), node_port(number, cell.family)
    if cell.kind == CLUSTER_IP:
        return cluster_ip(number, cell.family), 80
    return external(cell.kind, number, cell.family), 80


def node_port(number, family):
    return 30100 + 10 * number + family


def cluster_ip(number, family):
    return f"10.96.99.{number + 1}" if family == 4 else f"fd00:96::{9901 + number}"


def external(kind, number, family):
    return f"{EXTERNAL[family][kind == LOAD_BALANCER]}{number + 1}"


def objects():
    for (name, internal, outer, backends), family in itertools.product(services(), (4, 6)):
        number, full_name = number_of(name), f"{name}-ipv{family}"
        ports = [service_port(80, proto, proto, TARGET_PORT, nodePort=node_port(number, family))
                 for proto in PROTOCOLS]
        made = service(full_name, cluster_ip(number, family), ports, type="LoadBalancer",
                       externalIPs=[external(EXTERNAL_IP, number, family)],
                       internalTrafficPolicy=internal, externalTrafficPolicy=outer)
        ingress = [{"ip": external(LOAD_BALANCER, number, family)}]
        yield {**made, "status": {"loadBalancer": {"ingress": ingress}}}
        yield slice_(full_name, BACKENDS[backends], [
            {"name": proto, "protocol": proto.upper(), "port": TARGET_PORT} for proto in PROTOCOLS], family)
    for name in ("node1", "node2"):
        yield node(name)


# The world in which the cells are asked.


@dataclasses.dataclass(frozen=True)
class Way:
    """How packets are forwarded: the agents' options, and what the lab needs for it."""

    forwarding: str
    hook: str

    def __str__(self):
        return f"{self.forwarding}-{self.hook}"

    def options(self):
        mode = "snat" if self.forwarding == SOURCE_NAT else self.forwarding
        return ("--forwarding", mode, "--xdp", "native" if self.hook == "xdp" else "off")


class Matrix:
    """A world that has all Services, agents that forward in one way, and answers to a cell's question."""

    def __init__(self, way):
        self.way = way
        self.world = World("socket,tc", *way.options(), serve=False,
                           prepare=uplinks.prepare_for_xdp if way.hook == "xdp" else None)
        self.unseen_ports = itertools.cycle(UNSEEN_PORTS)

    def __enter__(self):
        self.world.__enter__()
        self.world.lab.serve(*all_pods(), ports=[TARGET_PORT], options=["--sctp"])
        client = self.world.place(OUTSIDE.place)
        for family, ranges in RANGES.items():
            for range_ in ranges:
                client.run("ip", "route", "replace", range_, "via", address_of(NODE, family))
        self.world.publish(*objects())
        return self

    def __exit__(self, *error):
        self.world.__exit__(*error)

    def ask(self, cell):
        """{who answered: the clients' addresses that he saw}, or the error."""
        address, port = dialled(cell)
        names = sorted(answerers(cell))
        times = {"at_least": AT_LEAST, "at_most": AT_MOST} if names else {"at_least": 1, "at_most": 1}
        more = {} if names else {"timeout": SILENCE}
        if cell.client.unseen:
            more["first_port"] = next(self.unseen_ports)
        place = self.world.place(cell.client.place, cell.client.unseen)
        return place.call("ask_until", names=names, proto=cell.proto, address=address, port=port,
                          **times, **more)


def check(matrix, cell):
    wanted = expected(cell, matrix.way.forwarding)
    result = matrix.ask(cell)
    if not wanted:
        assert result.get("error") == "timeout", f"somebody answered, or refused: {result}"
        return
    assert "error" not in result, result
    assert result["seen"] == {name: [client] for name, client in wanted.items()}
    leaked = matrix.world.leaked()
    assert not leaked, f"{len(leaked)} frames for a ClusterIP left a node untranslated: {leaked[:3]}"
