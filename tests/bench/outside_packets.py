# SPDX-License-Identifier: BSD-2-Clause
"""The addresses of a benchmark's world, and recipes for its packets as tests/bench/packet_source.c takes them.

Packet i of a kind is always the same packet: so flows can be made before they are used. Which one is the first is
left to chance.

client -- 172.19.1.100 ---- 172.19.1.1 NODE 172.19.2.1 ---- 172.19.2.2 -- remote: backends 172.19.3.2 to .65
"""

import random
import socket
import struct

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

CLIENT, NODE_UP, NODE_OVER, REMOTE = "172.19.1.100", "172.19.1.1", "172.19.2.1", "172.19.2.2"
MACS = {CLIENT: "02:00:00:00:01:64", NODE_UP: "02:00:00:00:01:01",
        NODE_OVER: "02:00:00:00:02:01", REMOTE: "02:00:00:00:02:02"}
BACKENDS = [f"172.19.3.{number}" for number in range(2, 66)]
BACKEND_PORT = 8080
# Clients of established flows, one address each; of new ones; of the one flow that others are copies of.
OLD_CLIENT, NEW_CLIENT, FIRST_CLIENT = "11.0.0.0", "13.0.0.0", "14.0.0.0"
# Flow i has the source port FLOW_PORT + i % FLOW_PORTS there and behind the node, and so the backend i / FLOW_PORTS.
FLOW_PORT, FLOW_PORTS = 10000, 16384
NEW_PORT, NEW_PORTS = 32768, 28000  # where clients' own ports are from on Linux
STEADY, FRESH = "198.18.0.0", "198.19.0.0"  # frontends with one backend, and with all
FRONTEND_PORT = 80

FRAME_SIZE, FIELDS = 82, 4
SOURCE, DESTINATION, SOURCE_PORT, DESTINATION_PORT = 26, 30, 34, 36  # where they are in a frame
CHECKSUM = {"udp": 40, "tcp": 50}
NUMBER = {"udp": socket.IPPROTO_UDP, "tcp": socket.IPPROTO_TCP}
WITHOUT_END = 1 << 31


def as_number(address):
    return struct.unpack("!I", socket.inet_aton(address))[0]


def field(offset, width, base, divide=1, modulo=WITHOUT_END):
    """A number that is base + i / divide % modulo in packet i."""
    return offset, width, base, divide, modulo


def recipe(proto, link, ends, fields, count, first=0, flags="PA"):
    """struct packet_recipe: `count` packets over a link (the two addresses that it joins) between the `ends`."""
    transport = UDP() if proto == "udp" else TCP(flags=flags, seq=1000, ack=0 if flags == "S" else 2000)
    transport.sport, transport.dport = ends[0][1], ends[1][1]
    network = IP(src=ends[0][0], dst=ends[1][0], flags="DF")
    head = Ether(src=MACS[link[0]], dst=MACS[link[1]]) / network / transport
    frame = bytes(head / Raw(bytes(FRAME_SIZE - len(head))))
    # A word of the pseudo header is as the checksum helper reads it: in the machine's order.
    seed = sum(struct.unpack("=H", struct.pack("!H", word))[0]
               for word in (NUMBER[proto], FRAME_SIZE - SOURCE_PORT))
    fields = list(fields) + [field(0, 0, 0)] * (FIELDS - len(fields))
    return (struct.pack(f"={FRAME_SIZE}sBx", frame, 1) + b"".join(struct.pack("=5I", *each) for each in fields)
            + struct.pack("=5I", first, count, CHECKSUM[proto], seed, 0))


def frontend_fields(base, addresses, ports):
    return [field(DESTINATION, 4, as_number(base), 1, addresses),
            field(DESTINATION_PORT, 2, FRONTEND_PORT, addresses, ports)]


def old_client_fields(address, port):
    return [field(address, 4, as_number(OLD_CLIENT)), field(port, 2, FLOW_PORT, 1, FLOW_PORTS)]


def established(proto, count, addresses, ports):
    return recipe(proto, (CLIENT, NODE_UP), ((OLD_CLIENT, FLOW_PORT), (STEADY, FRONTEND_PORT)),
                  old_client_fields(SOURCE, SOURCE_PORT) + frontend_fields(STEADY, addresses, ports),
                  count, random.randrange(count))


def reply(proto, count):
    return recipe(proto, (REMOTE, NODE_OVER), ((BACKENDS[0], BACKEND_PORT), (NODE_OVER, FLOW_PORT)),
                  [field(SOURCE, 4, as_number(BACKENDS[0]), FLOW_PORTS),
                   field(DESTINATION_PORT, 2, FLOW_PORT, 1, FLOW_PORTS)], count, random.randrange(count))


def new(proto, first, addresses, ports):
    return recipe(proto, (CLIENT, NODE_UP), ((NEW_CLIENT, NEW_PORT), (FRESH, FRONTEND_PORT)),
                  [field(SOURCE, 4, as_number(NEW_CLIENT)), field(SOURCE_PORT, 2, NEW_PORT, 1, NEW_PORTS),
                   *frontend_fields(FRESH, addresses, ports)], WITHOUT_END, first, "S")


def first_flow():
    """The packet that opens it, or goes on in it, and the one that answers."""
    return (recipe("udp", (CLIENT, NODE_UP), ((FIRST_CLIENT, 9999), (STEADY, FRONTEND_PORT)), [], 1),
            recipe("udp", (REMOTE, NODE_OVER), ((BACKENDS[0], BACKEND_PORT), (NODE_OVER, 9999)), [], 1))


def routed(count):
    """What nobody translates."""
    return recipe("udp", (CLIENT, NODE_UP), ((OLD_CLIENT, FLOW_PORT), (BACKENDS[0], BACKEND_PORT)),
                  old_client_fields(SOURCE, SOURCE_PORT), count)


def routed_back(count):
    return recipe("udp", (REMOTE, NODE_OVER), ((BACKENDS[0], BACKEND_PORT), (OLD_CLIENT, FLOW_PORT)),
                  old_client_fields(DESTINATION, DESTINATION_PORT), count)
