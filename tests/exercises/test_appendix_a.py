"""Wrong answers to the exercises of appendix A, each rejected with a hint."""

import pytest
import torch

from gptbook.exercises import check
from gptbook.exercises.appendix_a import (
    all_distances,
    descended,
    gradients,
    no_threshold,
    standardised,
)
from tests.exercises.helpers import assert_rejected, wrong_answers


def by_backward(w, b, x, t):
    w, b = torch.tensor(w, requires_grad=True), torch.tensor(b, requires_grad=True)
    ((w * x + b).relu() - t).pow(2).backward()
    return w.grad.item(), b.grad.item()


def by_optimizer(x, y, steps, lr):
    c = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.SGD([c], lr=lr)
    for _ in range(steps):
        loss = (c[0] + c[1] * x + c[2] * x**2 - y).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return c.detach()


def new_tensor(x, y, steps, lr):
    c = torch.zeros(3, requires_grad=True)
    for _ in range(steps):
        (c[0] + c[1] * x + c[2] * x**2 - y).pow(2).mean().backward()
        with torch.no_grad():
            c = c - lr * c.grad
    return c


def recorded(x, y, steps, lr):
    c = torch.zeros(3, requires_grad=True)
    for _ in range(steps):
        (c[0] + c[1] * x + c[2] * x**2 - y).pow(2).mean().backward()
        c -= lr * c.grad
    return c.detach()


def cleared_too_early(x, y, steps, lr):
    c = torch.zeros(3, requires_grad=True)
    for _ in range(steps):
        loss = (c[0] + c[1] * x + c[2] * x**2 - y).pow(2).mean()
        c.grad.zero_()
        loss.backward()
        with torch.no_grad():
            c -= lr * c.grad
    return c.detach()


def cleared_as_a_module(x, y, steps, lr):
    c = torch.zeros(3, requires_grad=True)
    for _ in range(steps):
        (c[0] + c[1] * x + c[2] * x**2 - y).pow(2).mean().backward()
        with torch.no_grad():
            c -= lr * c.grad
        c.zero_grad()
    return c.detach()


# (number, wrong answer, what the message must say)
SLIPS = [
    ("A.1", lambda x: standardised(x, dim=1), "not each row"),
    ("A.1", lambda x: (x - x.mean()) / x.std(correction=0), "One mean for all"),
    ("A.1", lambda x: (x - x.mean(0)) / x.std(0), "n − 1"),
    ("A.1", lambda x: x - x.mean(0), "divided by their deviations"),
    ("A.1", lambda x: (x - x.mean(0)) / x.var(0, correction=0), "variance"),
    ("A.1", lambda x: (x - x.mean(1)) / x.std(1, correction=0), "that is dim 0"),
    ("A.1", lambda x: (x - x.mean(0)) / x.pow(2).mean(0).sqrt(), "not x."),
    ("A.1", lambda x: x / x.std(0, correction=0), "mean was not subtracted"),
    ("A.2", lambda: ((5, 3), (2, 1, 3), (1, 3)), "axis of length 1"),
    ("A.2", lambda: ((5, 3), (2, 5, 3), (2, 1, 3)), "removes the first"),
    ("A.2", lambda: ((5, 1, 3), (2, 5, 3), (1, 3)), "under the last one"),
    ("A.2", lambda: ((5, 3), (2, 5, 3), (3,)), "does `sum(dim=0)` remove"),
    ("A.2", lambda: ((5, 3), (2, 5, 3), (1, 1, 3)), "does `sum(dim=0)` remove"),
    ("A.2", lambda: [[5, 3], [2, 5, 3], [2, 3]], "does `sum(dim=0)` remove"),
    ("A.3", lambda p: all_distances(p) ** 2, "squares"),
    ("A.3", lambda p: (p[:, None] - p[None]).abs().sum(-1), "Pythagoras"),
    ("A.3", lambda p: (p - p.flip(0)).norm(dim=-1), "Every point"),
    ("A.3", lambda p: (p[:, None] - p[None]).sum(-1), "before you add"),
    ("A.3", lambda p: p @ p.T, "products of the points"),
    ("A.4", lambda x: x.mean(1), "still counted"),
    ("A.4", lambda x: (x.sum(1) - x.amax(1)) / x.shape[1], "k − 1"),
    ("A.4", lambda x: (x.sum(1) - x.amax()) / (x.shape[1] - 1), "Each player"),
    ("A.4", lambda x: x[:, :-1].mean(1), "best game"),
    ("A.4", lambda x: x[:, 1:].mean(1), "not always the first"),
    ("A.4", lambda x: (x.sum(0) - x.amax(0)) / (x.shape[0] - 1), "per row"),
    ("A.4", lambda x: (x.sum(1) - x.amin(1)) / (x.shape[1] - 1), "worst"),
    ("A.4", lambda x: (x.sum(1) - x.max(dim=1)) / (x.shape[1] - 1), "and their indices"),
    (
        "A.4",
        lambda x: (x.sum(1, keepdim=True) - x.amax(1, keepdim=True)) / (x.shape[1] - 1),
        "keepdim",
    ),
    ("A.5", lambda *n: gradients(*n, at_zero=True), "exactly 0"),
    ("A.5", no_threshold, "Where has max"),
    ("A.5", lambda *n: gradients(*n, slope=False), "slope is 0"),
    ("A.5", lambda *n: gradients(*n)[::-1], "in this order"),
    ("A.5", lambda *n: tuple(g / 2 for g in gradients(*n)), "factor 2"),
    ("A.5", lambda *n: tuple(-g for g in gradients(*n)), "sign"),
    ("A.5", by_backward, "not allowed"),
    ("A.5", lambda *n: (gradients(*n)[1],) * 2, "chain rule"),
    ("A.6", lambda: 0.64, "zero_grad"),
    ("A.6", lambda: 0.8, "both gradients"),
    ("A.6", lambda: "0.44", "a number"),
    ("A.7", lambda *a: descended(*a, clear=False), "not cleared"),
    ("A.7", lambda x, y, n, lr: descended(x, y, n, lr * len(x)), "mean"),
    ("A.7", lambda x, y, n, lr: descended(x, y, n + 1, lr), "too many"),
    ("A.7", lambda x, y, n, lr: descended(x, y, n, -lr), "uphill"),
    ("A.7", by_optimizer, "not allowed"),
    ("A.7", lambda x, y, n, lr: descended(x, y, n - 1, lr), "too few"),
    ("A.7", lambda *a: descended(*a).flip(0), "constant comes first"),
    ("A.7", lambda *a: torch.zeros(3), "have not moved"),
    ("A.7", new_tensor, "made a new tensor"),
    ("A.7", recorded, "must not be recorded"),
    ("A.7", lambda x, y, n, lr: descended(x, y, n, lr / 2), "Half the loss"),
    ("A.7", lambda *a: descended(*a, start=1.0), "start at 0"),
    ("A.7", cleared_too_early, "no gradient: clear"),
    ("A.7", cleared_as_a_module, "A single tensor is cleared"),
    ("A.8", lambda: (0.01, 0.2, 0.25), "too low"),
    ("A.8", lambda: (0.05, 0.15, 0.25), "largest that works"),
    ("A.8", lambda: (0.05, 0.2, 0.3), "too high"),
    ("A.8", lambda: (0.2, 0.05, 0.25), "in another order"),
    ("A.8", lambda: (0.06, 0.2, 0.25), "Name three of"),
    ("A.8", lambda: (0.01, 0.05, 0.1), "take their mean"),
    ("A.8", lambda: [0.05, 0.1, 0.15, 0.2], "should return"),
]
WRONG = {}
for number, wrong, _ in SLIPS:
    WRONG.setdefault(number, []).append(wrong)


@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)


@pytest.mark.parametrize(("number", "wrong", "said"), SLIPS)
def test_says_what_is_wrong(number, wrong, said):
    assert said in check(number, wrong).hint


def test_other_right_answers_are_accepted():
    assert check("A.3", lambda p: torch.cdist(p, p)).correct
    assert check("A.4", lambda x: x.sort(dim=1).values[:, :-1].mean(dim=1)).correct
    assert check("A.2", lambda: [(5, 3), (2, 5, 3), (1, 3)]).correct
    assert check("A.8", lambda: (0.05, 0.2, 0.25)).correct
