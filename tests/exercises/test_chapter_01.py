"""Wrong answers to the exercises of chapter 1, each rejected with a hint."""

import math
from collections import Counter
from itertools import pairwise

from tests.exercises.helpers import assert_rejected, wrong_answers

WRONG = {
    "1.1": [
        lambda ps: sum(-math.log(p) for p in ps),  # not the mean
        lambda ps: sum(-math.log2(p) for p in ps) / len(ps),
        lambda ps: -math.log(sum(ps) / len(ps)),  # the logarithm of the mean
        lambda ps: sum(math.log(p) for p in ps) / len(ps),
    ],
    "1.2": [
        lambda nats, tokens: nats * tokens / 8,  # nats, not bits
        lambda nats, tokens: nats * tokens / math.log(2),  # bits, not bytes
        lambda nats, tokens: nats * tokens * math.log(2) / 8,
        lambda nats, tokens: nats * tokens / math.log(2) // 8,
    ],
    "1.3": [
        lambda t: dict(Counter(pairwise(t))),  # counts, not probabilities
        lambda t: {p: n / (len(t) - 1) for p, n in Counter(pairwise(t)).items()},
        lambda t: {p: n / Counter(t)[p[0]] for p, n in Counter(pairwise(t)).items()},
        lambda t: {p: n / Counter(t[1:])[p[1]] for p, n in Counter(pairwise(t)).items()},
        lambda t: {p: 1 / sum(p[0] == q[0] for q in set(pairwise(t))) for p in pairwise(t)},
        lambda t: {p: round(n / Counter(t[:-1])[p[0]], 1) for p, n in Counter(pairwise(t)).items()},
    ],
}


@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)
