"""Chapter 9's LoRA beside the package's: outputs, gradients, and where it is put into a model."""

import math

import pytest
import torch
from torch import nn

from gptbook.adapters import LoRALinear, adapter_parameters, add_adapters
from gptbook.model import GPT, GPTConfig
from tests.chapters.notebook import taught

chapter = taught("09", "SmallLoRA", "put_lora")
CONFIG = GPTConfig(vocab_size=31, context_length=8, embed_dim=12, num_layers=2, num_heads=3)


def filled(layer):
    """The same random numbers in the matrices of an adapter, whatever its kind."""
    torch.manual_seed(1)
    for name in ("lora_A", "lora_B"):
        nn.init.normal_(layer.get_parameter(name))
    return layer


@pytest.mark.parametrize(("rank", "alpha"), [(1, 2), (3, 1), (5, 16)])
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients_are_the_packages(rank, alpha, bias):
    torch.manual_seed(0)
    base, x = nn.Linear(7, 5, bias=bias).double(), torch.randn(2, 4, 7, dtype=torch.float64)
    ours = filled(chapter.SmallLoRA(base, rank, alpha).double())
    theirs = filled(LoRALinear(base, rank, alpha).double())
    torch.testing.assert_close(ours(x), theirs(x))
    for layer in (ours, theirs):
        layer(x).square().sum().backward()
    for name in ("lora_A", "lora_B"):
        torch.testing.assert_close(ours.get_parameter(name).grad, theirs.get_parameter(name).grad)
    assert base.weight.grad is None


def test_it_begins_at_the_base_and_with_numbers_of_the_packages_size():
    base = nn.Linear(400, 50)
    ours, theirs = chapter.SmallLoRA(base, 8, 16), LoRALinear(base, 8, 16)
    x = torch.randn(3, 400)
    assert torch.equal(ours(x), base(x))
    for layer in (ours, theirs):  # both uniform between ± 1 / √in
        assert layer.lora_A.abs().max() <= 1 / math.sqrt(400)
        assert layer.lora_A.std().item() == pytest.approx(1 / math.sqrt(3 * 400), rel=0.05)


@pytest.mark.parametrize("ending", ["attention.qkv", "feed_forward.down", "blocks.1.attention.out"])
def test_it_is_put_where_the_package_puts_it(ending):
    models = []
    for put in (
        lambda model: chapter.put_lora(model, ending, rank=2, alpha=6),
        lambda model: add_adapters(model, LoRALinear, ending, rank=2, alpha=6),
    ):
        torch.manual_seed(0)
        models.append(GPT(CONFIG))
        put(models[-1])
        for layer in models[-1].modules():
            if hasattr(layer, "lora_B"):
                filled(layer)
    trained = [{n for n, p in m.named_parameters() if p.requires_grad} for m in models]
    assert trained[0] == trained[1]
    assert len(trained[1]) == len(adapter_parameters(models[1])) > 0
    ids = torch.randint(31, (2, 8))
    torch.testing.assert_close(models[0](ids), models[1](ids))
