"""What takes DoRA apart: its kinds, and that every run is there."""

import torch
from torch import nn

from gptbook.adapters import DoRALinear
from gptbook.experiments import adapters, dora
from gptbook.results import read_result, select
from tests.experiments.helpers import runs_at_best_rate


def filled(kind):
    torch.manual_seed(0)
    layer = kind(nn.Linear(7, 5).double(), rank=2, alpha=4).double()
    for name in ("lora_A", "lora_B", "magnitude"):
        getattr(layer, name).data.normal_()
    return layer


def test_the_full_gradient_is_that_of_the_formula():
    layer, usual = filled(dora.FullGradientDoRA), filled(DoRALinear)
    x = torch.randn(3, 7, dtype=torch.float64)
    A, B, m = (getattr(layer, name).detach().clone().requires_grad_() for name in
               ("lora_A", "lora_B", "magnitude"))  # fmt: skip
    V = layer.base.weight + 2 * B @ A
    wanted = x @ (m[:, None] * V / V.norm(dim=1, keepdim=True)).T + layer.base.bias
    torch.testing.assert_close(layer(x), wanted)
    torch.testing.assert_close(usual(x), wanted)
    weights = torch.randn(3, 5, dtype=torch.float64)
    theirs = torch.autograd.grad((weights * wanted).sum(), (A, B, m))
    ours = [
        torch.autograd.grad((weights * each(x)).sum(), (each.lora_A, each.lora_B, each.magnitude))
        for each in (layer, usual)
    ]
    for one, other in zip(ours[0], theirs, strict=True):
        torch.testing.assert_close(one, other)
    assert (ours[1][0] - theirs[0]).abs().max() > 0.01  # the norm as a constant


def test_the_magnitudes_alone_are_trained():
    layer = dora.MagnitudesLinear(nn.Linear(7, 5), rank=1, alpha=2)
    assert [name for name, p in layer.named_parameters() if p.requires_grad] == ["magnitude"]
    x = torch.randn(3, 7)
    torch.testing.assert_close(layer(x), layer.base(x))
    layer.magnitude.data *= 2
    torch.testing.assert_close(layer(x), 2 * layer.base(x) - layer.base.bias)


def test_dora_has_every_run_and_the_best_rate_of_each_kind():
    runs, seeds = read_result("dora"), adapters.SEEDS
    ways = [(setting, adapters.LEARNING_RATES) for setting in dora.SETTINGS]
    ways.append((dora.MAGNITUDES, dora.MAGNITUDE_RATES))
    for way, rates in ways:
        runs_at_best_rate(runs, way, rates, seeds, "new_words")
    same = select(runs, **dora.SAME_RATE, phase="equal rates")
    assert [run["seed"] for run in same] == list(seeds)
    assert {run["learning_rate"] for run in same} == {dora.rate_of_dora()}
    assert len(runs) == sum(len(rates) + len(seeds) for _, rates in ways) + len(same)
