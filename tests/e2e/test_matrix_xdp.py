# SPDX-License-Identifier: BSD-2-Clause
"""Every frontend from everywhere, through XDP: who answers, and which client he sees. The rules are in matrix.py."""

import pytest

from matrix import DSR, SOURCE_NAT, Matrix, Way, all_cells, check

WAYS = [Way(SOURCE_NAT, "xdp"), Way(DSR, "xdp")]


@pytest.fixture(scope="module", params=WAYS, ids=str)
def matrix(request):
    with Matrix(request.param) as made:
        yield made


@pytest.mark.parametrize("cell", all_cells(), ids=str)
def test_the_right_backends_answer_and_see_the_right_client(matrix, cell):
    check(matrix, cell)


def test_xdp_was_there_and_forwarded_what_source_nat_is_for(matrix):
    for agent in matrix.world.agents.values():
        hooks = agent.json("status")["hooks"]["xdp"]
        assert any(item["link"] == "eth0" and item["mode"] == "native" for item in hooks), hooks
    # TC encapsulates what goes by direct server return.
    if matrix.way.forwarding == SOURCE_NAT:
        assert matrix.world.agents["node1"].json("status")["counters"]["xdp"]["packets"] > 300
