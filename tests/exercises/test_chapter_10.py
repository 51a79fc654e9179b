"""Wrong answers to the exercises of chapter 10, each rejected with a hint."""

import torch
import torch.nn.functional as F

from gptbook.exercises import check
from gptbook.results import load_runs
from tests.exercises.helpers import assert_rejected, wrong_answers


def V_of(W, A, B, s):
    return W + s * B @ A


def wrong_dora(W, A, B, m, s, dim=1):
    V = V_of(W, A, B, s)
    return m[:, None] * V / V.norm(dim=dim, keepdim=True)


def wrong_norms(W, w2, A, B, s, twice=2, own=1, power=2, scaled=1):
    mixed, alone = (B * (W @ A.T)).sum(dim=1), (B * (B @ (A @ A.T))).sum(dim=1)
    return w2 + twice * s**scaled * mixed + own * s**power * alone


def wrong_magnitude(x, g, V, power=1):
    return g * (V @ x) / V.norm(dim=1) ** power


def wrong_full_gradient(V, m, g, power=2, sign=1):
    norm = V.norm(dim=1)
    along = (V * g).sum(dim=1) / norm**power
    return (m / norm)[:, None] * (g - sign * along[:, None] * V)


def by_autograd(V, m, g):
    V = V.clone().requires_grad_()
    (g * (m / V.norm(dim=1))[:, None] * V).sum().backward()
    return V.grad


def wrong_moved(before, after, dim=1, signed=False):
    change = after.norm(dim=dim) - before.norm(dim=dim)
    change = change if signed else change.abs()
    return change.mean(), (1 - F.cosine_similarity(before, after, dim=dim)).mean()


def of_last_look(kind):
    means = []
    for way in ({"kind": kind, "rank": 16}, {"kind": "full"}):
        runs = load_runs("adapters", targets="all", phase="final", **way)
        looks = [run["changes"][2] for run in runs]
        each = [look[f"blocks.{i}.attention.qkv"][1] for look in looks for i in range(6)]
        means.append(sum(each) / len(each))
    return means[0] / means[1]


WRONG = {
    "10.1": [
        (lambda: (6.0, 1.5, -3.0, 7.0, 14.0), "predicted + (3, 4): 6"),  # V itself
        (lambda: (3.0, 3.0, 3.0, 4.95, 9.9), "+ (-6, -8)"),
        (lambda: (3.0, 3.0, -3.0, 7.0, 14.0), "+ (4, -3)"),
        (lambda: (3.0, 3.0, -3.0, 4.95, 4.95), "m = 10"),
        (lambda: 3.0, "it should return"),
    ],
    "10.2": [
        (lambda *a: wrong_dora(*a, dim=0), "the norms of the columns"),
        (lambda W, A, B, m, s: V_of(W, A, B, s), "This is V"),
        (
            lambda W, A, B, m, s: (m / W.norm(dim=1))[:, None] * V_of(W, A, B, s),
            "the norms of the rows of W",
        ),
        (
            lambda W, A, B, m, s: (m / V_of(W, A, B, s).norm())[:, None] * V_of(W, A, B, s),
            "not by that of the whole matrix",
        ),
        (lambda W, A, B, m, s: wrong_dora(W, A, B, m, 1.0), "The scaling s is missing"),
        (lambda W, A, B, m, s: F.normalize(V_of(W, A, B, s), dim=1), "m is missing"),
        (
            lambda W, A, B, m, s: m * V_of(W, A, B, s) / V_of(W, A, B, s).norm(dim=1),
            "[:, None] or keepdim=True",
        ),
        (lambda W, A, B, m, s: m[:, None] * V_of(W, A, B, s), "not divided by its norms"),
        lambda W, A, B, m, s: wrong_dora(W, 2 * A, B, m, s),
    ],
    "10.3": [
        (lambda: (1.0, 10.0), "1 for LoRA; that is too low"),
        (lambda: (100.0, 10.0), "100 for LoRA; that is too high"),
        (lambda: (of_last_look("LoRA"), 30.0), "30 for DoRA; that is too high"),
        (lambda: 10.0, "it should return"),
    ],
    "10.4": [
        (lambda W, w2, A, B, s: V_of(W, A, B, s).norm(dim=1), "a product like B @ A is one"),
        (lambda W, w2, A, B, s: torch.addmm(W, B, A, alpha=s).norm(dim=1), "a product like B @ A"),
        (
            lambda W, w2, A, B, s: wrong_norms(W, (W**2).sum(dim=1), A, B, s).sqrt(),
            "W is squared, but the sums",
        ),
        (
            lambda W, w2, A, B, s: wrong_norms(2 * W, w2, A, B, s, twice=1).sqrt(),
            "the operation `mul` makes one",
        ),
        (lambda W, w2, A, B, s: w2.sqrt(), "what do B and A change?"),
        (lambda *a: wrong_norms(*a, twice=0).sqrt(), "The mixed term is missing"),
        (lambda *a: wrong_norms(*a, twice=1) ** 0.5, "The mixed term comes in twice"),
        (lambda *a: wrong_norms(*a, power=1) ** 0.5, "s is squared, too"),
        (lambda *a: wrong_norms(*a, scaled=0) ** 0.5, "In the mixed term, s is missing"),
        (lambda *a: wrong_norms(*a, own=0) ** 0.5, "The term of B A alone is missing"),
        (lambda *a: wrong_norms(*a), "the root is missing"),
        (lambda W, w2, A, B, s: w2 + 2 * s * W @ A, "Three terms"),  # raises
    ],
    "10.5": [
        (lambda x, g, W, A, B, s: wrong_magnitude(x, g, V_of(W, A, B, s), 0), "have the norm 1"),
        (lambda x, g, W, A, B, s: wrong_magnitude(x, g, V_of(W, A, B, s), 2), "not twice"),
        (lambda x, g, W, A, B, s: wrong_magnitude(x, g, W), "the directions of W"),
        (lambda x, g, W, A, B, s: wrong_magnitude(x, g, V_of(W, A, B, 1)), "The scaling s"),
        (lambda x, g, W, A, B, s: wrong_magnitude(x, 1, V_of(W, A, B, s)), "what that means"),
        (
            lambda x, g, W, A, B, s: g * (V_of(W, A, B, s) @ x) / V_of(W, A, B, s).norm(),
            "not by that of the whole matrix",
        ),
        (
            lambda x, g, W, A, B, s: g * (V_of(W, A, B, s) @ x) / (V_of(W, A, B, s) @ x).norm(),
            "which output changes",
        ),
        (lambda x, g, W, A, B, s: g @ W @ g, "which output changes"),  # raises
    ],
    "10.6": [
        (lambda *a: wrong_full_gradient(*a, sign=0), "treated as a constant"),
        (lambda V, m, g: wrong_full_gradient(V, V.norm(dim=1), g), "The factor m / ‖v‖"),
        (lambda V, m, g: wrong_full_gradient(V, m**0, g), "The magnitude m is missing"),
        (lambda V, m, g: wrong_full_gradient(V, m * V.norm(dim=1), g), "The division by ‖v‖"),
        (lambda *a: wrong_full_gradient(*a, power=1), "it is its square"),
        (lambda *a: wrong_full_gradient(*a, sign=-1), "added instead of taken out"),
        (
            lambda V, m, g: (m / V.norm(dim=1))[:, None] * (g - (V * g).sum() / V.norm() ** 2 * V),
            "of the whole matrix",
        ),
        (
            lambda V, m, g: m / V.norm(dim=1) * wrong_full_gradient(V, V.norm(dim=1), g),
            "[:, None] or keepdim=True",
        ),
        (lambda V, m, g: V @ g, "at a right angle"),  # raises
        (by_autograd, "Tensor.backward, which is not allowed"),
    ],
    "10.7": [
        (lambda *a: wrong_moved(*a, dim=0), "dim=1 goes along a row"),
        (lambda *a: wrong_moved(*a, signed=True), "Take absolute values"),
        (lambda *a: (wrong_moved(*a)[0], 1 - wrong_moved(*a)[1]), "one minus the cosine"),
        (lambda *a: wrong_moved(*a)[::-1], "ΔM comes first"),
        (
            lambda before, after: (
                (after - before).norm(dim=1).mean(),
                wrong_moved(before, after)[1],
            ),
            "not the norm of the difference",
        ),
        (lambda *a: [len(a[0]) * one for one in wrong_moved(*a)], "take the mean"),
        (lambda *a: wrong_moved(*a)[0], "Return type tuple, not Tensor"),
    ],
    "10.8": [
        (lambda: (5.25, 5.25, 17.94, 5.05), "5.25 for (4, -3), constant; that is too high"),
        (lambda: (2.69, 5.0, 17.94, 5.05), "(4, -3), in full; that is too low"),
        (lambda: (2.69, 5.25, 5.0, 5.05), "(6, 2.5), constant; that is too low"),
        (lambda: (2.69, 5.25, 17.94, 17.94), "(6, 2.5), in full; that is too high"),
        (lambda: (5.0, 5.0, 5.0, 5.0), "not that of w'"),
        (lambda: 2.69, "it should return"),
    ],
}


@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)


def test_other_right_answers_are_accepted():
    assert check("10.2", lambda W, A, B, m, s: m[:, None] * F.normalize(V_of(W, A, B, s))).correct
    assert check("10.7", lambda *a: [one.item() for one in wrong_moved(*a)]).correct
    assert check("10.4", lambda *a: torch.sqrt(wrong_norms(*a))).correct
