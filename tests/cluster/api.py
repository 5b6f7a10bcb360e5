# SPDX-License-Identifier: BSD-2-Clause
"""A small client of the Kubernetes API: reads a kubeconfig, gets, creates, replaces and deletes objects."""

import base64
import http.client
import json
import os
import pathlib
import socket
import ssl
import subprocess
import urllib.parse

import yaml

TIMEOUT = 60.0
FILES = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


class ApiError(Exception):
    """The server refused a request."""

    def __init__(self, status, text):
        super().__init__(f"HTTP {status}: {text}")
        self.status = status


class KubeConfig:
    """The current context of a kubeconfig. Files are absolute paths here, however they were written."""

    def __init__(self, path):
        self.path = pathlib.Path(path).resolve()
        content = yaml.safe_load(self.path.read_text(encoding="utf-8"))
        context = self.named(content, "contexts", content.get("current-context"))["context"]
        self.cluster = self.with_paths(self.named(content, "clusters", context["cluster"])["cluster"])
        self.user = self.with_paths(self.named(content, "users", context["user"])["user"])
        self.url = urllib.parse.urlsplit(self.cluster["server"])
        if self.url.scheme != "https":
            raise ValueError(f"{self.path}: {self.cluster['server']} is no https:// URL")
        if self.cluster.get("proxy-url"):
            raise ValueError(f"{self.path}: servers behind a proxy-url cannot be tested with")

    def named(self, content, kind, name):
        for item in content.get(kind) or ():
            if item["name"] == name:
                return item
        raise ValueError(f"{self.path}: {kind} has no {name!r}: set current-context to one that is whole")

    def with_paths(self, section):
        return {name: str(self.path.parent / value) if name in FILES else value
                for name, value in (section or {}).items()}

    @property
    def address(self):
        """Where the server is: (host, port)."""
        return self.url.hostname, self.url.port or 443

    @property
    def server_name(self):
        """The name in the server's certificate."""
        return self.cluster.get("tls-server-name") or self.url.hostname

    def moved(self, port):
        """The same cluster and user as a kubeconfig's text, for a server that is relayed to here."""
        server = urllib.parse.urlunsplit(self.url._replace(netloc=f"127.0.0.1:{port}"))
        cluster = {**self.cluster, "server": server, "tls-server-name": self.server_name}
        return kubeconfig_text(cluster, self.user)


def kubeconfig_text(cluster, user):
    return json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "cluster", "cluster": cluster}], "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "cluster", "user": "user"}}]})


class Credentials:
    """What a user of a kubeconfig shows the server: a header, or a certificate."""

    def __init__(self, config):
        user = config.user
        plugin = self.of_plugin(user["exec"], config) if "exec" in user else {}
        self.token = user.get("token") or plugin.get("token")
        if user.get("tokenFile"):
            self.token = pathlib.Path(user["tokenFile"]).read_text(encoding="utf-8").strip()
        self.certificate = self.pem(user, "client-certificate") or plugin.get("clientCertificateData")
        self.key = self.pem(user, "client-key") or plugin.get("clientKeyData")

    @staticmethod
    def pem(section, name):
        if section.get(f"{name}-data"):
            return base64.b64decode(section[f"{name}-data"]).decode()
        return pathlib.Path(section[name]).read_text(encoding="utf-8") if section.get(name) else None

    @staticmethod
    def of_plugin(plugin, config):
        """What a credential plugin prints (client.authentication.k8s.io ExecCredential)."""
        info = {"kind": "ExecCredential", "apiVersion": plugin["apiVersion"], "spec": {"interactive": False}}
        environment = {**os.environ, "KUBERNETES_EXEC_INFO": json.dumps(info),
                       **{item["name"]: item["value"] for item in plugin.get("env") or ()}}
        command = plugin["command"]
        command = str(config.path.parent / command) if "/" in command else command
        done = subprocess.run([command, *(plugin.get("args") or ())], env=environment, check=True,
                              stdout=subprocess.PIPE, text=True, timeout=TIMEOUT)
        return json.loads(done.stdout)["status"]


class Api:
    """Requests to the server of a kubeconfig, each on a connection of its own."""

    def __init__(self, config, folder):
        """`folder`: where the client's key may lie while it is read."""
        self.config, self.credentials = config, Credentials(config)
        ca = Credentials.pem(config.cluster, "certificate-authority")
        self.context = ssl.create_default_context(cadata=ca)
        if config.cluster.get("insecure-skip-tls-verify"):
            self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        if self.credentials.certificate:
            self.load_certificate(pathlib.Path(folder) / "client.pem")

    def load_certificate(self, path):
        """The ssl module takes certificates from files only."""
        path.touch(mode=0o600)
        try:
            path.write_text(f"{self.credentials.certificate}\n{self.credentials.key}", encoding="utf-8")
            self.context.load_cert_chain(path)
        finally:
            path.unlink()

    def open(self, method, path, body=None, headers=None):
        """Sends a request; is the socket, which the caller closes, and the answer, which is not read yet."""
        connection = http.client.HTTPConnection(*self.config.address, timeout=TIMEOUT)
        sock = connection.sock = self.context.wrap_socket(
            socket.create_connection(self.config.address, TIMEOUT), server_hostname=self.config.server_name)
        headers = {"Accept": "application/json", **(headers or {})}
        if self.credentials.token:
            headers["Authorization"] = f"Bearer {self.credentials.token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, body, headers)
            return sock, connection.getresponse()
        except BaseException:
            sock.close()
            raise

    def request(self, method, path, obj=None):
        """The object that the server answers with; ApiError if it refuses."""
        sock, answer = self.open(method, path, None if obj is None else json.dumps(obj))
        with sock, answer:
            text = answer.read().decode(errors="replace")
        if not 200 <= answer.status < 300:
            raise ApiError(answer.status, text.strip())
        return json.loads(text)

    # Objects, by kind.

    PATHS = {"Namespace": "/api/v1/namespaces", "Node": "/api/v1/nodes",
             "Service": "/api/v1/namespaces/{}/services",
             "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices"}

    def path(self, kind, namespace="", name=""):
        path = self.PATHS[kind].format(namespace)
        return f"{path}/{name}" if name else path

    def path_of(self, obj):
        return self.path(obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"])

    def list(self, path):
        return self.request("GET", path)["items"]

    def get(self, kind, name, namespace=""):
        """One object, or None."""
        try:
            return self.request("GET", self.path(kind, namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def create(self, obj):
        return self.request("POST", self.path(obj["kind"], obj["metadata"].get("namespace")), obj)

    def replace(self, obj):
        """An object as it was got, with what is to be otherwise."""
        return self.request("PUT", self.path_of(obj), obj)

    def delete(self, obj):
        return self.request("DELETE", self.path_of(obj))
