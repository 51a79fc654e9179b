"""What DoRA keeps in memory, and that its gradients are right all the same."""

import copy
import math

import pytest
import torch
from torch import nn

from gptbook.adapters import DoRALinear
from gptbook.adapters.in_place import scale_and_shift
from gptbook.device import autocast


def kept_for_backward(module, x):
    """Bytes of all tensors that the forward pass of a module keeps, parameters left out."""
    own = {p.untyped_storage().data_ptr() for p in module.parameters()}
    found = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that none is reused
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        module(x)
    return sum(size for size, _ in found.values())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("frozen", [(), ("lora_A", "lora_B"), ("magnitude",)])
def test_dora_keeps_one_table_and_shares_it_with_gelu(bias, training, frozen):
    """What comes out, and only if the magnitudes are trained; GELU keeps its input anyway."""
    layer = DoRALinear(nn.Linear(32, 96, bias=bias), rank=4, alpha=12).train(training)
    layer.magnitude.data *= -0.3
    for name in frozen:
        getattr(layer, name).requires_grad_(False)
    few = 1 + 96 // 64  # outputs of which y is kept, too
    x, table, rest = torch.randn(64, 32), 4 * 64 * 96, 4 * (8 * 96 + 64 * (32 + 4 + few))
    with_gelu = kept_for_backward(nn.Sequential(layer, nn.GELU()), x)
    assert table <= with_gelu <= table + rest
    by_itself = kept_for_backward(layer, x)
    assert (by_itself < table) == ("magnitude" in frozen)
    assert by_itself <= table + rest


@pytest.mark.parametrize("bias", [0.0, 1.0, 10.0])
@pytest.mark.parametrize("magnitude", [1.0, -1.0, 0.2, 1e-3, 1e-9, 0.0])
def test_the_gradient_of_a_magnitude_near_zero(magnitude, bias):
    """The first output has it, others are as they were; single precision, against double."""
    torch.manual_seed(0)
    layer = DoRALinear(nn.Linear(32, 8, bias=bias > 0), rank=4, alpha=12)
    layer.lora_B.data.normal_(std=0.05)
    layer.magnitude.data[0] *= magnitude
    own = [layer.lora_A, layer.lora_B, layer.magnitude]
    if bias:
        layer.base.bias.data.normal_(std=bias)
        own.append(layer.base.bias.requires_grad_())  # adapters freeze it
    x, g = torch.randn(64, 32), torch.randn(64, 8)
    layer(x).backward(g)
    W = layer.base.weight.double()
    A, B, m, *b = double = [p.detach().double().requires_grad_() for p in own]
    V = W + layer.scaling * B @ A
    weight = m[:, None] * V / V.detach().norm(dim=1, keepdim=True)
    nn.functional.linear(x.double(), weight, *b).backward(g.double())
    for p, wanted in zip(own, double, strict=True):
        assert (p.grad - wanted.grad).abs().max() < 3e-5 * wanted.grad.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, "autocast"])
def test_the_gradient_of_magnitudes_bears_short_numbers_and_large_biases(dtype):
    torch.manual_seed(0)
    layer = DoRALinear(nn.Linear(32, 8), rank=4, alpha=4)
    layer.base.bias.data.normal_(std=100)
    x, g = torch.randn(512, 32), torch.randn(512, 8)
    layer(x).backward(g)
    wanted, layer.magnitude.grad = layer.magnitude.grad, None
    if dtype == "autocast":
        with autocast("cpu"):
            z = layer(x)
    else:
        z = layer.to(dtype)(x.to(dtype))
    z.backward(g.to(z.dtype))
    error = layer.magnitude.grad.float() - wanted
    assert error.norm() < 0.02 * wanted.norm()


@pytest.mark.parametrize("bias", [3.0, 3e5, -math.inf])
@pytest.mark.parametrize("size", [1.0, 0.0])
def test_the_gradient_of_a_magnitude_beside_a_bias_that_drowns_or_masks(bias, size):
    torch.manual_seed(0)
    base = nn.Linear(32, 8)
    base.weight.data[0] *= size
    x, g = torch.randn(64, 32), torch.randn(64, 8)
    layer = DoRALinear(base, rank=4, alpha=4)
    layer(x).backward(g)
    wanted, layer.magnitude.grad = layer.magnitude.grad, None
    base.bias.data[0] = bias
    layer(x).backward(g)
    torch.testing.assert_close(layer.magnitude.grad, wanted, rtol=1e-4, atol=1e-4)
    layer.zero_grad()
    layer(0 * x).backward(g)
    assert layer.magnitude.grad.eq(0).all()


def test_dora_bears_gradients_of_gradients():
    torch.manual_seed(0)
    y, scale, bias = (torch.randn(*shape, dtype=torch.float64) for shape in ((5, 3), (3,), (3,)))
    inputs = [t.requires_grad_() for t in (y, scale.abs() + 0.2, bias)]

    def compute(y, scale, bias):
        return scale_and_shift(y.clone(), scale, bias, scale)

    assert torch.autograd.gradcheck(compute, inputs)
    assert torch.autograd.gradgradcheck(compute, inputs)


def test_no_value_is_asked_for_in_a_step():
    """A graphics card would have to wait. Tensors without memory have no value to tell."""
    y, scale, bias, magnitude = (
        torch.randn(*n, device="meta") for n in ((64, 96), (96,), (96,), (96,))
    )
    z = scale_and_shift(y, scale.requires_grad_(), bias, magnitude)
    z.sum().backward()
    assert scale.grad.shape == (96,)
    with pytest.raises((RuntimeError, NotImplementedError)):
        bool(magnitude.abs().gt(0).all())


@pytest.mark.parametrize("outputs", [8, 64, 256])
def test_the_few_outputs_that_are_kept_are_those_that_need_it(outputs):
    """One in 64, and one more, may have no magnitude or drown in their bias."""
    torch.manual_seed(0)
    layer = DoRALinear(nn.Linear(32, outputs), rank=4, alpha=12)
    few = torch.randperm(outputs)[: 1 + outputs // 64]
    x, g = torch.randn(64, 32), torch.randn(64, outputs)
    layer(x).backward(g)
    wanted, layer.magnitude.grad = layer.magnitude.grad, None
    layer.base.bias.data[few[0]] = 3e6
    layer.magnitude.data[few[1:]] = 0
    layer(x).backward(g)
    torch.testing.assert_close(layer.magnitude.grad, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("lost", ["magnitude", "bias", "weight", "infinite"])
@pytest.mark.parametrize("outputs", [8, 64])
def test_if_more_outputs_are_lost_all_is_kept(outputs, lost):
    torch.manual_seed(0)
    base = nn.Linear(32, outputs)
    many = torch.randperm(outputs)[: outputs // 2]
    if lost == "weight":
        base.weight.data[many] = 0
    layer = DoRALinear(base, rank=4, alpha=12)
    layer.lora_B.data.normal_(std=0.05)
    if lost == "magnitude":
        layer.magnitude.data[many] = 0
    elif lost != "weight":
        base.bias.data[many] = {"bias": 1e4, "infinite": -math.inf}[lost]
    x, g = torch.randn(64, 32), torch.randn(64, outputs)
    layer(x).backward(g)
    found, other = layer.magnitude.grad.double(), copy.deepcopy(layer).double()
    other.zero_grad()
    V = other.base.weight + other.scaling * other.lora_B @ other.lora_A
    unit = V / other.row_norms()[:, None]
    wanted = (g.double() * (x.double() @ unit.T)).sum(dim=0)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3)
