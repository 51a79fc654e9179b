"""Wrong answers to the exercises of chapter 6, each rejected with a hint; and other right ways."""

import math

import pytest
import torch
import torch.nn.functional as F

from gptbook.exercises import check
from gptbook.exercises import mistakes_06 as foreseen
from tests.exercises.helpers import assert_rejected, wrong_answers


def line(x, y, steps, lr, factor=2.0, mean=True, piles=False, sequential=False):
    """`fit_line` with autograd, which the check does not use."""
    x, y = torch.tensor(x), torch.tensor(y)
    a, b = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    for _ in range(steps):
        if not piles:
            a.grad = b.grad = None
        squares = (a * x + b - y) ** 2
        (factor / 2 * (squares.mean() if mean else squares.sum())).backward()
        with torch.no_grad():
            a -= lr * a.grad
            if sequential:
                b -= lr * 2 * (a * x + b - y).mean()
            else:
                b -= lr * b.grad
    return a.item(), b.item()


def adam(w, gradients, lr, decay, t_from=1, decoupled=False, old=False, betas=(0.9, 0.999)):
    start, m, v = w, torch.zeros_like(w), torch.zeros_like(w)
    for t, g in enumerate(gradients, t_from):
        g = g if decoupled else g + decay * (start if old else w)
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
        w = w * (1 - lr * decay) if decoupled else w
        w = w - lr * m / (1 - betas[0] ** t) / ((v / (1 - betas[1] ** t)).sqrt() + 1e-8)
    return w


def torch_adam(w, gradients, lr, decay):
    w = w.clone().requires_grad_()
    optimizer = torch.optim.Adam([w], lr=lr, weight_decay=decay)
    for w.grad in gradients:
        optimizer.step()
    return w.detach()


def overflowing(z, y):
    return -math.log(math.exp(z[y]) / sum(math.exp(v) for v in z))


def rate(s, n, p, w, d, first=1, left=0):
    return p * min((s + first) / w if w else 1, 1, (n - s - left) / d)


def bits(x, add):
    return ((x.view(torch.int32) + add) & -65536).view(torch.float32)


WITH = [5.3, 5.5, 5.2, 5.4, 5.6]
UNCLEAR = [5.8, 5.0, 5.3, 5.6, 5.5]  # without warm-up, minus WITH: both signs
WORSE = [5.8, 6.1, 5.6, 5.95, 6.05]
WRONG = {
    "6.1": [
        *foreseen.CROSS_ENTROPY_MISTAKES,
        (overflowing, "too large for a float"),
        lambda z, y: float(z.exp().sum().log() - z[y]),  # overflows
        lambda z, y: float(-((z - z.max()).exp() / (z - z.max()).exp().sum())[y].log()),  # ln 0
        (lambda z, y: float((z - z.max()).exp().sum().log() - z[y]), "one of the two terms"),
        (lambda z, y: float(z.logsumexp(0) - z[y]), "not allowed"),
        (lambda z, y: F.cross_entropy(z[None], torch.tensor([y])).item(), "not allowed"),
        (lambda z, y: torch.nn.CrossEntropyLoss()(z, torch.tensor(y)).item(), "not allowed"),
        (lambda z, y: -torch.log_softmax(z, 0)[y].item(), "not allowed"),
        (lambda z, y: -z.softmax(0)[y].log().item(), "not allowed"),
        lambda z, y: ((z - z.max()).exp().sum().log() + z.max() - z[y]).item() / math.log(2),
    ],
    "6.2": [
        *foreseen.LINE_MISTAKES,
        (lambda x, y, s, lr: line(x, y, s, lr, mean=False), "divide by the number"),
        (lambda x, y, s, lr: line(x, y, s, lr, factor=1.0), "factor 2"),
        (lambda x, y, s, lr: line(x, y, s, lr, piles=True), "pile up"),
        (lambda x, y, s, lr: line(x, y, s, lr, sequential=True), "the new a"),
        (lambda x, y, s, lr: line(x, y, s, -lr), "uphill"),
        (lambda x, y, s, lr: line(x, y, s, lr)[::-1], "a first"),
        (lambda x, y, s, lr: line(x, y, s + 1, lr), "one step more"),
        (lambda x, y, s, lr: (2.0, 1.0), ""),
        (lambda x, y, s, lr: torch.optim.SGD([torch.zeros(1)], lr=lr), "not allowed"),
    ],
    "6.3": [
        *foreseen.ADAM_MISTAKES,
        (lambda *given: adam(*given, decoupled=True), "This is AdamW"),
        (lambda *given: adam(*given, t_from=10**6), "not corrected"),
        (lambda w, g, lr, d: adam(w, g, lr, 0.0), "Nothing decays"),
        (lambda *given: adam(*given, old=True), "the present one"),
        (lambda *given: adam(*given, betas=(0.9, 0.95)), ""),
        (lambda w, g, lr, d: adam(w, g, -lr, d), "uphill"),
        (torch_adam, "not allowed"),
    ],
    "6.4": [
        (lambda: (1.0, 1.0), "You predicted"),
        (lambda: (0.447, 0.316), "0.999"),
        (lambda: (3.162, 0.447), "You predicted"),
        lambda: (2.0, 100.0),  # without the root
        lambda: 0.447,
    ],
    "6.5": [
        *foreseen.RATE_MISTAKES,
        (lambda *given: rate(*given, first=0), "not 0"),
        (lambda *given: rate(*given, left=1), "not 0"),
        (lambda s, n, p, w, d: p * min((s + 1) / w if w else 1, 1), "does not fall"),
        (lambda s, n, p, w, d: p * min(1, (n - s) / d), "does not rise"),
        (lambda s, n, p, w, d: p * ((s + 1) / w if s < w else 1 if s < n - d else 0.5), ""),
        (lambda s, n, p, w, d: p * min((s + 1) / w, 1, (n - s) / d), "begins at its peak"),
    ],
    "6.6": [
        *foreseen.BF16_MISTAKES,
        (lambda x: bits(x, 0), "cuts off"),
        (lambda x: bits(x, 0x8000), "Ties go up"),
        (lambda x: bits(x, 0x7FFF), "Ties go down"),
        (lambda x: x.half().float(), "fp16"),
        (lambda x: x.bfloat16().float(), "not allowed"),
        (lambda x: x.to(torch.bfloat16).to(torch.float32), "not allowed"),
        (lambda x: x, "Nothing is rounded"),
    ],
    "6.7": [
        (lambda: (21, 21), "You predicted"),
        (lambda: (22, 22), "You predicted"),
        (lambda: (21, 22), "You predicted"),
        (lambda: (20, 20), "You predicted"),
    ],
    "6.8": [
        (lambda: (UNCLEAR, WITH, "helps"), "interval"),
        (lambda: (WORSE, WITH, "unclear"), "interval"),
        (lambda: (WORSE, WITH, "hurts"), "larger without it"),
        (lambda: ([5.5] * 5, WITH, "helps"), "are equal"),
        (lambda: (WORSE[:4], WITH, "helps"), "five"),
        (lambda: (WORSE, WITH, "maybe"), "verdict"),
        (lambda: (WORSE, [0.1, 0.2, 0.3, 0.4, 0.5], "helps"), "near the plateau"),
        (lambda: (WORSE, [2.1, 2.2, 2.3, 2.4, 2.5], "helps"), "near the plateau"),
        (lambda: (WORSE, 3, "helps"), "two lists"),
        (lambda: 0.3, "Return"),
    ],
}  # fmt: skip


@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)


RIGHT = [
    ("6.1", lambda z, y: z.max() + (z - z.max()).exp().sum().log() - z[y]),
    ("6.1", lambda z, y: math.log(sum(math.exp(v - z[y].double()) for v in (z - 0).double()))
     if (z - z[y]).max() < 700 else (z.max() - z[y]).item()),
    ("6.2", line),
    ("6.2", lambda x, y, steps, lr: list(line(x, y, steps, lr))),
    ("6.3", adam),
    ("6.4", lambda: [0.1 / 0.05**0.5, 0.1 / 0.001**0.5]),
    ("6.5", rate),
    ("6.7", lambda: [22, 21]),
    ("6.8", lambda: (torch.tensor(UNCLEAR), WITH, "unclear")),
    ("6.8", lambda: [WITH, WORSE, "hurts"]),
]  # fmt: skip


@pytest.mark.parametrize(("number", "right"), RIGHT)
def test_other_right_answers_are_accepted(number, right):
    assert check(number, right).correct


def test_the_check_of_adam_agrees_with_torch():
    gradients = [torch.ones(2), torch.zeros(2), torch.tensor([3.0, -1.0])]
    given = (torch.tensor([1.0, 2.0]), gradients, 0.1, 0.2)
    torch.testing.assert_close(adam(*given), torch_adam(*given))
