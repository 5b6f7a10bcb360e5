# SPDX-License-Identifier: BSD-2-Clause
"""The benchmark at scale still runs, and its figures are figures."""

import json
import subprocess
import sys
from pathlib import Path

from lab import ROOT


def run(*arguments):
    return subprocess.run([sys.executable, ROOT / "scripts" / "bench-scale", *map(str, arguments)],
                          capture_output=True, text=True, timeout=120, check=False)


def namespaces():
    """Those of the rules alone: other tests, which run beside this one, make others."""
    return {path.name for path in Path("/run/netns").glob("fl-rules-*")}


def test_a_quick_run_measures_all_that_a_long_one_does_and_leaves_nothing(tmp_path):
    file = tmp_path / "figures.json"
    before = namespaces()
    done = run("--quick", "--json", file, "--program", ROOT / "build" / "fairlead", "40x3")
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(file.read_text())["40x3"]
    start = figures["start"]
    assert start["service_ports"] >= 30
    assert 0 < start["list_s"] <= start["total_s"] and 0 < start["programs_s"] <= start["total_s"]
    for of in (figures["one"]["arrival_us"], figures["one"]["write_us"], figures["many"]["lag_ms"]):
        assert 0 < of["median"] <= of["p99"] <= of["max"]
    assert figures["one"]["arrival_us"]["count"] == 20
    assert 1 < figures["memory"]["rss"] <= figures["memory"]["peak"]
    for rules in figures["rules"].values():
        assert rules.get("missing") or rules["change_s"] > 0
    assert namespaces() <= before


def test_a_shape_that_is_none_is_said_so():
    done = run("many")
    assert done.returncode == 2
    assert "SERVICESxENDPOINTS" in done.stderr
