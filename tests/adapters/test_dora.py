"""DoRA follows its base, bears rows of zeros and short numbers, in part frozen or compiled."""

import copy

import pytest
import torch
from torch import nn

from gptbook.adapters import (
    DoRALinear,
)
from tests.adapters.helpers import IDS, adapted


def test_dora_follows_its_base(folder):
    """Nothing of the base is remembered that could be out of date."""
    model, other = adapted(folder, "dora"), adapted(folder, "dora")
    for parameter in other.parameters():
        parameter.data *= 1.5
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.eval()(IDS), model.eval()(IDS), rtol=1e-12, atol=1e-12)
    layer = model.blocks[0].attention.qkv
    layer.base.weight.data += torch.randn(layer.base.weight.shape)
    x = torch.randn(5, 48, dtype=torch.float64)
    wanted = x @ layer.merged_weight().T + layer.base.bias
    torch.testing.assert_close(layer(x), wanted, rtol=1e-10, atol=1e-10)


def test_dora_bears_rows_of_zeros_and_short_numbers():
    base = nn.Linear(6, 4)
    base.weight.data[1] = 0
    layer = DoRALinear(base, rank=2, alpha=2)
    x = torch.randn(3, 6)
    torch.testing.assert_close(layer(x), base(x))
    layer(x).sum().backward()
    assert all(p.grad.isfinite().all() for p in (layer.lora_A, layer.lora_B, layer.magnitude))
    for dtype, scale in ((torch.bfloat16, 1.0), (torch.float16, 400.0), (torch.float16, 1e-4)):
        base = nn.Linear(6, 4, bias=False)
        base.weight.data *= scale
        base.weight.data[1] = 0
        layer = DoRALinear(base.to(dtype), rank=2, alpha=2)
        torch.testing.assert_close(layer(x.to(dtype)), base(x.to(dtype)), rtol=0.01, atol=0.01)


@pytest.mark.parametrize("frozen", [(), ("lora_A", "lora_B"), ("magnitude",)])
@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_of_dora_in_part_and_compiled(frozen, compiled):
    """What is frozen changes no gradient of the rest, nor does torch.compile."""
    torch.manual_seed(0)
    layer = DoRALinear(nn.Linear(32, 8), rank=4, alpha=4)
    layer.lora_B.data.normal_()
    wanted, found = copy.deepcopy(layer), copy.deepcopy(layer)
    x, g = torch.randn(16, 32), torch.randn(16, 8)
    wanted(x).backward(g)
    for name in frozen:
        getattr(found, name).requires_grad_(False)
    (torch.compile(found, backend="aot_eager") if compiled else found)(x).backward(g)
    for name in ("lora_A", "lora_B", "magnitude"):
        gradient = getattr(found, name).grad
        if name in frozen:
            assert gradient is None
        else:
            torch.testing.assert_close(gradient, getattr(wanted, name).grad, rtol=1e-4, atol=1e-4)
