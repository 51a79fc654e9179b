"""Wrong answers to the exercises of chapter 4, each rejected with a hint; other right ways."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gptbook.exercises import check
from gptbook.exercises.mistakes_04 import (
    COUNT_MISTAKES,
    PARALLEL_MISTAKES,
    POST_MISTAKES,
    RMS_MISTAKES,
    context_for,
    count,
    post_norm,
)
from gptbook.model import GPT
from tests.exercises.helpers import assert_rejected, wrong_answers


class Wired(nn.Module):
    """A block with the parts of another one, wired by a function."""

    def __init__(self, block, wiring):
        super().__init__()
        self.norm1, self.attention = block.norm1, block.attention
        self.norm2, self.feed_forward = block.norm2, block.feed_forward
        self.wiring = wiring

    def forward(self, x, cache=None):
        return self.wiring(self, x)


def together(b, x):
    return x + b.attention(b.norm1(x)) + b.feed_forward(b.norm2(x))


def rewired(wiring, which=slice(None)):
    """An answer to 4.4 that wires some blocks by a function."""

    def make_parallel(model):
        model = copy.deepcopy(model)
        for i in range(len(model.blocks))[which]:
            model.blocks[i] = Wired(model.blocks[i], wiring)
        return model

    return make_parallel


def keeps_the_old_block_too(model):
    model = rewired(together)(model)
    for block in model.blocks:
        block.spare = nn.Linear(2, 2)
    return model


def one_argument(model):
    model = copy.deepcopy(model)
    for block in model.blocks:
        block.forward = lambda x, block=block: together(block, x)
    return model


def new_weights(model):
    return rewired(together)(GPT(model.config))


def built(config, tied):
    with torch.device("meta"):
        return sum(p.numel() for p in GPT(config).parameters())


def built_of_linear(config, tied):
    with torch.device("meta"):
        return nn.Linear(2, 2).weight.numel() + count(config, tied) - 4


WRONG = {
    "4.1": [
        *(wrong for wrong, _ in RMS_MISTAKES),
        lambda x, w, eps: x / ((x**2).mean(-1, keepdim=True) + 1e-5) ** 0.5 * w,
        lambda x, w, eps: x / x.norm(dim=-1, keepdim=True) * w,
        lambda x, w, eps: F.rms_norm(x, x.shape[-1:], w, eps),
        lambda x, w, eps: x / ((x**2).mean(-1, keepdim=True) + eps) ** 0.5 + w,
    ],
    "4.2": [
        *(wrong for wrong, _ in COUNT_MISTAKES),
        lambda c, tied: count(c, not tied),
        lambda c, tied: float(count(c, tied)),
        built,
        built_of_linear,
    ],
    "4.3": [*(wrong for wrong, _ in POST_MISTAKES), lambda block, x: block.norm2(x)],
    "4.4": [
        *(rewired(wrong) for wrong, _ in PARALLEL_MISTAKES),
        rewired(together, slice(1)),
        rewired(together, slice(-1, None)),
        keeps_the_old_block_too,
        one_argument,
        new_weights,
        lambda model: model.blocks,
        lambda model: model(torch.arange(8)[None]),
    ],
    "4.5": [
        lambda: (2.0, 4.0),  # the blocks alone
        lambda: (2.0, 2.0),
        lambda: (1.68, 2.0),
        lambda: (3.36, 1.68),
        lambda: 1.68,
        lambda: (1.68, 3.36, 1.0),
    ],
    "4.6": [
        lambda: (6.9, 13.8, 9.0),  # twice with twice the layers
        lambda: (6.9, 6.9, 8 * 6.9),
        lambda: (math.log2(1000), math.log2(1000), math.log2(8000)),
        lambda: (6.9, 6.9, 6.9),
        lambda: (0.0, 0.0, 0.0),
        lambda: 6.9,
    ],
    "4.7": [
        lambda: (0, 4),  # counted from 0
        lambda: (5, 1),
        lambda: (1, 6),
        lambda: (6, 1),
        lambda: (1, 3),
        lambda: 1,
    ],
    "4.8": [
        lambda c, f: f * (12 * c.num_layers * c.embed_dim + c.vocab_size) / (2 * c.num_layers),
        lambda c, f: f * 6 * c.embed_dim / (1 - f),
        lambda c, f: context_for(c, 1 - f),
        lambda c, f: 2 * context_for(c, f),
        lambda c, f: context_for(c, f) / 2,
        lambda c, f: round(context_for(c, f)),
        lambda c, f: context_for(c, f) * c.embed_dim,
    ],
}


@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)


def square_root_last(x, weight, eps):
    return weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


def with_einsum(x, weight, eps):
    size = torch.einsum("...d,...d->...", x, x) / x.shape[-1]
    return x * weight / (size + eps).sqrt().unsqueeze(-1)


def by_method(model):
    """Other blocks in a new list, of a class that keeps the old block whole."""

    class Around(nn.Module):
        def __init__(self, block):
            super().__init__()
            self.block = block

        def forward(self, x, cache):
            return together(self.block, x)

    model = copy.deepcopy(model)
    model.blocks = nn.ModuleList(Around(block) for block in model.blocks)
    return model


def in_place(model):
    for i, block in enumerate(model.blocks):
        model.blocks[i] = Wired(block, together)
    return model


RIGHT = [
    ("4.1", square_root_last),
    ("4.1", with_einsum),
    ("4.2", lambda c, tied: count(c, bool(tied))),
    ("4.3", post_norm),
    ("4.3", lambda block, x: (lambda y: block.norm2(block.feed_forward(y) + y))(
        block.norm1(block.attention(x) + x))),
    ("4.4", by_method),
    ("4.5", lambda: (1.7, 3.4)),
    ("4.5", lambda: [1.68, 3.37]),
    ("4.6", lambda: (6.9, 6.9, 9.0)),
    ("4.7", lambda: [1, 5]),
    ("4.8", context_for),
    ("4.8", lambda c, f: (f / (1 - f)) * (6 * c.embed_dim + c.vocab_size / (2 * c.num_layers))),
]  # fmt: skip


@pytest.mark.parametrize(("number", "right"), RIGHT)
def test_accepts_other_right_ways(number, right):
    right = (
        right
        if not str(getattr(right, "__module__", "")).startswith("gptbook")
        else (lambda *arguments, f=right: f(*arguments))
    )
    assert check(number, right).correct
