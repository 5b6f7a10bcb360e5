# SPDX-License-Identifier: BSD-2-Clause
"""The dashboard and the rules in deploy/ ask for metrics that an agent serves, with labels that they have."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from http_get import METRICS, get, samples
from kube import KubeAgent, kubeconfig
from lab import ROOT, wait_for
from manifests import next_vip, node, service, slice_, triggered_slice
from promql import Selector, named
from apiserver.client import ApiServerProcess

DASHBOARD = ROOT / "deploy" / "grafana" / "fairlead.json"
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "fairlead.rules.yaml"
RULE_TESTS = PROMETHEUS / "fairlead.rules.test.yaml"
FROM_PROMETHEUS = {"job", "instance"}  # labels that a scrape adds
VARIABLES = {"$__rate_interval": "5m", "$job": ".*", "$instance": ".*"}


class Served:
    """What an agent answers to a scrape: families, and the labels of their samples."""

    def __init__(self, text):
        self.types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
        self.samples = samples(text)
        self.recorded = {}  # of rules: name, labels

    def family(self, name):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        return base if self.types.get(base) == "histogram" else name

    def has(self, name):
        return name in self.recorded or name == "up" or self.family(name) in self.types

    def labels(self, name):
        if name in self.recorded:
            return self.recorded[name]
        found = {label for series in self.samples.get(name, {}) for label, _ in series}
        return found | FROM_PROMETHEUS

    def values(self, name, label):
        return {value for series in self.samples.get(name, {}) for has, value in series if has == label}


@pytest.fixture(scope="module")
def served(lab):
    """The scrape of an agent that has everything to tell, and the rules that record more."""
    with ApiServerProcess(netns=f"/run/netns/{lab.id}-node1") as server:
        server.put_all([node("node1"), service("web", next_vip(4)), slice_("web", ["10.244.9.1"])])
        agent = KubeAgent(lab, "node1", kubeconfig(server), "--service-metrics", "all", "--count-packets")
        agent.start()
        place = lab.place("node1")
        server.put(triggered_slice("web", ["10.244.9.2"]))

        def complete():
            text = get(place, f"{METRICS}/metrics").body
            wanted = ("fairlead_flows{", "kubeproxy_network_programming_duration_seconds_bucket{")
            return text if all(name in text for name in wanted) else None

        try:
            text = wait_for(complete, "a survey of the flows and a change of endpoints")
        finally:
            agent.end()
    made = Served(text)
    for rule in rules("record"):
        parts = named(rule["expr"])
        made.recorded[rule["record"]] = parts.labels | FROM_PROMETHEUS | {
            label for selector in parts.selectors if not parts.labels
            for label in made.labels(selector.metric)}
    return made


def rules(kind):
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
            if kind in rule]


def plain(expression):
    """Grafana's variables replaced."""
    for variable, text in VARIABLES.items():
        expression = expression.replace(variable, text)
    return expression


def panels():
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def queries():
    """{where it stands: expression} of all that is asked."""
    found = {f"rule {rule.get('record') or rule['alert']}": rule["expr"]
             for rule in rules("record") + rules("alert")}
    for panel in panels():
        for target in panel["targets"]:
            found[f"panel {panel['title']}, {target['refId']}"] = plain(target["expr"])
    return found


def problems_of_matcher(served, metric, matcher):
    label, operator, text = matcher
    if label not in served.labels(metric):
        yield f"{metric} has no label {label}"
    elif label not in FROM_PROMETHEUS and operator in ("=", "=~"):
        for wanted in text.split("|") if operator == "=~" else [re.escape(text)]:
            if not any(re.fullmatch(wanted, value) for value in served.values(metric, label)):
                yield f"{metric} has no series with {label}{operator}{text}"


def problems(served, expression):
    parts = named(expression)
    known = set(FROM_PROMETHEUS)
    for selector in parts.selectors:
        if not served.has(selector.metric):
            yield f"nobody serves {selector.metric}"
            continue
        known |= served.labels(selector.metric)
        for matcher in selector.matchers:
            yield from problems_of_matcher(served, selector.metric, matcher)
    for label in parts.labels - known:
        yield f"no metric of {expression} has label {label}"


def test_every_query_names_metrics_and_labels_that_an_agent_serves(served):
    found = queries()
    assert len(found) > 40
    wrong = {where: list(problems(served, expression)) for where, expression in found.items()}
    assert {where: texts for where, texts in wrong.items() if texts} == {}


def test_legends_and_variables_name_labels_that_are_there(served):
    for panel in panels():
        for target in panel["targets"]:
            parts = named(plain(target["expr"]))
            has = parts.labels or set().union(*(served.labels(one.metric) for one in parts.selectors))
            wanted = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert wanted <= has, f"panel {panel['title']}: {wanted - has}"
    for variable in json.loads(DASHBOARD.read_text())["templating"]["list"]:
        if variable["type"] == "query":
            expression, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
            assert not list(problems(served, plain(expression)))
            assert label in FROM_PROMETHEUS


def test_most_of_what_an_agent_serves_is_on_the_dashboard(served):
    """So that who adds a metric of ours asks where it is to be seen."""
    asked = {served.family(selector.metric) for panel in panels() for target in panel["targets"]
             for selector in named(plain(target["expr"])).selectors}
    ours = {name for name in served.types if name.startswith("fairlead_")}
    assert ours - asked == set()


def promtool(*arguments):
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_accepts_the_rules_and_every_query_of_the_dashboard(tmp_path):
    promtool("check", "rules", str(RULES))
    asked = [{"record": f"panel:{number}", "expr": expression}
             for number, expression in enumerate(queries().values())]
    written = tmp_path / "queries.yaml"
    written.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": asked}]}))
    promtool("check", "rules", str(written))


def test_the_rules_fire_when_they_should_and_only_then():
    promtool("test", "rules", str(RULE_TESTS))


def test_each_alert_is_tried_and_says_what_to_do():
    tried = {case["alertname"] for test in yaml.safe_load(RULE_TESTS.read_text())["tests"]
             for case in test.get("alert_rule_test", []) if case["exp_alerts"]}
    for rule in rules("alert"):
        assert rule["alert"] in tried
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}


def test_each_alert_has_its_section_in_the_runbook():
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.M)
    assert sections == [rule["alert"] for rule in rules("alert")]
    for rule in rules("alert"):
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"


def test_the_line_in_the_rules_makes_each_runbook_url_absolute(tmp_path):
    command = re.search(r"^#   (sed .*)$", RULES.read_text(), re.M)[1]
    for path in (RULES, RULE_TESTS):
        shutil.copy(path, tmp_path)
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    promtool("test", "rules", str(tmp_path / RULE_TESTS.name))
    for line in re.findall(r"^ *runbook_url: (.*)$", (tmp_path / RULES.name).read_text(), re.M):
        assert re.match(r"https://git\.example\.org/fairlead/blob/main/docs/runbook\.md#\w+$", line), line


def test_the_rules_and_the_dashboard_take_an_agent_of_any_job_and_nobody_else():
    """kube-proxy serves some of these names; `All` is the list of the agents, not every target."""
    for rule in rules("record") + rules("alert"):
        assert 'job="' not in rule["expr"]
        if "kubeproxy_" in rule["expr"]:
            assert "on (job, instance) fairlead_build_info" in rule["expr"], rule
    for variable in json.loads(DASHBOARD.read_text())["templating"]["list"]:
        if variable["type"] == "query":
            assert "allValue" not in variable and "fairlead_build_info" in variable["definition"]


def test_the_scrape_examples_find_the_port_of_the_manifest():
    kubernetes = ROOT / "deploy" / "kubernetes"
    pods = next(item for item in yaml.safe_load_all((kubernetes / "fairlead.yaml").read_text())
                if item["kind"] == "DaemonSet")
    container, = pods["spec"]["template"]["spec"]["containers"]
    port = next(port for port in container["ports"] if port["name"] == "metrics")
    assert f"--metrics-bind-address=0.0.0.0:{port['containerPort']}" in container["args"]
    monitor = yaml.safe_load((kubernetes / "podmonitor.yaml").read_text())
    assert monitor["spec"]["selector"] == pods["spec"]["selector"]
    assert monitor["metadata"]["namespace"] == pods["metadata"]["namespace"]
    assert [one["port"] for one in monitor["spec"]["podMetricsEndpoints"]] == ["metrics"]
    keep = yaml.safe_load((PROMETHEUS / "scrape.yaml").read_text())["scrape_configs"][0]["relabel_configs"][0]
    name = pods["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"]
    assert keep["regex"] == f"{name};metrics" and keep["action"] == "keep"


def test_panels_do_not_overlap_and_have_a_source():
    taken, numbers = set(), set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        assert panel["id"] not in numbers
        taken |= cells
        numbers.add(panel["id"])
        for target in panel.get("targets", []):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("expression,selectors,labels", [
    ("up", [("up", [])], set()),
    ('sum by (a, b) (rate(x_total{c="}", d=~"e|f"}[5m])) > 0', [("x_total", [("c", "=", "}"), ("d", "=~", "e|f")])],
     {"a", "b"}),
    ("x / on (a) group_left (b) y offset 1h and 2 * z < 1e3", [("x", []), ("y", []), ("z", [])], {"a", "b"}),
    ("histogram_quantile(0.99, sum(rate(h_bucket[5m])) by (le))", [("h_bucket", [])], {"le"}),
])
def test_expressions_are_taken_apart(expression, selectors, labels):
    assert named(expression) == ([Selector(*selector) for selector in selectors], labels)
