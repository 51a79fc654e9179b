"""Wrong answers to the exercises of chapter 12, each rejected with a hint."""

import math

import torch
from scipy.stats import binomtest

from gptbook.exercises import check
from tests.exercises.helpers import assert_rejected, wrong_answers


def wrong_change(W, X, Y, missing=True):
    return torch.linalg.lstsq(X, Y - X @ W.T if missing else Y, driver="gelsd").solution.T


def wrong_front(points, beats):
    return [i for i, a in enumerate(points) if not any(beats(b, a) for b in points)]


def better(b, a):
    return b[0] <= a[0] and b[1] <= a[1] and (b[0] < a[0] or b[1] < a[1])


def wrong_crossing(new, home, wanted, part=True, late=False, end=None):
    found = end
    for i in range(1, len(new)):
        if new[i] <= wanted < new[i - 1]:
            done = (new[i - 1] - wanted) / (new[i - 1] - new[i]) if part else 1
            found = home[i - 1] + done * (home[i] - home[i - 1])
            if not late:
                return found
    return home[0] if new[0] <= wanted else found


def wrong_sign_test(differences, sides=2, cap=1.0, larger=True, zeros=False, more=0):
    n = len(differences) if zeros else sum(d != 0 for d in differences)
    up, down = (sum(s * d > 0 for d in differences) for s in (1, -1))
    k = max(up, down) if larger else up
    return min(cap, sides * sum(math.comb(n, i) for i in range(k + more, n + 1)) / 2**n)


def wrong_terms(A, B, fraction, power=2, less=0):
    energy = torch.linalg.svdvals(B @ A) ** power
    return int((energy.cumsum(0) < (fraction - 1e-6) * energy.sum()).sum()) + 1 - less


WRONG = {
    "12.1": [
        (lambda W, X, Y: wrong_change(W, X, Y, missing=False), "as if W gave nothing"),
        (lambda W, X, Y: W + wrong_change(W, X, Y), "return the change"),
        (lambda W, X, Y: wrong_change(W, X, Y).T, "the shape of W"),
        (lambda W, X, Y: -wrong_change(W, X, Y), "The sign"),
        (
            lambda W, X, Y: sum(
                torch.outer(y - W @ x, x) / (x @ x) for x, y in zip(X, Y, strict=True)
            ),
            "a change of its own",
        ),
        (lambda W, X, Y: (Y - X @ W.T).T @ X, "gradient descent"),
        (lambda W, X, Y: torch.linalg.solve(X, Y), "minus what W gives"),  # raises
    ],
    "12.2": [
        (lambda points: wrong_front(points, lambda b, a: b[0] < a[0] and b[1] < a[1]), "equal"),
        (lambda points: wrong_front(points, lambda b, a: better(a, b)), "Low is good"),
        (lambda points: wrong_front(points, lambda b, a: b[0] < a[0] or b[1] < a[1]), "in one"),
        (lambda points: [points[i] for i in wrong_front(points, better)], "their indices"),
        (
            lambda points: sorted(wrong_front(points, better), key=lambda i: points[i]),
            "ascending order",
        ),
        (
            lambda points: [i for i in wrong_front(points, better) if points[i] not in points[:i]],
            "all are on the front",
        ),
        (
            lambda points: [
                i
                for i, a in enumerate(points)
                if not any(j != i and b[0] <= a[0] and b[1] <= a[1] for j, b in enumerate(points))
            ],
            "do not beat each other",
        ),
        (lambda points: points.index(min(points)), "return a list"),
    ],
    "12.3": [
        (lambda new, home, wanted: wrong_crossing(new, home, wanted, part=False), "next look"),
        (lambda new, home, wanted: wrong_crossing(new, home, wanted, late=True), "first time"),
        (
            lambda new, home, wanted: wrong_crossing(new, home, wanted, end=home[-1]),
            "return None",
        ),
        (lambda new, home, wanted: home[-1], "the end of the run"),
        (
            lambda new, home, wanted: home[
                min(range(len(new)), key=lambda i: abs(new[i] - wanted))
            ],
            "nearest look",
        ),
        (lambda new, home, wanted: wrong_crossing(home, new, wanted), "exchanged"),
        (lambda new, home, wanted: home[new.index(wanted)], "come down"),  # raises
    ],
    "12.4": [
        (lambda ds: wrong_sign_test(ds, sides=1), "one side"),
        (lambda ds: wrong_sign_test(ds, zeros=True), "no sign"),
        (lambda ds: wrong_sign_test(ds, more=1), "not more often"),
        (lambda ds: wrong_sign_test(ds, larger=False, cap=9.0), "more negative ones"),
        (lambda ds: 2 * math.comb(len(ds), sum(d > 0 for d in ds)) / 2 ** len(ds), "exactly"),
        (lambda ds: sum(ds) / len(ds), "one side come"),
    ],
    "12.5": [
        (lambda: (0.03125, 5, 0.59), "five of five"),
        (lambda: (0.0625, 7, 0.48), "how many seeds"),
        (lambda: (0.0625, 6, 0.9), "six of six"),
        (lambda: 0.0625, "it should return"),
    ],
    "12.6": [
        (lambda A, B, f: wrong_terms(A, B, f, power=1), "not squared"),
        (lambda A, B, f: wrong_terms(A, B, f, less=1), "One more term"),
        (lambda A, B, f: wrong_terms(A, torch.eye(len(A)), f), "A alone"),
        (lambda A, B, f: wrong_terms(torch.eye(len(A)), B, f), "B alone"),
        (lambda A, B, f: len(A), "This is r"),
        (lambda A, B, f: float(wrong_terms(A, B, f)), "a whole number"),
        (lambda A, B, f: torch.linalg.matrix_rank(B @ A).item(), "This is r"),
    ],
    "12.7": [
        (lambda: (70, 14.4, 175), "ten copies"),  # a byte for a weight
        (lambda: (140, 0.8, 175), "one copy and ten adapters"),
        (lambda: (140, 14.8, 10), "adapters for a copy"),
        (lambda: 140, "it should return"),
    ],
    "12.8": [
        (lambda: (0.49, False, 0.02, True), "the points; that is too high"),  # LoRA minus replay
        (lambda: (-0.0049, False, -0.02, True), "the points; that is too high"),
        (lambda: (-0.49, True, -0.02, True), "its interval leaves out 0"),
        (lambda: (-0.49, False, -2.0, True), "the loss; that is too low"),
        (lambda: -0.49, "it should return"),
    ],
}


@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)


def test_other_right_answers_are_accepted():
    assert check("12.1", lambda W, X, Y: wrong_change(W, X, Y)).correct
    assert check("12.2", lambda points: wrong_front(points, better)).correct
    assert check("12.3", lambda new, home, wanted: wrong_crossing(new, home, wanted)).correct
    assert check("12.4", wrong_sign_test).correct
    assert check("12.6", wrong_terms).correct


def test_the_sign_test_is_that_of_a_binomial():
    def by_scipy(differences):
        n = sum(d != 0 for d in differences)
        return binomtest(sum(d > 0 for d in differences), n).pvalue if n else 1.0

    assert check("12.4", by_scipy).correct
