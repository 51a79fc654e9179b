"""What chapter 1 builds small, held against counts by hand and against torch."""

import math
from collections import Counter
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from tests.chapters.notebook import taught

CLOCK = [0, 0, 1, 0, 0, 1, 0, 0]  # tick tick tock tick tick tock tick tick


@pytest.fixture
def counting():
    """The chapter's `unigram` and `bigram` on the clock, with a vocabulary of three tokens."""
    chapter = taught("01", "unigram", "bigram")
    chapter.unigram.__globals__.update(
        tokens=CLOCK,
        counts=Counter(CLOCK),
        followed=Counter(CLOCK[:-1]),
        pair_counts=Counter(pairwise(CLOCK)),
        V=3,
    )
    return chapter


def test_unigram_counts_each_token_once_more(counting):
    assert [counting.unigram(token) for token in range(3)] == [7 / 11, 3 / 11, 1 / 11]


@pytest.mark.parametrize("s", [0, 1, 30])
def test_bigram_blends_counts_with_frequencies(counting, s):
    pairs = torch.tensor([[3.0, 2.0, 0.0], [2.0, 0.0, 0.0]])  # row: this, column: following
    alone = torch.tensor([7.0, 3.0, 1.0]) / 11
    want = (pairs + s * alone) / (pairs.sum(dim=1, keepdim=True) + s)
    got = torch.tensor([[counting.bigram(i, j, s) for j in range(3)] for i in range(2)])
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(got.sum(dim=1), torch.ones(2))


@pytest.mark.parametrize("w", [-3.0, 0.0, 0.5, 4.0])
def test_the_one_weight_model_is_the_logistic_function_and_its_cross_entropy(w):
    chapter = taught("01", "probability", "loss_at")
    logit = torch.tensor(w, dtype=torch.float64, requires_grad=True)
    want = F.binary_cross_entropy_with_logits(logit, torch.tensor(0.6, dtype=torch.float64))
    want.backward()
    assert math.isclose(chapter.probability(w), torch.sigmoid(logit).item())
    assert math.isclose(chapter.loss_at(w), want.item())
    slope = (chapter.loss_at(w + 1e-4) - chapter.loss_at(w - 1e-4)) / 2e-4
    assert math.isclose(slope, logit.grad.item(), rel_tol=1e-5)
    assert math.isclose(slope, chapter.probability(w) - 0.6, rel_tol=1e-5)


def test_longest_copy_finds_the_longest_piece():
    chapter = taught("01", "longest_copy")
    chapter.longest_copy.__globals__["training_text"] = "the cat sat on the mat"

    def by_brute_force(text):
        pieces = [text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)]
        return max((p for p in pieces if p in "the cat sat on the mat"), key=len, default="")

    for text in ("a cat on the mat", "xyz", "the mat", "sat at the cat sat at"):
        found = chapter.longest_copy(text)
        assert found in text
        assert len(found) == len(by_brute_force(text))
