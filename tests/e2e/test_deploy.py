# SPDX-License-Identifier: BSD-2-Clause
"""deploy/kubernetes: what is granted covers what an agent asks for, and what is given it understands."""

import itertools
import re
import subprocess

import pytest
import yaml

from kube import KubeAgent, kubeconfig
from lab import FAIRLEAD, ROOT, wait_for
from manifests import next_vip, node, service, slice_
from apiserver.client import ApiServerProcess

MANIFEST = ROOT / "deploy" / "kubernetes" / "fairlead.yaml"
GROUPS = {"services": "", "endpoints": "", "nodes": "", "endpointslices": "discovery.k8s.io",
          "servicecidrs": "networking.k8s.io", "events": "events.k8s.io"}


def objects():
    return {item["kind"]: item for item in yaml.safe_load_all(MANIFEST.read_text())}


@pytest.fixture
def pod():
    return objects()["DaemonSet"]["spec"]["template"]["spec"]


def container_of(found):
    made, = found["DaemonSet"]["spec"]["template"]["spec"]["containers"]
    return made


@pytest.fixture
def container():
    return container_of(objects())


def granted():
    return {(group, resource, verb) for rule in objects()["ClusterRole"]["rules"]
            for group, resource, verb in itertools.product(rule["apiGroups"], rule["resources"], rule["verbs"])}


def test_the_role_covers_every_request_and_nothing_more(lab):
    """An agent that meets a server without EndpointSlices, then with them."""
    with ApiServerProcess(netns=f"/run/netns/{lab.id}-node1", slice_versions=[]) as server:
        server.put_all([node("node1"), service("web", next_vip(4))])
        agent = KubeAgent(lab, "node1", kubeconfig(server), "--hooks", "socket")
        agent.start()
        try:
            server.wait_for_request("endpoints")
            server.set(slice_versions=["v1"])
            server.put(slice_("web", ["10.244.9.1"]))
            wait_for(server.posted_events, "an Event")
            asked = {(GROUPS[request["resource"]], request["resource"], request["verb"])
                     for request in server.requests() if request["resource"]}
            assert {request["path"] for request in server.requests() if not request["resource"]} == set()
        finally:
            agent.end()
    assert {("", "services"), ("", "endpoints"), ("", "nodes"), ("discovery.k8s.io", "endpointslices"),
            ("events.k8s.io", "events")} <= {one[:2] for one in asked}
    assert asked - granted() == set()
    assert {one[:2] for one in granted()} - {one[:2] for one in asked} == set()
    # What is watched may be listed too: whether the server streams lists decides which it is.
    assert {one[2] for one in asked | granted()} == {"list", "watch", "create"}


def test_the_role_changes_nothing_but_events():
    assert {one for one in granted() if one[2] not in ("list", "watch")} == {
        ("events.k8s.io", "events", "create")}


def test_the_binding_gives_the_role_to_the_account_of_the_pods(pod):
    found = objects()
    binding, account = found["ClusterRoleBinding"], found["ServiceAccount"]["metadata"]
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                                  "name": found["ClusterRole"]["metadata"]["name"]}
    assert binding["subjects"] == [{"kind": "ServiceAccount", **account}]
    assert pod["serviceAccountName"] == account["name"]
    assert found["DaemonSet"]["metadata"]["namespace"] == account["namespace"]


def test_the_agent_has_every_option_that_it_is_given(container):
    command, *options = container["args"]
    assert command == "agent"
    text = subprocess.run([FAIRLEAD, "agent", "--help"], capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"--([a-z][a-z0-9-]*)", text))
    assert {option.partition("=")[0].removeprefix("--") for option in options} <= known


class ConfinedAgent(KubeAgent):
    """An agent with the capabilities of the Pod, and the bpffs that the host gives it."""

    def command(self):
        names = [name.lower() for name in container_of(objects())["securityContext"]["capabilities"]["add"]]
        capabilities = ",".join(["-all", *(f"+{name}" for name in names)])
        return ["setpriv", "--bounding-set", capabilities, *super().command()]


def test_the_capabilities_of_the_pod_are_enough(lab):
    with ApiServerProcess(netns=f"/run/netns/{lab.id}-node1") as server:
        server.put_all([node("node1"), service("web", next_vip(4)), slice_("web", ["10.244.9.1"])])
        agent = ConfinedAgent(lab, "node1", kubeconfig(server), name="confined")
        agent.pin_dir.mkdir()
        lab.place("node1").run("mount", "-t", "bpf", "bpf", agent.pin_dir)
        try:
            agent.start()
            agent.wait_for_backends("web", ["10.244.9.1"])
            assert [line for line in agent.log if line.startswith("E")] == []
        finally:
            agent.end()


def test_probes_ask_where_the_agent_answers(container):
    address = next(option for option in container["args"] if option.startswith("--healthz-bind-address="))
    port = int(address.rpartition(":")[2])
    asked = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["port"] for probe in asked.values()} == {port}
    assert [probe["path"] for probe in asked.values()] == ["/livez", "/livez", "/readyz"]


def test_the_pod_serves_every_node_in_the_host_s_network(pod, container):
    assert pod["hostNetwork"] is True
    assert pod["priorityClassName"] == "system-node-critical"
    assert pod["tolerations"] == [{"operator": "Exists"}]
    security = container["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"],
                                        "add": ["BPF", "PERFMON", "NET_ADMIN", "SYS_RESOURCE"]}
    assert "privileged" not in security


def test_what_the_agent_writes_outlives_its_pod(pod, container):
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: paths[mount["name"]] for mount in container["volumeMounts"]}
    for option in container["args"][1:]:
        name, _, path = option.removeprefix("--").partition("=")
        if name in ("cgroup", "pin-dir", "state-dir"):
            inside = next(mount for mount in mounts if path == mount or path.startswith(mount + "/"))
            assert mounts[inside] == inside
