# SPDX-License-Identifier: BSD-2-Clause
"""The same frontends as rules of the kernel: shaped as kube-proxy's nftables mode shapes them.

A verdict map of addresses and one of NodePorts lead to a chain for each service port, that to a chain for each
endpoint; who comes from outside is marked, and gets the node's address in postrouting. It has also the base chains
that look at every new connection. As in kube-proxy's table the number of frontends costs a packet nothing.
"""

TABLE = """
table ip kube-proxy {
 set cluster-ips { type ipv4_addr; }
 map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; }
 map no-endpoint-nodeports { type inet_proto . inet_service : verdict; }
 map firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
 map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
 map service-nodeports { type inet_proto . inet_service : verdict; }
 chain mark-for-masquerade { mark set mark or 0x4000; }
 chain masquerading {
  mark and 0x4000 == 0 return
  mark set mark xor 0x4000
  masquerade
 }
 chain cluster-ips-check { ip daddr @cluster-ips reject; }
 chain service-endpoints-check { ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }
 chain nodeport-endpoints-check { fib daddr type local meta l4proto . th dport vmap @no-endpoint-nodeports; }
 chain firewall-check { ip daddr . meta l4proto . th dport vmap @firewall-ips; }
 chain services {
  ip daddr . meta l4proto . th dport vmap @service-ips
  fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @service-nodeports
 }
 chain filter-prerouting { type filter hook prerouting priority -110; ct state new jump firewall-check; }
 chain filter-input {
  type filter hook input priority -110
  ct state new jump nodeport-endpoints-check
  ct state new jump service-endpoints-check
 }
 chain filter-forward {
  type filter hook forward priority -110
  ct state new jump service-endpoints-check
  ct state new jump cluster-ips-check
 }
 chain filter-output {
  type filter hook output priority -110
  ct state new jump service-endpoints-check
  ct state new jump firewall-check
 }
 chain filter-output-post-dnat { type filter hook output priority -90; ct state new jump cluster-ips-check; }
 chain nat-prerouting { type nat hook prerouting priority -100; jump services; }
 chain nat-output { type nat hook output priority -100; jump services; }
 chain nat-postrouting { type nat hook postrouting priority 100; jump masquerading; }
}
"""


def rules_of(port):
    """What one service port adds: (its chains, its elements)."""
    name = f"{port.name}-{port.proto}"
    chains, leads = [], []
    for number, (address, target) in enumerate(port.backends):
        chains.append(f"chain endpoint-{name}-{number} {{ ip saddr {address} jump mark-for-masquerade; "
                      f"meta l4proto {port.proto} dnat to {address}:{target}; }}")
        leads.append(f"{number} : goto endpoint-{name}-{number}")
    chains.append(f"chain service-{name} {{ numgen random mod {len(leads)} vmap {{ {', '.join(leads)} }}; }}")
    chains.append(f"chain external-{name} {{ jump mark-for-masquerade; goto service-{name}; }}")
    elements = [f"add element ip kube-proxy service-ips {{ {address} . {port.proto} . {port.number} : "
                f"goto external-{name} }}" for address in port.addresses]
    if port.node_port:
        elements.append(f"add element ip kube-proxy service-nodeports {{ {port.proto} . {port.node_port} : "
                        f"goto external-{name} }}")
    return chains, elements


def nft_rules(ports):
    """A file for `nft -f`."""
    made = [rules_of(port) for port in ports]
    lines = [TABLE, "table ip kube-proxy {", *(chain for chains, _ in made for chain in chains), "}"]
    return "\n".join(lines + [element for _, elements in made for element in elements]) + "\n"
