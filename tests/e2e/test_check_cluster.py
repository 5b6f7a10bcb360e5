# SPDX-License-Identifier: BSD-2-Clause
"""`make check-cluster` works: its tests pass with the API server for tests in the place of a real one."""

import os
import pathlib
import subprocess
import sys

import pytest
from kube import ApiServerProcess, kubeconfig

TESTS = pathlib.Path(__file__).resolve().parents[1] / "cluster"
LONGEST = 240


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", *arguments, TESTS],
        env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=LONGEST, check=False)


def user_with(server, how):
    """The user of a kubeconfig, who may do everything."""
    if how == "token":
        server.set_tokens({"secret": "kubernetes-admin"})
        return {"token": "secret"}
    server.certificates.make_client("kubernetes-admin", "system:masters")
    return {"client-certificate": str(server.certificates.client),
            "client-key": str(server.certificates.client_key)}


@pytest.mark.parametrize("how", ["token", "certificate"])
def test_the_tests_of_a_cluster_pass_and_leave_nothing_in_it(tmp_path, how):
    with ApiServerProcess(tls=True, client_certificates=how == "certificate") as server:
        server.put({"kind": "Node", "metadata": {"name": "worker-1"}})
        path = tmp_path / "kubeconfig"
        path.write_text(kubeconfig(server, user=user_with(server, how)), encoding="utf-8")
        selection = [] if how == "token" else ["-k", "both_ports or refuses or namespace_goes"]
        done = run(*selection, FAIRLEAD_TEST_KUBECONFIG=str(path))
        assert done.returncode == 0 and "skipped" not in done.stdout, done.stdout
        assert [server.count(name) for name in ("namespaces", "services", "endpointslices")] == [0, 0, 0]


def test_without_a_cluster_they_say_what_to_set():
    done = run("-rs", FAIRLEAD_TEST_KUBECONFIG="")
    assert "set FAIRLEAD_TEST_KUBECONFIG to the kubeconfig of a cluster" in done.stdout
    assert "passed" not in done.stdout and "failed" not in done.stdout
