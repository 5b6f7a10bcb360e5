# SPDX-License-Identifier: BSD-2-Clause
"""The benchmark of clients from outside still runs, and its figures are figures."""

import json
import subprocess
import sys
from pathlib import Path

from lab import ROOT, cgroup_root

COMMAND = [sys.executable, ROOT / "scripts" / "bench-outside"]


def left(pid):
    """What a run with that process id has left: namespaces, folders, cgroups."""
    name = f"fl-out-{pid}-*"
    return [path for folder in (Path("/run/netns"), Path("/run"), cgroup_root()) for path in folder.glob(name)]


def test_a_quick_run_measures_all_that_a_long_one_does_and_leaves_nothing(tmp_path):
    file = tmp_path / "figures.json"
    with subprocess.Popen([*COMMAND, "--quick", "--json", file, "--program", ROOT / "build" / "fairlead"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        said, _ = run.communicate(timeout=120)
    assert run.returncode == 0, said
    figures = json.loads(file.read_text())
    packet, rate, requests = (figures["results"][part] for part in ("packet", "rate", "requests"))
    ways = {"routed only", "nftables", "TC", "TC, large", "XDP"}
    assert set(rate) == set(requests) == ways
    assert set(packet) == ways - {"routed only", "nftables"}
    for cases in packet.values():
        for name in ("established", "reply", "new flow"):
            assert all(10 < cases[f"{proto} {name}"]["ns"]["median"] < 100000 for proto in ("TCP", "UDP"))
    for cases in rate.values():
        assert all(0.001 < case["mpps"]["median"] < 50 and case["lost"]["median"] < 0.5 for case in cases.values())
    for cases in requests.values():
        assert all(case["per_second"]["median"] > 100 and not case["failed"]["most"] for case in cases.values())
    frontends, flows = figures["sizes"]["TC"]
    more_frontends, more_flows = figures["sizes"]["TC, large"]
    assert frontends == 10 and more_frontends > 1000 and more_flows > flows > 0
    assert not left(run.pid)


def test_a_part_that_is_none_is_said_so():
    done = subprocess.run([*COMMAND, "everything"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "everything" in done.stderr
