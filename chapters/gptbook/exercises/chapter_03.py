"""Checks of chapter 3's exercises."""

import math
from functools import partial

import torch
import torch.nn.functional as F

from gptbook.exercises import NotYet, alike, close, drawn, exercise, show
from gptbook.exercises.attending import Once, attend, grouped, rotation, softmax, stream


def predict_each(answer, wanted, tolerance, names, reasons):
    """Compare a tuple of predictions one by one, each with a reason of its own."""
    for i, reason in enumerate(reasons):
        only = [tolerance if j == i else math.inf for j in range(len(wanted))]
        answer.predicts(wanted, only, reason, names)


@exercise("3.1", forbid=[torch.softmax, torch.log_softmax, torch.logsumexp, F.softmin, "scipy"])
def check_softmax(answer):
    finite = [[math.log(3), 0], [0, 0], [2, 1, 0], [5], [1000, 1000], [-1000, -1000]]
    cases = [
        *finite,
        [0, 0, 0, -1000],
        [1000, -1000],
        [2000, 0, 0],
        [0, -math.inf],
        [-math.inf, 3, 3],
    ]
    mistakes = [
        (
            partial(softmax, shift=lambda s: sum(s) / len(s)),
            "You subtract the mean, but a single large score may still be far above it.",
        ),
        (partial(softmax, shift=min), "You subtract the smallest score; the largest stays large."),
        (
            partial(softmax, shift=lambda s: max(map(abs, s))),
            "You subtract the largest absolute value. Scores far below zero are pushed down even "
            "further, and all exponentials become 0.",
        ),
        (
            partial(softmax, shift=lambda s: 0),
            "That is the formula as it stands. e to the 1000 is too large for a float, and e to "
            "the −1000 becomes 0. What may you subtract from all scores?",
        ),
        (partial(softmax, divide=False), "The weights must add up to 1: divide."),
        (
            lambda s: [one / sum(s) if sum(s) else 1.0 for one in s],  # raises nothing
            "This divides the scores; where is e?",
        ),
    ]
    hint = "e to each score, after the largest has been subtracted, divided by the sum of these."
    for scores in cases:
        scores = [float(score) for score in scores]
        answer.expect(softmax(scores), scores, same=all_close, mistakes=mistakes, hint=hint)


def all_close(got, wanted):
    return len(got) == len(wanted) and all(map(close, got, wanted))


def grid(rule, T, window):
    return torch.tensor([[rule(t, s, window) for s in range(T)] for t in range(T)])


def positions_that_change(layers, with_positions):
    """Where the results differ when tokens 1 and 2 of six are swapped."""
    x, positions = (0.5 * part for part in drawn((6, 8), (6, 8), seed=3))
    results = []
    for y in (x, x[[0, 2, 1, 3, 4, 5]]):
        y = y + positions if with_positions else y
        for _ in range(layers):
            y = y + attend(y, y, y)
        results.append(y)
    return ((results[0] - results[1]).abs().amax(dim=1) > 1e-4).nonzero().flatten().tolist()


@exercise("3.2")
def swapped(answer):
    got = answer()
    lists = isinstance(got, (tuple, list)) and all(isinstance(g, (list, tuple, set)) for g in got)
    if not lists or len(got) != 3:
        raise NotYet(
            f"{answer.called()} returned {show(got)}; it should return three lists of positions, "
            "such as ([0], [0, 1], [5])."
        )
    experiments = [
        ("one layer", 1, False, "Positions 1 and 2 hold other tokens, so their own queries change. "
         "Later ones see the same keys and values in another order, and a sum has no order."),
        ("two layers", 2, False, "The first layer's results at 1 and 2 have changed, not only "
         "their order: position 1 now sees another token. All later positions read them."),
        ("positions", 1, True, "The swapped tokens now lie at other positions, so their vectors "
         "are new ones, and whoever sees them takes in something else."),
    ]  # fmt: skip
    for guess, (name, layers, with_positions, reason) in zip(got, experiments, strict=True):
        happens = positions_that_change(layers, with_positions)
        if sorted(set(guess)) != happens:
            told = f"For {name}, you predicted {show(sorted(set(guess)))}; when it is run, the"
            raise NotYet(f"{told} results change at {happens}. {reason}")


@exercise("3.3")
def biases(answer):
    reasons = (
        "The scores of cats become (0, 6), divided by 2 (0, 3): itself gets e³/(1 + e³).",
        "All scores of sit grow by 36/2 = 18, and the softmax cancels what a whole row has in "
        "common. So a bias of the keys never changes anything.",
        "The weights add up to 1, so what all values gain, the average gains: 0.5 + 2.",
    )
    names = ("bias of the queries", "bias of the keys", "bias of the values")
    e3 = math.exp(3)
    predict_each(answer, (e3 / (e3 + 1), e3 / (e3 + 2), 2.5), 0.015, names, reasons)


@exercise("3.4")
def three_toys(answer):
    reasons = (
        "One head can look one fixed distance back, like the head that was built by hand.",
        "Each head takes one of the distances.",
        "In one of 16 cases both tokens are the same, and the answer is certain. In the other 15 "
        "the head hands over two tokens without their order, and one guess in two is right: "
        "1/16 + 15/16 · 1/2 = 0.53. Trained, it comes out at about 0.55.",
    )
    names = ("one head, (3,)", "two heads, (1, 7)", "one head, (1, 7)")
    predict_each(answer, (1.0, 1.0, 0.55), 0.1, names, reasons)


@exercise("3.5")
def look_back(answer):
    mistakes = [
        (partial(rotation, sign=-1.0), "This looks ahead, at t + n: turn the other way."),
        (lambda n, omega: rotation(1, omega), "This looks one position back, whatever n is."),
        (lambda n, omega: rotation(n, 1.0), "This is right for omega = 1 only."),
        (lambda n, omega: torch.eye(2), "With this, every position looks at itself."),
        (
            lambda n, omega: torch.diag(rotation(n, omega)[:, 0]),
            "Both numbers of the query depend on both numbers of p, so W needs four entries.",
        ),
    ]
    hint = (
        "For every t, (cos ωt, sin ωt) @ W should be (cos ω(t − n), sin ω(t − n)). For t = 0 the "
        "vector is (1, 0) and the query is the first row of W."
    )
    for n, omega in [(1, math.pi / 2), (2, math.pi / 2), (0, 1.0), (3, 0.25), (7, 0.1)]:
        answer.expect(rotation(n, omega), n, omega, same=alike, hint=hint, mistakes=mistakes)


@exercise("3.6", forbid=[F.scaled_dot_product_attention])
def grouped_attention(answer):
    cases = []
    for H, G, T, d in [(1, 1, 2, 1), (2, 1, 2, 1), (4, 2, 3, 1)]:  # zero queries: plain averages
        values = 6.0 * torch.arange(G * T * d).view(G, T, d)
        cases.append((torch.zeros(H, T, d), torch.ones(G, T, d), values))
    for H, G, T, d in [(2, 2, 2, 2), (4, 2, 5, 4), (6, 2, 4, 3), (6, 3, 4, 3)]:
        cases.append([2 * part for part in drawn((H, T, d), (G, T, d), (G, T, d), seed=H + G)])
    mistakes = [
        (partial(grouped, order="tile"), "Neighbours share k and v: 0, 0, 1, 1, not 0, 1, 0, 1."),
        (partial(grouped, order="first"), "All heads of q use the first head of k and v."),
        (
            partial(grouped, zeroed=True),
            "The weights of a row must add up to 1: mask the scores, before the softmax.",
        ),
        (partial(grouped, causal=False), "The mask is missing: the first token sees only itself."),
        (partial(grouped, scale=1.0), "The scores are not divided by the square root of d."),
        (
            lambda q, k, v: grouped(q, k, v, scale=(q.shape[0] * q.shape[2]) ** -0.5),
            "Divide by the square root of the width of a head, d, not of H·d.",
        ),
        (partial(grouped, join=False), "The heads have not been put side by side yet."),
        (
            lambda q, k, v: grouped(q, k, v, join=False).reshape(q.shape[1], -1),
            "The numbers of different tokens are mixed up: the axis of heads must stand behind "
            "that of time before the last two axes are joined.",
        ),
    ]
    hint = "Head h of q attends with head h // (H // G) of k and v; then side by side, (T, H·d)."
    for q, k, v in cases:
        answer.expect(grouped(q, k, v), q, k, v, same=alike, hint=hint, mistakes=mistakes)


@exercise("3.7")
def many_heads(answer):
    hint = "With seed=0, after 500 steps; the accuracy is the second thing that train_toy returns."
    names = ("8 heads", "16 heads", "32 heads")
    answer.measures((1.0, 1.0, 0.8), (0.05, 0.05, 0.18), hint, names)


@exercise(
    "3.8",
    forbid=[
        torch.softmax, torch.stack, torch.cat, F.scaled_dot_product_attention, torch.Tensor.tolist,
    ],
)  # fmt: skip
def attend_stream(answer):
    plain = [([0], [5]), ([0, 0, 0], [2, 4, 6]), ([2, 2], [2, 4]), ([1000, 0], [2, 4])]
    plain += [([0, 1000], [2, 4]), ([-1000, -1000], [2, 4])]
    cases = [(torch.ones(1), *(torch.tensor(n)[:, None] * 1.0 for n in case)) for case in plain]
    cases += [[2 * part for part in drawn((D,), (S, D), (S, D))] for S, D in [(5, 4), (9, 3)]]
    mistakes = [
        (
            partial(stream, subtract=False),
            "e to the 1000 is too large, and e to the −1000 is 0. Subtract the largest so far.",
        ),
        (
            partial(stream, subtract=False, exp=math.exp),
            "e to the 1000 is too large for a float. Subtract the largest score so far.",
        ),
        (
            partial(stream, rescale=(False, False)),
            "When a larger score comes, the sums so far were made with the old maximum and must "
            "shrink: multiply them by e to the power of (old − new).",
        ),
        (partial(stream, rescale=(False, True)), "The sum of the weights must shrink as well."),
        (partial(stream, scaled=False), "The scores are not divided by the square root of D."),
    ]
    hint = "Keep the largest score, the sum of the weights, and the weighted sum of the values."
    for query, *both in cases:
        pairs, again = (Once(list(zip(*both, strict=True))) for _ in range(2))
        wanted = stream(query, again)
        answer.expect(wanted, query, pairs, same=alike, hint=hint, mistakes=mistakes)
