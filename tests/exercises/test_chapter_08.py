"""Wrong answers to the exercises of chapter 8, each rejected with a hint."""

import torch
import torch.nn.functional as F

from tests.exercises.helpers import assert_rejected, wrong_answers


def wrong_dora(W, A, B, m, s, dim=1):
    V = W + s * B @ A
    return m[:, None] * V / V.norm(dim=dim, keepdim=True)


def wrong_dora_forward(x, of_base, of_lora, W, b, A, B, m, s):
    g = m / (W + s * B @ A).norm(dim=1)
    return x @ W.T + b + (g - 1) * (of_base @ W.T) + g * s * (of_lora @ A.T @ B.T)


def wrong_lengths(W, w2, A, B, s, twice=2):
    mixed, own = (B * (W @ A.T)).sum(dim=1), (B * (B @ (A @ A.T))).sum(dim=1)
    return w2 + twice * s * mixed + s**2 * own


def wrong_full_gradient(V, m, g, power=2, sign=1):
    length = V.norm(dim=1)
    along = (V * g).sum(dim=1) / length**power
    return (m / length)[:, None] * (g - sign * along[:, None] * V)


def wrong_moved(before, after, dim=1, signed=False):
    change = after.norm(dim=dim) - before.norm(dim=dim)
    change = change if signed else change.abs()
    return change.mean(), (1 - F.cosine_similarity(before, after, dim=dim)).mean()


WRONG = {
    "8.1": [
        lambda W: (W.norm(dim=0), W / W.norm(dim=0)),  # the wrong axis
        lambda W: (W.norm(dim=1), W),
        lambda W: (W.norm(dim=1), W / W.norm()),
        lambda W: (W.norm(dim=1, keepdim=True), W / W.norm(dim=1, keepdim=True)),
        lambda W: ((W**2).sum(dim=1), W / (W**2).sum(dim=1)[:, None]),
    ],
    "8.2": [
        lambda W, A, B, m, s: wrong_dora(W, A, B, m, s, dim=0),
        lambda W, A, B, m, s: W + s * B @ A,
        lambda W, A, B, m, s: (m / W.norm(dim=1))[:, None] * (W + s * B @ A),  # the old length
        lambda W, A, B, m, s: (m / (W + s * B @ A).norm())[:, None] * (W + s * B @ A),
        lambda W, A, B, m, s: wrong_dora(W, A, B, m, 1.0),
        lambda W, A, B, m, s: F.normalize(W + s * B @ A, dim=1),  # m forgotten
    ],
    "8.3": [
        lambda x, d, W, b, A, B, m, s: d @ wrong_dora(W, A, B, m, s).T + b,  # all is dropped
        lambda x, d, W, b, A, B, m, s: x @ wrong_dora(W, A, B, m, s).T + b,  # nothing is
        lambda x, d, W, b, A, B, m, s: wrong_dora_forward(x, x, d, W, b, A, B, m, s),
        lambda x, d, W, b, A, B, m, s: wrong_dora_forward(x, d, d, W, 2 * b, A, B, m, s),
        lambda x, d, W, b, A, B, m, s: wrong_dora_forward(x, d, d, W, 0 * b, A, B, m, s),
        lambda x, d, W, b, A, B, m, s: F.normalize(x @ (W + s * B @ A).T, dim=1) * m + b,
    ],
    "8.4": [
        lambda W, w2, A, B, s: (W + s * B @ A).norm(dim=1),  # makes the table
        lambda W, w2, A, B, s: torch.addmm(W, B, A, alpha=s).norm(dim=1),  # so does this
        lambda W, w2, A, B, s: w2.sqrt(),
        lambda W, w2, A, B, s: (w2 + s**2 * (B * (B @ (A @ A.T))).sum(dim=1)).sqrt(),
        lambda W, w2, A, B, s: wrong_lengths(W, w2, A, B, s, twice=1) ** 0.5,
        lambda W, w2, A, B, s: wrong_lengths(W, w2, A, B, s),  # the root is missing
    ],
    "8.5": [
        lambda x, g, W, A, B, s: g * ((W + s * B @ A) @ x),  # not divided by the length
        lambda x, g, W, A, B, s: g * (W @ x) / W.norm(dim=1),  # as at the beginning
        lambda x, g, W, A, B, s: (W + s * B @ A) @ x / (W + s * B @ A).norm(dim=1),
        lambda x, g, W, A, B, s: g * ((W + s * B @ A) @ x) / (W @ x + s * B @ A @ x).norm(),
    ],
    "8.6": [
        lambda V, m, g: (m / V.norm(dim=1))[:, None] * g,  # the length as a constant
        lambda V, m, g: g - ((V * g).sum(dim=1) / V.norm(dim=1) ** 2)[:, None] * V,
        lambda V, m, g: wrong_full_gradient(V, m, g, power=1),
        lambda V, m, g: wrong_full_gradient(V, m, g, sign=-1),
        lambda V, m, g: (m / V.norm(dim=1))[:, None] * (g - (V * g).sum() / V.norm() ** 2 * V),
    ],
    "8.7": [
        lambda before, after: wrong_moved(before, after, dim=0),
        lambda before, after: wrong_moved(before, after, signed=True),
        lambda before, after: (wrong_moved(before, after)[0], 1 - wrong_moved(before, after)[1]),
        lambda before, after: wrong_moved(before, after)[::-1],
        lambda before, after: ((after - before).norm(dim=1).mean(), wrong_moved(before, after)[1]),
    ],
}


@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)
