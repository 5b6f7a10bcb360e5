# SPDX-License-Identifier: BSD-2-Clause
"""A client, a node and a remote side, each a network namespace of its own, and one way to forward between them."""

import dataclasses
import itertools
import json
import os
import pathlib
import shutil
import subprocess

import manifests
import outside_packets as packets
from lab import ROOT, Agent, cgroup_root
from outside_rules import nft_rules
from programs import map_has

PROGRAMS = ROOT / "build" / "bench"
NODE_PORT = 30080
SERVICE_ADDRESSES = 100  # external IPs of one Service
NEW_FLOWS = 40000        # more than there is room for: fairlead's NEW_FLOWS_DEFAULT is in halves
FLOW_TIMEOUT = 86400     # a measured flow does not end meanwhile

_numbers = itertools.count(1)


@dataclasses.dataclass
class Size:
    """How much is in the tables."""

    name: str
    addresses: int  # of each of the two kinds of frontend
    ports: int      # of each address, TCP and UDP
    flows: int


@dataclasses.dataclass
class Way:
    """How packets get from the client to a backend."""

    name: str
    kind: str          # "route": they are only routed; "nft": rules; "agent": fairlead
    options: tuple = ()
    program: str = ""  # what measures a packet by BPF_PROG_RUN
    is_xdp: bool = False
    large: bool = False


@dataclasses.dataclass
class Port:
    """A service port, as tests/bench/outside_rules.py takes it."""

    name: str
    proto: str
    number: int
    addresses: list
    backends: list
    node_port: int = 0


class Place:
    """Runs commands in one of a world's namespaces; also as tests' Agent wants it."""

    def __init__(self, world, name):
        self.world, self.netns = world, f"/run/netns/{world.id}-{name}"

    def command(self, *arguments):
        return ["nsenter", f"--net={self.netns}", *map(str, arguments)]

    def run(self, *arguments, check=True, timeout=60, **more):
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=timeout,
                              check=False, **more)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return done

    def start(self, *arguments, **more):
        child = subprocess.Popen(self.command(*arguments), **more)
        self.world.children.append(child)
        return child


def packet_source(mode, place, link, is_xdp, cpu, *arguments, recipe):
    """Its result. It enters namespaces by itself."""
    done = subprocess.run([PROGRAMS / "packet_source", mode, place.netns, link, "xdp" if is_xdp else "tc", str(cpu),
                           *map(str, arguments)], input=recipe, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.decode().strip())
    return json.loads(done.stdout)


class World:
    """`with World(way, size, cpu, program) as world:` all is programmed, flows are in the tables."""

    places = ("client", "node", "remote")

    def __init__(self, way, size, cpu, program):
        self.way, self.size, self.cpu, self.program = way, size, cpu, program
        self.id = f"fl-out-{os.getpid()}-{next(_numbers)}"
        self.directory = pathlib.Path("/run") / self.id
        self.children, self.agent = [], None
        self.new_flows = 0  # so many were opened

    def __enter__(self):
        try:
            self.directory.mkdir()
            self.make_places()
            {"route": lambda: None, "nft": self.start_rules, "agent": self.start_agent}[self.way.kind]()
            self.start_server()
            self.make_flows()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            if self.agent and self.agent.running():
                self.agent.stop()
                self.agent.cleanup()
        finally:
            for child in self.children:
                child.kill()
                child.wait()
            for place in self.places:
                if os.path.exists(self.place(place).netns):
                    subprocess.run(["ip", "netns", "delete", f"{self.id}-{place}"], check=True)
            for mount in (self.pin_dir("node"),):
                if mount.is_mount():
                    subprocess.run(["umount", mount], check=True)
            if self.cgroup("node").exists():
                self.cgroup("node").rmdir()
            shutil.rmtree(self.directory, ignore_errors=True)

    # As tests' Agent wants it.

    def place(self, name):
        return Place(self, name)

    def cgroup(self, node):
        return cgroup_root() / f"{self.id}-{node}"

    def pin_dir(self, node):
        return self.directory / node / "pins"

    # Namespaces.

    def make_places(self):
        for place in self.places:
            subprocess.run(["ip", "netns", "add", f"{self.id}-{place}"], check=True)
        self.make_link("outer", packets.NODE_UP, "client", packets.CLIENT)
        self.make_link("inner", packets.NODE_OVER, "remote", packets.REMOTE)
        node, client, remote = map(self.place, ("node", "client", "remote"))
        client.run("ip", "route", "add", "default", "via", packets.NODE_UP)
        remote.run("ip", "route", "add", "default", "via", packets.NODE_OVER)
        node.run("ip", "route", "add", "default", "via", packets.CLIENT)
        node.run("ip", "route", "add", "172.19.3.0/24", "via", packets.REMOTE)
        remote.run("ip", "addr", "add", f"{packets.BACKENDS[0]}/32", "dev", "eth0")
        node.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0",
                 "net.ipv4.conf.outer.rp_filter=0", "net.ipv4.conf.inner.rp_filter=0")
        # A connection for each request uses ports up faster than TIME-WAIT gives them back.
        client.run("sysctl", "-q", "-w", "net.ipv4.tcp_tw_reuse=1")

    def make_link(self, name, near, place, far):
        """A veth pair of the node and another place. Both ends take frames that XDP sends, and finish checksums."""
        node, other = self.place("node"), self.place(place)
        node.run("ip", "link", "add", name, "address", packets.MACS[near], "type", "veth", "peer", "name", "eth0",
                 "address", packets.MACS[far], "netns", f"{self.id}-{place}")
        for end, link, own, peer in ((node, name, near, far), (other, "eth0", far, near)):
            end.run("ip", "link", "set", "lo", "up")
            end.run("ip", "addr", "add", f"{own}/24", "dev", link)
            end.run("ip", "link", "set", link, "up")
            end.run("ip", "neigh", "replace", peer, "lladdr", packets.MACS[peer], "dev", link, "nud", "permanent")
            end.run("ethtool", "-K", link, "gro", "on", "tx", "off")

    # What forwards.

    def ports(self):
        """What Services come to, in small."""
        made = []
        for proto in ("tcp", "udp"):
            for name, base, backends, node_port in (("steady", packets.STEADY, packets.BACKENDS[:1], NODE_PORT),
                                                    ("fresh", packets.FRESH, packets.BACKENDS, 0)):
                made.append(Port(name, proto, packets.FRONTEND_PORT, [base],
                                 [(backend, packets.BACKEND_PORT) for backend in backends], node_port))
        return made

    def start_rules(self):
        file = self.directory / "rules.nft"
        file.write_text(nft_rules(self.ports()), encoding="ascii")
        self.place("node").run("nft", "-f", file)

    def services(self, name, base, backends):
        """Services whose frontends are so many addresses and ports; the first has a NodePort as well."""
        objects, first = [], packets.as_number(base)
        numbers = [(number, proto) for number in range(self.size.ports) for proto in ("TCP", "UDP")]
        for begin in range(0, self.size.addresses, SERVICE_ADDRESSES):
            here = range(begin, min(begin + SERVICE_ADDRESSES, self.size.addresses))
            own, is_node_port = f"{name}{begin}", name == "steady" and not begin
            ports = [manifests.service_port(packets.FRONTEND_PORT + number, proto, f"{proto}{number}".lower(),
                                            packets.BACKEND_PORT,
                                            **({"nodePort": NODE_PORT + number} if is_node_port else {}))
                     for number, proto in numbers]
            objects += [
                manifests.service(own, manifests.next_vip(4), ports,
                                  externalIPs=[ip_text(first + number) for number in here],
                                  **({"type": "NodePort"} if is_node_port else {})),
                manifests.slice_(own, backends, [{"name": f"{proto}{number}".lower(), "protocol": proto,
                                                  "port": packets.BACKEND_PORT} for number, proto in numbers])]
        return objects

    def start_agent(self):
        folder = manifests.Folder(self.directory / "manifests")
        folder.write("services", *self.services("steady", packets.STEADY, packets.BACKENDS[:1]),
                     *self.services("fresh", packets.FRESH, packets.BACKENDS))
        self.cgroup("node").mkdir()
        self.agent = Agent(
            self, "node", folder.path, "--hooks", "tc", "--links-uplink", "outer,inner",
            "--nodeport-addresses", f"{packets.NODE_UP}/32", "--timeout", f"udp={FLOW_TIMEOUT}",
            "--max-flows", self.size.flows + 65536, *self.way.options, program=str(self.program))
        self.agent.start(ready=False)
        self.agent.wait_for_log("ready: ", 60)

    def start_server(self):
        server = self.place("remote").start(PROGRAMS / "requests", "serve", self.cpu, packets.BACKENDS[0],
                                            packets.BACKEND_PORT, stdout=subprocess.PIPE, text=True)
        with server.stdout:
            if server.stdout.readline() != "ready\n":
                raise RuntimeError("the server did not start")

    # Flows.

    def make_flows(self):
        """Whoever keeps flows knows all of the established ones, and that both sides have spoken."""
        if self.way.kind == "nft":
            for _ in range(2):
                self.send_out(packets.established("udp", self.size.flows, 1, 1), self.size.flows)
                self.send_back(packets.reply("udp", self.size.flows), self.size.flows)
        if self.way.kind != "agent":
            return
        there, back = packets.first_flow()
        for recipe, send in ((there, self.send_out), (back, self.send_back), (there, self.send_out)):
            if send(recipe, 1)["arrived"] != 1:
                raise RuntimeError(f"{self.way.name}: the first flow's packets do not arrive")
        for proto in ("udp", "tcp"):
            self.copy_flows(proto)
        # From now on each new flow evicts one that nobody answered.
        fresh = packets.new("udp", 0, self.size.addresses, self.size.ports)
        self.send_out(fresh, NEW_FLOWS)
        self.new_flows = NEW_FLOWS

    def copy_flows(self, proto):
        """As many TCP flows as are measured in rotation; UDP flows make up the number."""
        subprocess.run([PROGRAMS / "flow_copies", self.pin_dir("node"), str(self.flows_of(proto)),
                        str(packets.NUMBER[proto]), packets.OLD_CLIENT, str(packets.FLOW_PORT),
                        str(packets.FLOW_PORTS), packets.BACKENDS[0], packets.STEADY, str(self.size.addresses),
                        str(self.size.ports)], check=True, stdout=subprocess.DEVNULL)

    def flows_of(self, proto):
        return self.size.flows if proto == "udp" else min(self.size.flows, packets.FLOW_PORTS)

    def sizes(self):
        """What is in the tables: (frontends, flows)."""
        if not self.agent:
            return None
        found = {row["name"]: row["entries"] for row in self.agent.json("status")["maps"]}
        return found["frontends"], found["flows"] // 2

    # Measuring.

    def send(self, source, sink, recipe, count, sink_xdp=False):
        """Sends packets out of one end of a link, (place, link), and counts them at another."""
        return packet_source("send", self.place(source[0]), source[1], sink_xdp, self.cpu,
                             self.place(sink[0]).netns, sink[1], count, recipe=recipe)

    def send_out(self, recipe, count, sink_xdp=False):
        return self.send(("client", "eth0"), ("remote", "eth0"), recipe, count, sink_xdp)

    def send_back(self, recipe, count, sink_xdp=False):
        return self.send(("remote", "eth0"), ("client", "eth0"), recipe, count, sink_xdp)

    def send_nowhere(self, recipe, count, sink_xdp):
        """Packets are counted where the node would begin to work."""
        return self.send(("client", "eth0"), ("node", "outer"), recipe, count, sink_xdp)

    def run(self, link, recipe, batches, repeat):
        """BPF_PROG_RUN of the way's program, for packets that come by one of the node's links."""
        return packet_source("run", self.place("node"), link, self.way.is_xdp, self.cpu, self.program_id(), batches,
                             repeat, recipe=recipe)

    def program_id(self):
        """Of the agent's own: the one of that name that has this agent's maps."""
        node = self.place("node")
        frontends = json.loads(node.run("bpftool", "-j", "map", "show", "pinned",
                                        self.pin_dir("node") / "frontends").stdout)["id"]
        shown = json.loads(node.run("bpftool", "-j", "prog", "show").stdout)
        return next(program["id"] for program in shown if program.get("name") == self.way.program
                    and frontends in program.get("map_ids", []))

    def ask(self, how, seconds):
        """Requests of an outside client: at the node's NodePort, or where nobody translates at the backend."""
        target = ((packets.BACKENDS[0], packets.BACKEND_PORT) if self.way.kind == "route"
                  else (packets.NODE_UP, NODE_PORT))
        done = self.place("client").run(PROGRAMS / "requests", "ask", self.cpu, *target, how, seconds)
        return json.loads(done.stdout)


def ip_text(number):
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))
