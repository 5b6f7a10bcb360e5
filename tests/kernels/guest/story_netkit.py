# SPDX-License-Identifier: BSD-2-Clause
"""A pod behind a pair of netkit devices (Linux 6.7), which carry bare IP or Ethernet."""

import contextlib
import pathlib
import socket
import struct

from topology import GATEWAY_MAC, POD, pod_behind

NEEDS = ("netkit",)
DEVICE, INNER = "nk1c", "nk0"

RTM_NEWLINK, NLM_F_REQUEST, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL = 16, 1, 4, 0x400, 0x200
NLMSG_ERROR = 2
IFLA_IFNAME, IFLA_LINKINFO, IFLA_NET_NS_FD = 3, 18, 28
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
IFLA_NETKIT_PEER_INFO, IFLA_NETKIT_MODE = 1, 5
NETKIT_L2, NETKIT_L3 = 0, 1


def attribute(kind, payload):
    length = 4 + len(payload)
    return struct.pack("=HH", length, kind) + payload + bytes(-length % 4)


def link_header():
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0)


def netkit_add(name, namespaces, mode):
    """The pair: one end for each of two namespaces, of which iproute2 knows nothing before 6.8."""
    with open(namespaces[0], "rb") as here, open(namespaces[1], "rb") as there:
        peer = link_header() + attribute(IFLA_IFNAME, INNER.encode() + b"\0") + attribute(
            IFLA_NET_NS_FD, struct.pack("=I", there.fileno()))
        data = attribute(IFLA_NETKIT_MODE, struct.pack("=I", mode)) + attribute(IFLA_NETKIT_PEER_INFO, peer)
        body = link_header() + attribute(IFLA_IFNAME, name.encode() + b"\0") + attribute(
            IFLA_NET_NS_FD, struct.pack("=I", here.fileno())) + attribute(
            IFLA_LINKINFO, attribute(IFLA_INFO_KIND, b"netkit\0") + attribute(IFLA_INFO_DATA, data))
        flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
            netlink.bind((0, 0))
            netlink.send(struct.pack("=IHHII", 16 + len(body), RTM_NEWLINK, flags, 1, 0) + body)
            answer = netlink.recv(4096)
    kind, = struct.unpack_from("=H", answer, 4)
    error, = struct.unpack_from("=i", answer, 16)
    if kind != NLMSG_ERROR or error:
        raise OSError(-error, f"netkit {name}")


@contextlib.contextmanager
def netkit_pod(cluster, mode):
    node = cluster.place("node1")
    netkit_add(DEVICE, [pathlib.Path("/run/netns") / f"{cluster.lab.id}-{name}" for name in ("node1", POD)], mode)
    try:
        if mode == NETKIT_L2:
            node.run("ip", "link", "set", DEVICE, "address", GATEWAY_MAC)
        with pod_behind(cluster, DEVICE, INNER, has_neighbours=mode == NETKIT_L2):
            yield
    finally:
        node.run("ip", "link", "del", DEVICE)


def story(cluster):
    for mode, word in ((NETKIT_L3, "netkit"), (NETKIT_L2, "netkit with Ethernet")):
        with netkit_pod(cluster, mode):
            cluster.check_pod(word, POD)
