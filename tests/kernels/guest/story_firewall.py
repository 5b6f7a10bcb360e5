# SPDX-License-Identifier: BSD-2-Clause
"""A stateful firewall on both nodes drops what conntrack calls invalid and what no rule allows, and hides pods."""

import contextlib

from cluster import NODES, addresses_of
from tap import promise

NEEDS = ("nf_tables", "nf_conntrack", "nft_ct", "nft_masq", "nft_chain_nat")
RULES = """
table inet stateful {
	chain forward {
		type filter hook forward priority 0; policy drop;
		ct state invalid counter drop
		ct state established,related accept
		ip saddr 10.244.0.0/16 ct state new accept
		ip daddr 10.244.0.0/16 ct state new accept
		ip6 saddr fd00:244::/32 ct state new accept
		ip6 daddr fd00:244::/32 ct state new accept
	}
	chain input {
		type filter hook input priority 0; policy drop;
		ct state invalid counter drop
		ct state established,related accept
		iif lo accept
		meta l4proto { icmp, icmpv6 } accept
		ip saddr 10.244.0.0/16 accept
		ip6 saddr fd00:244::/32 accept
	}
	chain post {
		type nat hook postrouting priority 100;
		ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade
		ip6 saddr fd00:244::/32 ip6 daddr != fd00:244::/32 masquerade
	}
}
"""


@contextlib.contextmanager
def firewall(cluster):
    path = cluster.lab.directory / "stateful.nft"
    path.write_text(RULES)
    for node in NODES:
        cluster.place(node).run("nft", "-f", path)
    try:
        yield
    finally:
        for node in NODES:
            cluster.place(node).run("nft", "delete", "table", "inet", "stateful")


def story(cluster):
    with firewall(cluster):
        cluster.check_outside("firewall", hidden_as=addresses_of("node1"))
        cluster.check_inside("firewall")
        for node in NODES:
            rules = cluster.place(node).run("nft", "list", "ruleset").stdout
            found = [line.strip() for line in rules.splitlines() if "ct state invalid" in line]
            promise(found and all("packets 0 " in line for line in found),
                    f"firewall: conntrack of {node} called nothing invalid", *found)
