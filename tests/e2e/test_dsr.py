# SPDX-License-Identifier: BSD-2-Clause
"""Direct server return: node1 is dialled, node2 has the backend and answers the client itself."""

import json

import pytest

import manifests
from lab import address_of, wait_for
from test_outside import (BIG, CLUSTER_IP, EXTERNAL_IP, KINDS, LOCAL, NODE_PORT, REMOTE, each_family,
                          each_kind, each_proto, publish, route_services)

HOOKS = ["tc"]
OPTIONS = ["--forwarding", "dsr"]


@pytest.fixture(autouse=True)
def cluster(world):
    """Both nodes are known to both agents, and node1 is the way to all Services."""
    route_services(world, {family: address_of("node1", family) for family in (4, 6)})
    world.folder.write("nodes", manifests.node("node1"), manifests.node("node2"))
    world.settle()


@each_kind
@each_proto
@each_family
def test_backends_elsewhere_see_the_client_and_answer_as_the_frontend(world, kind, proto, family):
    frontend = publish(world, kind, family)
    client = {address_of("client", family)}
    assert frontend.ask_all(world, proto, 30) == {LOCAL: client, REMOTE: client}
