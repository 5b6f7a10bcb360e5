# SPDX-License-Identifier: BSD-2-Clause
"""EndpointSlices of discovery.k8s.io/v1beta1 as v1 and back, as the API server converts what is stored."""

ZONE, HOSTNAME = "topology.kubernetes.io/zone", "kubernetes.io/hostname"


def convert(body, version):
    """The slice `body` (a dict without kind and apiVersion, changed in place) in the other version."""
    change = to_v1 if version == "v1" else to_v1beta1
    body["endpoints"] = [change(endpoint) for endpoint in body.get("endpoints") or []]
    return body


def to_v1(endpoint):
    endpoint = dict(endpoint)
    topology = dict(endpoint.pop("topology", None) or {})
    zone, node = topology.pop(ZONE, None), endpoint.pop("nodeName", None)
    if node is not None and topology.get(HOSTNAME) == node:
        del topology[HOSTNAME]
    if topology:
        endpoint["deprecatedTopology"] = topology
    if node is not None:
        endpoint["nodeName"] = node
    if zone is not None:
        endpoint["zone"] = zone
    return endpoint


def to_v1beta1(endpoint):
    endpoint = dict(endpoint)
    topology = dict(endpoint.pop("deprecatedTopology", None) or {})
    zone, node = endpoint.pop("zone", None), endpoint.pop("nodeName", None)
    if node is not None:
        topology.setdefault(HOSTNAME, node)
        endpoint["nodeName"] = node
    if zone is not None:
        topology[ZONE] = zone
    if topology:
        endpoint["topology"] = topology
    return endpoint
