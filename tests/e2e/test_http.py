# SPDX-License-Identifier: BSD-2-Clause
"""What the agent serves over HTTP: health for probes, metrics for scrapes."""

import datetime
import json
import subprocess
import sys

import pytest

from http_get import HEALTH, METRICS, answers, get, samples, scrape, value
from lab import DEADLINE, Agent, wait_for
from manifests import Folder, next_vip, node, service, triggered_slice

OPTIONS = ["--service-metrics", "all", "--count-packets"]
BACKENDS = ["pod1b", "pod2b"]
NO_LOCAL = "kubeproxy_sync_proxy_rules_no_local_endpoints_total"


@pytest.fixture
def node1(world):
    return world.place("node1")


def parsed_time(text):
    return datetime.datetime.fromisoformat(text.split(".")[0].rstrip("Z") + "+00:00")


# Health.


@pytest.mark.parametrize("path", ["/healthz", "/livez"])
def test_a_well_agent_answers_200_with_kube_proxys_body_and_headers(world, node1, path):
    world.simple("web", 4, BACKENDS)
    answer = get(node1, HEALTH + path)
    body = json.loads(answer.body)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert list(body) == ["lastUpdated", "currentTime", *(["nodeEligible"] if path == "/healthz" else []),
                          "healthy", "status"]
    assert body["healthy"] is True and set(body["status"]) == {"IPv4", "IPv6"}
    age = datetime.datetime.now(datetime.timezone.utc) - parsed_time(body["currentTime"])
    assert abs(age.total_seconds()) < DEADLINE
    assert all(family["healthy"] is True for family in body["status"].values())


def test_a_node_that_the_autoscaler_will_delete_fails_healthz_but_not_livez(world, node1):
    world.publish(node("node1"))
    assert get(node1, HEALTH + "/healthz").status == 200
    leaving = node("node1")
    leaving["spec"] = {"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]}
    world.publish(leaving)
    answer = get(node1, HEALTH + "/healthz")
    body = json.loads(answer.body)
    assert (answer.status, body["nodeEligible"], body["healthy"]) == (503, False, True)
    assert get(node1, HEALTH + "/livez").status == 200


def test_readyz_is_short_unless_it_is_asked_for_its_checks(node1):
    assert get(node1, HEALTH + "/readyz")[::2] == (200, "ok")
    answer = get(node1, HEALTH + "/readyz?verbose")
    assert answer.status == 200
    assert answer.body.splitlines() == [
        "[+]source synced ok", "[+]source reachable ok", "[+]first publish ok", "[+]socket hooks ok",
        "[+]link hooks ok", "[+]map room ok", "[+]publish pending ok", "readyz check passed"]


def test_health_is_served_on_all_addresses_and_metrics_on_loopback_only(world, node1):
    client = world.place("client")
    assert get(client, f"http://{node1.address(4)}:10256/livez").status == 200
    assert not answers(client, f"http://{node1.address(4)}:10249/metrics")


@pytest.mark.parametrize("url", [HEALTH + "/metrics", HEALTH + "/", METRICS + "/", METRICS + "/livez"])
def test_other_paths_are_not_found(node1, url):
    assert get(node1, url).status == 404


def test_head_is_answered_without_a_body_and_other_methods_are_refused(node1):
    answer = get(node1, HEALTH + "/healthz", "HEAD")
    assert (answer.status, answer.body) == (200, "")
    assert int(answer.headers["Content-Length"]) > 0
    answer = get(node1, HEALTH + "/healthz", "DELETE")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


# The metrics port.


def test_the_metrics_port_says_ok_its_mode_and_the_options_in_effect(world, node1):
    assert get(node1, METRICS + "/healthz")[::2] == (200, "ok")
    answer = get(node1, METRICS + "/proxyMode")
    assert (answer.status, answer.body) == (200, "fairlead")
    answer = get(node1, METRICS + "/configz")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    config = json.loads(answer.body)["kubeproxy.config.k8s.io"]
    assert config["metricsBindAddress"] == "127.0.0.1:10249"
    assert config["hostnameOverride"] == "node1"
    assert config["fairlead"]["pinDir"] == str(world.agents["node1"].pin_dir)
    assert config["fairlead"]["serviceMetrics"] == "all"


def test_each_health_check_is_a_metric_too(node1):
    get(node1, METRICS + "/healthz")
    get(node1, HEALTH + "/livez")
    get(node1, HEALTH + "/readyz")
    scraped = samples(get(node1, METRICS + "/metrics/slis").body)
    for kind, name in (("healthz", "ping"), ("livez", "sync"), ("readyz", "map room"),
                       ("readyz", "link hooks")):
        assert value(scraped, "kubernetes_healthcheck", type=kind, name=name) == 1
        assert value(scraped, "kubernetes_healthchecks_total", type=kind, name=name, status="success") > 0
    assert value(scraped, "kubernetes_healthchecks_total", status="error") == 0
    assert complaints_of_promtool(node1, "/metrics/slis") == []


def complaints_of_promtool(place, path):
    answer = get(place, METRICS + path)
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    done = subprocess.run(["promtool", "check", "metrics"], input=answer.body, text=True,
                          capture_output=True, check=False)
    return (done.stdout + done.stderr).splitlines()


def test_promtool_finds_nothing_wrong(world, node1):
    world.simple("web", 4, BACKENDS)
    assert complaints_of_promtool(node1, "/metrics") == []


def test_kube_proxys_metrics_have_their_names_labels_and_buckets(world, node1):
    world.simple("web", 4, BACKENDS)
    scraped = scrape(node1)
    for family in ("IPv4", "IPv6"):
        for name in ("kubeproxy_sync_proxy_rules_duration_seconds",
                     "kubeproxy_sync_full_proxy_rules_duration_seconds",
                     "kubeproxy_sync_partial_proxy_rules_duration_seconds"):
            assert value(scraped, name + "_count", ip_family=family) > 0
        bounds = {dict(labels)["le"] for labels in
                  scraped["kubeproxy_sync_proxy_rules_duration_seconds_bucket"]}
        assert bounds == {f"{0.001 * 2 ** power:.15g}" for power in range(15)} | {"+Inf"}
        assert (value(scraped, "kubeproxy_sync_proxy_rules_last_timestamp_seconds", ip_family=family) >=
                value(scraped, "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
                      ip_family=family) > 1.7e9)
    for name in ("service", "endpoint"):
        assert value(scraped, f"kubeproxy_sync_proxy_rules_{name}_changes_total") > 0
        assert value(scraped, f"kubeproxy_sync_proxy_rules_{name}_changes_pending") == 0
    assert value(scraped, "kubernetes_build_info") == 1
    assert value(scraped, "process_resident_memory_bytes") > 1e6
    assert value(scraped, "fairlead_resident_anonymous_bytes") > 1e5
    assert value(scraped, "process_open_fds") > 10


def test_probes_are_counted_by_their_status(node1):
    before = scrape(node1)
    get(node1, HEALTH + "/healthz")
    get(node1, HEALTH + "/livez")
    after = scrape(node1)
    for name in ("kubeproxy_proxy_healthz_total", "kubeproxy_proxy_livez_total"):
        assert value(after, name, code="200") == value(before, name, code="200") + 1


def test_the_delay_since_the_trigger_is_measured_for_slices_that_change_now(world, node1):
    name = "kubeproxy_network_programming_duration_seconds"
    vip = next_vip(4)
    before = scrape(node1)
    now = datetime.datetime.now(datetime.timezone.utc)
    long_ago = now - datetime.timedelta(days=1)
    for number, when in enumerate((now, long_ago)):
        backends = triggered_slice(f"web{number}", BACKENDS, when)
        world.publish(service(f"web{number}", vip), backends)
    after = scrape(node1)
    assert value(after, name + "_count") == value(before, name + "_count") + 1
    assert value(after, name + "_sum") - value(before, name + "_sum") < DEADLINE


def test_service_ports_backends_and_traffic_are_counted(world, node1):
    before = scrape(node1)
    vip = world.simple("web", 4, BACKENDS)
    world.simple("empty", 6, [])
    for _ in range(5):
        assert "answer" in world.place("pod1a").ask(vip)
    scraped = scrape(node1)
    name = "fairlead_service_ports"

    def grown(**labels):
        return value(scraped, name, **labels) - value(before, name, **labels)

    # A barrier of the world's comes with the first publish.
    assert grown(ip_family="IPv4", state="programmed") >= 2
    assert grown(ip_family="IPv6", state="refuse") >= 2
    assert value(scraped, "fairlead_backends", state="active") >= 4
    assert value(scraped, "fairlead_service_connections_total", service="web", protocol="TCP") == 5
    for name in ("services", "frontends", "slots", "backends", "addresses", "links"):
        entries = value(scraped, "fairlead_map_entries", map=name)
        assert 0 < entries <= value(scraped, "fairlead_map_max_entries", map=name), name
        assert value(scraped, "fairlead_map_memory_bytes", map=name) > 0, name
    for name in ("flows", "new_flows", "affinity"):
        assert value(scraped, "fairlead_map_max_entries", map=name) > 0
    assert value(scraped, "fairlead_agent_synced") == 1
    assert value(scraped, "fairlead_source_reachable") == 1
    assert value(scraped, "fairlead_publishes_total", result="ok") > 1
    assert value(scraped, "fairlead_publishes_total", result="failed") == 0
    assert value(scraped, "fairlead_links", role="pod") >= 3


def test_services_that_are_not_programmed_are_counted_by_reasons_that_have_names(world, node1):
    before = value(scrape(node1), "fairlead_unprogrammed", reason="headless")
    world.publish(service("headless", ["None"]))
    scraped = scrape(node1)
    assert value(scraped, "fairlead_unprogrammed", reason="headless") == before + 1
    reasons = {dict(labels)["reason"] for labels in scraped["fairlead_unprogrammed"]}
    assert reasons == {"headless", "external-name", "no-cluster-ip", "other-proxy", "local-address", "map-full",
                       "protocol", "no-ports", "taken"}


def test_a_refusal_and_a_policy_without_a_local_endpoint_are_counted(world, node1):
    empty = world.simple("empty", 4, [])
    far = world.simple("far", 4, ["pod2b"], internalTrafficPolicy="Local")
    before = scrape(node1)
    unseen = world.place("pod1a", unseen=True)
    assert "error" in unseen.ask(empty)
    assert "error" in unseen.ask(far, timeout=0.5)
    scraped = scrape(node1)
    for name, reason in (("fairlead_rejects_total", "no-backend"),
                         ("fairlead_drops_total", "no-local-backend")):
        assert value(scraped, name, reason=reason) > value(before, name, reason=reason)
    assert value(scraped, NO_LOCAL, ip_family="IPv4", traffic_policy="internal") >= 2
    assert value(scraped, NO_LOCAL, ip_family="IPv6", traffic_policy="internal") == 0


def test_an_object_that_cannot_be_used_is_counted(world, node1):
    before = value(scrape(node1), "fairlead_rejected_objects_total")
    broken = service("broken", next_vip(4))
    broken["spec"].update(clusterIP="ten", clusterIPs=["ten"])
    world.publish(broken)
    assert value(scrape(node1), "fairlead_rejected_objects_total") > before


def test_what_may_be_a_mistake_in_a_manifest_is_counted(world, node1):
    name, reason = "fairlead_manifest_warnings_total", "unknown-field"
    before = value(scrape(node1), name, reason=reason)
    assert value(scrape(node1), name, reason="no-service-name") == 0
    world.publish(service("mistaken", next_vip(4), selectr={"app": "web"}))
    assert value(scrape(node1), name, reason=reason) > before


def test_silent_clients_do_not_keep_others_from_an_answer(world, node1):
    """Beyond a limit a new connection ends the oldest that waits, so that whoever asks next is served."""
    holder = world.place("pod1a")
    script = ("import socket, sys\n"
              "held = [socket.create_connection((sys.argv[1], 10256)) for _ in range(40)]\n"
              "print('held', flush=True)\n"
              "sys.stdin.read()\n")
    process = holder.start(sys.executable, "-c", script, node1.address(4), text=True,
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == "held\n"
        assert get(node1, HEALTH + "/livez").status == 200
        assert get(world.place("client"), f"http://{node1.address(4)}:10256/livez").status == 200
    finally:
        process.stdin.close()
        process.wait(DEADLINE)


# Addresses.


@pytest.fixture
def alone(lab):
    """Makes an agent on node2 of a lab of its own, with options, and ends it."""
    made = []

    def start(*options, ready=True):
        agent = Agent(lab, "node2", Folder(lab.directory / "manifests").path, *options)
        made.append(agent)
        return agent.start(ready)

    yield start
    for agent in made:
        if agent.running():
            agent.stop()
        assert agent.cleanup().returncode == 0


def hold_port(place, port):
    """A process in the place that listens at a port until its input ends."""
    script = ("import socket, sys\n"
              "held = socket.create_server(('0.0.0.0', int(sys.argv[1])))\n"
              "print('held', flush=True)\n"
              "sys.stdin.read()\n")
    process = place.start(sys.executable, "-c", script, port, text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_taken_address_is_tried_again_until_it_is_free(lab, alone):
    place = lab.place("node2")
    holder = hold_port(place, 10256)
    agent = alone()
    agent.wait_for_log("cannot serve healthz at 0.0.0.0:10256: Address already in use; trying again")
    assert get(place, METRICS + "/healthz").status == 200
    holder.stdin.close()
    assert holder.wait(DEADLINE) == 0
    agent.wait_for_log("serving healthz at 0.0.0.0:10256")
    assert get(place, HEALTH + "/livez").status == 200


def test_a_taken_address_ends_the_agent_when_that_is_asked_for(lab, alone):
    holder = hold_port(lab.place("node2"), 10256)
    agent = alone("--bind-address-hard-fail", ready=False)
    assert agent.process.wait(DEADLINE) == 1
    wait_for(lambda: "cannot serve healthz" in agent.text(), "the reason")
    agent.check_sanitizers()
    holder.stdin.close()
    assert holder.wait(DEADLINE) == 0


def test_a_publish_that_fails_is_tried_again(lab, alone):
    agent = alone()
    place, folder = lab.place("node2"), Folder(lab.directory / "manifests")
    # No user space may write a frozen map any more, for good.
    place.run("bpftool", "map", "freeze", "pinned", str(agent.pin_dir / "frontends"))
    folder.write("web.json", service("web", next_vip(4)))
    agent.wait_for_log("not everything could be published, trying again in 2 s")
    # No Service can be published, so the probes do not call what waits published.
    before = json.loads(get(place, HEALTH + "/livez").body)["status"]
    failed = value(scrape(place), "fairlead_publishes_total", result="failed")
    wait_for(lambda: value(scrape(place), "fairlead_publishes_total", result="failed") > failed, "another attempt")
    assert json.loads(get(place, HEALTH + "/livez").body)["status"] == before
    folder.remove("web.json")


def test_an_ipv6_wildcard_serves_both_families(lab, alone):
    alone("--healthz-bind-address", "[::]:10256", "--metrics-bind-address", "[::1]:10249")
    place, client = lab.place("node2"), lab.place("client")
    assert get(client, f"http://{place.address(4)}:10256/livez").status == 200
    assert get(client, f"http://[{place.address(6)}]:10256/livez").status == 200
    assert get(place, "http://[::1]:10249/healthz").status == 200
    assert not answers(place, METRICS + "/healthz")


def test_an_empty_address_switches_a_server_off(lab, alone):
    agent = alone("--healthz-bind-address", "", "--metrics-bind-address", "")
    assert not answers(lab.place("node2"), HEALTH + "/livez")
    assert not answers(lab.place("node2"), METRICS + "/healthz")
    assert "serving" not in agent.text()


@pytest.mark.parametrize("flag", [["--healthz-bind-address", "10256"],
                                  ["--metrics-bind-address", "::1:10249"],
                                  ["--metrics-bind-address", "127.0.0.1:99999"],
                                  ["--service-metrics", "some"]])
def test_misuse_is_one_sentence_that_names_the_option(lab, flag):
    agent = Agent(lab, "node1", Folder(lab.directory / "manifests").path)
    done = lab.place("node1").run(*agent.command(), *flag, check=False)
    assert done.returncode == 2
    assert flag[0] in done.stderr.splitlines()[0]


def test_without_the_option_there_is_no_series_for_each_service(lab, alone):
    alone()
    assert "fairlead_service_connections_total" not in scrape(lab.place("node2"))
