# SPDX-License-Identifier: BSD-2-Clause
"""What a host firewall sees of packets that are a Service's, and what can filter them before they are."""

import contextlib
import re

import pytest

import programs
from lab import address_of
from manifests import endpoint
from test_outside import CLUSTER_IP, EXTERNAL_IP, LOCAL, NODE_PORT, REMOTE, node_server, publish, route_services

HOOKS = ["tc"]
NETFILTER = ["prerouting", "input", "forward", "output", "postrouting"]

each_family = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])


@pytest.fixture(autouse=True)
def routes(world):
    route_services(world, {family: address_of("node1", family) for family in (4, 6)})


@contextlib.contextmanager
def rules(world, text):
    """nft rules on node1, alone there."""
    path = world.lab.directory / "rules.nft"
    path.write_text(text)
    node = world.place("node1")
    node.run("nft", "-f", path)
    try:
        yield
    finally:
        node.run("nft", "flush", "ruleset")


class Watch:
    """Which hooks of netfilter saw packets of an exchange, and in which form."""

    def __init__(self, world, family, frontend, backend, client="client", target=8080):
        self.world = world
        client, node, pod, dialled = (*(address_of(place, family) for place in (client, "node1", backend)),
                                      frontend.address)
        ip = "ip" if family == 4 else "ip6"
        forms = {
            "client -> frontend": f"{ip} saddr {client} {ip} daddr {dialled} tcp dport {frontend.port}",
            "client -> backend": f"{ip} saddr {client} {ip} daddr {pod} tcp dport {target}",
            "node -> backend": f"{ip} saddr {node} {ip} daddr {pod} tcp dport {target}",
            "backend -> node": f"{ip} saddr {pod} {ip} daddr {node} tcp sport {target}",
            "backend -> client": f"{ip} saddr {pod} {ip} daddr {client} tcp sport {target}",
            "frontend -> client": f"{ip} saddr {dialled} {ip} daddr {client} tcp sport {frontend.port}",
        }
        self.counters = "".join(f'{form} counter comment "{name}"\n' for name, form in forms.items())

    def chain(self, name, hook):
        return f"chain {name} {{\ntype filter hook {hook};\n{self.counters}}}\n"

    def __enter__(self):
        links = "".join(self.chain(f"{link}-{hook}", f"{hook} device {link} priority -500")
                        for link in ("eth0", "pod1b") for hook in ("ingress", "egress"))
        stack = "".join(self.chain(hook, f"{hook} priority -350") for hook in NETFILTER)
        self.rules = rules(self.world, f"table netdev fl-links {{\n{links}}}\ntable inet fl-stack {{\n{stack}}}\n")
        self.rules.__enter__()
        return self

    def __exit__(self, *error):
        self.rules.__exit__(*error)

    def seen(self):
        """{hook: forms}, of those that saw any."""
        found, chain = {}, None
        for line in self.world.place("node1").run("nft", "list", "ruleset").stdout.splitlines():
            chain = (re.search(r"chain (\S+)", line) or [None, chain])[1]
            counted = re.search(r'counter packets [1-9]\d* .* comment "(.*)"', line)
            if counted:
                found.setdefault(chain, set()).add(counted[1])
        return found


@each_family
def test_what_the_kernel_forwards_shows_the_client_and_the_backend_at_every_hook(world, family):
    frontend = publish(world, NODE_PORT, family, [LOCAL])
    with Watch(world, family, frontend, LOCAL) as watch:
        assert "answer" in frontend.ask(world)
        both = {"client -> backend", "backend -> client"}
        assert watch.seen() == {
            "eth0-ingress": {"client -> backend"}, "pod1b-egress": {"client -> backend"},
            "pod1b-ingress": {"backend -> client"}, "eth0-egress": {"backend -> client"},
            "prerouting": both, "forward": both, "postrouting": both}


@each_family
def test_packets_with_source_nat_show_at_no_hook(world, family):
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    with Watch(world, family, frontend, REMOTE) as watch:
        assert "answer" in frontend.ask(world)
        assert watch.seen() == {}


@each_family
def test_what_is_refused_and_a_pod_that_meets_itself_show_at_no_hook(world, family):
    empty = publish(world, NODE_PORT, family, [], name="empty")
    with Watch(world, family, empty, LOCAL) as watch:
        assert empty.ask(world).get("error") == "ECONNREFUSED"
        assert watch.seen() == {}
    itself = publish(world, NODE_PORT, family, [LOCAL], name="itself")
    with Watch(world, family, itself, LOCAL, LOCAL) as watch:
        assert "answer" in itself.ask(world, client=LOCAL)
        assert watch.seen() == {}


@each_family
def test_a_pod_of_the_node_shows_with_its_address_also_on_the_way_to_another_node(world, family):
    frontend = publish(world, NODE_PORT, family, [REMOTE])
    with Watch(world, family, frontend, REMOTE, "pod1b") as watch:
        assert "answer" in frontend.ask(world, client="pod1b")
        both = {"client -> backend", "backend -> client"}
        assert watch.seen() == {
            "pod1b-ingress": {"client -> backend"}, "eth0-egress": {"client -> backend"},
            "eth0-ingress": {"backend -> client"}, "pod1b-egress": {"backend -> client"},
            "prerouting": both, "forward": both, "postrouting": both}


@each_family
def test_a_backend_that_is_the_node_itself_is_seen_by_input_with_its_own_port(world, family, node_server):
    frontend = publish(world, EXTERNAL_IP, family, [endpoint("node1", family)], target=node_server)
    with Watch(world, family, frontend, "node1", target=node_server) as watch:
        assert "answer" in frontend.ask(world)
        to, back = {"client -> backend"}, {"backend -> client"}
        assert watch.seen() == {"eth0-ingress": to, "prerouting": to, "input": to,
                                "output": back, "postrouting": back, "eth0-egress": back}


@each_family
def test_a_process_of_the_node_is_seen_with_the_frontend_where_no_socket_hook_translated_it(world, family):
    frontend = publish(world, CLUSTER_IP, family, [REMOTE])
    with Watch(world, family, frontend, REMOTE, "node1") as watch:
        assert "answer" in frontend.ask(world, client="node1")
        to, back = {"client -> frontend"}, {"frontend -> client"}
        seen = watch.seen()
        assert seen["output"] == seen["postrouting"] == to
        assert seen["input"] == back
        assert "forward" not in seen


@each_family
def test_a_firewall_that_forwards_nothing_stops_only_what_goes_through_the_stack(world, family):
    local, remote = (publish(world, NODE_PORT, family, [backend], name=backend) for backend in (LOCAL, REMOTE))
    with rules(world, "table inet fl-closed {\n"
                      "chain forward {\ntype filter hook forward priority 0; policy drop;\n}\n"
                      "chain input {\ntype filter hook input priority 0; policy drop;\nmeta l4proto icmpv6 accept\n}\n"
                      "}\n"):
        assert local.ask(world, timeout=0.2).get("error") == "timeout"
        assert "answer" in remote.ask(world)


@each_family
def test_a_rule_about_the_client_and_the_backend_filters_what_goes_through_the_stack(world, family):
    frontend = publish(world, NODE_PORT, family, [LOCAL], externalTrafficPolicy="Local")
    ip, client, pod = "ip" if family == 4 else "ip6", address_of("client", family), address_of(LOCAL, family)
    with rules(world, "table inet fl-some {\nchain forward {\ntype filter hook forward priority 0;\n"
                      f"{ip} saddr {client} {ip} daddr {pod} tcp dport 8080 drop\n}}\n}}\n"):
        assert frontend.ask(world, timeout=0.2).get("error") == "timeout"
        assert "answer" in frontend.ask(world, client="pod1a")


@contextlib.contextmanager
def program_in_front_of_ours(world, kind, port, family):
    """Drops what comes by the uplink for a port."""
    if kind == "xdp":
        descriptor = programs.load_xdp_drop_of_port(port, programs.TRANSPORT[family] + 2)
        hook, flags = programs.BPF_XDP, programs.XDP_FLAGS_SKB_MODE
    else:
        descriptor = programs.load_drop_of_port(port, programs.TRANSPORT[family] + 2)
        hook, flags = programs.BPF_TCX_INGRESS, programs.BPF_F_BEFORE
    with programs.attached(descriptor, f"{world.lab.id}-node1", "eth0", hook, flags):
        yield


@each_family
@pytest.mark.parametrize("kind", ["tcx", "xdp"])
def test_a_program_in_front_of_ours_filters_node_ports_by_their_number(world, family, kind):
    if kind == "tcx" and "tcx" not in world.agents["node1"].fairlead("links").stdout:
        pytest.skip("this kernel has no tcx")
    shut, let_in = (publish(world, NODE_PORT, family, name=name) for name in ("shut", "let-in"))
    with program_in_front_of_ours(world, kind, shut.port, family):
        assert shut.ask(world, timeout=0.2).get("error") == "timeout"
        assert set(let_in.ask_all(world, until=(LOCAL, REMOTE))) == {LOCAL, REMOTE}
    assert set(shut.ask_all(world, until=(LOCAL, REMOTE))) == {LOCAL, REMOTE}
