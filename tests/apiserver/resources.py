# SPDX-License-Identifier: BSD-2-Clause
"""The resources that exist, and which of their objects a request selects."""

import re
from typing import NamedTuple

DISCOVERY = "discovery.k8s.io"


class Resource(NamedTuple):
    name: str
    kind: str
    group: str
    namespaced: bool
    bookmark: str = ""  # what a bookmark's object has besides its metadata
    versions: tuple = ("v1",)

    @property
    def qualified(self):
        """As messages name it: endpointslices.discovery.k8s.io."""
        return f"{self.name}.{self.group}" if self.group else self.name

    def api_version(self, version):
        return f"{self.group}/{version}" if self.group else version


NODE_BOOKMARK = (
    ',"spec":{},"status":{"daemonEndpoints":{"kubeletEndpoint":{"Port":0}},"nodeInfo":{"machineID":"",'
    '"systemUUID":"","bootID":"","kernelVersion":"","osImage":"","containerRuntimeVersion":"",'
    '"kubeletVersion":"","kubeProxyVersion":"","operatingSystem":"","architecture":""}}')

RESOURCES = {resource.name: resource for resource in (
    Resource("services", "Service", "", True, ',"spec":{},"status":{"loadBalancer":{}}'),
    Resource("endpoints", "Endpoints", "", True),
    Resource("nodes", "Node", "", False, NODE_BOOKMARK),
    Resource("endpointslices", "EndpointSlice", DISCOVERY, True,
             ',"addressType":"","endpoints":null,"ports":null', ("v1", "v1beta1")),
    Resource("namespaces", "Namespace", "", False, ',"spec":{},"status":{}'),
    Resource("servicecidrs", "ServiceCIDR", "networking.k8s.io", False, ',"spec":{},"status":{}'),
    Resource("events", "Event", "events.k8s.io", True, ',"eventTime":null'),
)}
BY_KIND = {resource.kind: resource for resource in RESOURCES.values()}


class BadSelector(Exception):
    pass


def parse_labels(text):
    """A predicate on a dict of labels, or None if everything passes."""
    tests = [label_test(part.strip()) for part in re.split(r",(?![^()]*\))", text) if part.strip()]
    if not tests:
        return None
    return tests[0] if len(tests) == 1 else lambda labels: all(test(labels) for test in tests)


def label_test(text):
    match = re.fullmatch(r"(!?)([\w./-]+)|([\w./-]+)\s*(==|=|!=)\s*([\w.-]*)"
                         r"|([\w./-]+)\s+(in|notin)\s+\(([^()]*)\)", text)
    if not match:
        raise BadSelector(f"unable to parse requirement: found '{text}'")
    without, present, key, operator, value, listed, how, values = match.groups()
    if present:
        return (lambda labels: present not in labels) if without else (lambda labels: present in labels)
    if listed:
        allowed = {part.strip() for part in values.split(",")}
        return ((lambda labels: labels.get(listed) in allowed) if how == "in"
                else (lambda labels: labels.get(listed) not in allowed))
    if operator == "!=":
        return lambda labels: labels.get(key) != value
    return lambda labels: labels.get(key) == value


def parse_fields(text, resource):
    """A predicate on a stored object (see store.Stored), or None if everything passes."""
    known = {"metadata.name": "name", "metadata.namespace": "namespace"}
    if resource.name == "services":
        known |= {"spec.clusterIP": "cluster_ip", "spec.type": "service_type"}
    tests = []
    for part in filter(None, text.split(",")):
        match = re.fullmatch(r"([^=!]+)(==|=|!=)(.*)", part)
        if not match:
            raise BadSelector(f"invalid selector: '{text}'; can't understand '{part}'")
        field, operator, value = match.groups()
        if field not in known:
            raise BadSelector(f"field label not supported: {field}")
        tests.append((known[field], operator != "!=", value))
    if not tests:
        return None
    return lambda stored: all((getattr(stored, name) == value) == wanted for name, wanted, value in tests)


def selector(resource, namespace, labels, fields):
    """The predicate on stored objects for a namespace and both selectors, or None for all objects."""
    by_labels, by_fields = parse_labels(labels), parse_fields(fields, resource)
    if namespace is None and by_labels is None and by_fields is None:
        return None
    return lambda stored: ((namespace is None or stored.namespace == namespace)
                           and (by_labels is None or by_labels(stored.labels))
                           and (by_fields is None or by_fields(stored)))
