# SPDX-License-Identifier: BSD-2-Clause
"""Requests through Services on this kernel, in the lab of the end-to-end tests: TCP and UDP, IPv4 and IPv6, to a ClusterIP
and a NodePort, to a backend of this node and one of the other, from sockets with and without socket hooks, and from
outside. Where the kernel has tcx, once with it and once with clsact filters.
"""

import json

from inside import Checks, SINCE, release

import lab as lab_module
from lab import Agent, Lab, address_of
from manifests import node, service, service_port, slice_

lab_module.DEADLINE = 120.0
ANSWER_TIMEOUT = 20.0
NODE_PORT = 30080
BACKENDS = {"pod1b": ("10.96.1.1", "fd00:96::1:1"), "pod2b": ("10.96.1.2", "fd00:96::1:2")}


def write_manifests(folder):
    """For each backend a Service of its own, so that it is known where each request must go."""
    folder.mkdir()
    items = [node("node1"), node("node2")]
    for number, (backend, vips) in enumerate(BACKENDS.items()):
        ports = [service_port(80, proto, proto.lower(), 8080, nodePort=NODE_PORT + number) for proto in ("TCP", "UDP")]
        items.append(service(f"to-{backend}", list(vips), ports, type="NodePort"))
        items += [slice_(f"to-{backend}", [backend], family=family) for family in (4, 6)]
    (folder / "all.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    return folder


def requests():
    """(who, unseen by socket hooks, address, port, backend, in words)"""
    for number, (backend, vips) in enumerate(BACKENDS.items()):
        for family, vip in zip((4, 6), vips):
            yield "pod1a", False, vip, 80, backend, f"a pod to the ClusterIP of {backend}"
            yield "pod1a", True, vip, 80, backend, f"packets of a pod to the ClusterIP of {backend}"
            yield "node1", False, vip, 80, backend, f"the node to the ClusterIP of {backend}"
            yield ("client", False, address_of("node1", family), NODE_PORT + number, backend,
                   f"outside to the NodePort of {backend}")


def ask_all(checks, lab, hook):
    for who, unseen, address, port, backend, words in requests():
        for proto in ("tcp", "udp"):
            result = lab.place(who, unseen=unseen).ask(address, port, proto, timeout=ANSWER_TIMEOUT)
            checks.promise(result.get("answer", {}).get("name") == backend,
                           f"{hook}: {words}, {proto.upper()} to {address}", result)


def refuse(checks, lab, hook):
    """A port of a Service's address that no Service has is refused, and not sent to the network."""
    result = lab.place("pod1a", unseen=True).ask(BACKENDS["pod1b"][0], 81, "tcp", timeout=ANSWER_TIMEOUT)
    checks.promise(result.get("error") == "ECONNREFUSED", f"{hook}: a port without a Service is refused", result)


def smoke(checks, lab, folder, hook):
    agent = Agent(lab, "node1", folder, "--xdp", "generic", *(["--clsact"] if hook == "clsact" else [])).start()
    hooks = {link["hook"] for link in agent.json("links") if link["role"] in ("pod", "uplink")}
    checks.promise(hooks == {hook}, f"{hook}: it is what the links have", hooks)
    ask_all(checks, lab, hook)
    refuse(checks, lab, hook)
    agent.stop()
    agent.cleanup()


def main():
    checks = Checks()
    with Lab() as lab:
        lab.serve(*BACKENDS, ports=(8080,))
        folder = write_manifests(lab.directory / "manifests")
        for hook in ("tcx", "clsact") if release() >= SINCE["no-tcx"] else ("clsact",):
            checks.run(smoke, lab, folder, hook)
    checks.exit()


if __name__ == "__main__":
    main()
