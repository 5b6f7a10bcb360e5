# SPDX-License-Identifier: BSD-2-Clause
"""The agent as a process: what it refuses, what ends it, and what it leaves alone on the node."""

import json
import os
import signal
import subprocess

import pytest

from lab import DEADLINE, Agent, wait_for
from manifests import Folder, next_vip, service, slice_
from world import World

BACKENDS = ["pod1b", "pod2b"]


def pins(agent):
    return sorted(path.name for path in agent.pin_dir.iterdir()) if agent.pin_dir.exists() else []


def test_a_wrong_cgroup_is_refused_before_anything_is_touched(lab):
    agent = Agent(lab, "node1", Folder(lab.directory / "manifests").path)
    command = [part if part != lab.cgroup("node1") else "/no/such/cgroup" for part in agent.command()]
    done = lab.place("node1").run(*command, check=False)
    assert done.returncode == 1
    assert "/no/such/cgroup" in done.stderr and "ready" not in done.stderr
    assert pins(agent) == []
    shown = json.loads(lab.place("node1").run("bpftool", "-j", "net", "show").stdout)
    assert not any(shown[0].get(kind) for kind in ("tc", "xdp"))


@pytest.mark.parametrize("flag", [["--hooks", "xdp"], ["--max-slots", "many"], ["--timeout", "tcp=1"],
                                  ["--source-ports", "9-1"], ["--xdp", "fast"], ["surplus"], ["--pin-dir", "relative"]])
def test_misuse_is_one_sentence_that_names_the_option_and_exit_status_2(lab, flag):
    agent = Agent(lab, "node1", Folder(lab.directory / "manifests").path)
    done = lab.place("node1").run(*agent.command(), *flag, check=False)
    assert done.returncode == 2
    assert flag[0] in done.stderr.splitlines()[0]


def test_without_an_event_loop_it_ends_with_a_sentence(lab):
    agent = Agent(lab, "node1", Folder(lab.directory / "manifests").path)
    # The search for leaks needs descriptors itself.
    sanitizer = "ASAN_OPTIONS=halt_on_error=1:detect_leaks=0:exitcode=99"
    for descriptors in (7, 8):
        done = lab.place("node1").run("env", sanitizer, "prlimit", f"--nofile={descriptors}", *agent.command(),
                                      check=False)
        assert done.returncode == 1, done.stderr
        assert done.stderr.rstrip().endswith("cannot make the event loop: Too many open files")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_well_and_services_go_on(number):
    with World("socket,tc") as made:
        vip = made.simple("web", 4, BACKENDS)
        agent = made.agents["node1"]
        agent.process.send_signal(number)
        assert agent.process.wait(DEADLINE) == 0, agent.text()
        agent.wanted = False
        assert "answer" in made.place("pod1a").ask(vip)
        assert "answer" in made.place("pod1a", unseen=True).ask(vip)


def test_it_survives_that_nobody_reads_its_log_any_more(lab):
    folder = Folder(lab.directory / "manifests")
    agent = Agent(lab, "node1", folder.path, "-v", "3")
    agent.pin_dir.parent.mkdir(parents=True, exist_ok=True)
    read, write = os.pipe()
    process = lab.place("node1").start(*agent.command(), stdin=subprocess.DEVNULL, stderr=write)
    os.close(write)
    with os.fdopen(read) as log:
        assert any("ready: " in line for line in log)
    vip = next_vip(4)
    folder.write("web", service("web", vip), slice_("web", BACKENDS))
    agent.process = process
    try:
        wait_for(lambda: vip in {address for address, _, _ in agent.frontends()}, "the Service")
        assert process.poll() is None
    finally:
        process.terminate()
        assert process.wait(DEADLINE) == 0
        assert agent.cleanup().returncode == 0


# What it leaves alone.


def state_of_node(place):
    """Links, addresses, routes, sysctls and netfilter rules: all that is not fairlead's to change."""
    links = json.loads(place.run("ip", "-j", "link", "show").stdout)
    return {
        "links": [(link["ifname"], link["mtu"], sorted(link["flags"])) for link in links],
        "addresses": sorted(
            (link["ifname"], info["local"], info["prefixlen"])
            for link in json.loads(place.run("ip", "-j", "addr", "show").stdout)
            for info in link["addr_info"]),
        "routes": sorted(place.run("ip", family, "route", "show", "table", "all").stdout.splitlines()
                         for family in ("-4", "-6")),
        # Some cannot be read, as IPv6's secret.
        "sysctls": place.run("grep", "-rs", "", "/proc/sys/net/ipv4/conf", "/proc/sys/net/ipv6/conf",
                             check=False).stdout,
        "netfilter": place.run("nft", "list", "ruleset").stdout,
    }


def test_it_changes_nothing_on_the_node_but_its_own_hooks(lab):
    place = lab.place("node1")
    before = state_of_node(place)
    assert before["netfilter"] == ""
    folder = Folder(lab.directory / "manifests")
    vips = [next_vip(4), next_vip(6)]
    folder.write("web", service("web", vips), *[slice_("web", BACKENDS, family=family)
                                                for family in (4, 6)])
    agent = Agent(lab, "node1", folder.path).start()
    try:
        assert set(vips) <= {address for address, _, _ in agent.frontends()}
        during = state_of_node(place)
    finally:
        agent.stop()
        assert agent.cleanup().returncode == 0
    assert during == before
    assert state_of_node(place) == before
