"""MoRA equals its index maps, entry by entry."""

import math

import pytest
import torch
from torch import nn

from gptbook.adapters import MoRALinear, square_size

# -- MoRA, entry by entry


def dense_sharing(inputs, outputs, matrix):
    """The change as a table, from what the indices say."""
    k = len(matrix)
    table = torch.zeros(outputs, inputs, dtype=torch.float64)
    for i in range(outputs):
        for p in range(math.ceil(inputs / k) * k):
            table[i, p % inputs] += matrix[i % k, p % k]
    return table


def dense_rotation(inputs, outputs, matrix):
    k = len(matrix)
    groups = math.ceil(inputs / k)
    table = torch.zeros(outputs, inputs, dtype=torch.float64)
    for i in range(outputs):
        group, row = divmod(i % (groups * k), k)
        for j in range(k // 2):
            angle = torch.tensor(float(group)) * 10000.0 ** (-torch.tensor(2 * j) / k)
            cos, sin = angle.cos().double(), angle.sin().double()
            for column, value in (
                (j, matrix[row, j] * cos + matrix[row, j + k // 2] * sin),
                (j + k // 2, matrix[row, j + k // 2] * cos - matrix[row, j] * sin),
            ):
                table[i, (group * k + column) % inputs] += value
    return table


@pytest.mark.parametrize("shape", [(48, 48), (48, 144), (144, 48), (50, 70), (70, 50), (64, 64)])
@pytest.mark.parametrize("kind", ["sharing", "rotation"])
def test_mora_equals_its_index_maps(shape, kind):
    torch.manual_seed(0)
    adapter = MoRALinear(nn.Linear(*shape).double(), 4, kind)
    adapter.matrix.data.normal_()
    dense = {"sharing": dense_sharing, "rotation": dense_rotation}[kind]
    table = dense(*shape, adapter.matrix.data)
    x = torch.randn(2, 5, shape[0], dtype=torch.float64)
    close = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(adapter(x), adapter.base(x) + x @ table.T, **close)
    torch.testing.assert_close(adapter.merged_weight() - adapter.base.weight, table, **close)
    wanted = torch.zeros_like(adapter.matrix)
    unit = torch.zeros_like(adapter.matrix)
    weights = torch.randn(2, 5, shape[1], dtype=torch.float64)
    for i, j in [(0, 0), (1, 3), (adapter.k - 1, 2), (2, adapter.k - 1)]:
        unit.zero_()[i, j] = 1
        wanted[i, j] = (x @ dense(*shape, unit).T * weights).sum()
    (adapter(x) * weights).sum().backward()
    seen = wanted != 0
    torch.testing.assert_close(adapter.matrix.grad[seen], wanted[seen], **close)


@pytest.mark.parametrize(
    ("inputs", "outputs", "rank", "kind", "k"),
    [
        (4096, 4096, 8, "sharing", 256), (768, 768, 8, "sharing", 111),
        (768, 768, 8, "rotation", 110), (768, 2304, 8, "sharing", 157),
        (768, 2304, 8, "rotation", 156),
    ],
)  # fmt: skip
def test_the_size_of_the_square_is_that_of_the_authors_code(inputs, outputs, rank, kind, k):
    assert square_size(inputs, outputs, rank, kind) == k
    assert math.isclose(k * k, (inputs + outputs) * rank, rel_tol=0.02)


def test_the_rank_of_what_mora_changes():
    torch.manual_seed(0)
    ranks = {}
    for kind in ("sharing", "rotation"):
        adapter = MoRALinear(nn.Linear(96, 96).double(), 4, kind)
        adapter.matrix.data.normal_()
        ranks[kind] = torch.linalg.matrix_rank(adapter.dense_change()).item()
    assert ranks == {"sharing": 28, "rotation": 96}
