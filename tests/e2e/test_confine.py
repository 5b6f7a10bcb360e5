# SPDX-License-Identifier: BSD-2-Clause
"""What an agent still may do once it is ready, as the kernel sees it, and what it needs to become so."""

import contextlib
import pathlib
import re
import shutil
import subprocess

import pytest

from kube import KubeAgent, kubeconfig
from lab import ROOT, Agent, wait_for
from manifests import Folder, next_vip, node, service, slice_
from apiserver.client import ApiServerProcess

# include/uapi/linux/capability.h
NUMBERS = {"dac_read_search": 2, "net_bind_service": 10, "net_admin": 12, "sys_ptrace": 19, "sys_admin": 21,
           "sys_resource": 24, "perfmon": 38, "bpf": 39}
PROGRAM = str(ROOT / "build" / "fairlead")  # sanitizers want more system calls


def bits(*names):
    return sum(1 << NUMBERS[name] for name in names)


def threads_of(agent):
    """/proc/PID/task/*/status, as {field: value}."""
    exe = pathlib.Path(PROGRAM).resolve()
    pid = next(pid for pid in [agent.process.pid, *descendants(agent.process.pid)]
               if pathlib.Path(f"/proc/{pid}/exe").resolve() == exe)
    return [dict(re.findall(r"^(\w+):\s+(.*)$", (task / "status").read_text(), re.M))
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir()]


def descendants(pid):
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except FileNotFoundError:
            continue
        if parent == pid:
            yield int(path.parent.name)
            yield from descendants(int(path.parent.name))


def expect_confined(agent, at_most):
    for thread in threads_of(agent):
        for field in ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb"):
            assert int(thread[field], 16) & ~at_most == 0, (field, thread[field], thread["Name"])
        assert (thread["NoNewPrivs"], thread["Seccomp"]) == ("1", "2"), thread["Name"]


def test_an_agent_of_root_keeps_the_capabilities_that_it_uses_and_no_other(lab):
    agent = Agent(lab, "node1", Folder(lab.directory / "manifests").path, program=PROGRAM).start()
    try:
        expect_confined(agent, bits(*NUMBERS))
        assert "Landlock" not in agent.text() and "cannot r" not in agent.text()
    finally:
        agent.stop()
        assert agent.cleanup().returncode == 0


class PoorAgent(KubeAgent):
    """Root, but for all capabilities except some."""

    capabilities = ("bpf", "perfmon", "net_admin")

    def command(self):
        return ["setpriv", "--bounding-set", ",".join(["-all", *(f"+{name}" for name in self.capabilities)]),
                *super().command()]


@contextlib.contextmanager
def poor_agent(lab, name):
    """It has a bpffs that is mounted for it, serves one Service, and logs no error to the end. With its API server."""
    with ApiServerProcess(netns=f"/run/netns/{lab.id}-node1") as server:
        server.put_all([node("node1"), service("web", next_vip(4)), slice_("web", ["10.244.9.1"])])
        agent = PoorAgent(lab, "node1", kubeconfig(server), name=name)
        agent.program = PROGRAM
        agent.pin_dir.mkdir()
        lab.place("node1").run("mount", "-t", "bpf", "bpf", agent.pin_dir)
        try:
            agent.start()
            agent.wait_for_backends("web", ["10.244.9.1"])
            yield agent, server
            assert [line for line in agent.log if line.startswith("E")] == []
        finally:
            agent.end()


def test_maps_grow_though_the_agent_is_confined(lab):
    with poor_agent(lab, "growing") as (agent, server):
        server.put_all([service(f"many-{number}", next_vip(4)) for number in range(3000)])
        agent.wait_for_log("the programs use larger maps")
        wait_for(lambda: len(agent.frontends()) >= 6000, "all Services in the maps")
        assert agent.dump("unprogrammed") == []


def test_bpf_perfmon_and_net_admin_are_enough_where_bpffs_is_mounted(lab):
    with poor_agent(lab, "poor") as (agent, _):
        expect_confined(agent, bits(*PoorAgent.capabilities))


class PoorAgentOfManifests(Agent):
    """The same without the API server: with a kubeconfig the agent may write anywhere, for credential plugins do."""

    def command(self):
        return ["setpriv", "--bounding-set", "-all,+bpf,+perfmon,+net_admin", *super().command()]


def test_pins_are_made_again_though_the_agent_is_confined(lab):
    """Landlock knows the directories that were there: beneath a new one of that name it allows what the one above has."""
    bpffs = lab.directory / "restoring-bpffs"
    bpffs.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", bpffs], check=True)
    agent = PoorAgentOfManifests(lab, "node1", Folder(lab.directory / "manifests").path, "--hook-check", "1", program=PROGRAM)
    agent.pin_dir = bpffs / "pins"

    def expect_pins(where):
        wait_for(lambda: (agent.pin_dir / "frontends").exists(), f"the pins {where}")

    try:
        agent.start()
        if "no Landlock" in agent.text():
            pytest.skip("this kernel has no Landlock")
        shutil.rmtree(agent.pin_dir)
        expect_pins("in the directory that was made again")
        subprocess.run(["mount", "-t", "bpf", "bpf", agent.pin_dir], check=True)
        expect_pins("in what was mounted over them")
        subprocess.run(["umount", "--lazy", agent.pin_dir], check=True)
        expect_pins("where they were")
        assert "out of reach" not in agent.text(), agent.text()

        # Only what is on a bpffs may be written: not the folder that this one is mounted in.
        subprocess.run(["mount", "-t", "bpf", "bpf", bpffs], check=True)
        agent.wait_for_log("are out of reach (Permission denied): restart the agent")
        subprocess.run(["umount", "--lazy", bpffs], check=True)
        expect_pins("where they were")
    finally:
        agent.stop()
        agent.cleanup()
        subprocess.run(["umount", "--lazy", bpffs], check=False)
