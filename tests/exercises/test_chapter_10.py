"""Wrong answers to the exercises of chapter 10, each rejected with a hint."""

import torch
import torch.nn.functional as F

from gptbook.exercises import check
from tests.exercises.helpers import assert_rejected, wrong_answers


def wrong_apart(W, dim=1):
    m = W.norm(dim=dim, keepdim=True)
    return m.flatten(), W / m


def V_of(W, A, B, s):
    return W + s * B @ A


def wrong_dora(W, A, B, m, s, dim=1):
    V = V_of(W, A, B, s)
    return m[:, None] * V / V.norm(dim=dim, keepdim=True)


def wrong_dora_forward(x, of_base, of_lora, W, b, A, B, m, s, of_bias=0):
    g = m / V_of(W, A, B, s).norm(dim=1)
    change = (g - 1) * (of_base @ W.T) + g * s * (of_lora @ A.T @ B.T)
    return x @ W.T + b + of_bias * (g - 1) * b + change


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


WRONG = {
    "10.1": [
        (lambda W: wrong_apart(W, dim=0), "the norms of the columns"),
        (lambda W: (W.norm(dim=1), W / W.norm(dim=1)), "[:, None] or keepdim=True"),
        (lambda W: (W.norm(dim=1), W), "not divided by anything"),
        (lambda W: (W.norm(dim=1), W / W.norm()), "the norm of the whole matrix"),
        (lambda W: (W.norm(dim=1, keepdim=True), wrong_apart(W)[1]), "an axis of size 1"),
        (lambda W: ((W**2).sum(dim=1), W / (W**2).sum(dim=1)[:, None]), "The root is missing"),
        (lambda W: wrong_apart(W)[::-1], "m comes first"),
        (lambda W: wrong_apart(W)[1], "Return type tuple, not Tensor"),
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
        (lambda x, d, *a: wrong_dora_forward(d, d, d, *a), "The frozen layer gets `dropped`"),
        (lambda x, d, *a: wrong_dora_forward(x, x, x, *a), "`dropped` is not used"),
        (lambda x, d, *a: wrong_dora_forward(x, x, d, *a), "Only the LoRA part"),
        (lambda x, d, *a: wrong_dora_forward(x, d, x, *a), "The LoRA part gets `x`"),
        (lambda x, d, *a: wrong_dora_forward(x, d, d, *a, of_bias=1), "scaled by c"),
        (lambda x, d, W, b, *a: wrong_dora_forward(x, d, d, W, 2 * b, *a), "comes in twice"),
        (lambda x, d, W, b, *a: wrong_dora_forward(x, d, d, W, 0 * b, *a), "The bias is missing"),
        (lambda x, d, *a: wrong_dora_forward(x, d, d, *a[:-1], 1.0), "The scaling s is missing"),
        (
            lambda x, d, W, b, A, B, m, s: F.normalize(x @ V_of(W, A, B, s).T, dim=1) * m + b,
            "what the merged layer gives",
        ),
        (lambda x, d, W, *a: x @ W, "what the merged layer gives"),  # raises
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
}


@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)


def test_other_right_answers_are_accepted():
    assert check("10.2", lambda W, A, B, m, s: m[:, None] * F.normalize(V_of(W, A, B, s))).correct
    assert check("10.7", lambda *a: [one.item() for one in wrong_moved(*a)]).correct
    assert check("10.4", lambda *a: torch.sqrt(wrong_norms(*a))).correct
