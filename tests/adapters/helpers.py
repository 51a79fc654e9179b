"""A small GPT-2 and adapters of every kind on it, filled with random numbers."""

import pytest
import torch

from gptbook.adapters import (
    DoRALinear,
    LoRALinear,
    MoRALinear,
    adapter_parameters,
    add_adapters,
)
from gptbook.gpt2 import load_gpt2

NAMES = {
    "attention.qkv": "attn.c_attn", "attention.out": "attn.c_proj", "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
}  # fmt: skip


IDS = torch.randint(97, (3, 20), generator=torch.Generator().manual_seed(1))


KINDS = {
    "lora": (LoRALinear, {"rank": 4, "alpha": 12}),
    "lora, rank-stabilized": (LoRALinear, {"rank": 4, "alpha": 12, "rank_stabilized": True}),
    "dora": (DoRALinear, {"rank": 4, "alpha": 12}),
    "mora, sharing": (MoRALinear, {"rank": 4, "kind": "sharing"}),
    "mora, rotation": (MoRALinear, {"rank": 4, "kind": "rotation"}),
}


kinds = pytest.mark.parametrize("kind", KINDS)


def adapted(folder, kind, targets=tuple(NAMES), filled=True, **changes):
    """Our model with adapters whose numbers are random, in float64."""
    layer, options = KINDS[kind]
    torch.manual_seed(2)  # LoRA draws A
    model = add_adapters(load_gpt2(folder).double(), layer, targets, **options | changes)
    if filled:
        for parameter in adapter_parameters(model):
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model
