# SPDX-License-Identifier: BSD-2-Clause
"""Services for clients from outside: frontends of each kind, and the ways that lead to them."""

import contextlib
import itertools
import json
import random

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from lab import address_of, wait_for
from manifests import both_protocols, next_vip, service, slice_, slice_ports
from packets import built, fragments, link_address

LOCAL, REMOTE = "pod1b", "pod2b"  # the node that is dialled is node1
NODE_PORT, EXTERNAL_IP, LOAD_BALANCER, CLUSTER_IP = (
    "NodePort", "external IP", "load-balancer IP", "ClusterIP")
KINDS = [NODE_PORT, EXTERNAL_IP, LOAD_BALANCER, CLUSTER_IP]
RANGES = {4: ["203.0.113.0/24", "10.96.0.0/16"], 6: ["2001:db8:113::/64", "fd00:96::/112"]}
EXTERNAL = {4: "203.0.113.", 6: "2001:db8:113::"}
NARROW = 1400
BIG = "x" * 60000 + "\n"
FILL = "fill 60000\n"
HOOKED = ("LINK_HOOK_TCX", "LINK_HOOK_CLSACT")

_node_ports = itertools.count(31080)
_externals = itertools.count(10)


def route_services(world, way, place="client"):
    """All Service addresses are reached by way of a place that has the address `way` of each family."""
    for family, ranges in RANGES.items():
        for range_ in ranges:
            world.place(place).run("ip", "route", "replace", range_, "via", way[family])


class Frontend:
    """Where a client dials: address and port."""

    def __init__(self, kind, address, port):
        self.kind, self.address, self.port = kind, address, port

    def ask(self, world, proto="tcp", client="client", **options):
        return world.place(client).ask(self.address, self.port, proto, **options)

    def ask_all(self, world, proto="tcp", count=20, client="client", **options):
        """{who answered: the clients' addresses that it saw}; with `until`, each of these answers."""
        results = world.place(client).ask_many(count, self.address, self.port, proto=proto, **options)
        failed = [result for result in results if "error" in result]
        assert not failed, f"{len(failed)} of {len(results)} failed, first: {failed[0]}"
        seen = {}
        for result in results:
            answer = result["answer"]
            seen.setdefault(answer["name"], set()).add(answer["client"])
        return seen


def publish(world, kind, family, backends=(LOCAL, REMOTE), here="node1", name="web", target=8080, **spec):
    """A Service with a frontend of that kind, for both protocols."""
    vip, port = next_vip(family), 80
    ports, status, address = both_protocols(target=target), {}, vip
    if kind == NODE_PORT:
        port, address = next(_node_ports), address_of(here, family)
        ports = [{**item, "nodePort": port} for item in ports]
        spec = {"type": "NodePort", **spec}
    elif kind == EXTERNAL_IP:
        address = f"{EXTERNAL[family]}{next(_externals)}"
        spec = {"externalIPs": [address], **spec}
    elif kind == LOAD_BALANCER:
        address = f"{EXTERNAL[family]}{next(_externals)}"
        spec = {"type": "LoadBalancer", **spec}
        status = {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}
    made = {**service(name, vip, ports, **spec), **status}
    world.publish(made, slice_(name, list(backends), slice_ports(target), family), name=name)
    return Frontend(kind, address, port)


def policy_local(kind):
    return {"internalTrafficPolicy" if kind == CLUSTER_IP else "externalTrafficPolicy": "Local"}


def wait_for_hook(world, name):
    """Returns the ifindex of a new link of node1 when it has its hooks."""
    shown = world.place("node1").run("ip", "-j", "link", "show", name).stdout
    index = json.loads(shown)[0]["ifindex"]
    wait_for(lambda: any(entry["key"] == index and entry["value"]["hook"] in HOOKED
                         for entry in world.agents["node1"].dump("links")), f"hooks on {name}")
    return index


@contextlib.contextmanager
def second_link(world):
    """A tunnel that the client uses to reach node1; what node1 sends to the client goes without."""
    client, node = world.place("client"), world.place("node1")
    for place, other, host in ((client, node, 1), (node, client, 2)):
        place.run("ip", "link", "add", "fl-side", "type", "vxlan", "id", 8, "dstport", 4791,
                  "local", place.address(4), "remote", other.address(4), "dev", "eth0")
        place.run("ip", "addr", "add", f"172.19.0.{host}/24", "dev", "fl-side")
        place.run("ip", "addr", "add", f"fd00:19::{host}/64", "dev", "fl-side", "nodad")
        place.run("ip", "link", "set", "fl-side", "up")
    wait_for_hook(world, "fl-side")
    for family, ranges in RANGES.items():
        via = "172.19.0.2" if family == 4 else "fd00:19::2"
        for range_ in ranges:
            client.run("ip", "route", "replace", range_, "via", via, "src", client.address(family))
    yield
    for place in (client, node):
        place.run("ip", "link", "del", "fl-side")


def route_by(world, way, family):
    """Leads the client's packets to Services by the second link, or as usual."""
    client = world.place("client")
    via = {"side": {4: "172.19.0.2", 6: "fd00:19::2"}[family], "eth0": address_of("node1", family)}[way]
    for range_ in RANGES[family]:
        client.run("ip", "route", "replace", range_, "via", via, "src", client.address(family))


def host(address, family):
    return f"{address}/{32 if family == 4 else 128}"


@contextlib.contextmanager
def narrow_router(world, place, destination, via, family):
    """What a place sends to a destination goes by way of the wire, where no more than NARROW bytes fit."""
    wire, place = world.place("wire"), world.place(place)
    route = ["ip", "route", "replace", destination]
    for setting in ("all", "br0"):
        wire.run("sysctl", "-qw", f"net.ipv4.conf.{setting}.send_redirects=0")
    before = place.run("ip", f"-{family}", "route", "show", destination).stdout.split()
    wire.run(*route, *(["via", via] if via else []), "dev", "br0", "mtu", NARROW)
    for range_ in RANGES[family]:
        wire.run("ip", "route", "replace", range_, "via", address_of("node1", family))
    place.run(*route, "via", address_of("wire", family), "dev", "eth0")
    try:
        yield
    finally:
        place.run("ip", f"-{family}", "route", "del", destination)
        if before:
            place.run("ip", f"-{family}", "route", "replace", *before)
        wire.run("ip", f"-{family}", "route", "del", destination)
        for range_ in RANGES[family]:
            wire.run("ip", "route", "del", range_)
        for name in ("client", "node1", "node2", LOCAL, REMOTE):
            world.place(name).run("ip", f"-{family}", "route", "flush", "cache")


def learned_mtu(world, place, destination):
    words = world.place(place).run("ip", "route", "get", destination).stdout.split()
    return int(words[words.index("mtu") + 1]) if "mtu" in words else None


def frames_to(world, family, packets):
    """Hex of frames from the client to node1."""
    link = Ether(src=link_address(world.lab, "client", "eth0"), dst=link_address(world.lab, "node1", "eth0"))
    return [bytes(link / packet).hex() for packet in packets]


def udp_to(client, frontend, family, port, payload):
    ip = IP if family == 4 else IPv6
    more = {"id": random.randrange(1, 65536)} if family == 4 else {}
    return built(ip(src=client.address(family), dst=frontend.address, **more) /
                 UDP(sport=port, dport=frontend.port) / Raw(payload))


def pieces_of(client, frontend, family, port, size):
    return fragments(udp_to(client, frontend, family, port, b"x" * (size - 1) + b"\n"))
