# SPDX-License-Identifier: BSD-2-Clause
"""Other programs on our hooks run after ours and survive us; and clsact, where the kernel has no tcx."""

import contextlib
import json
import os
import re
import subprocess

import pytest

import programs
from lab import Agent, address_of, wait_for
from manifests import Folder
from world import World

BACKENDS = ["pod1b", "pod1c", "pod2b", "pod2c"]
each_family = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
each_proto = pytest.mark.parametrize("proto", ["tcp", "udp"])


@pytest.fixture(scope="module", params=[[], ["--clsact"]], ids=["tcx", "clsact"])
def either(request):
    with World("tc", *request.param) as made:
        made.is_clsact = bool(request.param)
        yield made


@pytest.fixture(scope="module")
def clsact():
    with World("tc", "--clsact") as made:
        yield made


@pytest.fixture
def bpffs(either):
    """A place to pin programs that are not ours."""
    path = either.lab.directory / "others"
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "bpf", "bpf", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)


@each_family
@each_proto
@pytest.mark.parametrize("client", ["pod1a", "pod2a", "node1"])
def test_clsact_serves_every_client(clsact, client, proto, family):
    vip = clsact.simple("web", family, BACKENDS)
    results = clsact.place(client).ask_many(40, vip, proto=proto, until=BACKENDS)
    assert {result.get("answer", result).get("name") for result in results} == set(BACKENDS)


@each_family
def test_clsact_refuses_and_answers_echo(clsact, family):
    vip = clsact.simple("empty", family, [])
    assert clsact.place("pod1a").ask(vip)["error"] == "ECONNREFUSED"
    assert clsact.place("pod1a").ping(vip).returncode == 0


def test_status_says_that_clsact_is_used(clsact):
    assert "clsact" in clsact.agents["node1"].fairlead("links").stdout


def test_restarts_leave_one_filter_of_ours_on_each_hook(clsact):
    agent = clsact.agents["node1"]
    node = clsact.place("node1")

    def filters(hook):
        shown = json.loads(node.run("tc", "-j", "filter", "show", "dev", "pod1a", hook).stdout)
        return [item for item in shown if item.get("options", {}).get("bpf_name")
                or item.get("options", {}).get("prog")]

    before = {hook: len(filters(hook)) for hook in ("ingress", "egress")}
    assert before == {"ingress": 1, "egress": 1}
    agent.kill()
    agent.start()
    assert {hook: len(filters(hook)) for hook in ("ingress", "egress")} == before


@contextlib.contextmanager
def somebody_s_filter(world, bpffs, device, hook, descriptor, priority=50000):
    """A clsact filter of another owner, behind ours unless the number of its priority is lower."""
    node = world.place("node1")
    pinned = bpffs / f"other-{device}-{hook}"
    programs.pin(descriptor, pinned)
    os.close(descriptor)
    node.run("tc", "qdisc", "add", "dev", device, "clsact", check=False)
    node.run("tc", "filter", "add", "dev", device, hook, "prio", priority, "bpf", "direct-action",
             "object-pinned", pinned)
    try:
        yield
    finally:
        node.run("tc", "filter", "del", "dev", device, hook, "prio", priority, check=False)
        pinned.unlink()


def somebody_s_tcx(world, device, hook, verdict):
    return programs.attached(programs.load_verdict(verdict), f"{world.lab.id}-node1", device,
                             programs.BPF_TCX_INGRESS if hook == "ingress" else programs.BPF_TCX_EGRESS)


@pytest.mark.parametrize("hook", ["ingress", "egress"])
def test_a_filter_of_another_runs_after_ours(either, bpffs, hook):
    """Their program drops everything: so no answer means that it ran."""
    vip = either.simple("web", 4, ["pod1b"])
    client = either.place("pod1a")
    assert "answer" in client.ask(vip)
    with somebody_s_filter(either, bpffs, "pod1a", hook, programs.load_verdict(programs.TC_ACT_SHOT)):
        assert client.ask(vip, timeout=0.2)["error"] == "timeout"
        assert client.ask(address_of("pod1b", 4), 8080, timeout=0.2)["error"] == "timeout"
    assert "answer" in client.ask(vip)


@each_family
def test_a_filter_with_a_lower_number_sees_what_was_dialled_only_where_ours_is_a_filter_too(either, bpffs, family):
    """It drops what is for the frontend's port, which is not the backend's."""
    vip = either.simple("web", family, ["pod1b"])
    program = programs.load_drop_of_port(80, programs.TRANSPORT[family] + 2)
    with somebody_s_filter(either, bpffs, "pod1a", "ingress", program, priority=1):
        result = either.place("pod1a").ask(vip, timeout=0.3)
        assert result.get("error") == "timeout" if not has_tcx(either) else "answer" in result, result


@pytest.mark.parametrize("hook", ["ingress", "egress"])
def test_a_tcx_program_of_another_runs_too(either, hook):
    vip = either.simple("web", 4, ["pod1b"])
    client = either.place("pod1a")
    try:
        with somebody_s_tcx(either, "pod1a", hook, programs.TC_ACT_SHOT):
            assert client.ask(vip, timeout=0.2)["error"] == "timeout"
    except OSError:
        assert either.is_clsact or not has_tcx(either), "this kernel has tcx, and it could not be attached"
    assert "answer" in client.ask(vip)


def has_tcx(world):
    return "tcx" in world.agents["node1"].fairlead("links").stdout


@pytest.mark.parametrize("hook", ["ingress", "egress"])
def test_a_filter_that_lets_packets_pass_changes_nothing(either, bpffs, hook):
    vip = either.simple("web", 4, ["pod1b", "pod2b"])
    with somebody_s_filter(either, bpffs, "pod1a", hook, programs.load_verdict(programs.TC_ACT_OK)):
        results = either.place("pod1a").ask_many(10, vip)
        assert all("answer" in result for result in results)


def test_a_filter_of_another_survives_restart_and_cleanup(either, bpffs):
    node, agent = either.place("node1"), either.agents["node1"]
    with somebody_s_filter(either, bpffs, "pod1b", "ingress", programs.load_verdict(programs.TC_ACT_OK)):
        def theirs():
            shown = json.loads(node.run("tc", "-j", "filter", "show", "dev", "pod1b", "ingress").stdout)
            return [item for item in shown if item.get("pref") == 50000]

        before = theirs()
        assert before
        agent.kill()
        agent.start()
        assert theirs() == before
        agent.stop()
        agent.cleanup()
        assert theirs() == before
        agent.start()
        assert theirs() == before
    node.run("tc", "qdisc", "del", "dev", "pod1b", "clsact", check=False)
    agent.stop()
    agent.start()


def test_a_link_that_appears_is_hooked_and_one_that_goes_is_forgotten(either):
    node, agent = either.place("node1"), either.agents["node1"]
    node.run("ip", "link", "add", "late", "type", "veth", "peer", "name", "late0", "netns",
             f"{either.lab.id}-client")
    node.run("ip", "link", "set", "late", "up")
    wait_for(lambda: "late" in agent.fairlead("links", check=False).stdout, "the new link in the table")
    node.run("ip", "link", "del", "late")
    wait_for(lambda: "late" not in agent.fairlead("links", check=False).stdout, "the link to be gone")


def test_links_says_what_was_decided_and_why(either):
    shown = either.agents["node1"].fairlead("links").stdout
    lines = {line.split()[1]: line for line in shown.splitlines()}
    for pod in ("pod1a", "pod1b", "pod1c"):
        assert "pod" in lines[pod].split(), shown
    assert "uplink" in lines["eth0"].split(), shown


class PoorAgent(Agent):
    """Root with the capabilities of deploy/kubernetes: it may not look at programs by their ids."""

    def command(self):
        return ["setpriv", "--bounding-set", "-all,+bpf,+perfmon,+net_admin", *super().command()]


def test_an_agent_without_cap_sys_admin_knows_its_filters(lab):
    agent = PoorAgent(lab, "node1", Folder(lab.directory / "manifests").path, "--clsact", "--hook-check", "1")
    agent.pin_dir.mkdir(parents=True)
    lab.place("node1").run("mount", "-t", "bpf", "bpf", agent.pin_dir)

    def links():
        return {item["name"]: item["hook"] for item in agent.json("links")}

    def program():
        return re.search(r"fl_ingress:\[(\d+)\]",
                         lab.place("node1").run("tc", "filter", "show", "dev", "pod1a", "ingress").stdout).group(1)

    agent.start()
    try:
        first = program()
        # A check of the hooks finds this one missing, and nothing else.
        lab.place("node1").run("tc", "qdisc", "del", "dev", "pod1b", "clsact")
        agent.wait_for_log("link pod1b: somebody has removed")
        wait_for(lambda: links()["pod1b"] == "clsact", "the filters of pod1b")
        assert agent.text().count("somebody has removed") == 1
        assert links()["pod1a"] == "clsact"
        agent.kill()
        agent.start()
        assert links()["pod1a"] == "clsact"
        assert program() != first
        agent.stop()
    finally:
        assert agent.cleanup().returncode == 0
    assert "fl_" not in lab.place("node1").run("tc", "filter", "show", "dev", "pod1a", "ingress").stdout
