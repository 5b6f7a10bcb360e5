# SPDX-License-Identifier: BSD-2-Clause
"""`fairlead status` as scripts use it: the verdict in the first line, the exit status, and --wait."""

import json
import subprocess
import time

import pytest

from lab import DEADLINE, FAIRLEAD, Agent
from manifests import Folder, next_vip, service, slice_

BACKENDS = ["pod1b", "pod2b"]


@pytest.fixture(name="start")
def starter(lab):
    """Makes agents of node1 that serve one Service, and leaves nothing of them."""
    made = []

    def make(*options, services=1):
        folder = Folder(lab.directory / "manifests-status")
        for number in range(services):
            folder.write(f"web-{number}", service(f"web-{number}", next_vip(4)), slice_(f"web-{number}", BACKENDS))
        made.append(Agent(lab, "node1", folder.path, *options))
        made[-1].folder = folder
        return made[-1]

    yield make
    for agent in made:
        if agent.running():
            agent.stop()
        assert agent.cleanup().returncode == 0
        for path in agent.folder.path.iterdir():
            path.unlink()


def status(agent, *options):
    """The first line and the exit status."""
    done = agent.fairlead("status", *options, check=False)
    return done.stdout.splitlines()[0], done.returncode


def begin_waiting(lab, agent, seconds):
    return lab.place("node1").start(FAIRLEAD, "status", "--pin-dir", agent.pin_dir, f"--wait={seconds}",
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_what_is_switched_off_or_not_in_the_kernel_is_a_note_and_exit_status_0(start):
    agent = start("--hooks", "tc").start()
    line, code = status(agent)
    assert line.startswith("NOTE: node1, 2 service ports programmed; ") and "no-socket-hooks" in line
    assert code == 0
    shown = agent.json("status")
    assert shown["verdict"] == "NOTE"
    assert [item["harmful"] for item in shown["degraded"] if item["name"] == "no-socket-hooks"] == [False]


def test_service_ports_without_room_are_degraded_and_exit_status_1(start):
    agent = start("--max-services", "2", services=3).start(ready=False)
    agent.wait_for_log("is full")
    line, code = status(agent)
    assert line.startswith("DEGRADED: node1, ") and "map-full" in line
    assert code == 1
    shown = json.loads(agent.fairlead("status", "-o", "json", check=False).stdout)
    assert [item["harmful"] for item in shown["degraded"] if item["name"] == "map-full"] == [True]


def test_without_an_agent_the_node_is_down_and_its_service_ports_are_still_counted(start):
    agent = start().start()
    agent.stop()
    line, code = status(agent)
    assert line.startswith("DOWN: node1, 2 service ports programmed; agent-not-running")
    assert code == 1


def test_where_nothing_is_programmed_the_node_is_down_and_the_exit_status_3(lab):
    done = lab.place("node1").run(FAIRLEAD, "status", "--pin-dir", "/sys/fs/bpf/fl-nowhere", check=False)
    assert done.returncode == 3
    assert done.stdout == "DOWN: no datapath can be read at /sys/fs/bpf/fl-nowhere\n"
    done = lab.place("node1").run(FAIRLEAD, "status", "--pin-dir", "/sys/fs/bpf/fl-nowhere", "-o", "json", check=False)
    assert (done.returncode, json.loads(done.stdout)) == (3, {"verdict": "DOWN"})


def test_waiting_ends_as_soon_as_services_work(lab, start):
    """Also before there is anything to read, as in an init container."""
    agent = start()
    waiting = begin_waiting(lab, agent, 60)
    agent.start()
    shown, complaints = waiting.communicate(timeout=DEADLINE)
    assert waiting.returncode == 0, complaints
    assert complaints == ""
    assert shown.splitlines()[0].startswith(("OK: node1, 2 ", "NOTE: node1, 2 "))


def test_waiting_in_vain_ends_after_the_time_given(start):
    agent = start().start()
    agent.stop()
    begun = time.monotonic()
    line, code = status(agent, "--wait=1")
    assert (line.split(":")[0], code) == ("DOWN", 1)
    assert 1 <= time.monotonic() - begun < DEADLINE


def test_the_agents_own_memory_is_shown_apart_from_what_it_has_mapped(start):
    agent = start().start()
    memory = agent.json("status")["agent"]
    assert 0 < memory["rss_anon_bytes"] < memory["rss_bytes"]
    assert " of memory of its own\n" in agent.fairlead("status", check=False).stdout
