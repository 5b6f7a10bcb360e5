# SPDX-License-Identifier: BSD-2-Clause
"""Events about the Node: what an operator must see, seldom enough, and never needed for working."""

import itertools
import json
import pathlib
import shutil
import subprocess

import pytest

from http_get import scrape, value
from kube import KubeAgent, kubeconfig
from lab import DEADLINE, wait_for
from manifests import next_vip, node, service, service_port, slice_
from test_http import hold_port
from apiserver.client import ApiServerProcess

EVENTS = "fairlead_node_events_total"
_names = itertools.count()


@pytest.fixture
def server(lab):
    with ApiServerProcess(netns=f"/run/netns/{lab.id}-node1", tokens=["secret"]) as made:
        made.put(node("node1"))
        yield made


@pytest.fixture
def start(lab):
    agents = []

    def make(server, *options, hooks="socket", wait=True):
        agent = KubeAgent(lab, "node1", kubeconfig(server), "--hooks", hooks, "--hook-check", "1", *options,
                          name=f"agent-{next(_names)}")
        agents.append(agent)
        return agent.start(ready=wait)

    yield make
    for agent in agents:
        agent.end()


@pytest.fixture
def node1(lab):
    return lab.place("node1")


@pytest.fixture
def taken_port(node1):
    """Somebody else has the health server's port."""
    holder = hold_port(node1, 10256)
    yield
    holder.stdin.close()
    assert holder.wait(DEADLINE) == 0


def told(server, reason):
    return [event for event in server.posted_events() if event["reason"] == reason]


def wait_for_event(server, reason, count=1):
    return wait_for(lambda: found if len(found := told(server, reason)) >= count else None,
                    f"{count} Events {reason}")


def test_starting_is_an_event_as_the_api_server_wants_it(server, start):
    start(server)
    event, = wait_for_event(server, "Starting")
    assert event["type"] == "Normal"
    assert event["regarding"] == {"kind": "Node", "apiVersion": "v1", "name": "node1", "uid": "node1"}
    assert event["metadata"]["namespace"] == "default"
    assert event["metadata"]["name"].startswith("node1.")
    assert event["reportingController"] == "fairlead"
    assert event["reportingInstance"] == "fairlead-node1"
    assert event["action"] and event["note"] == ""
    assert len(event["eventTime"]) == len("2026-01-01T00:00:00.000000Z") and event["eventTime"].endswith("Z")
    request, = server.requests("events", "create")
    assert (request["method"], request["path"]) == ("POST", "/apis/events.k8s.io/v1/namespaces/default/events")
    assert request["headers"]["content-type"] == "application/json"


def test_a_healthy_node_has_no_warnings(server, start, node1):
    agent = start(server, hooks="socket,tc")
    wait_for_event(server, "Starting")
    server.put_all([service("web", next_vip(4)), slice_("web", ["10.244.9.1"])])
    agent.wait_for_backends("web", ["10.244.9.1"])
    assert [event for event in server.posted_events() if event["type"] != "Normal"] == []
    assert value(scrape(node1), EVENTS, result="posted") == 1


def test_a_map_that_is_full_is_told_once(server, start, node1):
    server.put_all([service("first", next_vip(4)), slice_("first", ["10.244.9.1"])])
    agent = start(server, "--max-services", "4")
    for number in range(6):
        name = f"more-{number}"
        server.put_all([service(name, next_vip(4)), slice_(name, ["10.244.9.1"])])
    wait_for(lambda: value(scrape(node1), "fairlead_unfitting_service_ports") > 0, "ports that do not fit")
    event, = wait_for_event(server, "MapFull")
    assert event["type"] == "Warning"
    assert "service ports do not fit" in event["note"] and "fairlead services" in event["note"]
    assert agent.running()


def test_an_address_that_an_older_service_has_is_told(server, start, node1):
    """In the services, the log, the metrics and one Event of the Service; a restart decides alike."""
    vips = {"web": next_vip(4), "copy": next_vip(4)}
    created = {"web": "2026-01-01T00:00:02Z", "copy": "2026-01-01T00:00:01Z"}
    objects = [service(name, vip, [service_port(name="http")], externalIPs=["203.0.113.80"])
               for name, vip in vips.items()]
    for item in objects:
        item["metadata"]["creationTimestamp"] = created[item["metadata"]["name"]]
    server.put_all([*objects, *(slice_(name, ["10.244.9.1"], [service_port(name="http")]) for name in vips)])
    agent = start(server)
    for _ in range(2):
        agent.wait_for_backends("copy", ["10.244.9.1"])
        shown = {item["name"]: item for item in agent.json("services")}
        assert shown["copy"]["verdict"] == "programmed" and not shown["copy"]["reason"]
        assert shown["web"]["verdict"] == shown["web"]["reason"] == "taken"
        assert shown["web"]["status"] == (
            "programmed; taken: 203.0.113.80:80/TCP by default/copy")
        assert value(scrape(node1), "fairlead_unprogrammed", reason="taken") == 1
        agent.wait_for_log("service default/web port http: taken: 203.0.113.80:80/TCP by default/copy")
        event, = wait_for_event(server, "AddressTaken")
        assert event["regarding"]["kind"] == "Service" and event["regarding"]["name"] == "web"
        assert "203.0.113.80:80/TCP by default/copy" in event["note"]
        agent.kill()
        agent.start()
    server.delete("services", "copy", "default")
    agent.wait_for_log("service default/web port http answers at all its addresses again")
    assert value(scrape(node1), "fairlead_unprogrammed", reason="taken") == 0


def test_socket_hooks_that_somebody_removes_are_attached_again_and_told(server, start, node1):
    agent = start(server)
    vip = next_vip(4)
    server.put_all([service("web", vip), slice_("web", ["10.244.9.1"])])
    agent.wait_for_backends("web", ["10.244.9.1"])
    assert value(scrape(node1), "fairlead_socket_hooks", state="attached") == 10
    (agent.pin_dir / "cgroup_connect4").unlink()
    event, = wait_for_event(server, "HookLost")
    assert event["type"] == "Warning" and "1 socket hook " in event["note"]
    assert (agent.pin_dir / "cgroup_connect4").exists()
    scraped = scrape(node1)
    assert value(scraped, "fairlead_hooks_lost_total", hook="socket") == 1
    assert value(scraped, "fairlead_socket_hooks", state="missing") == 0


def test_a_tc_hook_that_somebody_removes_is_attached_again_and_told(server, start, node1):
    agent = start(server, hooks="tc")
    (agent.pin_dir / f"link_{index_of(node1, 'pod1a')}_ingress").unlink()
    event, = wait_for_event(server, "HookLost")
    assert "TC hook of link pod1a" in event["note"]
    agent.wait_for_log("link pod1a: somebody has removed or replaced the tcx hook")
    assert value(scrape(node1), "fairlead_hooks_lost_total", hook="tc") == 1


def index_of(place, link):
    return int(place.run("cat", f"/sys/class/net/{link}/ifindex", check=False).stdout or
               json.loads(place.run("ip", "-j", "link", "show", "dev", link).stdout)[0]["ifindex"])


def test_what_happens_often_becomes_a_series(server, start, node1):
    agent = start(server, hooks="tc")
    pin = agent.pin_dir / f"link_{index_of(node1, 'pod1a')}_ingress"
    for lost in range(1, 6):
        pin.unlink()
        wait_for(lambda: value(scrape(node1), "fairlead_hooks_lost_total") == lost, f"hook lost {lost} times")
    assert len(wait_for_event(server, "HookLost", 3)) == 3
    assert value(scrape(node1), EVENTS, result="folded") == 1


@pytest.mark.parametrize("rules,tool", [
    ("add table ip kube-proxy\n", "nft"),
    ("add table ip6 kube-proxy\n", "nft"),
    ("*nat\n:KUBE-SERVICES - [0:0]\nCOMMIT\n", "iptables-nft-restore"),
    ("*nat\n:KUBE-SERVICES - [0:0]\nCOMMIT\n", "ip6tables-nft-restore"),
    ("*nat\n:KUBE-SERVICES - [0:0]\nCOMMIT\n", "iptables-legacy-restore"),
    ("*nat\n:KUBE-SERVICES - [0:0]\nCOMMIT\n", "ip6tables-legacy-restore"),
    (None, "ipvs"),
])
def test_another_proxy_on_the_node_is_found(server, start, node1, rules, tool):
    if rules and not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")
    add, remove = {
        "nft": (["nft", "-f", "-"], ["nft", "delete", *(rules or "").split()[1:]]),
        "ipvs": (["ip", "link", "add", "kube-ipvs0", "type", "ifb"], ["ip", "link", "del", "kube-ipvs0"]),
    }.get(tool, ([tool], [tool.replace("-restore", ""), "-t", "nat", "-X", "KUBE-SERVICES"]))
    done = subprocess.run(node1.command(*add), input=rules, text=True, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"this kernel refuses {tool}: {done.stderr.strip()}")
    kind = {"nft": "nftables", "ipvs": "ipvs"}.get(tool, "iptables")
    try:
        agent = start(server, hooks="tc")
        event, = wait_for_event(server, "OtherProxyFound")
        assert other_proxies(node1) == {kind}
        shown, status = agent.fairlead("status", check=False).stdout, agent.json("status")
    finally:
        node1.run(*remove)
    assert event["type"] == "Warning"
    assert "kube-proxy is on this node too" in event["note"] and "--cleanup" in event["note"]
    assert event["note"] in agent.text()
    assert f"({status['other_proxy']})" in event["note"]
    assert shown.startswith("NOTE: ") and "other-proxy" in shown.splitlines()[0]
    assert f"proxy     {status['other_proxy']}\n" in shown and f"other-proxy: {event['note']}\n" in shown
    assert agent.json("status")["other_proxy"] is None


def other_proxies(node1):
    """What shows that there is a kube-proxy, by the metric."""
    scraped = scrape(node1)
    return {kind for kind in ("nftables", "iptables", "ipvs", "process")
            if value(scraped, "fairlead_other_proxy", kind=kind)}


def test_a_kube_proxy_that_runs_is_found_while_it_runs(server, start, node1, tmp_path):
    program = tmp_path / "kube-proxy"
    program.write_bytes(pathlib.Path(shutil.which("sleep")).read_bytes())
    program.chmod(0o755)
    agent = start(server)
    assert other_proxies(node1) == set()
    proxy, elsewhere = node1.start(program, "600"), subprocess.Popen([program, "600"])
    try:
        assert agent.json("status")["other_proxy"] == f"process {proxy.pid}"
        assert other_proxies(node1) == set()  # it is not looked for at each scrape
        wait_for(lambda: other_proxies(node1) == {"process"}, "the metric", deadline=70)
    finally:
        for process in (proxy, elsewhere):
            process.kill()
            process.wait()
    wait_for(lambda: other_proxies(node1) == set(), "the metric", deadline=70)


def test_other_rules_on_the_node_are_no_proxy(server, start, node1):
    rules = "add table inet kube-proxy-like\nadd table ip nat\nadd chain ip nat KUBE-SERVICES-MINE\n"
    subprocess.run(node1.command("nft", "-f", "-"), input=rules, text=True, check=True)
    try:
        agent = start(server)
        wait_for_event(server, "Starting")
    finally:
        node1.run("nft", "delete", "table", "inet", "kube-proxy-like")
        node1.run("nft", "delete", "table", "ip", "nat")
    assert told(server, "OtherProxyFound") == []
    assert "kube-proxy is on this node too" not in agent.text()


@pytest.mark.usefixtures("taken_port")
def test_a_health_address_that_is_taken_is_told(server, start):
    start(server)
    event, = wait_for_event(server, "FailedToStartProxierHealthcheck")
    assert event["type"] == "Warning"
    assert "0.0.0.0:10256" in event["note"] and "Address already in use" in event["note"]


@pytest.mark.usefixtures("taken_port")
def test_it_is_told_before_the_agent_ends_where_that_is_asked_for(server, start):
    agent = start(server, "--bind-address-hard-fail", wait=False)
    assert agent.process.wait(DEADLINE) == 1
    assert told(server, "FailedToStartProxierHealthcheck")
    assert told(server, "Starting") == []
    agent.check_sanitizers()


@pytest.mark.usefixtures("taken_port")
def test_the_end_does_not_wait_for_a_server_that_is_silent(server, start):
    server.faults.add(resource="events", silent="forever")
    agent = start(server, "--bind-address-hard-fail", wait=False)
    assert agent.process.wait(DEADLINE) == 1
    agent.check_sanitizers()


def test_without_the_permission_everything_else_works(server, start, node1):
    server.forbid("events", "create")
    server.put_all([service("web", next_vip(4)), slice_("web", ["10.244.9.1"])])
    agent = start(server)
    agent.wait_for_backends("web", ["10.244.9.1"])
    agent.wait_for_log("cannot post the Event Starting of Node node1: HTTP 403")
    assert any(line.startswith("W") and line.endswith("; continuing without it") for line in agent.log)
    wait_for(lambda: value(scrape(node1), EVENTS, result="failed") == 1, "an Event that is given up")
    assert len(server.requests("events", "create")) == 1
    assert value(scrape(node1), "fairlead_source_reachable") == 1


def test_an_event_that_could_not_be_posted_is_posted_later(server, start, node1):
    fault = server.faults.add(resource="events", status=503, times=1)
    agent = start(server)
    agent.wait_for_log("cannot post the Event Starting of Node node1: HTTP 503")
    wait_for_event(server, "Starting")
    assert server.faults.struck(fault) == 1
    assert value(scrape(node1), EVENTS, result="failed") == 0
