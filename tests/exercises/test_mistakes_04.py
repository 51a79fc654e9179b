"""The mistakes foreseen in chapter 4's exercises: each gets the sentence that names it."""

import pytest
import torch

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
from gptbook.model import GPTConfig
from tests.exercises.test_chapter_04 import WRONG, built, rewired, together


@pytest.mark.parametrize(
    ("number", "wrong", "sentence"),
    [
        *(("4.1", wrong, sentence) for wrong, sentence in RMS_MISTAKES),
        *(("4.2", wrong, sentence) for wrong, sentence in COUNT_MISTAKES),
        *(("4.3", wrong, sentence) for wrong, sentence in POST_MISTAKES),
        *(("4.4", rewired(wrong), sentence) for wrong, sentence in PARALLEL_MISTAKES),
        ("4.2", lambda c, tied: count(c, not tied), "Tied, the output head has no matrix"),
        ("4.2", built, "which is not allowed"),
        ("4.4", rewired(together, slice(1)), "Only block 0"),
        ("4.5", WRONG["4.5"][0], "The embeddings, about a third, do not grow"),
        ("4.6", WRONG["4.6"][0], "You predicted 8 layers: 13.8"),
        ("4.7", WRONG["4.7"][0], "too low"),
        ("4.8", WRONG["4.8"][0], "the fraction of all"),
        ("4.8", WRONG["4.8"][1], "The output head's product"),
    ],
)
def test_a_foreseeable_mistake_is_named(number, wrong, sentence):
    assert sentence in check(number, wrong).hint


def test_the_size_of_gpt2_is_what_the_exercise_expects():
    assert count(GPTConfig(), True) == 124_439_808


def test_what_is_right_by_hand():
    class Simple:
        attention = norm1 = feed_forward = norm2 = staticmethod(lambda x: 2 * x)

    assert post_norm(Simple, torch.tensor(1)) == 36  # (1 + 2) · 2, then (6 + 12) · 2
    config = GPTConfig(vocab_size=4, context_length=8, embed_dim=1, num_layers=1, num_heads=1)
    assert context_for(config, 0.5) == 8  # 4·8² is half of 2·8·(12 + 4) + 4·8²
