"""Wrong answers to the exercises of chapter 7, each rejected with a hint, and other right ones."""

import re

import pytest
import torch

from gptbook.exercises import check
from gptbook.exercises.chapter_07 import (
    confused_people,
    loss_of_base_with_mask,
    masked,
    renamed,
    words_of,
)
from tests.exercises.helpers import assert_rejected, wrong_answers


def split_by_pieces(state):
    """Right: looks names up instead of replacing."""
    names = {"token_embedding": "wte", "position_embedding": "wpe", "final_norm": "ln_f"}
    names |= {"norm1": "ln_1", "norm2": "ln_2", "qkv": "attn.c_attn", "out": "attn.c_proj"}
    names |= {"up": "mlp.c_fc", "down": "mlp.c_proj"}
    stored = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] == "head":
            continue
        block = f"h.{parts[1]}." if parts[0] == "blocks" else ""
        piece = names[parts[-2]]
        linear = "c_" in piece and tensor.dim() == 2
        stored[f"transformer.{block}{piece}.{parts[-1]}"] = tensor.t() if linear else tensor
    return stored


def by_loops(ids, eos):
    """Right: goes back from each query until a document ends."""
    mask = torch.zeros(len(ids), len(ids), dtype=torch.bool)
    for query in range(len(ids)):
        for key in range(query, -1, -1):
            mask[query, key] = True
            if ids[key] == eos:
                break
    return mask


RIGHT = {
    "7.1": [split_by_pieces],
    "7.2": [
        lambda a, b: (
            re.sub(r"\W+", " ", a).lower().split() == re.sub(r"\W+", " ", b).lower().split()
        )
    ],
    "7.3": [by_loops],
    "7.4": [lambda: [0.25, 0.5, 0.38, 0.0625], lambda: (1 / 4, 1 / 2, 0.38, 0.06)],
    "7.5": [lambda: loss_of_base_with_mask() + 0.4],
    "7.6": [lambda: confused_people(), lambda: list(confused_people())],
    "7.7": [lambda: 0.0028],
    "7.8": [lambda: (4, 0.0816)],
}
WRONG = {
    "7.1": [
        lambda s: renamed(s, transposed=()),
        lambda s: renamed(s, transposed=("c_", "wte", "wpe")),
        lambda s: renamed(s, transposed=("c_attn", "c_fc")),
        lambda s: renamed(s, prefix=""),
        lambda s: renamed(s, head="lm_head.weight"),
        lambda s: renamed(s, head="head.weight"),
        lambda s: {name.replace("blocks", "h"): tensor for name, tensor in renamed(s).items()} | s,
        lambda s: {name.replace("mlp.c_proj", "attn.c_proj"): t for name, t in renamed(s).items()},
        lambda s: {re.sub(r"h\.(\d)\d*", r"h.\1", name): t for name, t in renamed(s).items()},
    ],
    "7.2": [
        (lambda a, b: words_of(a, "[a-z]+") == words_of(b, "[a-z]+"), "Digits belong to words"),
        lambda a, b: a == b,
        lambda a, b: a.lower() == b.lower(),
        lambda a, b: re.findall(r"\w+", a) == re.findall(r"\w+", b),
        lambda a, b: set(words_of(a)) == set(words_of(b)),
        lambda a, b: sorted(words_of(a)) == sorted(words_of(b)),
        lambda a, b: words_of(a)[: len(words_of(b))] == words_of(b),
        lambda a, b: b.lower().strip(".") in a.lower(),
        lambda a, b: "".join(words_of(a)) == "".join(words_of(b)),
        lambda a, b: a.lower().split() == b.lower().split(),
        lambda a, b: a.lower().strip(" .!\n") == b.lower().strip(" .!\n"),
        lambda a, b: int(words_of(a) == words_of(b)),
        lambda a, b: True,
    ],
    "7.3": [
        lambda i, e: masked(i, e, causal=False),
        lambda i, e: masked(i, e, behind=True),
        lambda i, e: torch.ones(len(i), len(i)).tril().bool(),
        lambda i, e: masked(i, e).T,
        lambda i, e: masked(i, e).tril(-1),
        lambda i, e: ~masked(i, e),
        lambda i, e: masked(i, e).float(),
        lambda i, e: masked(i, 0),
    ],
    "7.4": [
        lambda: (0.25, 0.5, 0.5, 0.0625),
        lambda: (0.25, 0.5, 1 / 3, 0.0625),
        lambda: (0.25, 0.5, 0.38, 0.625),
        lambda: (0.25, 0.5, 0.38, 0.1),
        lambda: (0.75, 0.5, 0.38, 0.0625),
        lambda: (25, 50, 38, 6.25),
        lambda: (0.25, 0.5, 0.38),
        lambda: 0.25,
    ],
    "7.5": [lambda: 0.9, lambda: 0.85, lambda: 1.1, lambda: 2.0, lambda: 7.6, lambda: "up"],
    "7.6": [
        lambda: (240, 6),
        lambda: (0, 0),
        lambda: (confused_people()[0], confused_people()[0]),
        lambda: (confused_people()[0], 0),
        lambda: confused_people()[::-1],
        lambda: confused_people()[0],
    ],
    "7.7": [
        lambda: 0.003,
        lambda: 0.0032,  # the wrong side
        lambda: 0.00365,  # over the learning rate, not its logarithm
        lambda: -0.0954,
        lambda: 0.0015,
        lambda: "0.0028",
    ],
    "7.8": [
        lambda: (1, -0.0154),
        lambda: (2, -0.003),
        lambda: (16, 1.5904),
        lambda: (4, -0.0816),
        lambda: (4, 0.0288),  # validation loss against new text
        lambda: 4,
    ],
}


@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)


@pytest.mark.parametrize(("number", "right"), [(n, r) for n, each in RIGHT.items() for r in each])
def test_accepts_other_ways(number, right):
    assert check(number, right).correct


@pytest.mark.parametrize(
    ("number", "wrong", "sentence"),
    [
        ("7.1", lambda s: renamed(s, transposed=()), "must be transposed"),
        ("7.1", lambda s: renamed(s, head="lm_head.weight"), "leave it out"),
        ("7.2", lambda a, b: sorted(words_of(a)) == sorted(words_of(b)), "The order matters"),
        ("7.3", lambda i, e: masked(i, e, behind=True), "that it begins"),
        ("7.3", lambda i, e: masked(i, e, causal=False), "come later"),
        ("7.4", lambda: (0.25, 0.5, 0.5, 0.0625), "the third"),
        ("7.5", lambda: 0.9, "You predicted 0.9"),
    ],
)
def test_foreseen_mistakes_are_named(number, wrong, sentence):
    assert sentence in check(number, wrong).hint
