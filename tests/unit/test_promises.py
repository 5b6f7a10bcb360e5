# SPDX-License-Identifier: BSD-2-Clause
"""scripts/promises: what it says of the tests that a page names."""

import importlib.machinery
import importlib.util

import pytest

from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "promises"
HEAD = "## Services\n\n- What a user can rely on.\n  - kube-proxy: same\n  - tests: "


@pytest.fixture(name="problems")
def problems_of_a_page():
    loader = importlib.machinery.SourceFileLoader("promises", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("promises", loader))
    loader.exec_module(module)
    return lambda text: [problem for problem in module.problems(HEAD + text) if "no promise for rule" not in problem]


@pytest.mark.parametrize("name", [
    "unit/test_promises.py::test_a_test_that_exists_is_no_problem",
    "unit/test_promises.py::test_a_test_\n    that_exists_is_no_problem",
    "unit/test_promises.py::\n    test_a_test_that_exists_is_no_problem",
    "unit/\n    test_promises.py::test_a_test_that_exists_is_no_problem",
])
def test_a_test_that_exists_is_no_problem(problems, name):
    assert problems(f"`{name}`\n") == []


@pytest.mark.parametrize("name", ["unit/test_promises.py::test_nothing", "unit/test_promises.py::test_\n    nothing",
                                  "unit/test_promises.py::\n    test_nothing"])
def test_a_test_that_does_not_exist_is_named_with_its_line(problems, name):
    assert problems(f"`unit/test_promises.py::test_a_test_that_exists_is_no_problem`,\n    `{name}`\n") == [
        "docs/behaviour.md:6: `unit/test_promises.py::test_nothing`: tests/unit/test_promises.py has no test test_nothing"]
