# SPDX-License-Identifier: BSD-2-Clause
"""The agent with a real API server, FAIRLEAD_TEST_KUBECONFIG, in a namespace that comes and goes with it.

Only the API is the cluster's: the agent runs on a node of the lab, where all Services of the cluster are
then programmed, and endpoints made by hand lead to the lab's pods. Nothing else of the cluster changes.
"""

import ipaddress
import itertools
import secrets

import pytest
from api import Api, ApiError, KubeConfig, kubeconfig_text
from kube import KubeAgent
from lab import address_of, node_of, wait_for
from relay import Gateway, Relay

SERVERS = ("pod1b", "pod1c", "pod2a", "pod2b")
CLIENT = "pod1a"
LABELS = {"endpointslice.kubernetes.io/managed-by": "fairlead-test"}
_names = itertools.count(1)


class Cluster:
    """The server, a namespace of ours in it, and an agent on node1 that watches it all."""

    def __init__(self, lab, path):
        self.lab, self.config = lab, KubeConfig(path)
        self.api = Api(self.config, lab.directory)
        self.netns = f"/run/netns/{lab.id}-node1"
        self.namespace = f"fairlead-test-{secrets.token_hex(2)}"
        nodes = self.api.list("/api/v1/nodes")
        # The agent is to be on a Node that exists. A cluster without any makes it wait 30 s at its start.
        self.node = nodes[0]["metadata"]["name"] if nodes else "node1"
        self.relay = self.agent = None

    def start(self):
        self.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})
        self.relay = Relay(self.netns, self.config.address)
        self.agent = self.start_agent("relayed", self.config.moved(self.relay.port))

    def start_agent(self, name, config, *options):
        agent = NamedAgent(self.lab, self.node, config, "-v", "3", *options, name=name)
        agent.start(ready=False)
        agent.wait_for_log("ready: ", 90)
        return agent

    def close(self):
        """Whatever has happened, the namespace goes, and what is in it."""
        try:
            if self.agent:
                self.agent.end()
            if self.relay:
                self.relay.close()
        finally:
            self.delete_namespace()

    def delete_namespace(self):
        found = self.api.get("Namespace", self.namespace)
        if not found:
            return
        self.api.delete(found)
        wait_for(lambda: not self.api.get("Namespace", self.namespace),
                 f"the end of namespace {self.namespace}", 120, 0.2)

    # Objects.

    def service(self, name=None, **spec):
        """Creates a Service with a TCP and a UDP port 80."""
        name = name or f"web-{next(_names)}"
        ports = [{"name": proto.lower(), "protocol": proto, "port": 80} for proto in ("TCP", "UDP")]
        return self.api.create({"apiVersion": "v1", "kind": "Service",
                                "metadata": {"name": name, "namespace": self.namespace},
                                "spec": {"ports": ports, **spec}})

    def endpoints(self, places, family):
        """Endpoints in places of the lab; those beside the agent are on its Node."""
        return [{"addresses": [address_of(place, family)], "conditions": {"ready": True},
                 **({"nodeName": self.node} if node_of(place) == "node1" else {})} for place in places]

    def slice(self, service, *places, port=8080):
        """Creates a slice of a Service, in the family of its ClusterIP."""
        family = family_of(service)
        name = service["metadata"]["name"]
        ports = [{"name": proto.lower(), "protocol": proto, "port": port} for proto in ("TCP", "UDP")]
        return self.api.create({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": f"{name}-{next(_names)}", "namespace": self.namespace,
                         "labels": {"kubernetes.io/service-name": name, **LABELS}},
            "addressType": f"IPv{family}", "ports": ports, "endpoints": self.endpoints(places, family)})

    def change(self, made, *places):
        """Other endpoints in a slice, as it is now."""
        family = int(made["addressType"][3])
        return self.api.replace({**made, "endpoints": self.endpoints(places, family)})

    def make(self, *places):
        """A Service with these places behind it, and its slice; the agent knows them."""
        service = self.service()
        made = self.slice(service, *places)
        self.wait_for_places(service, *places)
        return service, made

    # What is to be seen.

    def wait_for_places(self, service, *places, agent=None):
        wanted = [address_of(place, family_of(service)) for place in places]
        (agent or self.agent).wait_for_backends(service["metadata"]["name"], wanted, self.namespace)

    def rows(self, name):
        return [row for row in self.agent.json("services", f"{self.namespace}/{name}") or ()]

    def is_programmed(self, name):
        return any(row["programmed"] for row in self.rows(name))

    def ask(self, service, proto="tcp", port=80):
        return self.lab.place(CLIENT).ask(service["spec"]["clusterIP"], port, proto)

    def answers(self, service, proto="tcp", port=80, times=30):
        """The places that answered so many connections, all of which must have been answered."""
        results = self.lab.place(CLIENT).ask_many(times, service["spec"]["clusterIP"], port, proto)
        failed = [result for result in results if "error" in result]
        assert not failed, failed[:3]
        return {result["answer"]["name"] for result in results}


class NamedAgent(KubeAgent):
    """An agent in node1 of the lab that is named as a Node of the cluster."""

    def __init__(self, lab, node_name, *arguments, **more):
        super().__init__(lab, "node1", *arguments, **more)
        self.node_name = node_name

    def command(self):
        words = super().command()
        words[words.index("--node-name") + 1] = self.node_name
        return words


def family_of(service):
    return ipaddress.ip_address(service["spec"]["clusterIP"]).version


@pytest.fixture(scope="module")
def cluster(lab, kubeconfig_path):
    lab.serve(*SERVERS, ports=(8080, 8081))
    made = Cluster(lab, kubeconfig_path)
    try:
        made.start()
        yield made
    finally:
        made.close()


def test_connections_to_both_ports_of_a_service_reach_its_backends(cluster):
    service, _ = cluster.make("pod1b", "pod2a")
    for proto in ("tcp", "udp"):
        assert cluster.answers(service, proto) == {"pod1b", "pod2a"}


def test_a_service_with_a_local_policy_reaches_what_is_on_its_node(cluster):
    service = cluster.service(internalTrafficPolicy="Local")
    cluster.slice(service, "pod1b", "pod2a")
    cluster.wait_for_places(service, "pod1b")
    assert cluster.answers(service) == {"pod1b"}


def test_backends_may_be_in_several_slices(cluster):
    service = cluster.service()
    cluster.slice(service, "pod1b")
    second = cluster.slice(service, "pod2a", "pod2b")
    cluster.wait_for_places(service, "pod1b", "pod2a", "pod2b")
    cluster.api.delete(second)
    cluster.wait_for_places(service, "pod1b")
    assert cluster.answers(service) == {"pod1b"}


def test_a_service_without_endpoints_refuses(cluster):
    service = cluster.service()
    wait_for(lambda: cluster.is_programmed(service["metadata"]["name"]), "the Service")
    assert cluster.ask(service)["error"] == "ECONNREFUSED"


def test_headless_services_and_external_names_are_not_programmed(cluster):
    cluster.service("headless", clusterIP="None")
    cluster.service("elsewhere", type="ExternalName", externalName="example.com")
    after = cluster.service()
    wait_for(lambda: cluster.is_programmed(after["metadata"]["name"]), "the Service that was made last")
    assert not cluster.is_programmed("headless")
    assert not cluster.is_programmed("elsewhere")


def test_changes_are_followed(cluster):
    service, made = cluster.make("pod1b", "pod2a")
    cluster.change(made, "pod2b")
    cluster.wait_for_places(service, "pod2b")
    assert cluster.answers(service) == {"pod2b"}
    now = cluster.api.get("Service", service["metadata"]["name"], cluster.namespace)
    for port in now["spec"]["ports"]:
        port["port"] = 81
    cluster.api.replace(now)
    wait_for(lambda: {row["port"] for row in cluster.rows(service["metadata"]["name"])} == {81}, "port 81")
    assert cluster.answers(service, port=81) == {"pod2b"}


def test_deletions_are_followed(cluster):
    service, made = cluster.make("pod1b")
    cluster.api.delete(made)
    cluster.wait_for_places(service)
    assert cluster.ask(service)["error"] == "ECONNREFUSED"
    cluster.api.delete(service)
    wait_for(lambda: not cluster.rows(service["metadata"]["name"]), "the end of the Service")


def test_a_service_made_again_with_its_name_has_its_new_address(cluster):
    service, _ = cluster.make("pod1b")
    cluster.api.delete(service)
    again = cluster.service(service["metadata"]["name"])
    wait_for(lambda: [row["frontends"][0]["address"] for row in cluster.rows(again["metadata"]["name"])]
             == [again["spec"]["clusterIP"]] * 2, "the new address")
    assert cluster.answers(again) == {"pod1b"}


def test_what_changes_while_the_server_cannot_be_reached_is_made_up_for(cluster):
    service, made = cluster.make("pod1b")
    gone, _ = cluster.make("pod1c")
    cluster.agent.log.clear()
    cluster.relay.cut()
    try:
        cluster.agent.wait_for_log("no API server answers as it should")
        cluster.change(made, "pod2a")
        cluster.api.delete(gone)
        assert cluster.answers(service) == {"pod1b"}
        assert cluster.answers(gone) == {"pod1c"}
    finally:
        cluster.relay.mend()
    cluster.wait_for_places(service, "pod2a")
    wait_for(lambda: not cluster.rows(gone["metadata"]["name"]), "the end of a Service")
    assert cluster.answers(service) == {"pod2a"}


def test_a_restarted_agent_goes_on_with_what_has_changed_meanwhile(cluster):
    service, made = cluster.make("pod1b")
    cluster.agent.stop()
    cluster.change(made, "pod2a")
    assert cluster.answers(service) == {"pod1b"}
    cluster.agent.start(ready=False)
    cluster.agent.wait_for_log("ready: ", 90)
    cluster.wait_for_places(service, "pod2a")


def test_every_service_of_the_cluster_is_programmed_or_says_why_not(cluster):
    selector = "%21service.kubernetes.io%2Fservice-proxy-name%2C%21service.kubernetes.io%2Fheadless"
    service, _ = cluster.make("pod1b")
    listed = cluster.api.list(f"/api/v1/services?labelSelector={selector}")
    wanted = {(item["metadata"]["namespace"], item["metadata"]["name"]) for item in listed
              if item["spec"].get("clusterIP") not in (None, "", "None")}
    shown = {(row["namespace"], row["name"]) for row in cluster.agent.json("services")}
    assert (cluster.namespace, service["metadata"]["name"]) in shown
    others = {key for key in wanted - shown if key[0] == cluster.namespace}
    # Elsewhere in a cluster that lives, a Service may have come or gone just now.
    assert not others and len(wanted - shown) <= 2, wanted - shown


def test_a_watch_that_has_expired_is_listed_anew(cluster):
    service, made = cluster.make("pod1b")
    gone, _ = cluster.make("pod1c")
    cluster.agent.stop()
    gateway = Gateway(cluster.netns, cluster.api)
    cluster.agent.config.write_text(
        kubeconfig_text({"server": f"http://127.0.0.1:{gateway.port}"}, {}), encoding="utf-8")
    try:
        cluster.agent.start(ready=False)
        cluster.agent.wait_for_log("ready: ", 90)
        paths = {cluster.api.path("EndpointSlice").replace("/namespaces/", ""), "/api/v1/services"}
        wait_for(lambda: paths <= {path for path, _ in gateway.watching}, "both watches")
        cluster.agent.log.clear()
        cluster.change(made, "pod2a")
        cluster.wait_for_places(service, "pod2a")
        gateway.expire()
        cluster.change(cluster.api.get("EndpointSlice", made["metadata"]["name"], cluster.namespace), "pod2b")
        cluster.api.delete(gone)
        cluster.agent.wait_for_log("services: the server has forgotten what came after")
        cluster.agent.wait_for_log("endpointslices: the server has forgotten what came after")
        cluster.wait_for_places(service, "pod2b")
        wait_for(lambda: not cluster.rows(gone["metadata"]["name"]), "the end of a Service")
        assert 410 in {status for _, status in gateway.requests}
        assert cluster.answers(service) == {"pod2b"}
        cluster.agent.stop()
    finally:
        gateway.close()


def test_a_request_that_the_server_refuses_is_an_error(cluster):
    with pytest.raises(ApiError) as refused:
        cluster.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": cluster.namespace}})
    assert refused.value.status == 409


def test_the_namespace_goes_with_all_that_is_in_it(cluster):
    cluster.delete_namespace()
    assert not cluster.api.list(cluster.api.path("Service", cluster.namespace))
    assert not cluster.api.list(cluster.api.path("EndpointSlice", cluster.namespace))
