"""Chapter 11's sharing and rotation beside the package's: outputs, gradients, merged weights."""

import pytest
import torch
from torch import nn

from gptbook.adapters import MoRALinear
from tests.chapters.notebook import taught

chapter = taught("11", "in_groups", "repeated", "share", "rotate")
CHANGES = {"sharing": chapter.share, "rotation": chapter.rotate}


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize(
    ("inputs", "outputs", "rank"),
    [(6, 6, 1), (20, 13, 2), (13, 20, 2), (8, 40, 1), (40, 8, 1), (7, 5, 2), (9, 9, 4)],
)
def test_changes_and_gradients_are_the_packages(kind, inputs, outputs, rank):
    torch.manual_seed(0)
    layer = MoRALinear(nn.Linear(inputs, outputs), rank=rank, kind=kind).double()
    nn.init.normal_(layer.matrix)
    x = torch.randn(2, 3, inputs, dtype=torch.float64)
    ours = layer.base(x) + CHANGES[kind](x, layer.matrix, outputs)
    torch.testing.assert_close(ours, layer(x), rtol=1e-6, atol=1e-6)  # angles are float32's
    found = [
        torch.autograd.grad(y.square().sum(), layer.matrix, retain_graph=True)[0]
        for y in (ours, layer(x))
    ]
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)
    unit = torch.eye(inputs, dtype=torch.float64)
    change = CHANGES[kind](unit, layer.matrix, outputs).T
    torch.testing.assert_close(
        layer.base.weight + change, layer.merged_weight(), rtol=1e-6, atol=1e-6
    )


def test_sharing_is_a_lora_with_a_fixed_a():
    torch.manual_seed(0)
    M, x = torch.randn(4, 4), torch.randn(6, 10)
    compress = chapter.in_groups(torch.eye(10), 4).sum(dim=-2).T
    expand = chapter.repeated(M.T, 9).T
    assert set(compress.flatten().tolist()) <= {0.0, 1.0, 2.0}
    torch.testing.assert_close(chapter.share(x, M, 9), x @ (expand @ compress).T)
