# SPDX-License-Identifier: BSD-2-Clause
"""The lists of a shape, "SERVICESxENDPOINTS", as an API server serves them, and what is in them."""

import json
import pathlib
import shutil
import subprocess
import sys
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
GENERATE = ROOT / "tests" / "apiserver" / "generate.py"


class Port:
    """A service port with its backends: what a proxy of the kernel's rules has to program."""

    def __init__(self, key, vip, protocol, number, backends):
        self.key, self.vip, self.protocol, self.number = key, vip, protocol, number
        self.backends = backends  # [(address, port)]
        self.hash = f"{zlib.crc32(key.encode()) & 0xffffffff:08X}"


class Shape:
    """`with Shape("10000x10", folder) as shape:` the lists are made, and removed in the end."""

    def __init__(self, text, folder):
        self.name = text
        self.services, self.endpoints = map(int, text.split("x"))
        self.folder = pathlib.Path(folder) / text

    def __enter__(self):
        subprocess.run([sys.executable, GENERATE, str(self.services), str(self.endpoints), self.folder],
                       check=True, stdout=subprocess.DEVNULL)
        (self.folder / "endpoints-list.json").unlink()
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder)

    @property
    def lists(self):
        return [self.folder / "services-list.json", self.folder / "endpointslices-v1-list.json"]

    def size(self):
        return sum(path.stat().st_size for path in self.lists)

    def read(self):
        """(Services, slices of those that have a ClusterIP), as dicts, in the order of the lists."""
        services, slices = (json.loads(path.read_text(encoding="utf-8"))["items"] for path in self.lists)
        served = {key_of(item): item for item in services if item["spec"]["clusterIP"] != "None"}
        return served, [item for item in slices if service_of(item) in served]

    def ports(self):
        """All service ports, with their ready endpoints."""
        services, slices = self.read()
        found = {}
        for item in slices:
            service = services[service_of(item)]
            for port, target in zip(service["spec"]["ports"], item["ports"]):
                key = f"{service_of(item)}:{port['name']}"
                made = found.setdefault(key, Port(key, service["spec"]["clusterIP"],
                                                  port["protocol"].lower(), port["port"], []))
                made.backends += [(endpoint["addresses"][0], target["port"])
                                  for endpoint in item["endpoints"] if endpoint["conditions"]["ready"]]
        return list(found.values())


def key_of(item):
    return f"{item['metadata']['namespace']}/{item['metadata']['name']}"


def service_of(item):
    return f"{item['metadata']['namespace']}/{item['metadata']['labels']['kubernetes.io/service-name']}"
