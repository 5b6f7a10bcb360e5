# SPDX-License-Identifier: BSD-2-Clause
"""An agent in namespaces as a container has them says what it cannot reach from there."""

import subprocess

import pytest

from lab import Agent, wait_for
from manifests import Folder
from programs import tcx_programs

ALL_CGROUPS_BUT_ITS_OWN = """
set -e
roots=$(awk '{ for (i = 7; i < NF; i++) if ($i == "-" && $(i + 1) == "cgroup2") print $5 }' /proc/self/mountinfo)
for root in $roots; do umount --lazy "$root"; done
mkdir -p "$0"
mount -t cgroup2 none "$0"
exec "$@"
"""


class ContainedAgent(Agent):
    """An agent behind a command that gives it namespaces of its own."""

    def __init__(self, lab, prefix, options=None, **arguments):
        super().__init__(lab, "node1", Folder(lab.directory / "manifests").path, **arguments)
        self.prefix, self.instead = prefix, options

    def command(self):
        command = super().command()
        if self.instead is not None:
            index = command.index("--cgroup")
            command[index:index + 2] = self.instead
        return [*self.prefix, *command]


def tcx_hooks(lab):
    try:
        return len(tcx_programs(f"{lab.id}-node1", "pod1a"))
    except OSError:
        pytest.skip("this kernel has no tcx")


@pytest.mark.parametrize("namespaces", [
    ["--mount"], ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]], ids=["shell", "container"])
def test_a_bpffs_that_ends_with_the_container_is_warned_of(lab, namespaces):
    agent = ContainedAgent(lab, ["unshare", *namespaces])
    agent.start()
    assert f"the bpffs at {agent.pin_dir} is mounted in this mount namespace only" in agent.text()
    assert tcx_hooks(lab) > 0
    agent.kill()
    # What the warning is about.
    wait_for(lambda: tcx_hooks(lab) == 0, "the hooks to go with the mount namespace")


@pytest.mark.parametrize("namespaces", [
    ["--mount"], ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]], ids=["shell", "container"])
def test_a_bpffs_of_the_node_is_not_warned_of(lab, namespaces):
    agent = ContainedAgent(lab, ["unshare", *namespaces])
    agent.pin_dir.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "bpf", "bpf", agent.pin_dir], check=True)
    agent.start()
    assert "this mount namespace only" not in agent.text()
    agent.kill()
    assert tcx_hooks(lab) > 0
    assert agent.cleanup().returncode == 0


def test_a_cgroup_that_is_not_the_root_is_said_to_be_none(lab):
    agent = ContainedAgent(lab, ["unshare", "--mount", "--cgroup", "sh", "-c", ALL_CGROUPS_BUT_ITS_OWN,
                                 lab.directory / "cgroup"], [])
    agent.pin_dir.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "bpf", "bpf", agent.pin_dir], check=True)
    try:
        agent.start()
        assert f"the cgroup {lab.directory / 'cgroup'} is not the root of cgroup v2" in agent.text()
        shown = agent.json("status")["degraded"]  # with notes of its own on an older kernel
        assert [item["name"] for item in shown if item["harmful"] or item["name"] == "cgroup-subtree"] == ["cgroup-subtree"]
        agent.stop()
    finally:
        agent.cleanup()


def test_a_cgroup_that_was_named_is_what_was_meant(lab):
    agent = ContainedAgent(lab, [])
    agent.start()
    assert "is not the root" not in agent.text()
    shown = agent.json("status")["degraded"]  # with notes of its own on an older kernel
    assert [item["name"] for item in shown if item["harmful"] or item["name"] == "cgroup-subtree"] == []
    agent.stop()
    assert agent.cleanup().returncode == 0
