# SPDX-License-Identifier: BSD-2-Clause
"""scripts/check itself: nothing that goes wrong in it passes in silence, nothing holds it for ever."""

import importlib.machinery
import importlib.util
import pathlib
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECK = ROOT / "scripts" / "check"


@pytest.fixture(name="check")
def loaded_check(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    loader = importlib.machinery.SourceFileLoader("check", str(CHECK))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("check", loader))
    loader.exec_module(module)
    monkeypatch.setattr(module, "END_TIMEOUT", 0.5)
    monkeypatch.setattr(module, "KILL_TIMEOUT", 0.5)
    return module


def test_what_fails_in_the_check_itself_is_a_failed_test(check):
    results = check.Results()

    def work(task, mine):
        assert task != "bad", "words of the failure"
        mine.add(task, True)

    check.run_side_by_side(results, ["good", "bad", "fine"], work)
    assert results.passed == 2
    [(name, text)] = results.failed
    assert name.startswith("bad") and "words of the failure" in text


def test_a_program_that_takes_too_long_cleans_up(check, tmp_path):
    output, code = check.Running().run(
        [sys.executable, "-c", f"import signal, time, pathlib\n"
         f"def end(*_): pathlib.Path({str(tmp_path / 'cleaned')!r}).touch(); raise SystemExit\n"
         f"signal.signal(signal.SIGTERM, end)\nprint('begun', flush=True)\ntime.sleep(60)"], timeout=3)
    assert (output, code) == ("begun\n", "no end within 3 s")
    assert (tmp_path / "cleaned").exists()


@pytest.mark.parametrize("has_children", [True, False], ids=["group", "alone"])
def test_what_a_program_has_started_does_not_hold_the_check(check, has_children):
    begun = time.monotonic()
    _, code = check.Running().run(
        ["sh", "-c", "trap '' TERM; sleep 5 & sleep 5; sleep 5"], timeout=0.2, has_children=has_children)
    assert code == "no end within 0.2 s"
    assert time.monotonic() - begun < 3


def test_nohup_keeps_the_tests_running():
    """A hang-up that was ignored before stays ignored; else it ends them in order."""
    for wrapper, expected in ((["nohup"], "True"), ([], "False")):
        shown = subprocess.run(
            [*wrapper, sys.executable, "-c", "import signal, lab; lab.end_in_order(); "
             "print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)"], cwd=ROOT / "tests" / "e2e", text=True, check=True,
            capture_output=True, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)).stdout
        assert shown.strip() == expected
