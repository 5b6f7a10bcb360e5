# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures: the lab of the end-to-end tests, and the cluster to test with."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from lab import Lab, end_in_order  # noqa: E402

WITHOUT = "set FAIRLEAD_TEST_KUBECONFIG to the kubeconfig of a cluster in which a namespace may be made"


def pytest_configure():
    end_in_order()
    if os.geteuid() != 0:
        pytest.exit("these tests make network namespaces and load BPF programs: run them as root", 2)


@pytest.fixture(scope="module")
def kubeconfig_path():
    path = os.environ.get("FAIRLEAD_TEST_KUBECONFIG")
    if not path:
        pytest.skip(WITHOUT)
    return path


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        yield made
