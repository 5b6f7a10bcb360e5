# SPDX-License-Identifier: BSD-2-Clause
"""A Service without backends refuses at once, a NodePort cannot be taken: what bpf_set_retval says, on this kernel.

From 7.2 on the verifier only takes an argument that it knows to be within [-4095, 0].
"""

import os

from cluster import FAMILIES, NODE_PORTS, SERVICE_PORT, VIPS
from tap import note, promise

NEEDS = ()
RETVAL_SINCE = (5, 18)
AT_ONCE = 1.0  # seconds; a refusal that only TC gives by ICMP takes longer


def kernel_version():
    return tuple(int(number) for number in os.uname().release.split("-")[0].split(".")[:2])


def story(cluster):
    degraded = {item["name"] for item in cluster.status("node1")["degraded"]}
    note(f"degraded on Linux {os.uname().release}: {', '.join(sorted(degraded)) or 'nothing'}")
    has_retval = kernel_version() >= RETVAL_SINCE
    promise(has_retval == ("no-retval" not in degraded),
            "refusal: status says no-retval just where the kernel is too old for it", f"degraded: {degraded}")
    client = cluster.place("pod1a")
    for family in FAMILIES:
        result = client.ask(VIPS["nobody", family], SERVICE_PORT)
        promise(result.get("error") == "ECONNREFUSED" and result["seconds"] < AT_ONCE,
                f"refusal: connect() to a Service without backends is refused at once, IPv{family}", result)
    taken = NODE_PORTS["pod1b", "tcp"]
    result = cluster.place("node1").ask("127.0.0.1", taken, source="0.0.0.0", source_port=taken)
    promise(result.get("step") == "socket" and result["error"] == ("EADDRINUSE" if has_retval else "EPERM"),
            "refusal: a process of the node cannot bind to a NodePort", result)
