# SPDX-License-Identifier: BSD-2-Clause
"""The agent in kube-proxy's place: started with its command line and its configuration file."""

import itertools
import json
import os
import pathlib
import re
import subprocess
import time

import pytest
import yaml

from http_get import METRICS, answers, get
from kube import kubeconfig
from lab import DEADLINE, PRIVATE_BPFFS, Agent, wait_for
from manifests import Folder, next_vip, node, service, slice_
from apiserver.client import ApiServerProcess

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "kube_proxy"
HEAD = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration"}
_names = itertools.count()


class CompatAgent(Agent):
    """`fairlead agent` with what kube-proxy would be given, and no more than a lab needs beside it."""

    def __init__(self, lab, *options, source=()):
        super().__init__(lab, "node1", None, *options)
        self.directory = lab.directory / f"compat-{next(_names)}"
        self.directory.mkdir(parents=True)
        self.pin_dir = self.directory / "pins"
        self.source = source

    def command(self):
        state = [] if "--manifests" in self.source else ["--state-dir", self.directory / "state"]
        return [self.program, "agent", *self.source, "--hooks", "socket", "--cgroup", self.lab.cgroup("node1"),
                "--pin-dir", self.pin_dir, *state, *self.options]

    def end_status(self):
        """The exit status of an agent that ends by itself."""
        status = self.process.wait(DEADLINE)
        self.wanted = False
        self._reader.join(DEADLINE)
        self.check_sanitizers()
        return status

    def run(self, *options):
        """Runs it to its end, which comes by itself."""
        return self.lab.place("node1").run(*self.command(), *options, check=False)

    def configz(self):
        body = get(self.lab.place("node1"), METRICS + "/configz").body
        return json.loads(body)["kubeproxy.config.k8s.io"]


@pytest.fixture
def node1(lab):
    return lab.place("node1")


@pytest.fixture
def make(lab):
    """Makes agents that serve a folder of manifests, and leaves nothing of them."""
    made = []

    def one(*options, source=None):
        folder = Folder(lab.directory / f"manifests-{next(_names)}")
        agent = CompatAgent(lab, *options, source=source or ["--manifests", folder.path])
        agent.folder = folder
        made.append(agent)
        return agent

    yield one
    for agent in made:
        if agent.running():
            agent.stop()
        assert agent.cleanup().returncode == 0


@pytest.fixture
def config(tmp_path):
    """Writes configuration files; is the path of the last one."""
    path = tmp_path / "config.conf"

    def write(**fields):
        path.write_text(yaml.safe_dump({**HEAD, **fields}), encoding="utf-8")
        return path

    return write


def warnings(agent):
    return [line for line in agent.log if line.startswith("W") and PRIVATE_BPFFS not in line]


# Flags.


def test_flags_that_mean_nothing_here_are_named_in_one_warning(make):
    agent = make("--proxy-mode=iptables", "--iptables-masquerade-bit=14", "--ipvs-strict-arp",
                 "--conntrack-max-per-core=32768", "--kube-api-qps=50", "--feature-gates=A=true",
                 "--logtostderr=true", "--masquerade-all=false", "--cluster-cidr=10.244.0.0/16", "--v=2").start()
    assert len(warnings(agent)) == 1
    for flag in ["--iptables-masquerade-bit", "--ipvs-strict-arp", "--conntrack-max-per-core",
                 "--kube-api-qps", "--feature-gates", "--logtostderr"]:
        assert flag in warnings(agent)[0]
    for flag in ["--masquerade-all", "--cluster-cidr", "--proxy-mode"]:
        assert flag not in agent.text()


def test_what_is_not_done_is_said(make):
    agent = make("--masquerade-all").start()
    assert any("--masquerade-all (masqueradeAll) is not done" in line for line in warnings(agent))


def test_an_explicit_mode_keeps_node_ports_where_it_had_them(make, lab):
    """On all addresses of the node, and not at loopback where that was switched off."""
    place = lab.place("node1")
    place.run("ip", "addr", "add", "192.0.2.77/32", "dev", "lo")
    try:
        agent = make("--proxy-mode=iptables", "--iptables-localhost-nodeports=false").start()
        assert any("NodePorts" in line and "192.0.2.77" in line for line in agent.log), agent.text()
        assert not any("NodePorts" in line and "127.0.0.1" in line for line in agent.log), agent.text()
    finally:
        place.run("ip", "addr", "del", "192.0.2.77/32", "dev", "lo")


def test_the_default_for_node_ports_names_the_flag_for_kube_proxys(make):
    hint = "the node's primary addresses; --proxy-mode iptables serves them on all"
    agent = make().start()
    agent.wait_for_log(hint)
    agent.stop()
    for chosen in ("--proxy-mode=iptables", "--nodeport-addresses=primary"):
        agent = make(chosen).start()
        agent.wait_for_log("NodePorts are served on")
        assert hint not in agent.text()
        agent.stop()


def test_what_is_in_use_is_shown_under_kube_proxys_names(make):
    agent = make("--hostname-override=Node1", "--cluster-cidr=10.244.0.0/16,fd00:244::/48",
                 "--detect-local-mode=InterfaceNamePrefix", "--pod-interface-name-prefix=veth",
                 "--nodeport-addresses=primary", "--masquerade-all", "--oom-score-adj=300",
                 "--conntrack-min=7").start()
    shown = agent.configz()
    assert shown["hostnameOverride"] == "node1"
    assert shown["mode"] == "fairlead"
    assert shown["clusterCIDR"] == "10.244.0.0/16,fd00:244::/48"
    assert shown["detectLocalMode"] == "InterfaceNamePrefix"
    assert shown["detectLocal"] == {"interfaceNamePrefix": "veth"}
    assert shown["nodePortAddresses"] == ["primary"]
    assert shown["iptables"]["masqueradeAll"] is True
    assert shown["oomScoreAdj"] == 300
    assert shown["conntrack"]["min"] == 7
    assert shown["bindAddress"] == "0.0.0.0"


@pytest.mark.parametrize("flags", [["--oom-score-adj=1001"], ["--cluster-cidr=10.244.0.0"],
                                   ["--proxy-mode=userspace"], ["--bind-address=10.0.0.1:80"],
                                   ["--nodeport-addresses=primary,10.0.0.0/8"]])
def test_a_bad_value_is_one_sentence_with_flag_and_value_and_exit_status_2(make, flags):
    done = make().run(*flags)
    flag, value = flags[0].split("=")
    assert done.returncode == 2
    assert flag in done.stderr.splitlines()[0] and value in done.stderr.splitlines()[0]


def test_the_oom_score_is_set(make):
    # Lowering it needs a capability that a container may lack.
    agent = make("--oom-score-adj=300").start()
    assert pathlib.Path(f"/proc/{agent.process.pid}/oom_score_adj").read_text().strip() == "300"


def may_lower_oom_score():
    """Whether this process could do what the agent is to do."""
    return subprocess.run(["sh", "-c", "echo -999 >/proc/self/oom_score_adj"], stderr=subprocess.DEVNULL,
                          check=False).returncode == 0


def test_an_oom_score_that_cannot_be_set_is_only_logged(make):
    agent = make().start()
    score = pathlib.Path(f"/proc/{agent.process.pid}/oom_score_adj").read_text().strip()
    if may_lower_oom_score():
        assert score == "-999"
    else:
        assert "cannot write -999 to /proc/self/oom_score_adj, continuing" in agent.text()
    assert agent.running()


def test_a_port_of_0_switches_a_server_off(make, node1):
    make("--healthz-port=0", "--metrics-bind-address=127.0.0.1", "--metrics-port=10777").start()
    assert get(node1, "http://127.0.0.1:10777/healthz").status == 200
    assert not answers(node1, "http://127.0.0.1:10256/livez")


def test_metrics_that_are_disabled_are_not_served(make, node1):
    disabled = ["fairlead_agent_synced", "kubeproxy_sync_proxy_rules_duration_seconds", "kubernetes_healthcheck"]
    make(f"--disabled-metrics={','.join(disabled)}").start()
    assert get(node1, "http://127.0.0.1:10256/livez").status == 200
    text = get(node1, METRICS + "/metrics").body + get(node1, METRICS + "/metrics/slis").body
    assert "fairlead_build_info{" in text
    assert "kubernetes_healthchecks_total{" in text
    assert not any(name in text for name in (f"{name}{end}" for name in disabled for end in ("{", " ", "_count")))


# The configuration file.


def test_kubeadms_file_is_taken_without_a_word(make):
    agent = make("--config", FIXTURES / "kubeadm.yaml", "--hostname-override", "node1").start()
    assert warnings(agent) == []
    assert agent.configz()["clientConnection"]["kubeconfig"] == "/var/lib/kube-proxy/kubeconfig.conf"
    assert agent.configz()["clusterCIDR"] == "10.244.0.0/16,fd00:244::/56"


def test_the_file_says_where_health_and_metrics_are(make, node1, config):
    make("--config", config(healthzBindAddress="127.0.0.1:10777", metricsBindAddress="127.0.0.1:10778",
                            oomScoreAdj=200)).start()
    assert get(node1, "http://127.0.0.1:10777/livez").status == 200
    assert get(node1, "http://127.0.0.1:10778/healthz").status == 200
    assert not answers(node1, "http://127.0.0.1:10256/livez")


def test_the_flag_for_the_nodes_name_wins_over_the_file(make, config):
    path = config(hostnameOverride="from-file")
    assert make("--config", path).start().json("status")["node_name"] == "from-file"
    agent = make("--config", path, "--hostname-override= From-Flag ", "--metrics-bind-address=", "--healthz-port=0")
    agent.start(ready=False)
    wait_for(lambda: any("ignored" in line for line in agent.log), "the warning")
    # Ignored means that the servers' ports are taken by the other agent, and this one waits for them.
    agent.wait_for_log("ready: ")
    assert agent.json("status")["node_name"] == "from-flag"
    ignored = [line for line in agent.log if "ignored" in line]
    assert len(ignored) == 1 and "--metrics-bind-address, --healthz-port" in ignored[0]


def test_unknown_and_repeated_fields_are_named_and_do_no_harm(make, tmp_path):
    path = tmp_path / "config.conf"
    path.write_text(yaml.safe_dump({**HEAD, "colour": "blue"}) + "oomScoreAdj: 1\noomScoreAdj: 200\n")
    agent = make("--config", path).start()
    agent.wait_for_log("unknown fields, ignored: colour; duplicate fields, the last one counts: oomScoreAdj")
    assert agent.configz()["oomScoreAdj"] == 200


@pytest.mark.parametrize("text,why", [
    (None, "there is no configuration file"),
    ("mode: [", "this is not YAML"),
    (yaml.safe_dump({**HEAD, "oomScoreAdj": 2000}), "oomScoreAdj is \"2000\""),
    ("kind: Pod\napiVersion: v1\n", "needs kind: KubeProxyConfiguration"),
])
def test_a_file_that_cannot_be_used_is_one_sentence_and_exit_status_1(make, tmp_path, text, why):
    path = tmp_path / "config.conf"
    if text is not None:
        path.write_text(text)
    done = make().run("--config", path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and why in done.stderr and str(path) in done.stderr


def write_anew(path):
    path.write_text(path.read_text() + "oomScoreAdj: 100\n")


def rename_over(path):
    other = path.with_suffix(".new")
    other.write_text(path.read_text())
    other.rename(path)


def rename_away(path):
    path.rename(path.with_suffix(".old"))


@pytest.mark.parametrize("change", [write_anew, rename_over, rename_away])
def test_a_changed_file_ends_the_agent_and_services_go_on(make, config, change):
    path = config()
    agent = make("--config", path)
    vip = next_vip(4)
    agent.folder.write("web", service("web", vip), slice_("web", ["10.244.9.1"]))
    agent.start()
    change(path)
    assert agent.end_status() == 1
    assert f"the configuration file {path} has changed: exiting, to be restarted with it" in agent.text()
    assert vip in {address for address, _, _ in agent.frontends()}


def config_map(folder, **fields):
    """A folder as the kubelet makes it of a ConfigMap: links into a folder that is swapped as a whole."""
    version = folder / f"..version-{next(_names)}"
    version.mkdir(parents=True)
    (version / "config.conf").write_text(yaml.safe_dump({**HEAD, **fields}))
    fresh = folder / "..data_tmp"
    fresh.symlink_to(version.name)
    fresh.rename(folder / "..data")
    if not (folder / "config.conf").is_symlink():
        (folder / "config.conf").symlink_to("..data/config.conf")
    return folder / "config.conf"


def test_a_config_map_that_changes_ends_the_agent(make, tmp_path):
    path = config_map(tmp_path / "volume")
    agent = make("--config", path).start()
    config_map(tmp_path / "volume", oomScoreAdj=100)
    assert agent.end_status() == 1
    assert "has changed: exiting, to be restarted with it" in agent.text()
    again = make("--config", path).start()
    assert again.configz()["oomScoreAdj"] == 100


def test_a_file_behind_a_link_that_is_written_ends_the_agent(make, config, tmp_path):
    path = config()
    link = tmp_path / "elsewhere" / "link.conf"
    link.parent.mkdir()
    link.symlink_to(path)
    agent = make("--config", link).start()
    write_anew(path)
    assert agent.end_status() == 1


def test_a_file_behind_as_many_links_as_the_kernel_follows_that_is_written_ends_the_agent(make, config, tmp_path):
    path = target = config()
    for number in range(39):
        link = tmp_path / f"link-{number}" / "link.conf"
        link.parent.mkdir()
        link.symlink_to(target)
        target = link
    agent = make("--config", target).start()
    write_anew(path)
    assert agent.end_status() == 1


def test_what_is_no_change_of_the_file_does_not_end_the_agent(make, config):
    path = config()
    agent = make("--config", path).start()
    path.chmod(0o600)
    os.utime(path)
    path.write_text(path.read_text())
    (path.parent / "neighbour").write_text("new")
    os.rename(path.parent / "neighbour", path.parent / "renamed")
    # It looks at each of these in its turn: an answer comes after that.
    assert agent.configz()["kind"] == "KubeProxyConfiguration"
    assert agent.configz()["kind"] == "KubeProxyConfiguration"
    assert agent.running()


# What it does instead of running.


def test_a_written_configuration_is_read_as_the_same(make, tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    agent = make()
    done = agent.run("--write-config-to", first, "--cluster-cidr=10.244.0.0/16", "--nodeport-addresses=primary",
                     "--masquerade-all", "--oom-score-adj=5", "--ipvs-scheduler=lc", "--hostname-override=n")
    assert done.returncode == 0, done.stderr
    assert agent.run("--config", first, "--write-config-to", second).returncode == 0
    assert yaml.safe_load(first.read_text()) == yaml.safe_load(second.read_text())
    written = yaml.safe_load(first.read_text())
    assert {**written, **HEAD} == written
    assert written["clusterCIDR"] == "10.244.0.0/16"
    assert written["nodePortAddresses"] == ["primary"]
    assert written["ipvs"]["scheduler"] == "lc"
    assert written["iptables"]["masqueradeAll"] is True
    assert not agent.pin_dir.exists()


def test_a_configuration_that_cannot_be_written_is_exit_status_1(make):
    done = make().run("--write-config-to", "/nonexistent/config.yaml")
    assert done.returncode == 1
    assert "cannot write the configuration to /nonexistent/config.yaml" in done.stderr


def test_cleanup_removes_what_is_ours_and_needs_no_server(make):
    agent = make(source=["--server", "https://192.0.2.1:6443"])
    other = make()
    other.pin_dir = agent.pin_dir
    other.start().stop()
    assert any(agent.pin_dir.iterdir())
    done = agent.run("--cleanup")
    assert done.returncode == 0, done.stderr
    assert not agent.pin_dir.exists()
    assert agent.run("--cleanup=true").returncode == 0


def test_cleanup_beside_a_running_agent_is_refused(make):
    agent = make().start()
    done = agent.run("--cleanup")
    assert done.returncode == 1 and "stop it first" in done.stderr
    assert agent.running()


def test_init_only_prepares_the_pin_directory_and_ends(make, node1):
    agent = make()
    done = agent.run("--init-only", "--oom-score-adj=0")
    assert done.returncode == 0, done.stderr
    assert node1.run("stat", "-f", "-c", "%T", agent.pin_dir).stdout.strip() == "bpf_fs"
    # What every bpffs has.
    assert {path.name for path in agent.pin_dir.iterdir()} <= {"maps.debug", "progs.debug"}


# The API server.


def test_a_server_alone_is_enough(make, lab):
    with ApiServerProcess(netns=f"/run/netns/{lab.id}-node1") as server:
        server.put(node("node1"))
        vip = next_vip(4)
        server.put_all([service("web", vip), slice_("web", ["10.244.9.1"])])
        for flag in ("--server", "--master"):
            agent = make(source=[flag, server.url, "--hostname-override=node1"]).start()
            assert vip in {address for address, _, _ in agent.frontends()}
            agent.stop()


def test_the_kubeconfig_of_the_file_is_used(make, lab, config, tmp_path):
    with ApiServerProcess(netns=f"/run/netns/{lab.id}-node1", tokens=["secret"]) as server:
        server.put(node("node1"))
        vip = next_vip(4)
        server.put_all([service("web", vip), slice_("web", ["10.244.9.1"])])
        (tmp_path / "kubeconfig").write_text(kubeconfig(server))
        path = config(clientConnection={"kubeconfig": str(tmp_path / "kubeconfig")})
        agent = make(source=["--config", path, "--hostname-override=node1"]).start()
        assert vip in {address for address, _, _ in agent.frontends()}
        agent.stop()


def test_without_any_source_the_remedies_are_named(make, monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    done = make(source=["--node-name", "node1"]).run()
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert all(flag in last for flag in ("--kubeconfig", "--server", "--manifests"))


# The log.


def test_a_log_line_has_klogs_header(make):
    agent = make().start()
    header = re.compile(r"[IWED]\d{4} \d\d:\d\d:\d\d\.\d{6} +(\d+) fairlead\] .+")
    pids = {int(header.fullmatch(line)[1]) for line in agent.log}
    assert pids == {agent.process.pid}


@pytest.mark.parametrize("flag", ["--log-format=json", "--logging-format=json"])
def test_json_log_lines_parse(make, flag):
    agent = make(flag, "--ipvs-strict-arp", "-v=3").start()
    agent.folder.write("bad", {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a\"b\\c\nd"}})
    agent.wait_for_log("bad")
    lines = [json.loads(line) for line in list(agent.log)]
    assert all(line["msg"] and line["level"] in ("error", "warning", "info", "debug") for line in lines)
    assert all(line["ts"] > 1.6e12 for line in lines)
    assert [line["level"] for line in lines if "--ipvs-strict-arp" in line["msg"]] == ["warning"]


def test_repeated_messages_are_counted_and_none_is_lost_when_the_agent_ends(make):
    agent = make().start()
    path = agent.folder.path / "bad.yaml"
    for number in range(6):
        path.write_text("kind: [" if number % 2 == 0 else "kind: [\n")
        # What comes after it is read after it.
        vip = next_vip(4)
        agent.folder.write(f"web-{number}", service(f"web-{number}", vip))
        wait_for(lambda wanted=vip: wanted in {address for address, _, _ in agent.frontends()}, "the Service")
    agent.stop()
    said = [line for line in agent.log if "bad.yaml" in line]
    told = sum(int(found[1]) if (found := re.search(r"repeated (\d+) times in", line)) else 1 for line in said)
    assert told >= 6
    assert len(said) < 6


def test_many_bad_objects_that_change_all_the_time_take_a_few_lines(make):
    agent = make("--log-format=json").start()
    objects, changes, begun = 60, 24, time.monotonic()
    for change in range(changes):
        agent.folder.write("bad", *({"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"bad-{number}",
                                     "annotations": {"change": str(change)}}} for number in range(objects)))
        time.sleep(0.5)
    agent.stop()
    windows = (time.monotonic() - begun) // 10 + 1
    said = [line for line in map(json.loads, agent.log) if "bad" in line["msg"]]
    assert sum(line.get("count", 1) for line in said) > 20 * objects
    assert len(said) <= 10 + windows, said  # at once; after each 10 s, and at the end
    assert re.search(r" \(and \d+ more like it in 1\d\.\d s: (\S+, ){5}\.\.\.\)", said[10]["msg"])


def test_no_warning_is_lost_at_verbosity_0(make):
    agent = make("-v=0", "--ipvs-strict-arp").start(ready=False)
    agent.wait_for_log("--ipvs-strict-arp")

    def synced():
        return agent.json("status").get("agent", {}).get("synced")

    wait_for(synced, "the first publish")
    assert all(line.startswith(("W", "E")) for line in agent.log)
