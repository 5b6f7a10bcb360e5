# SPDX-License-Identifier: BSD-2-Clause
"""How the agent reaches API servers: who they are, who it is, and what it does when they fail."""

import base64
import datetime
import itertools
import json
import os
import subprocess

import pytest

from http_get import HEALTH, get, scrape, value
from kube import KubeAgent, Tunnel, kubeconfig, settle
from lab import DEADLINE, address_of, wait_for
from manifests import next_vip, node, service, service_port, slice_
from apiserver.certificates import Certificates
from apiserver.client import ApiServerProcess

NODE = "node1"
_names = itertools.count()


@pytest.fixture(scope="module")
def certificates(lab):
    """Of a CA, for the loopback addresses and localhost."""
    folder = lab.directory / "pki"
    folder.mkdir()
    return Certificates(folder)


@pytest.fixture
def serve(lab, certificates):
    """Starts API servers with TLS, on the node if nothing else is said."""
    servers = []

    def make(place=NODE, **settings):
        made = ApiServerProcess(netns=f"/run/netns/{lab.id}-{place}", **{"tls": certificates, **settings})
        made.start()
        servers.append(made)
        made.put(node(NODE))
        return made

    yield make
    for made in servers:
        made.stop()


@pytest.fixture
def server(serve):
    return serve(tokens=["secret"])


@pytest.fixture
def start(lab):
    """Starts agents, and ends them."""
    agents = []

    def make(config, *options, wait=True, environment=None, files=None):
        agent = KubeAgent(lab, NODE, config, "--hooks", "socket", "-v", "3", *options,
                          name=f"agent-{next(_names)}", environment=environment)
        for name, content in (files or {}).items():
            path = agent.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        agents.append(agent)
        return agent.start(ready=wait)

    yield make
    for agent in agents:
        print(f"--- the agent of {agent.config}\n{agent.text()}")
        agent.end()


@pytest.fixture
def tunnel(lab):
    """Starts tunnels on the node; they end with the test."""
    tunnels = []

    def make(to=None, listen="127.0.0.1:0"):
        tunnels.append(Tunnel(lab, NODE, to.url.partition("://")[2] if to else None, listen))
        return tunnels[-1]

    yield make
    for made in tunnels:
        made.kill()


def make_service(server, *backends):
    """A new Service with these addresses behind it. Is its name."""
    name = f"web-{next(_names)}"
    server.put_all([service(name, next_vip(4)), slice_(name, backends)])
    return name


def check_follows(server, agent):
    """What changes at the server is programmed by the agent."""
    name = make_service(server, "10.244.9.1")
    agent.wait_for_backends(name, ["10.244.9.1"])


def replace(path, content):
    """As whoever rotates a file does it."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(content, encoding="utf-8")
    os.rename(temporary, path)


def inline(path):
    return base64.b64encode(path.read_bytes()).decode()


# TLS.


@pytest.mark.parametrize("how", ["file", "inline"])
def test_the_ca_is_in_a_file_or_in_the_kubeconfig(server, start, how):
    ca = server.certificates.ca
    cluster = {"certificate-authority": str(ca)} if how == "file" else {
        "certificate-authority": "", "certificate-authority-data": inline(ca)}
    check_follows(server, start(kubeconfig(server, cluster=cluster)))


def test_a_server_of_another_ca_is_refused_with_a_clear_message_until_the_ca_is_right(server, start, tmp_path):
    strange = Certificates(tmp_path)
    agent = start(kubeconfig(server, cluster={"certificate-authority": "ca.crt"}), wait=False,
                  files={"ca.crt": strange.ca.read_text()})
    agent.wait_for_log("its certificate is not trusted")
    line = agent.warnings("no API server answers")[0]
    assert server.url in line and f"certificate-authority and tls-server-name in {agent.config}" in line
    assert server.requests() == []
    replace(agent.directory / "ca.crt", server.certificates.ca.read_text())
    agent.wait_for_log("ready: ")
    assert len(agent.warnings("no API server answers")) == 1


@pytest.mark.parametrize("insecure", [False, True])
def test_a_certificate_of_nobody_we_know_is_accepted_only_where_the_file_says_so(server, start, insecure):
    agent = start(kubeconfig(server, cluster={"insecure-skip-tls-verify": insecure}), wait=insecure)
    if insecure:
        check_follows(server, agent)
    else:
        agent.wait_for_log("its certificate is not trusted")
        assert server.requests() == []


@pytest.mark.parametrize("named", [True, False], ids=["with-the-name", "without"])
def test_tls_server_name_is_the_name_that_the_certificate_must_have(serve, start, named):
    server = serve(listen=f"{address_of(NODE, 4)}:0", tokens=["secret"])  # its address is not in there
    agent = start(kubeconfig(server, cluster={"tls-server-name": "localhost"} if named else {}), wait=named)
    if named:
        check_follows(server, agent)
    else:
        agent.wait_for_log("its certificate is not trusted")
        agent.wait_for_log("tls-server-name")


# Who we are.


def test_a_refused_token_is_named_and_tried_until_it_is_valid(server, start):
    agent = start(kubeconfig(server, token="wrong"), wait=False)
    agent.wait_for_log(f"HTTP 401: Unauthorized (the credentials of {agent.config} are not accepted)")
    wait_for(lambda: len(server.requests("services")) >= 3, "more attempts")
    assert len(agent.warnings("services: HTTP 401")) == 1
    server.set_tokens(["wrong"])
    agent.wait_for_log("ready: ")
    check_follows(server, agent)


def test_a_token_file_that_rotates_is_read_again_without_a_word_or_a_list(server, start):
    agent = start(kubeconfig(server, user={"tokenFile": "token"}), files={"token": "secret\n"})
    check_follows(server, agent)
    server.wait_for_watch("services", "endpointslices")
    seen = server.requests()[-1]["number"]
    server.faults.add(resource="services", verb="watch", silent=1, times=1)  # before it looks at the token
    server.drop_watches()
    wait_for(lambda: any(item["fault"] for item in server.requests(since=seen)), "a request with the old token")
    server.wait_for_watch("endpointslices")  # else it may ask between the new tokens and the new file
    server.set_tokens(["fresh"])
    replace(agent.directory / "token", "fresh\n")
    check_follows(server, agent)
    requests = server.requests(since=seen)
    assert [item for item in requests if item["status"] == 401], "the old token was never refused"
    assert not [item for item in requests
                if item["verb"] == "list" or "sendInitialEvents" in item["query"]]
    assert agent.warnings() == []


@pytest.mark.parametrize("how", ["inline", "files"])
def test_a_client_certificate_says_who_we_are(serve, start, certificates, how):
    server = serve(client_certificates=True)
    user = {"client-certificate-data": inline(certificates.client),
            "client-key-data": inline(certificates.client_key)}
    if how == "files":
        user = {"client-certificate": str(certificates.client), "client-key": str(certificates.client_key)}
    check_follows(server, start(kubeconfig(server, user=user)))
    assert server.requests("services")[-1]["user"] == "system:node:test"


def test_a_client_certificate_that_rotates_is_read_again(serve, start, tmp_path):
    pki = Certificates(tmp_path)
    server = serve(tls=pki, client_certificates=True)
    agent = start(kubeconfig(server, user={"client-certificate": str(pki.client),
                                           "client-key": str(pki.client_key)}))
    check_follows(server, agent)
    pki.make_client("system:node:renewed")

    def is_renewed():
        server.drop_watches()
        server.wait_for_watch("services")
        return server.requests("services")[-1]["user"] == "system:node:renewed"

    wait_for(is_renewed, "a request with the new certificate")
    check_follows(server, agent)


def test_without_a_client_certificate_where_one_is_needed_the_message_says_so(serve, start):
    server = serve(client_certificates=True)
    agent = start(kubeconfig(server), wait=False)
    agent.wait_for_log("HTTP 403: services is forbidden: User \"system:anonymous\" cannot")
    agent.wait_for_log(f"(the credentials of {agent.config} are not accepted)")


PLUGIN = """#!/bin/sh
here=$(dirname "$0")
echo run >> "$here/runs"
cat "$here/credential"
"""


def credential(token, seconds=None):
    status = {"token": token}
    if seconds is not None:
        expires = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
        status["expirationTimestamp"] = expires.strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps({"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1",
                       "status": status})


class Plugin:
    """A credential plugin in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.path = folder / "plugin"
        self.path.write_text(PLUGIN, encoding="utf-8")
        self.path.chmod(0o755)

    def says(self, text):
        replace(self.folder / "credential", text)

    def runs(self):
        path = self.folder / "runs"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def user(self, **more):
        return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(self.path),
                         "interactiveMode": "Never", **more}}


@pytest.fixture
def plugin(tmp_path):
    return Plugin(tmp_path)


def test_a_plugin_gives_the_token_and_is_run_once(server, start, plugin):
    plugin.says(credential("secret"))
    agent = start(kubeconfig(server, user=plugin.user()))
    check_follows(server, agent)
    assert plugin.runs() == 1


def test_a_plugin_is_run_again_when_its_token_is_refused_without_a_word_or_a_list(server, start, plugin):
    plugin.says(credential("secret"))
    agent = start(kubeconfig(server, user=plugin.user()))
    check_follows(server, agent)
    server.wait_for_watch("services", "endpointslices")
    seen = server.requests()[-1]["number"]
    plugin.says(credential("fresh"))
    server.set_tokens(["fresh"])
    server.drop_watches()
    check_follows(server, agent)
    assert plugin.runs() == 2
    assert not [item for item in server.requests(since=seen) if "sendInitialEvents" in item["query"]]
    assert agent.warnings() == []


def test_a_plugin_is_run_again_when_its_token_expires(server, start, plugin):
    plugin.says(credential("secret", seconds=65))  # it is renewed a minute before
    agent = start(kubeconfig(server, user=plugin.user()))
    plugin.says(credential("secret", seconds=3600))

    def is_renewed():
        server.drop_watches("services")
        server.wait_for_watch("services")
        return plugin.runs() == 2

    wait_for(is_renewed, "a second run", pause=0.2)
    check_follows(server, agent)
    assert agent.warnings() == []


def test_a_plugin_that_fails_is_named(server, start, plugin, lab):
    plugin.says("no credential")
    agent = start(kubeconfig(server, user=plugin.user()), wait=False)
    agent.wait_for_log(f"the credential plugin {plugin.path} of {agent.config}")
    wait_for(lambda: readiness(lab)[0].startswith("[-]source reachable failed: there are no credentials"),
             "a reason in /readyz")
    assert server.requests() == []


# The kubeconfig.


def contexts(server, current):
    """Two contexts, of which only "right" leads to the server."""
    config = json.loads(kubeconfig(server))
    config["clusters"].append({"name": "void", "cluster": {"server": "https://127.0.0.1:9"}})
    config["users"].append({"name": "nobody", "user": {}})
    config["contexts"] = [{"name": "wrong", "context": {"cluster": "void", "user": "nobody"}},
                          {"name": "right", "context": {"cluster": "lab", "user": "agent"}}]
    config["current-context"] = current
    return json.dumps(config)


def test_the_current_context_counts(server, start):
    check_follows(server, start(contexts(server, "right")))


def test_a_context_that_is_not_there_is_named(server, lab):
    agent = KubeAgent(lab, NODE, contexts(server, "none"), name=f"agent-{next(_names)}")
    agent.start(ready=False)
    assert agent.process.wait(30) == 1
    agent.wait_for_log(str(agent.config))
    agent.wait_for_log('"none"')
    agent.check_sanitizers()


def test_paths_in_a_kubeconfig_are_relative_to_it(serve, start, certificates):
    server = serve(client_certificates=True)
    config = kubeconfig(server, cluster={"certificate-authority": "pki/ca.crt"},
                        user={"client-certificate": "pki/me.crt", "client-key": "pki/me.key"})
    check_follows(server, start(config, files={"pki/ca.crt": certificates.ca.read_text(),
                                               "pki/me.crt": certificates.client.read_text(),
                                               "pki/me.key": certificates.client_key.read_text()}))


# A proxy.


def test_a_proxy_is_used(server, start, tunnel):
    proxy = tunnel()
    agent = start(kubeconfig(server, cluster={"proxy-url": f"http://{proxy.where}"}))
    check_follows(server, agent)
    assert set(proxy.connections()) == {f"127.0.0.1:{server.port}"}


def test_a_proxy_is_asked_for_the_servers_address_when_the_certificate_has_another_name(serve, start, tunnel):
    server, proxy = serve(listen=f"{address_of(NODE, 4)}:0", tokens=["secret"]), tunnel()
    agent = start(kubeconfig(server, cluster={"proxy-url": f"http://{proxy.where}",
                                              "tls-server-name": "localhost"}))
    check_follows(server, agent)
    assert set(proxy.connections()) == {f"{address_of(NODE, 4)}:{server.port}"}


def test_a_proxy_that_is_away_is_what_the_message_is_about(server, start, tunnel):
    proxy = tunnel()
    proxy.kill()
    agent = start(kubeconfig(server, cluster={"proxy-url": f"http://{proxy.where}"}), wait=False)
    agent.wait_for_log("cannot connect to the proxy: Connection refused")
    proxy.start()
    agent.wait_for_log("ready: ")


# In a Pod.


class ServiceAccount:
    """The folder that a Pod is given: files are links into a version of all of them, which is switched."""

    def __init__(self, folder, ca, token):
        self.folder, self.ca, self.version = folder, ca, 0
        folder.mkdir()
        self.switch(token)
        for name in ("token", "ca.crt"):
            (folder / name).symlink_to(f"..data/{name}")

    def switch(self, token):
        self.version += 1
        made = self.folder / f"..v{self.version}"
        made.mkdir()
        (made / "token").write_text(token, encoding="utf-8")
        (made / "ca.crt").write_text(self.ca.read_text(), encoding="utf-8")
        (self.folder / "..new").symlink_to(made.name)
        os.rename(self.folder / "..new", self.folder / "..data")


def pod_environment(server, folder):
    return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": server.port,
            "FAIRLEAD_SERVICE_ACCOUNT_DIR": folder}


def test_in_a_pod_its_service_account_is_used_and_its_token_rotates(server, start, certificates, tmp_path):
    account = ServiceAccount(tmp_path / "account", certificates.ca, "secret")
    agent = start(None, environment=pod_environment(server, account.folder))
    check_follows(server, agent)
    server.wait_for_watch("services", "endpointslices")
    seen = server.requests()[-1]["number"]
    account.switch("fresh")
    server.set_tokens(["fresh"])
    server.drop_watches()
    check_follows(server, agent)
    assert not [item for item in server.requests(since=seen) if "sendInitialEvents" in item["query"]]
    assert agent.warnings() == []


def test_outside_of_a_pod_it_is_said_what_is_missing(lab):
    agent = KubeAgent(lab, NODE, None, name=f"agent-{next(_names)}")
    agent.start(ready=False)
    assert agent.process.wait(30) == 1
    agent.wait_for_log("KUBERNETES_SERVICE_HOST is not set")
    agent.wait_for_log("--kubeconfig")


# Several servers.


class Pair:
    """Two ways to one API server, as to a cluster with several: both tell the same versions."""

    def __init__(self, server, tunnel):
        self.server = server
        self.first, self.second = tunnel(server), tunnel(server)
        self.options = ["--server", self.first.url, "--server", self.second.url]

    def fail(self, how):
        if how == "dies":
            self.first.kill()
        elif how == "is-silent":
            self.first.tell("stall")
            self.first.tell("hang")
        elif how == "closes":
            self.first.kill()
            self.first.to = "127.0.0.1:9"
            self.first.start()


@pytest.fixture
def pair(server, tunnel):
    return Pair(server, tunnel)


@pytest.mark.parametrize("how", ["dies", "closes", "is-silent"])
def test_when_a_server_fails_it_goes_on_at_the_other_and_touches_nothing(pair, start, how):
    # The limit holds for both servers: on a busy machine the good one needs a moment too.
    silence = ["--api-silence", "5"] if how == "is-silent" else []
    agent = start(kubeconfig(pair.server), *pair.options, *silence)
    check_follows(pair.server, agent)
    pair.server.wait_for_watch("services", "endpointslices")
    assert pair.second.connections() == []
    before, table, seen = agent.publishes(), agent.table(), pair.server.requests()[-1]["number"]
    pair.fail(how)
    wait_for(lambda: len(pair.second.connections()) >= 2, "watches at the other server")
    agent.wait_for_log(f"API server {pair.second.url} answers")
    settle()
    assert (agent.publishes(), agent.table()) == (before, table)
    assert not [item for item in pair.server.requests(since=seen)
                if item["verb"] == "list" or "sendInitialEvents" in item["query"]]
    check_follows(pair.server, agent)
    assert agent.warnings("no API server answers") == []


def test_a_server_that_has_come_back_is_used_when_the_other_fails(pair, start):
    agent = start(kubeconfig(pair.server), *pair.options)
    pair.first.kill()
    agent.wait_for_log(f"API server {pair.second.url} answers")
    check_follows(pair.server, agent)
    pair.first.start()
    pair.second.kill()
    agent.wait_for_log(f"API server {pair.first.url} answers")
    check_follows(pair.server, agent)
    assert agent.warnings("no API server answers") == []


@pytest.mark.parametrize("how", ["dies", "is-silent"])
def test_at_the_start_a_server_that_fails_is_passed_over(pair, start, how):
    pair.fail(how)
    agent = start(kubeconfig(pair.server), *pair.options)
    check_follows(pair.server, agent)
    reason = "Connection refused" if how == "dies" else "does not answer"
    assert any(f"API server {pair.first.url} does not answer" in line and reason in line
               and f"trying {pair.second.url}" in line for line in agent.log)


# Servers that the cluster names.


@pytest.fixture
def named(serve, tunnel):
    """A server at the node's own address, which the cluster names, and a tunnel that the agent knows."""
    server = serve(listen=f"{address_of(NODE, 4)}:0", tokens=["secret"])
    server.put_all([
        service("kubernetes", next_vip(4), [service_port(443, name="https", target=server.port)]),
        slice_("kubernetes", [address_of(NODE, 4)],
               [{"name": "https", "protocol": "TCP", "port": server.port}], name="kubernetes")])
    return server, tunnel(server)


def kept(agent):
    path = agent.state_dir / "api-servers"
    return path.read_text().splitlines()[1:] if path.exists() else []


def test_the_clusters_own_addresses_are_used_when_the_configured_one_fails_and_at_the_next_boot(named, start):
    server, way = named
    agent = start(kubeconfig(server), "--server", way.url)
    check_follows(server, agent)
    wait_for(lambda: kept(agent) == [f"{server.address}:{server.port}"], "the address in the file")
    way.kill()
    agent.wait_for_log(f"API server {server.url} answers")
    check_follows(server, agent)
    agent.stop()
    agent.start()
    check_follows(server, agent)


def test_addresses_that_the_cluster_names_no_more_are_forgotten(named, start):
    server, way = named
    agent = start(kubeconfig(server), "--server", way.url)
    wait_for(lambda: kept(agent) == [f"{server.address}:{server.port}"], "the address in the file")
    server.put(slice_("kubernetes", ["172.18.0.77", "172.18.0.78"],
                      [{"name": "https", "protocol": "TCP", "port": 6443}], name="kubernetes"))
    wait_for(lambda: set(kept(agent)) == {"172.18.0.77:6443", "172.18.0.78:6443"}, "the others")


@pytest.mark.parametrize("content", ["172.18.0.11:6443\n172.18.0.11\n", "\x00\x01\x02"],
                         ids=["no-port", "bytes"])
def test_a_damaged_file_of_addresses_is_named_and_ignored(named, start, content):
    server, way = named
    agent = start(kubeconfig(server), "--server", way.url, files={"state/api-servers": content})
    check_follows(server, agent)
    assert len(agent.warnings(f"{agent.state_dir}/api-servers is ignored: line ")) == 1
    wait_for(lambda: kept(agent) == [f"{server.address}:{server.port}"], "a good file")


# Our own Services.


@pytest.mark.parametrize("backends", [["172.18.0.12"], []], ids=["dead-backend", "none"])
def test_a_service_at_the_api_servers_address_does_not_lead_the_agent_astray(serve, start, lab, backends):
    server = serve("node2", listen=f"{address_of('node2', 4)}:0", tokens=["secret"])
    agent = start(kubeconfig(server, cluster={"tls-server-name": "localhost"}))
    server.put_all([
        service("claims", server.address, [service_port(server.port, name="https", target=9)]),
        slice_("claims", backends, [{"name": "https", "protocol": "TCP", "port": 9}])])
    wait_for(lambda: "claims" in agent.services(), "the Service")
    place = lab.place(NODE)
    wait_for(lambda: place.ask(server.address, server.port).get("step") == "connect",
             "others are sent to its backends and find nobody")
    server.drop_connections(reset=True)
    check_follows(server, agent)
    agent.stop()
    agent.start(ready=False)
    agent.wait_for_log("ready: ")
    check_follows(server, agent)
    assert agent.warnings("no API server answers") == []


# No server.


def reached(lab):
    return value(scrape(lab.place(NODE)), "fairlead_source_reachable")


def readiness(lab):
    """The lines of /readyz?verbose about the source."""
    return [line for line in get(lab.place(NODE), f"{HEALTH}/readyz?verbose").body.splitlines()
            if "source reachable" in line]


def test_when_no_server_answers_one_line_says_why_each_does_not(server, start, tunnel, lab):
    first, second = tunnel(server), tunnel(server)
    agent = start(kubeconfig(server), "--server", first.url, "--server", second.url)
    assert readiness(lab) == ["[+]source reachable ok"] and reached(lab) == 1
    name = make_service(server, "10.244.9.1")
    agent.wait_for_backends(name, ["10.244.9.1"])
    table, publishes = agent.table(), agent.publishes()
    first.kill()
    second.kill()
    both = (f"{first.url}: cannot connect: Connection refused; "
            f"{second.url}: cannot connect: Connection refused")
    agent.wait_for_log(both)
    assert both in readiness(lab)[0] and readiness(lab)[0].startswith("[-]source reachable")
    assert reached(lab) == 0
    count = request_count(lab, code="<error>")
    wait_for(lambda: request_count(lab, code="<error>") >= count + 6, "more attempts")
    assert len(agent.warnings(both)) == 1
    second.to = "127.0.0.1:9"  # it listens and closes: another reason
    second.start()
    # Other reasons within an outage are logged at most every 30 seconds.
    agent.wait_for_log(f"{first.url}: cannot connect: Connection refused; {second.url}: connected, but TLS fails: ",
                       30 + DEADLINE)
    assert (agent.table(), agent.publishes()) == (table, publishes)
    first.start()
    agent.wait_for_log(f"API server {first.url} answers")
    check_follows(server, agent)
    wait_for(lambda: readiness(lab) == ["[+]source reachable ok"] and reached(lab) == 1, "everything to be read again")


def test_connections_to_services_work_while_the_server_is_away_and_after_a_restart_then(server, start, lab):
    lab.serve("pod1b")
    agent = start(kubeconfig(server))
    vip = next_vip(4)
    server.put_all([service("echo", vip), slice_("echo", ["pod1b"])])
    agent.wait_for_backends("echo", [address_of("pod1b", 4)])
    client = lab.place("pod1a")
    sock = client.socket("tcp", vip, 80)
    server.stop_listening()
    agent.wait_for_log("no API server answers")
    assert "error" not in sock.exchange()
    assert client.ask(vip)["answer"]["name"] == "pod1b"
    agent.stop()
    agent.start(ready=False)
    agent.wait_for_log("no API server answers")
    assert client.ask(vip)["answer"]["name"] == "pod1b"
    assert "error" not in sock.exchange()
    assert "source reachable failed" in readiness(lab)[0]
    server.start_listening()
    agent.wait_for_log("ready: ")
    assert client.ask(vip)["answer"]["name"] == "pod1b"
    check_follows(server, agent)
    sock.close()


# What the server forbids.


def test_what_is_forbidden_is_named_with_the_remedy_and_tried_again(server, start):
    agent = start(kubeconfig(server))
    name = make_service(server, "10.244.9.1")
    agent.wait_for_backends(name, ["10.244.9.1"])
    table = agent.table()
    server.forbid("services")
    server.drop_watches("services")
    agent.wait_for_log("cannot watch services: HTTP 403: services is forbidden")
    line = agent.warnings("HTTP 403")[0]
    assert "ClusterRole system:node-proxier" in line
    seen = server.requests()[-1]["number"]
    server.wait_for_request("services", since=seen, count=2)
    assert len(agent.warnings("HTTP 403")) == 1
    assert agent.table() == table
    server.permit("services")
    check_follows(server, agent)
    agent.wait_for_log("services are watched again")


# HTTP.


class Front:
    """nghttpx before a server: HTTP/2 with TLS for its clients, HTTP/1.1 to the server."""

    def __init__(self, lab, server, certificates, port, folder):
        self.lab, self.port, self.log = lab, port, folder / "access.log"
        # %-names are nghttpx's: what was spoken, from which port, and for what.
        self.process = lab.place(NODE).start(
            "nghttpx", "--conf=/dev/null", f"--frontend=127.0.0.1,{port}",
            f"--backend=127.0.0.1,{server.port};;tls", "--insecure", "--workers=1",
            f"--accesslog-file={self.log}", "--accesslog-format=$alpn $remote_port $status $request",
            f"--errorlog-file={folder / 'error.log'}",
            str(certificates.server_key), str(certificates.server), stdin=subprocess.DEVNULL)
        wait_for(self.is_listening, lambda: "nghttpx: " + (folder / "error.log").read_text())

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def is_listening(self):
        return self.lab.place(NODE).run("ss", "-Hltn", f"sport = :{self.port}").stdout.strip()

    def connections(self):
        """Open connections of clients."""
        found = self.lab.place(NODE).run("ss", "-Htn", "state", "established", f"dport = :{self.port}").stdout
        return len(found.splitlines())

    def requests(self):
        """What has ended: [protocol, client's port, status, line] each."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.split(" ", 3) for line in lines]

    def kill(self):
        self.process.terminate()
        self.process.wait()


@pytest.fixture
def front(server, lab, certificates, tmp_path):
    made = Front(lab, server, certificates, 18443, tmp_path)
    yield made
    made.kill()


def test_all_watches_share_one_connection_where_the_server_speaks_http2(server, start, front):
    agent = start(kubeconfig(server), "--server", front.url)
    check_follows(server, agent)
    server.wait_for_watch("services", "endpointslices", "nodes", "servicecidrs")
    assert front.connections() == 1
    server.drop_watches()
    wait_for(lambda: len(front.requests()) >= 4, "ended requests")
    assert {item[0] for item in front.requests()} == {"h2"}
    assert len({item[1] for item in front.requests()}) == 1
    check_follows(server, agent)


def test_a_gzipped_list_comes_through_http2(server, start, front):
    server.set(gzip_over=1000, streaming_lists="invalid")
    names = {make_service(server, "10.244.9.1") for _ in range(50)}
    agent = start(kubeconfig(server), "--server", front.url)
    agent.wait_for_services(names)
    assert "gzip" in server.requests("services", "list")[0]["headers"]["accept-encoding"]


def test_a_silent_http2_connection_is_not_asked_again(server, start, front, lab):
    way = Tunnel(lab, NODE, f"127.0.0.1:{front.port}")
    agent = start(kubeconfig(server), "--server", way.url, "--api-silence", "2")
    check_follows(server, agent)
    way.tell("stall")
    name = make_service(server, "10.244.9.1")
    agent.wait_for_backends(name, ["10.244.9.1"])
    agent.wait_for_log("has said nothing for 2 s")
    way.kill()


# Statistics.


def request_count(lab, **labels):
    return value(scrape(lab.place(NODE)), "rest_client_requests_total", **labels)


def test_requests_are_counted_by_code_method_and_host(server, start, lab):
    server.set(streaming_lists="invalid")  # lists are timed, watches are not
    agent = start(kubeconfig(server))
    host = f"127.0.0.1:{server.port}"
    server.wait_for_watch("services", "endpointslices", "nodes")
    before = request_count(lab, code="200", method="GET", host=host)
    server.drop_watches()
    wait_for(lambda: request_count(lab, code="200", method="GET", host=host) >= before + 3, "three more")
    server.forbid("services")
    server.drop_watches("services")
    agent.wait_for_log("HTTP 403")
    wait_for(lambda: request_count(lab, code="403", method="GET", host=host) >= 1, "a refusal")
    # Watches are counted, and not timed; the Event of the start is both.
    assert value(scrape(lab.place(NODE)), "rest_client_request_duration_seconds_count", host=host, verb="POST") >= 1
    server.stop_listening()
    wait_for(lambda: request_count(lab, code="<error>", method="GET", host=host) >= 1, "a failure")
