"""LoRA and DoRA equal those of peft: logits, gradients, a step of AdamW."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import GPT2LMHeadModel

from gptbook.adapters import (
    LoRALinear,
    adapters_of,
    count_parameters,
)
from gptbook.training import make_optimizer, next_token_loss
from tests.adapters.helpers import IDS, KINDS, NAMES, adapted


def theirs_name(name):
    _, index, ours = name.split(".", 2)
    return f"transformer.h.{index}.{NAMES[ours]}"


def peft_pair(folder, kind, dropout=0.0):
    """(name, our adapter, peft's layer) of two models with the same numbers, and both models."""
    options = KINDS[kind][1]
    ours = adapted(folder, kind, dropout=dropout)
    config = LoraConfig(
        r=options["rank"], lora_alpha=options["alpha"], lora_dropout=dropout, fan_in_fan_out=True,
        target_modules=list(NAMES.values()), use_dora=kind == "dora",
        use_rslora="rank_stabilized" in options,
    )  # fmt: skip
    theirs = get_peft_model(GPT2LMHeadModel.from_pretrained(folder).double(), config)
    layers = []
    for name, adapter in adapters_of(ours).items():
        layer = theirs.base_model.model.get_submodule(theirs_name(name))
        pairs = [
            (adapter.lora_A, layer.lora_A["default"].weight),
            (adapter.lora_B, layer.lora_B["default"].weight),
        ]
        if kind == "dora":
            pairs.append((adapter.magnitude, layer.lora_magnitude_vector["default"].weight))
        for mine, other in pairs:
            other.data.copy_(mine.data)
        layers += pairs
    return ours, theirs, layers


peft_kinds = pytest.mark.parametrize("kind", [kind for kind in KINDS if "mora" not in kind])


@peft_kinds
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_logits_and_gradients_equal_those_of_peft(folder, kind, dropout):
    ours, theirs, pairs = peft_pair(folder, kind, dropout)
    logits = []
    for model in (ours, theirs):
        model.train()
        torch.manual_seed(3)
        found = model(IDS)
        logits.append(found if torch.is_tensor(found) else found.logits)
        weights = torch.randn(logits[-1].shape, generator=torch.Generator().manual_seed(4))
        (logits[-1] * weights).sum().backward()
    torch.testing.assert_close(*logits, rtol=1e-10, atol=1e-10)
    for mine, other in pairs:
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-10, atol=1e-10)
    assert count_parameters(ours)[0] == theirs.get_nb_trainable_parameters()[0]


@peft_kinds
def test_a_step_of_adamw_equals_that_of_peft(folder, kind):
    ours, theirs, pairs = peft_pair(folder, kind)
    targets = IDS.roll(-1, 1)
    for model in (ours, theirs):
        optimizer = make_optimizer(model, 1e-2)
        found = model(IDS)
        next_token_loss(found if torch.is_tensor(found) else found.logits, targets).backward()
        optimizer.step()
    for mine, other in pairs:
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)


def test_lora_saves_numbers():
    adapter = LoRALinear(nn.Linear(4096, 4096, bias=False), rank=8, alpha=16)
    assert count_parameters(adapter) == (65_536, 65_536 + 16_777_216)
