"""Chapter 10's DoRA beside the package's: outputs, gradients, merged weights, lengths of rows."""

import pytest
import torch
from torch import nn

from gptbook.adapters import DoRALinear
from tests.chapters.notebook import taught

chapter = taught("10", "SmallDoRA", "thin_norms")
NAMES = ("lora_A", "lora_B", "magnitude")


def filled(kind, bias, rank, alpha):
    torch.manual_seed(0)
    layer = kind(nn.Linear(7, 5, bias=bias), rank, alpha).double()
    for name in NAMES:
        nn.init.normal_(layer.get_parameter(name))
    return layer


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("rank", "alpha"), [(1, 2), (3, 1), (5, 16)])
def test_outputs_and_gradients_are_the_packages(bias, rank, alpha):
    ours, theirs = (filled(kind, bias, rank, alpha) for kind in (chapter.SmallDoRA, DoRALinear))
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 4, 7, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.merged_weight(), theirs.merged_weight())
    for layer in (ours, theirs):
        layer(x).square().sum().backward()
    for name in NAMES:
        torch.testing.assert_close(ours.get_parameter(name).grad, theirs.get_parameter(name).grad)
    assert ours.base.weight.grad is None


def test_it_begins_at_the_base():
    base = nn.Linear(7, 5)
    x = torch.randn(3, 7)
    torch.testing.assert_close(chapter.SmallDoRA(base, 2, 4)(x), base(x))


@pytest.mark.parametrize("s", [0.0, 0.5, 3.0])
def test_thin_lengths_are_the_packages(s):
    layer = filled(DoRALinear, True, 3, 3 * s)
    parts = layer.base.weight, layer.lora_A, layer.lora_B
    torch.testing.assert_close(chapter.thin_norms(*parts, s), layer.row_norms())
