# SPDX-License-Identifier: BSD-2-Clause
"""A lab with echo servers in every pod and an agent on both nodes, all reading one manifest folder."""

import ipaddress
import struct

import manifests
from lab import Agent, Lab, NODES, all_pods, wait_for
from programs import map_has

# Classic BPF, [code, jt, jf, k]: frames to 10.96.0.0/16 or fd00:96::/32, that is, to any ClusterIP.
TO_SERVICE_ADDRESSES = [
    [0x28, 0, 0, 12],          # ldh [12]: EtherType
    [0x15, 0, 3, 0x0800],      # IPv4?
    [0x20, 0, 0, 30],          # ld [30]: its destination
    [0x54, 0, 0, 0xFFFF0000],
    [0x15, 4, 3, 0x0A600000],  # 10.96.0.0/16?
    [0x15, 0, 2, 0x86DD],      # IPv6?
    [0x20, 0, 0, 38],          # ld [38]: the first word of its destination
    [0x15, 1, 0, 0xFD000096],  # fd00:96::?
    [0x06, 0, 0, 0],
    [0x06, 0, 0, 0x40000],
]

PROTOCOLS = {"tcp": 6, "udp": 17}
FRONTEND_TARGET_SIZE = 8  # struct frontend_target, the value of `frontends`


class World:
    """What most tests need. `hooks` is the agent's --hooks; more options follow.

    `prepare(lab)` is called before the agents start.
    """

    def __init__(self, hooks="socket,tc", *options, serve=True, prepare=None):
        self.hooks, self.options, self.serve, self.prepare = hooks, options, serve, prepare
        self.has_tc = "tc" in hooks.split(",")
        self.has_socket = "socket" in hooks.split(",")
        self.lab = Lab()
        self.agents, self.written, self.captures = {}, [], []

    def __enter__(self):
        self.lab.__enter__()
        try:
            self.folder = manifests.Folder(self.lab.directory / "manifests")
            if self.serve:
                self.lab.serve(*all_pods())
            if self.prepare:
                self.prepare(self.lab)
            for node in NODES:
                self.agents[node] = Agent(self.lab, node, self.folder.path,
                                          "--hooks", self.hooks, *self.options)
                self.agents[node].start(ready=False)
            for agent in self.agents.values():
                agent.wait_for_log("ready: ")
            if self.has_tc:
                wire = self.lab.place("wire")
                self.captures = [wire.call("capture_open", interface=node, program=TO_SERVICE_ADDRESSES)
                                 for node in NODES]
        except BaseException:
            self.lab.down()
            raise
        return self

    def __exit__(self, *_):
        try:
            for agent in self.agents.values():
                if agent.wanted:
                    agent.stop()
                done = agent.cleanup()
                assert done.returncode == 0, done.stderr
        finally:
            self.lab.__exit__()

    def place(self, name, unseen=False):
        return self.lab.place(name, unseen)

    # Publishing.

    def publish(self, *objects, name=None):
        """Writes objects as one manifest and waits until both agents have published it."""
        name = name or f"m{len(self.written)}"
        self.folder.write(name, *objects)
        self.written.append(name)
        self.settle()
        return name

    def withdraw(self, name):
        self.folder.remove(name)
        self.settle()

    def settle(self):
        """Returns when all that the folder holds now is published by every running agent.

        A Service of its own tells: an agent reads changes in their order, and publishes what it reads
        at one time together, so when a second change to it is visible, all before it is complete.
        """
        running = [agent for agent in self.agents.values() if agent.running()]
        for _ in range(2):
            vip = manifests.next_vip(4)
            self.folder.write("barrier", manifests.service("barrier", vip, namespace="barrier"))
            for agent in running:
                wait_for(lambda: self.is_programmed(agent, vip, 80, "tcp"),
                         f"a new Service in the maps of {agent.node}; its log:\n{agent.text()[-2000:]}",
                         pause=0.001)

    def is_programmed(self, agent, vip, port, proto):
        address = ipaddress.ip_address(vip)
        packed = address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed
        key = packed + struct.pack("!HBB", port, PROTOCOLS[proto], 0)
        return map_has(agent.pin_dir / "frontends", key, FRONTEND_TARGET_SIZE)

    def clear(self):
        """Forgets what a test has written, for the next one."""
        for name in self.written:
            if self.folder.has(name):
                self.folder.remove(name)
        self.written = []

    def simple(self, name, family, backends, port=80, target=8080, **spec):
        """Publishes a Service with TCP and UDP and one slice, and is its ClusterIP."""
        vip = manifests.next_vip(family)
        self.publish(manifests.service(name, vip, manifests.both_protocols(port, target), **spec),
                     manifests.slice_(name, backends, manifests.slice_ports(target), family),
                     name=name)
        return vip

    def change(self, name, family, vip, backends, port=80, target=8080, **spec):
        """The same Service with other backends."""
        self.publish(manifests.service(name, vip, manifests.both_protocols(port, target), **spec),
                     manifests.slice_(name, backends, manifests.slice_ports(target), family),
                     name=name)

    # Watching.

    def leaked(self):
        """Frames for a ClusterIP that came out of a node since the last call."""
        wire = self.place("wire")
        return [frame for capture in self.captures
                for frame in wire.call("capture_read", handle=capture, timeout=0)]

    def logs(self):
        return "\n".join(f"--- agent of {agent.node}\n{agent.text()[-6000:]}"
                         for agent in self.agents.values())
