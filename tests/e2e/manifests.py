# SPDX-License-Identifier: BSD-2-Clause
"""Builds Kubernetes objects for the manifest folder, and writes them as files.

Objects are written as JSON, which is YAML as well; files named *.yaml are read by the YAML reader.
"""

import datetime
import ipaddress
import itertools
import json
import os
import pathlib

import lab as lab_module

TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"

_vips = itertools.count(16 * 256)


def next_vip(family):
    """A ClusterIP nobody had before."""
    number = next(_vips)
    if family == 4:
        return str(ipaddress.IPv4Address("10.96.0.0") + number)
    return str(ipaddress.IPv6Address("fd00:96::") + number)


def family_of(address):
    return ipaddress.ip_address(address).version


def as_list(value):
    return list(value) if isinstance(value, (list, tuple)) else [value]


def service_port(port=80, proto="TCP", name=None, target=8080, **more):
    made = {"port": port, "protocol": proto.upper(), "targetPort": target, **more}
    if name is not None:
        made["name"] = name
    return made


def both_protocols(port=80, target=8080):
    return [service_port(port, "TCP", "tcp", target), service_port(port, "UDP", "udp", target)]


def service(name, vips, ports=None, namespace="default", labels=None, **spec):
    """A Service of type ClusterIP. `vips`: one ClusterIP or one of each family."""
    vips = as_list(vips)
    families = ["None" if vip == "None" else f"IPv{family_of(vip)}" for vip in vips]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, **({"labels": labels} if labels else {})},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": vips[0],
            "clusterIPs": vips,
            "ipFamilies": [family for family in families if family != "None"],
            "ports": ports or both_protocols(),
            **spec,
        },
    }


def endpoint(place, family, ready=True, serving=None, terminating=False, **more):
    """An endpoint in a place of the lab (or at an address)."""
    on_lab = not any(sign in place for sign in ".:")
    made = {
        "addresses": [lab_module.address_of(place, family) if on_lab else place],
        "conditions": {"ready": ready, "serving": ready if serving is None else serving,
                       "terminating": terminating},
        **more,
    }
    node = lab_module.node_of(place) if on_lab else None
    if node:
        made["nodeName"] = node
    return made


def terminating(place, family):
    return endpoint(place, family, ready=False, serving=True, terminating=True)


def slice_(service_name, endpoints, ports=None, family=4, name=None, namespace="default"):
    """An EndpointSlice. Endpoints may be places' names."""
    made = [endpoint(item, family) if isinstance(item, str) else item for item in endpoints]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name or f"{service_name}-v{family}",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service_name},
        },
        "addressType": f"IPv{family}",
        "endpoints": made,
        "ports": ports if ports is not None else slice_ports(),
    }


def triggered_slice(service_name, endpoints, when=None, **more):
    """An EndpointSlice that says when what it tells has happened (default: now)."""
    made = slice_(service_name, endpoints, **more)
    when = when or datetime.datetime.now(datetime.timezone.utc)
    made["metadata"]["annotations"] = {TRIGGER_TIME: when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
    return made


def slice_ports(port=8080):
    """The ports of both_protocols()."""
    return [{"name": "tcp", "protocol": "TCP", "port": port},
            {"name": "udp", "protocol": "UDP", "port": port}]


def node(name, **labels):
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {key.replace("__", "/"): value
                                              for key, value in labels.items()}},
        "status": {"addresses": [
            {"type": "InternalIP", "address": lab_module.address_of(name, family)}
            for family in (4, 6)]},
    }


def zoned_node(name, zone):
    made = node(name)
    made["metadata"]["labels"]["topology.kubernetes.io/zone"] = zone
    return made


def pod(place, app, families=(4,), ready=True, ports=None, namespace="default", name=None):
    """A Pod as the API server shows it, running in a place of the lab."""
    addresses = [lab_module.address_of(place, family) for family in families]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name or place, "namespace": namespace, "labels": {"app": app}},
        "spec": {
            "nodeName": lab_module.node_of(place),
            "containers": [{"name": "main", "image": "echo",
                            "ports": ports or [{"name": "web", "containerPort": 8080}]}],
        },
        "status": {
            "phase": "Running",
            "podIP": addresses[0],
            "podIPs": [{"ip": address} for address in addresses],
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def list_of(objects, kind="List", version="v1"):
    return {"apiVersion": version, "kind": kind, "metadata": {"resourceVersion": ""}, "items": objects}


class Folder:
    """A manifest folder. Files are written beside it and renamed into it, so none is ever half there."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.path.mkdir(parents=True, exist_ok=True)

    def write(self, name, *objects):
        text = "\n---\n".join(json.dumps(item) for item in objects) + "\n"
        self.write_text(name, text)

    def write_text(self, name, text):
        name = name if "." in name else f"{name}.yaml"
        temporary = self.path.with_name(f".{self.path.name}-{name}")
        temporary.write_text(text, encoding="utf-8")
        os.rename(temporary, self.path / name)

    def remove(self, name):
        name = name if "." in name else f"{name}.yaml"
        (self.path / name).unlink()

    def has(self, name):
        return (self.path / f"{name}.yaml").exists()


def many_services(count):
    """A manifest with `count` Services that have an endpoint of their own."""
    made = []
    for number in range(count):
        address = f"10.{200 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}"
        made += [service(f"many-{number}", next_vip(4), namespace="many"),
                 slice_(f"many-{number}", [endpoint(address, 4)], namespace="many")]
    return made
