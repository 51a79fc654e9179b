"""Wrong answers to the exercises of chapter 1, each rejected with a hint; and other right ways."""

import math
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
import torch

from gptbook.exercises import check
from gptbook.exercises.chapter_01 import LOSES_TRACK
from gptbook.gpt2 import load_gpt2
from gptbook.scoring import exact_matches
from gptbook.tokenizer import load_tokenizer
from tests.exercises.helpers import assert_rejected, wrong_answers


def picked(predictions, tokens):
    return [prediction[token] for prediction, token in zip(predictions, tokens, strict=True)]


def mean_loss(predictions, tokens):
    return sum(-math.log(p) for p in picked(predictions, tokens)) / len(tokens)


def n_gram(tokens, n, total=None):
    counts = defaultdict(Counter)
    for i in range(len(tokens) - n):
        counts[tuple(tokens[i : i + n])][tokens[i + n]] += 1
    return {
        c: {t: k / (total or sum(after.values())) for t, k in after.items()}
        for c, after in counts.items()
    }


def wrong_counts_the_end(tokens, n):
    seen = Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
    total = {c: sum(1 for i in range(len(tokens) - n) if tuple(tokens[i : i + n]) == c)
             for c in seen}  # fmt: skip
    return {
        c: {t: p * total[c] / seen[c] for t, p in after.items()}
        for c, after in n_gram(tokens, n).items()
    }


def wrong_distinct(tokens, n):
    return {c: dict.fromkeys(after, 1 / len(after)) for c, after in n_gram(tokens, n).items()}


def wrong_last_only(tokens, n):
    """Looks at the token n back alone, not at all n."""
    found = defaultdict(Counter)
    for i in range(len(tokens) - n):
        found[(tokens[i],) if n else ()][tokens[i + n]] += 1
    return {c: {t: k / after.total() for t, k in after.items()} for c, after in found.items()}


def wrong_slice_from_the_end(tokens, n):
    """tokens[:-n] is empty for n = 0."""
    found = defaultdict(Counter)
    contexts = zip(*(tokens[i:] for i in range(n)), strict=False)
    for context, token in zip(contexts, tokens[n:], strict=False):
        found[context][token] += 1
    return {c: {t: k / after.total() for t, k in after.items()} for c, after in found.items()}


WRONG = {
    "1.1": [
        (lambda q, t: sum(-math.log(p) for p in picked(q, t)), "the sum"),
        (lambda q, t: sum(-math.log2(p) for p in picked(q, t)) / len(t), "bits"),
        (lambda q, t: -math.log(sum(picked(q, t)) / len(t)), "logarithm of the mean"),
        (lambda q, t: -mean_loss(q, t), "sign"),
        (lambda q, t: sum(-math.log(max(x.values())) for x in q) / len(t), "largest"),
        (lambda q, t: sum(picked(q, t)) / len(t), "mean probability"),
        (lambda q, t: -math.log(math.prod(picked(q, t))) / len(t), "Add logarithms"),
        (lambda q, t: -math.log(np.prod(picked(q, t))) / len(t), "Add logarithms"),
        (lambda q, t: -torch.tensor(picked(q, t)).prod().log().item() / len(t), "Add logarithms"),
    ],
    "1.2": [
        (lambda nats, tokens: nats * tokens / 8, "no bits yet"),
        (lambda nats, tokens: nats * tokens / math.log(2), "number of bits"),
        (lambda nats, tokens: nats * tokens * math.log(2) / 8, "more bits"),
        (lambda nats, tokens: nats / math.log(2) / 8, "one token"),
        (lambda nats, tokens: nats * tokens / math.log(2) // 8, "round"),
        (lambda nats, tokens: round(nats * tokens / math.log(2) / 8, 2), ""),
    ],
    "1.3": [
        (lambda t, n: n_gram(t, n, total=len(t) - n), "by all positions"),
        (lambda t, n: {c: {k: int(v) for k, v in x.items()} for c, x in n_gram(t, n, 1).items()},
         "counts"),
        (lambda t, n: n_gram(t, 1), "one token"),
        (lambda t, n: n_gram(t[:-1], n), "The last token"),
        (lambda t, n: {c[0]: x for c, x in n_gram(t, n).items()} if n == 1 else n_gram(t, n),
         "is a tuple"),
        (wrong_counts_the_end, "must add up to 1"),
        wrong_distinct,
        wrong_last_only,
        (wrong_slice_from_the_end, "empty tuple"),
        lambda t, n: dict(Counter(pairwise(t))),
        lambda t, n: {c: {k: round(p, 1) for k, p in x.items()} for c, x in n_gram(t, n).items()},
    ],
    "1.4": [
        (lambda: (math.log(50_257), math.log(4)), "without context".capitalize()),
        (lambda: (math.log(2048), 1.213), "ln V"),
        (lambda: (math.log2(50_257), 1.75), "ln V"),
        (lambda: (math.log(50_257), 1.75), "nats"),
        (lambda: (math.log(50_257), 0.0), "frequencies"),
    ],
    "1.5": [
        (lambda: (100, 50, 4.605 / 3.912), "the ratio"),
        (lambda: (100, 50, 4.605 - 3.912), "the ratio"),
        (lambda: (2**4.605, 2**3.912, 2), "the first perplexity"),
        (lambda: (100, 50, 0.5), "the ratio"),
    ],
    "1.6": [
        (lambda: (-0.4, -0.8, 0.31), "uphill"),
        (lambda: (0.4, 0.8, 0.69), "the gradient"),
        (lambda: (-0.4, 0.8, 0.8), "the new probability"),
        (lambda: (-0.4, 0.4, 0.6), "the new weight"),
        (lambda: (-0.9, 1.8, 0.86), "the gradient"),
    ],
    "1.7": [
        (lambda: 9, "too high"),
        (lambda: 7, "too low"),
        (lambda: 2, "too low"),
        (lambda: 8.33, "too high"),
        (lambda: 100, "too high"),
    ],
    "1.8": [
        (lambda: 1, "too low"),
        (lambda: 17, "too low"),
        (lambda: 20, "too high"),
        (lambda: 21, "too high"),
    ],
}  # fmt: skip


@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)


def gathered(tokens, n):
    contexts = {tuple(tokens[i : i + n]) for i in range(len(tokens) - n)}
    after = {
        c: [tokens[i + n] for i in range(len(tokens) - n) if tuple(tokens[i : i + n]) == c]
        for c in contexts
    }
    return {c: {t: x.count(t) / len(x) for t in set(x)} for c, x in after.items()}


RIGHT = [
    ("1.1", mean_loss),
    ("1.1", lambda q, t: np.mean([-np.log(x[y]) for x, y in zip(q, t, strict=True)])),
    ("1.1", lambda q, t: -torch.tensor(picked(q, t), dtype=torch.float64).log().mean()),
    ("1.2", lambda nats, tokens: tokens * nats / (8 * math.log(2))),
    ("1.2", lambda nats, tokens: tokens * math.log2(math.exp(nats)) / 8),
    ("1.3", n_gram),
    ("1.3", gathered),
    ("1.4", lambda: (10.82, 1.21)),
    ("1.4", lambda: [math.log(50_257), 1.75 * math.log(2)]),
    ("1.5", lambda: (math.exp(4.605), math.exp(3.912), 2)),
    ("1.6", lambda: (-0.4, 0.8, 0.69)),
    ("1.7", lambda: 8.0),
    ("1.8", lambda: 19),
]


@pytest.mark.parametrize(("number", "right"), RIGHT)
def test_accepts(number, right):
    assert check(number, right).correct


def test_the_base_model_loses_track_where_the_check_says():
    base, tokenizer = load_gpt2("book"), load_tokenizer("book")
    moves = [" Mila gave the boat to Otto.", " Otto gave the boat to Mila."]
    story = "There was once a kind girl called Mila. Mila had a friend named Otto. "
    story += "Mila had a green boat."
    rows = [
        story + "".join(moves[i % 2] for i in range(n)) + " In the end, the boat was with"
        for n in range(LOSES_TRACK + 1)
    ]
    pairs = [(row, ["Mila.", "Otto."][n % 2]) for n, row in enumerate(rows)]
    assert exact_matches(base, tokenizer, pairs) == [True] * LOSES_TRACK + [False]
