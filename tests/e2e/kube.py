# SPDX-License-Identifier: BSD-2-Clause
"""An agent that watches an API server, both on a node of a lab."""

import json
import pathlib
import subprocess
import sys
import threading
import time

from lab import Agent, DEADLINE, HERE, PRIVATE_BPFFS, wait_for

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from apiserver.certificates import Certificates  # noqa: E402,F401
from apiserver.client import ApiServerProcess  # noqa: E402,F401

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "kube"


def kubeconfig(server, token=None, cluster=None, user=None):
    """A kubeconfig's text for a server of tests/apiserver."""
    made = {"server": server.url, **(cluster or {})}
    if server.certificates and "certificate-authority" not in made and "insecure-skip-tls-verify" not in made:
        made["certificate-authority"] = str(server.certificates.ca)
    if user is None:
        user = {"token": token or server.tokens[0]} if server.tokens else {}
    return json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "lab", "cluster": made}],
        "users": [{"name": "agent", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "lab", "user": "agent"}}],
    })


class KubeAgent(Agent):
    """`fairlead agent` with the API server as its source."""

    def __init__(self, lab, node, config, *options, name=None, environment=None, **more):
        super().__init__(lab, node, None, *options, **more)
        self.directory = lab.directory / (name or node)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.pin_dir = self.directory / "pins"
        self.state_dir = self.directory / "state"
        self.environment = environment or {}
        self.config = self.directory / "kubeconfig"
        if config:
            self.config.write_text(config, encoding="utf-8")

    def command(self):
        source = ["--kubeconfig", self.config] if self.config.exists() else []
        environment = ["env", *(f"{name}={value}" for name, value in self.environment.items())]
        return [*environment, self.program, "agent", *source, "--node-name", self.node, "--state-dir", self.state_dir,
                "--cgroup", self.lab.cgroup(self.node), "--pin-dir", self.pin_dir, *self.options]

    def end(self):
        """Stops it, with what it has programmed."""
        if self.running():
            self.stop()
        assert self.cleanup().returncode == 0

    def table(self):
        """What is programmed: {(namespace, name, port, protocol, family): (frontends, backends)}."""
        done = self.fairlead("services", "-o", "json", check=False)
        rows = json.loads(done.stdout) if done.returncode == 0 else []  # nothing is programmed yet
        return {
            (row["namespace"], row["name"], row["port_name"], row["protocol"], row["family"]): (
                frozenset((item["address"], item["port"]) for item in row["frontends"]),
                frozenset((item["address"], item["port"], item["in_cluster_set"], item["in_local_set"])
                          for item in row["backends"]
                          if item["in_cluster_set"] or item["in_local_set"]))
            for row in rows if row["programmed"]
        }

    def backends_of(self, name, namespace="default"):
        """Addresses that clients of a Service may be sent to now, of all its ports."""
        return {address for key, (_, backends) in self.table().items() if key[:2] == (namespace, name)
                for address, *_ in backends}

    def services(self):
        return {key[1] for key in self.table()}

    def wait_for_backends(self, name, wanted, namespace="default", deadline=DEADLINE):
        wait_for(lambda: self.backends_of(name, namespace) == set(wanted),
                 lambda: f"{wanted} behind {name}; there are {self.backends_of(name, namespace)}; "
                         f"the log:\n{self.text()[-3000:]}", deadline)

    def wait_for_services(self, wanted):
        wait_for(lambda: self.services() == set(wanted),
                 lambda: f"{wanted}; there are {self.services()}; the log:\n{self.text()[-3000:]}")

    def status(self):
        return self.json("status")

    def degraded(self):
        return {item["name"] for item in self.status()["degraded"]}

    def publishes(self):
        return self.status()["publish"]["publishes"]

    def warnings(self, text=""):
        return [line for line in self.log if line.startswith(("W", "E")) and text in line and PRIVATE_BPFFS not in line]

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100


class Tunnel:
    """tunnel.py in a place: what stands between the agent and a server, and can be made to fail."""

    def __init__(self, lab, place, to=None, listen="127.0.0.1:0"):
        self.lab, self.place, self.to, self.address = lab, place, to, listen.rpartition(":")[0]
        self.port = int(listen.rpartition(":")[2])
        self.process, self.said = None, []
        self.start()

    def start(self):
        """Listens, where it has listened before if it has."""
        listen = f"{self.address}:{self.port}"
        self.said = []
        self.process = self.lab.place(self.place).start(
            sys.executable, HERE / "tunnel.py", listen, *([self.to] if self.to else []),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True).start()
        self.port = self._wait("port")["port"]
        return self

    def _read(self, stream):
        for line in stream:
            self.said.append(json.loads(line))

    def _wait(self, name, count=1):
        wait_for(lambda: len([item for item in self.said if name in item]) >= count, f"the tunnel's {name}")
        return [item for item in self.said if name in item][-1]

    def tell(self, word):
        count = len([item for item in self.said if "did" in item])
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        self._wait("did", count + 1)

    def connections(self):
        """Where connections went, the oldest first."""
        return [item["to"] for item in self.said if "to" in item]

    def kill(self):
        self.process.kill()
        self.process.wait()

    @property
    def where(self):
        return f"{self.address}:{self.port}"

    @property
    def url(self):
        return f"https://{self.where}"


def settle():
    """Long enough for a wrong reaction to show itself where nothing is to happen."""
    time.sleep(0.3)
