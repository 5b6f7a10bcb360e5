# SPDX-License-Identifier: BSD-2-Clause
"""Every frontend from everywhere: who answers, and which client he sees. The rules are in matrix.py."""

import pytest

from matrix import SOURCE_NAT, Matrix, Way, all_cells, expected

WAYS = [Way(SOURCE_NAT, "tc")]


@pytest.fixture(scope="module", params=WAYS, ids=str)
def matrix(request):
    with Matrix(request.param) as made:
        yield made


@pytest.mark.parametrize("cell", all_cells(), ids=str)
def test_the_right_backends_answer_and_see_the_right_client(matrix, cell):
    wanted = expected(cell, matrix.way.forwarding)
    result = matrix.ask(cell)
    if not wanted:
        assert result.get("error") == "timeout", f"somebody answered, or refused: {result}"
        return
    assert "error" not in result, result
    assert result["seen"] == {name: [client] for name, client in wanted.items()}
    leaked = matrix.world.leaked()
    assert not leaked, f"{len(leaked)} frames for a ClusterIP left a node untranslated: {leaked[:3]}"
