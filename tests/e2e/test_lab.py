# SPDX-License-Identifier: BSD-2-Clause
"""scripts/lab itself: what all other tests stand on."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from lab import NODES, ROOT, SCRIPT, accept_signals, address_of, all_pods, cgroup_root, node_of, wait_for

each_family = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
each_proto = pytest.mark.parametrize("proto", ["tcp", "udp"])


def script(name, *arguments):
    return subprocess.run([SCRIPT, "--name", name, *arguments], capture_output=True, text=True,
                          check=False)


def leftovers(name):
    """Everything of a lab that is still there."""
    found = [str(path) for path in pathlib.Path("/run/netns").glob(f"{name}-*")]
    found += [str(path) for path in cgroup_root().glob(f"{name}-*")]
    found += [str(path) for path in pathlib.Path("/run").glob(name)]
    found += [line for line in open("/proc/self/mountinfo", encoding="utf-8") if f"/run/{name}/" in line]
    return found


@pytest.fixture
def name():
    made = f"fl-x{os.getpid()}"
    yield made
    script(made, "down")
    assert not leftovers(made)


@pytest.fixture(scope="module")
def served(lab):
    lab.serve(*all_pods())
    return lab


@each_family
@each_proto
@pytest.mark.parametrize("client", ["pod1a", "pod2a", "node1", "node2", "client"])
def test_every_place_reaches_every_pod(served, client, proto, family):
    for pod in all_pods():
        result = served.place(client).ask(address_of(pod, family), 8080, proto)
        assert result.get("answer", {}).get("name") == pod, result
        if node_of(client) != node_of(pod) or client.startswith("pod"):
            assert result["answer"]["client"] == address_of(client, family)


@each_family
def test_nothing_answers_for_a_service_address(served, family):
    vip = "10.96.0.1" if family == 4 else "fd00:96::1"
    assert served.place("pod1a").ask(vip, 80, timeout=0.1)["error"] == "timeout"


def test_a_command_in_a_pod_runs_in_its_network_and_its_node_s_cgroup(served):
    shown = served.place("pod1b").run("cat", "/proc/self/cgroup").stdout
    assert f"0::/{served.id}-node1/pod1b" in shown.splitlines()
    assert "10.244.1.12/32" in served.place("pod1b").run("ip", "addr").stdout


def test_an_unseen_command_runs_in_the_pod_s_network_outside_of_its_node_s_cgroup(served):
    hidden = served.place("pod1b", unseen=True)
    assert f"0::/{served.id}-outside" in hidden.run("cat", "/proc/self/cgroup").stdout.splitlines()
    assert "10.244.1.12/32" in hidden.run("ip", "addr").stdout


def test_status_names_every_place(served):
    shown = script(served.id, "status").stdout
    for place in (*NODES, *all_pods(), "client", "wire"):
        assert f"{served.id}-{place}" in shown


def test_up_and_down_are_safe_to_run_twice(name):
    assert script(name, "up").returncode == 0
    before = os.stat(f"/run/netns/{name}-pod1a").st_ino
    again = script(name, "up")
    assert again.returncode == 0 and "is up" in again.stdout
    assert os.stat(f"/run/netns/{name}-pod1a").st_ino == before
    assert script(name, "down").returncode == 0
    assert not leftovers(name)
    assert script(name, "down").returncode == 0


def test_down_ends_what_runs_in_the_lab(name):
    script(name, "up")
    child = subprocess.Popen([SCRIPT, "--name", name, "exec", "pod2c", "sleep", "600"])
    wait_for(lambda: str(child.pid) in (cgroup_root() / f"{name}-node2/pod2c/cgroup.procs").read_text(),
             "the process in its pod's cgroup")
    script(name, "down")
    assert child.wait(5) == -signal.SIGKILL
    assert not leftovers(name)


def test_down_unmounts_what_was_mounted_in_the_lab_s_folder(name):
    script(name, "up")
    pins = pathlib.Path("/run") / name / "node1" / "pins"
    pins.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", pins], check=True)
    assert script(name, "down").returncode == 0
    assert not leftovers(name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "kill"])
def test_an_interrupted_up_leaves_nothing(name, number):
    process = subprocess.Popen([SCRIPT, "--name", name, "up"], stderr=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, process_group=0, preexec_fn=accept_signals)
    wait_for(lambda: leftovers(name), "the first thing that up makes")
    os.killpg(process.pid, number)
    assert process.wait(10) != 0
    process.stderr.close()
    assert not leftovers(name)


def test_a_lab_goes_down_when_its_maker_is_killed():
    made = subprocess.Popen(
        [sys.executable, "-c", "import sys; from lab import Lab; lab = Lab().__enter__(); lab.serve('pod1a'); "
         "print(lab.id, flush=True); sys.stdin.read()"],
        cwd=ROOT / "tests" / "e2e", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with made:
        name = made.stdout.readline().strip()
        assert leftovers(name)
        made.kill()
    wait_for(lambda: not leftovers(name), f"the end of {name}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["kill", "kill-9"])
def test_an_interrupted_run_of_the_tests_leaves_nothing(tmp_path, number):
    """Only the leading process gets the signal, as from `kill` or a supervisor."""
    with subprocess.Popen(
            [ROOT / "scripts" / "check", "random"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "FAIRLEAD_REPORTS": str(tmp_path), "TMPDIR": str(tmp_path)}) as run:
        try:
            wait_for(lambda: any(labs_of(child) for child in children_of(run.pid)), "the first lab")
            children = children_of(run.pid)
        finally:
            run.send_signal(number)
    wait_for(lambda: not any(os.path.exists(f"/proc/{child}") for child in children), "the end of its tests")
    wait_for(lambda: not any(labs_of(child) for child in children), "the end of their labs")


def children_of(pid):
    return subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True,
                          check=False).stdout.split()


def labs_of(pid):
    """What labs that process `pid` has made have left."""
    return [*pathlib.Path("/run").glob(f"fl-t{pid}-*"), *pathlib.Path("/run/netns").glob(f"fl-t{pid}-*")]


def test_exec_in_a_place_that_does_not_exist_names_those_that_do(name):
    script(name, "up")
    done = script(name, "exec", "pod9z", "true")
    assert done.returncode != 0 and "pod1a" in done.stderr


def test_exec_without_a_lab_says_how_to_get_one(name):
    done = script(name, "exec", "pod1a", "true")
    assert done.returncode != 0 and f"--name {name} up" in done.stderr


def test_a_lab_s_name_must_tell_that_it_is_ours():
    done = script("web", "up")
    assert done.returncode != 0 and "fl-" in done.stderr
