"""Checks of appendix A's exercises."""

from functools import partial

import torch
from torch import Tensor

from gptbook.exercises import AUTOGRAD, Probe, alike, close, drawn, exercise


def standardised(x: Tensor, dim: int = 0, correction: int = 0) -> Tensor:
    return (x - x.mean(dim, keepdim=True)) / x.std(dim, keepdim=True, correction=correction)


@exercise("A.1")
def standardise(answer: Probe) -> None:
    mistakes = [
        (lambda x: standardised(x, dim=1), "Each column has a mean of its own, not each row."),
        (lambda x: (x - x.mean()) / x.std(correction=0), "One mean for all: take one per column."),
        (lambda x: standardised(x, correction=1), "`x.std` has divided by n − 1 here, not by n."),
        (lambda x: x - x.mean(0), "The columns still must be divided by their deviations."),
        (lambda x: (x - x.mean(0)) / x.var(0, correction=0), "You divided by the variance."),
        (lambda x: x / x.std(0, correction=0), "The mean was not subtracted."),
        (
            lambda x: (x - x.mean(1)) / x.std(1, correction=0),
            "dim names the axis that disappears. For one number per column, that is dim 0.",
        ),
        (
            lambda x: (x - x.mean(0)) / x.pow(2).mean(0).sqrt(),
            "The distance from the mean is squared, not x.",
        ),
    ]
    small = torch.tensor([[0.5, 10.0], [2.5, 30.0]])
    three = torch.tensor([[0.0, 5.0, 1.0], [4.0, 7.0, 9.5]])
    for x in (small, three, 3 * drawn((6, 4))[0] + 5):
        hint = "Each column by itself: minus its mean, divided by its standard deviation."
        answer.expect(standardised(x), x, same=alike, hint=hint, mistakes=mistakes)


@exercise("A.2")
def three_shapes(answer: Probe) -> None:
    a, b, c = torch.ones(5, 1), torch.ones(3), torch.ones(2, 1, 3)
    found = (tuple((a + b).shape), tuple((a + c).shape), tuple((b + c).sum(dim=0).shape))
    hint = "Align the shapes at the right; an axis of length 1, or a missing one, is stretched."
    sentences = [
        ((found[0], (2, 1, 3), found[2]), "In a + c, the 5 rows of a meet an axis of length 1."),
        ((found[0], found[1], (2, 1, 3)), "`sum(dim=0)` removes the first axis."),
        (((5, 1, 3), found[1], found[2]), "b has one axis: it stands under the last one of a."),
    ]
    got = answer()
    if isinstance(got, (list, tuple)) and tuple(map(_shape, got[:2])) == found[:2]:
        hint = "b + c has the shape (2, 1, 3). Which axis does `sum(dim=0)` remove?"
    answer.expect(found, hint=hint, mistakes=sentences, same=lambda got, wanted: got == wanted)


def _shape(value: object) -> object:
    return tuple(value) if isinstance(value, (list, torch.Size)) else value


def all_distances(points: Tensor) -> Tensor:
    return (points[:, None] - points[None, :]).pow(2).sum(dim=-1).sqrt()


@exercise("A.3")
def distances(answer: Probe) -> None:
    mistakes = [
        (lambda p: all_distances(p) ** 2, "These are the squares of the distances."),
        (lambda p: (p[:, None] - p[None]).abs().sum(-1), "These are |Δx| + |Δy|; use Pythagoras."),
        (lambda p: (p[:, None] - p[None]).sum(-1), "Square the differences before you add them."),
        (lambda p: (p - p.flip(0)).norm(dim=-1), "Every point with every point: (n, n)."),
        (lambda p: p @ p.T, "These are products of the points, not distances."),
    ]
    square = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 4.0]])
    for points in (square, square[:1], drawn((6, 2))[0]):
        hint = "All differences have the shape (n, n, 2); square them, add up, take the root."
        answer.expect(all_distances(points), points, same=alike, hint=hint, mistakes=mistakes)


@exercise("A.4")
def mean_without_best(answer: Probe) -> None:
    def wanted(x: Tensor) -> Tensor:
        return (x.sum(dim=1) - x.amax(dim=1)) / (x.shape[1] - 1)

    mistakes = [
        (lambda x: x.mean(dim=1), "The best game is still counted."),
        (lambda x: (x.sum(1) - x.amax(1)) / x.shape[1], "One game less: divide by k − 1."),
        (lambda x: (x.sum(0) - x.amax(0)) / (x.shape[0] - 1), "One number per player: per row."),
        (lambda x: (x.sum(1) - x.amax()) / (x.shape[1] - 1), "Each player has a best game."),
        (lambda x: x[:, 1:].mean(dim=1), "The best game is not always the first one."),
        (lambda x: x[:, :-1].mean(dim=1), "The best game is not always the last one."),
        (lambda x: (x.sum(1) - x.amin(1)) / (x.shape[1] - 1), "You left out the worst one."),
        (
            lambda x: (x.sum(1) - x.max(dim=1)) / (x.shape[1] - 1),
            "`x.max(dim=1)` gives the values and their indices: take `.values`, or use `amax`.",
        ),
        (
            lambda x: (x.sum(1, keepdim=True) - x.amax(1, keepdim=True)) / (x.shape[1] - 1),
            "One number per player, shape (n,): `keepdim` is not needed here.",
        ),
    ]
    rows = torch.tensor([[3.0, 9.0, 0.0, 6.0], [8.0, 1.0, 2.0, 3.0]])
    for x in (rows[:1], rows, torch.tensor([[-3.0, -1.0]]), drawn((5, 7))[0]):
        hint = "The sum of a row without its largest number, divided by k − 1."
        answer.expect(wanted(x), x, same=alike, hint=hint, mistakes=mistakes)


def gradients(
    w: float, b: float, x: float, t: float, slope: bool = True, at_zero: bool = False
) -> tuple[float, float]:
    z = w * x + b
    d_y = 2 * (max(0.0, z) - t)
    d_z = d_y if z > 0 or not slope or (at_zero and z == 0) else 0.0
    return d_z * x, d_z


def no_threshold(w: float, b: float, x: float, t: float) -> tuple[float, float]:
    d_y = 2 * (w * x + b - t)
    return d_y * x, d_y


@exercise("A.5", forbid=AUTOGRAD)
def neuron_gradients(answer: Probe) -> None:
    def same(got: tuple, wanted: tuple) -> bool:
        return len(got) == 2 and all(map(close, got, wanted))

    def by_hand(factor: float, inner: bool) -> object:
        def wrong(w: float, b: float, x: float, t: float) -> tuple[float, float]:
            z = w * x + b
            d_z = factor * ((max(0.0, z) if inner else z) - t) * (z > 0)
            return d_z * x, d_z

        return wrong

    mistakes = [
        (partial(gradients, at_zero=True), "Where wx + b is exactly 0, the slope is 0, too."),
        (partial(gradients, slope=False), "Is the neuron on? Below 0 its slope is 0."),
        (no_threshold, "Where has max(0, ·) gone? Below 0 the neuron is off."),
        (lambda *n: gradients(*n)[::-1], "The pair is (dL/dw, dL/db), in this order."),
        (by_hand(1.0, True), "The derivative of a square has the factor 2."),
        (by_hand(-2.0, True), "The sign: dL/dy is 2 (y − t), not 2 (t − y)."),
        (lambda *n: (gradients(*n)[1],) * 2, "dL/dw has the factor x, by the chain rule."),
    ]
    for w, b, x, t in (
        (2.0, 1.0, 3.0, 10.0), (2.0, 1.0, -3.0, 10.0), (1.0, -1.0, 1.0, 5.0),
        (-1.0, 0.5, -2.0, -1.0), (0.5, 0.25, 2.0, 0.0), (1.0, -8.0, 2.0, 1.0),
    ):  # fmt: skip
        hint = "2 (y − t), times the slope of max(0, z), times x for w and times 1 for b."
        answer.expect(gradients(w, b, x, t), w, b, x, t, same=same, hint=hint, mistakes=mistakes)


@exercise("A.6")
def w_after_two_steps(answer: Probe) -> None:
    w = torch.tensor(1.0, requires_grad=True)
    for _ in range(2):
        (w**2).backward()
        with torch.no_grad():
            w -= 0.1 * w.grad
    explain = "The first step goes from 1 to 0.8. Then .grad holds 2 + 1.6, both gradients."
    got = answer()
    if isinstance(got, float) and abs(got - 0.64) < 0.005:
        explain = "0.64 is what comes out with zero_grad. Without it, .grad holds both gradients."
    answer.predicts(w.item(), tolerance=0.005, explain=explain)


def descended(
    x: Tensor, y: Tensor, steps: int, lr: float, clear: bool = True, start: float = 0.0
) -> Tensor:
    c, powers = torch.full((3,), start), torch.stack([x**0, x, x**2])
    gradient = torch.zeros(3)
    for _ in range(steps):
        new = 2 * (powers @ (c @ powers - y)) / len(x)
        gradient = new if clear else gradient + new
        c = c - lr * gradient
    return c


@exercise("A.7", forbid=[torch.optim.Optimizer])
def fit_parabola(answer: Probe) -> None:
    def summed(x: Tensor, y: Tensor, steps: int, lr: float) -> Tensor:
        return descended(x, y, steps, lr * len(x))

    mistakes = [
        (partial(descended, clear=False), "The gradients were not cleared between steps."),
        (summed, "The loss is the mean of the squared errors, not their sum."),
        (lambda x, y, n, lr: descended(x, y, n, -lr), "You went uphill: w −= lr · gradient."),
        (lambda x, y, n, lr: descended(x, y, n + 1, lr), "That is one step too many."),
        (lambda x, y, n, lr: descended(x, y, n - 1, lr), "That is one step too few."),
        (lambda *a: descended(*a).flip(0), "The order is c₀, c₁, c₂: the constant comes first."),
        (lambda *a: torch.zeros(3), "The coefficients have not moved: is the step taken?"),
        (partial(descended, start=1.0), "All three coefficients start at 0, not at 1."),
        (lambda x, y, n, lr: descended(x, y, n, lr / 2), "Half the loss, half the gradient."),
    ]
    three = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 2.0, 7.0])
    nine = drawn((9,), (9,))
    for (x, y), steps, lr in ((three, 2, 0.0625), (three, 1, 0.25), (nine, 30, 0.05)):
        hint = "Loss, backward, step without recording, clear; exactly `steps` times."
        wanted = descended(x, y, steps, lr)
        answer.expect(wanted, x, y, steps, lr, same=alike, hint=hint, mistakes=mistakes)


@exercise("A.8")
def good_rates(answer: Probe) -> None:
    ends = {lr: abs((1 - lr * 28 / 3) ** 50) * 2 for lr in (0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)}
    works = [lr for lr, distance in ends.items() if distance < 0.01]
    wanted = (min(works), max(works), min(lr for lr, distance in ends.items() if distance > 2))
    hint = "The mean of the three squares; w begins at 0; the solution is 2; 50 steps."
    got = answer()
    if isinstance(got, (list, tuple)) and len(got) == 3:
        if any(rate not in ends for rate in got):
            hint = f"Name three of {', '.join(map(str, ends))}."
        elif sorted(got) == sorted(wanted):
            hint = "The right three, in another order: two that work, then one that runs away."
        elif tuple(got) == (0.01, 0.05, 0.1):
            hint = "These come from the sum of the three squares; take their mean."
    answer.measures(
        wanted,
        tolerance=1e-6,
        hint=hint,
        names=("the smallest that works", "the largest that works", "the smallest that runs away"),
    )
