# SPDX-License-Identifier: BSD-2-Clause
"""The agent loads and attaches all its programs on this kernel, and takes them away again.

usage: load.py [--clsact]      (with clsact filters although the kernel has tcx)

A pod's link, two uplinks and one without a link-layer header are there, so every program has a place. Writes what was
loaded to /out/load.json.
"""

import contextlib
import json
import pathlib
import subprocess
import sys

from inside import Checks, FAIRLEAD, FULLY_SUPPORTED, OUT, ROOT, SINCE, fairlead, fairlead_json, programs, release

from lab import wait_for  # (beside the other tests: inside.py has set the path)

PINS = pathlib.Path("/sys/fs/bpf/fairlead")
TRANSFER = pathlib.Path("/sys/fs/bpf/transfer")
WORK = pathlib.Path("/tmp/load")
LINKS = {"pod0": "pod", "eth0": "uplink", "eth1": "uplink", "tun0": "overlay"}
READY_DEADLINE = 120.0
VERIFIED_MAX = 500_000  # half of what the kernel allows

MANIFEST = """
{apiVersion: v1, kind: Node, metadata: {name: node1}, spec: {podCIDR: 10.244.1.0/24},
 status: {addresses: [{type: InternalIP, address: 172.18.0.11}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop},
 spec: {type: NodePort, clusterIP: 10.96.0.80, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}}
"""

COMMANDS = """
netns add pod
link add pod0 type veth peer name eth0 netns pod
link set pod0 up
tuntap add tun0 mode tun
link set eth0 up
link set eth1 up
addr add 172.18.0.11/24 dev eth0
route add default via 172.18.0.1
"""


@contextlib.contextmanager
def agent(*options):
    """`fairlead agent` of this machine, until it says that it is ready, or ends. Yields the process and its log."""
    manifests = WORK / "manifests"
    manifests.mkdir(parents=True, exist_ok=True)
    (manifests / "all.yaml").write_text(MANIFEST)
    with open(WORK / "log", "w+", encoding="utf-8") as log:
        process = subprocess.Popen([FAIRLEAD, "agent", "--manifests", manifests, "--node-name", "node1", "--pin-dir", PINS,
                                    "--xdp", "generic", *options], stderr=log)
        try:
            wait_for(lambda: "ready: " in read_log() or process.poll() is not None, "ready", READY_DEADLINE, 0.1)
            yield process
        finally:
            process.kill()
            process.wait()


def read_log():
    return (WORK / "log").read_text(encoding="utf-8", errors="replace")


def expected_degraded():
    """What this kernel cannot do by its version. Probing must come to the same."""
    return {name for name, since in SINCE.items() if release() < since}


def check_hooks(checks, is_clsact):
    hook = "clsact" if is_clsact or release() < SINCE["no-tcx"] else "tcx"
    links = {link["name"]: link for link in fairlead_json("links", pins=PINS)}
    for name, role in LINKS.items():
        link = links.get(name, {})
        checks.promise(link.get("role") == role and link.get("hook") == hook, f"{name} ({role}) has its {hook} hook", link)
        if role == "uplink":
            checks.promise(link.get("xdp") == "generic", f"{name} ({role}) has its XDP hook", f"{link}\n{read_log()}")
    return hook


def check_degraded(checks, is_clsact):
    degraded = {entry["name"] for entry in fairlead_json("status", pins=PINS)["degraded"]}
    known = degraded & set(SINCE)
    wanted = expected_degraded() | ({"no-tcx"} if is_clsact else set())
    checks.promise(known == wanted, f"status names what is degraded: {', '.join(sorted(wanted)) or 'nothing'}",
                   f"it names {sorted(degraded)}")
    if release() >= FULLY_SUPPORTED:
        checks.promise(not degraded - set(SINCE), "nothing else is degraded", sorted(degraded - set(SINCE)))
    return sorted(degraded)


def check_refusal(checks, process):
    """Older than what is supported: where programs are refused, the agent says so and ends."""
    checks.promise(process.poll() not in (None, 0) and "the kernel " in read_log(),
                   "a kernel older than what is supported refuses programs, the agent says so and ends", read_log())
    check_nothing_left(checks)


def check_nothing_left(checks):
    wait_for(lambda: not programs(), lambda: f"the kernel to free {sorted(programs())}")
    checks.promise(not PINS.exists() or not any(PINS.iterdir()), "no program and no pin is left", list(PINS.glob("*")))


@contextlib.contextmanager
def transfer_loaded(checks):
    """With the programs that the agent loads only while a larger table of flows takes the place of a smaller one."""
    done = subprocess.run(["bpftool", "prog", "loadall", ROOT / "build" / "bpf" / "transfer.bpf.o", TRANSFER],
                          capture_output=True, text=True, check=False)
    checks.promise(not done.returncode, "the programs load that hold the flows while their table grows", done.stderr[-2000:])
    yield
    for path in TRANSFER.glob("*"):
        path.unlink()
    if TRANSFER.exists():
        TRANSFER.rmdir()


def load(checks, is_clsact):
    with agent(*(["--clsact"] if is_clsact else [])) as process:
        is_ready = "ready: " in read_log() and process.poll() is None
        if not is_ready and release() < FULLY_SUPPORTED:
            check_refusal(checks, process)
            return
        checks.promise(is_ready, "the agent starts with all hooks", read_log())
        if not is_ready:
            return
        hook = check_hooks(checks, is_clsact)
        degraded = check_degraded(checks, is_clsact)
        with transfer_loaded(checks):
            loaded = programs()
        too_dear = {name: program["verified"] for name, program in loaded.items() if program["verified"] > VERIFIED_MAX}
        checks.promise(not too_dear, f"the verifier looks at {VERIFIED_MAX:,} instructions of a program at most", too_dear)
        (OUT / "load.json").write_text(json.dumps({"hook": hook, "degraded": degraded, "programs": loaded}))
        process.terminate()
        checks.promise(process.wait(READY_DEADLINE) == 0, "the agent ends well", read_log()[-2000:])
    done = fairlead("cleanup", pins=PINS)
    checks.promise(done.returncode == 0, "cleanup", done.stderr)
    check_nothing_left(checks)


def main():
    subprocess.run(["ip", "-batch", "-"], input=COMMANDS, text=True, check=True)
    checks = Checks()
    checks.run(load, "--clsact" in sys.argv[1:])
    checks.exit()


if __name__ == "__main__":
    main()
