# SPDX-License-Identifier: BSD-2-Clause
"""A lab with servers and an agent on both nodes, which all stories share: nothing takes as long as an agent's start.

Each backend has a Service of its own, so that it is known where every request must arrive. pod2b's endpoint names no
node: so node1 hides clients from it (source NAT), and node2 sends to pod1b as they are (direct server return).
"""

import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parents[2]
sys.path.insert(0, str(TREE / "tests" / "e2e"))

import manifests  # noqa: E402
from lab import Agent, Lab, NODES, address_of, wait_for  # noqa: E402
from tap import note, promise  # noqa: E402

FAMILIES = (4, 6)
BACKENDS = ("pod1b", "pod2b", "pod1c")
SERVICE_PORT, TARGET, SCTP_TARGET = 80, 8080, 9000
MULTIHOMED, MULTIHOMED_PORT = {4: "10.96.2.1", 6: "fd00:96::2:1"}, 9001
PROTOCOLS = ("tcp", "udp", "sctp")
TARGETS = {"tcp": TARGET, "udp": TARGET, "sctp": SCTP_TARGET}
VIPS = {(name, family): f"10.96.1.{number}" if family == 4 else f"fd00:96::1:{number}"
        for number, name in enumerate((*BACKENDS, "nobody"), 1) for family in FAMILIES}
NODE_PORTS = {(name, proto): 30180 + 100 * PROTOCOLS.index(proto) + number
              for number, name in enumerate(BACKENDS) for proto in PROTOCOLS}
NODE_PORT_RANGES = "172.18.0.0/24,172.19.0.0/24,fd00:18::/64,fd00:19::/64"
HIDDEN_FROM = "pod2b"
PATIENCE = 9.0
READY = 240.0  # seconds that the verifier may take where the processor is translated

UP = "x" * 60000 + "\n"
DOWN = "fill 100000\n"


def endpoint(name, family):
    made = manifests.endpoint(name, family)
    if name == HIDDEN_FROM:
        del made["nodeName"]
    return made


def objects():
    made = [manifests.node(name) for name in NODES]
    for name in BACKENDS:
        ports = [manifests.service_port(SERVICE_PORT, proto, proto, TARGETS[proto], nodePort=NODE_PORTS[name, proto])
                 for proto in PROTOCOLS]
        vips = [VIPS[name, family] for family in FAMILIES]
        made.append(manifests.service(f"to-{name}", vips, ports, type="NodePort"))
        for family in FAMILIES:
            made.append(manifests.slice_(f"to-{name}", [endpoint(name, family)], family=family, ports=[
                {"name": proto, "protocol": proto.upper(), "port": TARGETS[proto]} for proto in PROTOCOLS]))
    made.append(manifests.service("multihomed", list(MULTIHOMED.values()), [
        manifests.service_port(MULTIHOMED_PORT, "sctp", "sctp", MULTIHOMED_PORT)]))
    for family in FAMILIES:
        made.append(manifests.slice_("multihomed", ["pod2b"], family=family, ports=[
            {"name": "sctp", "protocol": "SCTP", "port": MULTIHOMED_PORT}]))
    made.append(manifests.service("to-nobody", [VIPS["nobody", family] for family in FAMILIES]))
    return made


class SctpClient:
    """Asks by the SCTP sockets of a place."""

    def __init__(self, place):
        self.process = place.start(sys.executable, HERE / "sctp_echo.py", "ask", stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


class Cluster:
    """`has_sctp`: this kernel has sockets of SCTP, and stories ask by them too."""

    def __init__(self, has_sctp):
        self.lab = Lab()
        self.protocols = PROTOCOLS if has_sctp else PROTOCOLS[:2]
        self.agents, self._sctp_clients = {}, {}

    def __enter__(self):
        self.lab.__enter__()
        try:
            self.lab.serve(*BACKENDS, ports=(TARGET,))
            if "sctp" in self.protocols:
                for name in BACKENDS:
                    self.serve_sctp(name)
                # As by a network card: no driver puts packets of SCTP together to one that is larger than fits.
                self.place("client").run("ethtool", "-K", "eth0", "tx-sctp-segmentation", "off")
            self.folder = manifests.Folder(self.lab.directory / "manifests")
            self.folder.write("cluster", *objects())
            for node in NODES:
                self.agents[node] = Agent(self.lab, node, self.folder.path, "--forwarding", "dsr",
                                          "--nodeport-addresses", NODE_PORT_RANGES)
                self.agents[node].start(ready=False)
            for agent in self.agents.values():
                agent.wait_for_log("ready: ", READY)
        except BaseException:
            self.lab.down()
            raise
        return self

    def __exit__(self, *_):
        self.lab.__exit__()

    def place(self, name, unseen=False):
        return self.lab.place(name, unseen)

    def serve_sctp(self, name, port=SCTP_TARGET, addresses=()):
        server = self.place(name).start(sys.executable, HERE / "sctp_echo.py", "serve", name, port, *addresses,
                                        stdout=subprocess.PIPE, text=True)
        assert server.stdout.readline() == "ready\n", f"{name}: no SCTP server"

    def ask_sctp(self, client, address, port, sizes=(1000, 1000), unseen=False, sources=()):
        key = (client, unseen)
        if key not in self._sctp_clients:
            self._sctp_clients[key] = SctpClient(self.place(client, unseen))
        return self._sctp_clients[key].ask(address=address, port=port, sizes=sizes, sources=sources)

    def ask(self, proto, client, address, port, message="hello\n", unseen=False, tries=1):
        """{"name", "seen"} of what answered, or {"error"}. Datagrams may be sent `tries` times."""
        if proto == "sctp":
            return self.ask_sctp(client, address, port, unseen=unseen)
        for _ in range(tries):
            result = self.place(client, unseen).ask(address, port, proto, message=message, timeout=PATIENCE / tries)
            if "answer" in result:
                return {"name": result["answer"]["name"], "seen": result["answer"]["client"]}
        return result

    # Promises.

    def wrong(self, client, backend, addresses, ports, families=FAMILIES, protocols=None, seen=None, unseen=False):
        """What is not answered by the backend, or not seen there as from `seen` of each family: a line each."""
        found = []
        for proto in protocols or self.protocols:
            for family in families:
                for message in (UP, DOWN) if proto == "tcp" else ("hello\n",):
                    result = self.ask(proto, client, addresses[family], ports[proto], message, unseen,
                                      tries=3 if proto == "udp" else 1)
                    if result.get("name") != backend or "error" in result or (
                            seen and result["seen"].removeprefix("::ffff:") != seen[family]):
                        found.append(f"{proto}, IPv{family}, {len(message)} bytes, from {client} to "
                                     f"{addresses[family]} port {ports[proto]}: {result}")
        return found

    def check(self, what, client, backend, addresses=None, **more):
        """A promise: the backend answers in each protocol and family, at ClusterIPs or at NodePorts of `addresses`."""
        ports = {proto: SERVICE_PORT if addresses is None else NODE_PORTS[backend, proto] for proto in self.protocols}
        addresses = addresses or {family: VIPS[backend, family] for family in FAMILIES}
        wrong = self.wrong(client, backend, addresses, ports, **more)
        promise(not wrong, what, *wrong)

    def check_outside(self, way, node1=None, node2=None, hidden_as=None):
        """From outside to NodePorts of both nodes; `hidden_as`: what node1 is called where it hides the client."""
        node1, node2 = node1 or addresses_of("node1"), node2 or addresses_of("node2")
        self.check(f"{way}: from outside to a NodePort, backend on that node", "client", "pod1b", node1)
        self.check(f"{way}: from outside to a NodePort, backend elsewhere, source NAT", "client", "pod2b", node1,
                   seen=hidden_as)
        self.check(f"{way}: from outside to a NodePort, backend elsewhere, direct server return", "client", "pod1b",
                   node2)

    def check_inside(self, way, backends=("pod1b", "pod2b"), clients=("pod1a", "node1")):
        """From pods and the node's own processes to ClusterIPs: what socket hooks see of them, and what they do not."""
        for backend in backends:
            for client in clients:
                self.check(f"{way}: from {client} to the ClusterIP of {backend}", client, backend)
                self.check(f"{way}: from {client} past the socket hooks to the ClusterIP of {backend}", client, backend,
                           unseen=True)

    def check_pod(self, way, pod):
        """A pod of node1 as a backend, and as a client."""
        self.check_inside(way, backends=[pod])
        self.check(f"{way}: from outside to a NodePort, backend there", "client", pod, addresses_of("node1"))
        self.check_inside(way, clients=[pod])
        self.check(f"{way}: from {pod} to itself by its ClusterIP", pod, pod)

    def status(self, node):
        return self.agents[node].json("status")

    def wait_for_link(self, node, name, has_address=False):
        """Returns when a new link of a node has its hooks, and its addresses are known."""
        shown = self.place(node).run("ip", "-j", "link", "show", name).stdout
        index = json.loads(shown)[0]["ifindex"]
        agent = self.agents[node]
        hooked = ("tcx", "clsact")
        wait_for(lambda: any(row["ifindex"] == index and row["hook"] in hooked for row in agent.json("links")),
                 f"hooks on {name} of {node}", pause=0.2)
        if has_address:
            wait_for(lambda: any(entry["key"] == index for entry in agent.dump("link_sources")),
                     f"the addresses of {name} of {node}", pause=0.2)

    def tell(self):
        """What explains a story that ended badly."""
        for agent in self.agents.values():
            note(f"--- {agent.node}'s agent\n{agent.text()[-3000:]}")


def addresses_of(name):
    return {family: address_of(name, family) for family in FAMILIES}
