"""Wrong answers to the exercises of chapter 3, each rejected with a hint, and other right ones."""

import math

import pytest
import torch

from gptbook.exercises import check
from gptbook.exercises.attending import grouped, rotation, softmax, stream
from tests.exercises.helpers import assert_rejected, wrong_answers


def by_formula(scores):
    """1 / (sum of e to the differences): right without a maximum, if no difference overflows."""
    return [
        0.0 if t == -math.inf else 1 / sum(math.exp(min(s - t, 700)) for s in scores)
        for t in scores
    ]


def ones(T):
    return torch.ones(T, T, dtype=torch.bool)


def shifted(scores, top):
    exponentials = [math.exp(score - top) for score in scores]
    return [e / sum(exponentials) for e in exponentials]


def kept(query, pairs):
    """Right, but it keeps all pairs."""
    pairs = list(pairs)
    weights = [math.exp((query @ key).item() / len(query) ** 0.5) for key, _ in pairs]
    return sum(w * value for w, (_, value) in zip(weights, pairs, strict=True)) / sum(weights)


WRONG = {
    "3.1": [
        lambda scores: shifted(scores, 0),  # overflows
        lambda scores: shifted(scores, min(scores)),
        lambda scores: shifted(scores, sum(scores) / len(scores)),
        lambda scores: shifted(scores, max(map(abs, scores))),
        lambda scores: softmax(scores, divide=False),
        lambda scores: [s / sum(scores) for s in scores],
        lambda scores: torch.tensor(scores).softmax(0).tolist(),  # not in plain Python
        lambda scores: torch.tensor(softmax(scores)),  # a tensor
        lambda scores: shifted([max(s, -700) for s in scores], max(scores) - 1)[::-1],
    ],
    "3.2": [
        lambda: ([], [], []),
        lambda: ([1, 2], [1, 2], [1, 2]),
        lambda: ([], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]),  # "attention does not see the order"
        lambda: ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]),
        lambda: ([1, 2], [1, 2, 3, 4, 5], [1, 2]),
        lambda: ([1, 2], [1, 2, 3, 4, 5]),
        lambda: (2, 5, 5),
    ],
    "3.3": [
        lambda: (0.5, 0.91, 2.5),  # the query's bias cancels as well
        lambda: (0.9526, 1.0, 2.5),  # the key's bias does not cancel
        lambda: (0.9526, 0.9094, 0.5),
        lambda: (0.9526, 0.9094, 1.5),  # 2 times the weight of cats
        lambda: (0.9975, 0.9094, 2.5),  # not divided by 2
        lambda: 0.95,
    ],
    "3.4": [
        lambda: (1.0, 1.0, 1.0),
        lambda: (1.0, 1.0, 1 / 16),
        lambda: (1.0, 0.53, 0.53),
        lambda: (1 / 16, 1.0, 0.53),
        lambda: (1.0, 1.0, 0.34),
        lambda: 0.53,
    ],
    "3.5": [
        lambda n, omega: rotation(n, omega).T,  # looks ahead
        lambda n, omega: rotation(1, omega),
        lambda n, omega: torch.eye(2),
        lambda n, omega: rotation(n, 1.0),
        lambda n, omega: -rotation(n, omega),
        lambda n, omega: rotation(n, omega).flip(0),  # a reflection
        lambda n, omega: torch.diag(torch.tensor([math.cos(n * omega), math.sin(n * omega)])),
    ],
    "3.6": [
        lambda q, k, v: grouped(q, k, v, order="tile"),
        lambda q, k, v: grouped(q, k, v, order="first"),
        lambda q, k, v: grouped(q, k, v, causal=False),
        lambda q, k, v: grouped(q, k, v, scale=1.0),
        lambda q, k, v: grouped(q, k, v, scale=(q.shape[0] * q.shape[2]) ** -0.5),
        lambda q, k, v: grouped(q, k, v, join=False),
        lambda q, k, v: grouped(q, k, v, join=False).reshape(q.shape[1], -1),
        lambda q, k, v: grouped(q, k, v, scale=len(q) ** -0.5),
        lambda q, k, v: torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, enable_gqa=True
        ),
        (lambda q, k, v: grouped(q, k, v, zeroed=True), "mask the scores, before"),
    ],
    "3.7": [
        lambda: (1.0, 1.0, 1.0),
        lambda: (0.34, 0.34, 0.34),
        lambda: 0.9,
    ],
    "3.8": [
        lambda query, pairs: stream(query, pairs, subtract=False),
        lambda query, pairs: stream(query, pairs, rescale=(False, False)),
        lambda query, pairs: stream(query, pairs, rescale=(False, True)),
        lambda query, pairs: stream(query, pairs, scaled=False),
        lambda query, pairs: stream(query / len(query) ** 0.5, pairs),
        lambda query, pairs: stream(0 * query, pairs),  # a plain average
        lambda query, pairs: [value for _, value in pairs][-1],
        lambda query, pairs: sum(v for _, v in pairs),
        kept,
        (lambda query, pairs: stream(query, pairs, subtract=False, exp=math.exp), "for a float"),
    ],
}


@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)


def by_torch(query, pairs):
    """The sums as tensors, the maximum by torch."""
    top = torch.tensor(-torch.inf)
    below = torch.tensor(0.0)
    above = torch.zeros(len(query))
    for key, value in pairs:
        score = (key * query).sum() / math.sqrt(len(query))
        new = torch.maximum(top, score)
        below = below * (top - new).exp() + (score - new).exp()
        above = above * (top - new).exp() + (score - new).exp() * value
        top = new
    return above / below


def by_heads(q, k, v):
    results = []
    for h in range(len(q)):
        g = h // (len(q) // len(k))
        scores = q[h] @ k[g].T / math.sqrt(q.shape[2])
        future = ~ones(q.shape[1]).tril()
        results.append(scores.masked_fill(future, -torch.inf).softmax(dim=-1) @ v[g])
    return torch.cat(results, dim=1)


@pytest.mark.parametrize(
    ("number", "right"),
    [
        ("3.1", by_formula),
            ("3.2", lambda: [(1, 2), {1, 2, 3, 4, 5}, [5, 4, 3, 2, 1]]),
        ("3.3", lambda: [0.95, 0.91, 2.5]),
        ("3.4", lambda: [1, 1, 0.5]),
        ("3.5", lambda n, w: torch.tensor(
            [[math.cos(n * w), math.cos(n * w + math.pi / 2)], [math.sin(n * w), math.cos(n * w)]]
        )),
        ("3.6", by_heads),
        ("3.7", lambda: (1.0, 0.99, 0.86)),
        ("3.8", by_torch),
    ],
)  # fmt: skip
def test_accepts_other_ways(number, right):
    assert check(number, right).correct


@pytest.mark.parametrize(
    ("number", "wrong", "sentence"),
    [
        ("3.1", WRONG["3.1"][0], "as it stands"),
        ("3.1", WRONG["3.1"][1], "the smallest score"),
        ("3.1", WRONG["3.1"][2], "the mean"),
        ("3.1", WRONG["3.1"][3], "absolute value"),
        ("3.1", lambda scores: shifted(scores, 1000), "divides by 0"),  # and not: where is e?
        ("3.1", WRONG["3.1"][6], "not allowed"),
        ("3.2", WRONG["3.2"][2], "a sum has no order"),
        ("3.3", WRONG["3.3"][1], "cancels"),
        ("3.5", WRONG["3.5"][0], "looks ahead"),
        ("3.6", WRONG["3.6"][0], "0, 0, 1, 1"),
        ("3.6", WRONG["3.6"][6], "mixed up"),
        ("3.6", WRONG["3.6"][8], "not allowed"),
        ("3.8", WRONG["3.8"][1], "must shrink"),
        ("3.8", WRONG["3.8"][8], "still kept"),
    ],
)
def test_the_message_names_the_mistake(number, wrong, sentence):
    assert sentence in check(number, wrong).hint
