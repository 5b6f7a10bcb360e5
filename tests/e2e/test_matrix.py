# SPDX-License-Identifier: BSD-2-Clause
"""Every frontend from everywhere, through TC: who answers, and which client he sees. The rules are in matrix.py."""

import pytest

from matrix import DSR, HYBRID, SOURCE_NAT, Matrix, Way, all_cells, check

WAYS = [Way(SOURCE_NAT, "tc"), Way(DSR, "tc"), Way(HYBRID, "tc")]


@pytest.fixture(scope="module", params=WAYS, ids=str)
def matrix(request):
    with Matrix(request.param) as made:
        yield made


@pytest.mark.parametrize("cell", all_cells(), ids=str)
def test_the_right_backends_answer_and_see_the_right_client(matrix, cell):
    check(matrix, cell)
