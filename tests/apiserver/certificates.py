# SPDX-License-Identifier: BSD-2-Clause
"""A CA, a server certificate and a client certificate in a folder, made with openssl(1)."""

import pathlib
import subprocess

DAYS = "2"


class Certificates:
    """The files: ca (and ca_key), server and server_key, client and client_key, all PEM.

    They are made when the folder has none. The server certificate is for 127.0.0.1, ::1, localhost,
    kubernetes.default.svc and the `names` (addresses or DNS names); the client's user is `user`.
    """

    def __init__(self, folder, *names, user="system:node:test"):
        self.folder = pathlib.Path(folder)
        self.ca, self.ca_key = self.folder / "ca.crt", self.folder / "ca.key"
        self.server, self.server_key = self.folder / "server.crt", self.folder / "server.key"
        self.client, self.client_key = self.folder / "client.crt", self.folder / "client.key"
        if not self.ca.exists():
            self.make_ca()
            self.make_server(*names)
            self.make_client(user)

    def make_ca(self, name="test-ca"):
        """A new CA; what the old one signed is worth nothing to clients who trust this one."""
        run("req", "-x509", *new_key(self.ca_key), "-out", self.ca, "-days", DAYS, "-subj", f"/CN={name}",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")

    def make_server(self, *names, days=DAYS):
        """A new server certificate. One that has expired: days=0 and a moment's patience."""
        all_names = ["127.0.0.1", "::1", "localhost", "kubernetes.default.svc", *filter(None, names)]
        alternatives = ",".join(("IP:" if is_address(name) else "DNS:") + name
                                for name in dict.fromkeys(all_names))
        self.sign(self.server, self.server_key, "/CN=kube-apiserver", days,
                  f"subjectAltName={alternatives}\nextendedKeyUsage=serverAuth\n")

    def make_client(self, user, group="system:nodes", days=DAYS):
        """A new client certificate: the common name is the user, the organization its group."""
        self.sign(self.client, self.client_key, f"/O={group}/CN={user}", days,
                  "extendedKeyUsage=clientAuth\n")

    def sign(self, certificate, key, subject, days, extensions):
        request, wanted = certificate.with_suffix(".csr"), certificate.with_suffix(".ext")
        wanted.write_text(extensions, encoding="utf-8")
        run("req", *new_key(key), "-out", request, "-subj", subject)
        run("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.ca_key, "-CAcreateserial",
            "-days", days, "-out", certificate, "-extfile", wanted)
        request.unlink()
        wanted.unlink()


def new_key(path):
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path)


def is_address(name):
    return ":" in name or name.replace(".", "").isdigit()


def run(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
