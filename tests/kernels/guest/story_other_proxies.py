# SPDX-License-Identifier: BSD-2-Clause
"""kube-proxy's rules and IPVS have the same ClusterIPs: requests stay ours, and the agent says what it found."""

import contextlib
import shutil

from cluster import FAMILIES, NODES, NODE_PORTS, READY, SERVICE_PORT, TARGETS, VIPS, address_of, addresses_of
from lab import Agent, cgroup_root
from tap import Skip, promise

NEEDS = ("nf_tables", "nf_conntrack", "nft_nat", "nft_chain_nat", "ip_vs", "ip_vs_rr", "dummy")
OURS, THEIRS = ("pod1b", "pod2b"), "pod1c"  # backends
PROXY_LINK = "kube-ipvs0"
PROTOCOLS = ("tcp", "udp")
TABLES = {4: "ip", 6: "ip6"}


def table(family):
    """As kube-proxy has it in its mode nftables, to the other backend: ClusterIPs, and NodePorts of the node."""
    word = TABLES[family]
    target = address_of(THEIRS, family) if family == 4 else f"[{address_of(THEIRS, family)}]"
    services = [f"{VIPS[name, family]} . {proto} . {SERVICE_PORT} : goto to-{proto}"
                for name in OURS for proto in PROTOCOLS]
    node_ports = [f"{proto} . {NODE_PORTS[name, proto]} : goto to-{proto}" for name in OURS for proto in PROTOCOLS]
    chains = "".join(f"chain to-{proto} {{\nmeta l4proto {proto} dnat to {target}:{TARGETS[proto]}\n}}\n"
                     for proto in PROTOCOLS)
    return (f"table {word} kube-proxy {{\n{chains}"
            "chain services {\n"
            f"{word} daddr . meta l4proto . th dport vmap {{ {', '.join(services)} }}\n"
            f"fib daddr type local meta l4proto . th dport vmap {{ {', '.join(node_ports)} }}\n"
            "}\n"
            "chain nat-prerouting {\ntype nat hook prerouting priority dstnat\njump services\n}\n"
            "chain nat-output {\ntype nat hook output priority -100\njump services\n}\n"
            "chain nat-postrouting {\ntype nat hook postrouting priority srcnat\nct status dnat masquerade\n}\n"
            "}\n")


def program_nftables(cluster, name):
    path = cluster.lab.directory / "kube-proxy.nft"
    path.write_text("".join(table(family) for family in FAMILIES))
    cluster.place(name).run("nft", "-f", path)


def program_ipvs(cluster, name):
    place = cluster.place(name)
    place.run("ip", "link", "add", PROXY_LINK, "type", "dummy")
    for family in FAMILIES:
        for backend in OURS:
            vip = VIPS[backend, family]
            place.run("ip", "addr", "add", f"{vip}/{32 if family == 4 else 128}", "dev", PROXY_LINK)
            for proto, flag in zip(PROTOCOLS, ("-t", "-u")):
                service = [flag, written(vip, SERVICE_PORT)]
                place.run("ipvsadm", "-A", *service, "-s", "rr")
                place.run("ipvsadm", "-a", *service, "-r", written(address_of(THEIRS, family), TARGETS[proto]), "-m")


def written(address, port):
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@contextlib.contextmanager
def other_proxies(cluster, *names):
    for name in names:
        program_nftables(cluster, name)
        program_ipvs(cluster, name)
    try:
        yield
    finally:
        for name in names:
            place = cluster.place(name)
            place.run("ipvsadm", "-C")
            place.run("ip", "link", "del", PROXY_LINK)
            for word in TABLES.values():
                place.run("nft", "delete", "table", word, "kube-proxy")


def check_notice(cluster):
    """An agent that starts beside them: on a node of its own, where nothing else is."""
    agent = Agent(cluster.lab, "client", cluster.folder.path, "--hooks", "socket", "--cgroup",
                  cgroup_root() / f"{cluster.lab.id}-outside")
    agent.start(ready=False)
    agent.wait_for_log("ready: ", READY)
    found = [line for line in agent.log if "kube-proxy is on this node too" in line]
    promise(len(found) == 1 and all(word in found[0] for word in (
        "nftables table ip kube-proxy", "nftables table ip6 kube-proxy", f"link {PROXY_LINK}")),
            "other proxies: an agent that starts names what it found of kube-proxy", *agent.log)
    agent.stop()
    agent.cleanup()


def story(cluster):
    if not shutil.which("ipvsadm"):
        raise Skip("ipvsadm is not installed")
    with other_proxies(cluster, *NODES):
        cluster.check_outside("other proxies", hidden_as=addresses_of("node1"))
        cluster.check_inside("other proxies", clients=["pod1a"])
        # Past them its packets to an address of the node meet no link, and so are IPVS's.
        for backend in OURS:
            cluster.check(f"other proxies: from node1 by the socket hooks to the ClusterIP of {backend}", "node1",
                          backend, protocols=PROTOCOLS)
    with other_proxies(cluster, "client"):
        check_notice(cluster)
