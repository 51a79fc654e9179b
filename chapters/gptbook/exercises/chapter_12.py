"""Checks of chapter 12's exercises."""

import math
from itertools import pairwise

import torch

from gptbook.exercises import alike, close, drawn, exercise
from gptbook.results import paired, read_result


def smallest(W, X, Y):
    return (torch.linalg.pinv(X) @ (Y - X @ W.T)).T


@exercise("12.1", forbid=["gptbook"])
def smallest_change(answer):
    hint = "What the change must give for input i is Y[i] minus what W gives for it already."
    mistakes = [
        (lambda W, X, Y: smallest(0 * W, X, Y), "This takes Y as if W gave nothing yet."),
        (lambda W, X, Y: W + smallest(W, X, Y), "This is the new matrix; return the change."),
        (lambda W, X, Y: smallest(W, X, Y).T, "The change has the shape of W, (out, in)."),
        (lambda W, X, Y: (Y - X @ W.T).T @ X, "This is a step of gradient descent. It gives what "
         "is wanted only if the inputs are at right angles and of norm 1."),
        (lambda W, X, Y: ((Y - X @ W.T) / X.square().sum(dim=1, keepdim=True)).T @ X, "Each input "
         "gets a change of its own here, and the changes disturb each other where inputs overlap."),
        (lambda W, X, Y: -smallest(W, X, Y), "The sign is turned round."),
    ]  # fmt: skip
    one = (torch.tensor([[2.0, 1.0]]), torch.tensor([[0.6, 0.8]]), torch.tensor([[5.0]]))
    two = (one[0], torch.tensor([[2.0, 0.0], [0.6, 0.8]]), torch.tensor([[6.0], [5.0]]))
    cases = [one, two, (torch.zeros(2, 2), torch.eye(2), torch.tensor([[1.0, 2], [3, 4]]))]
    cases += [tuple(drawn((3, 6), (n, 6), (n, 3))) for n in (1, 2, 4)]
    for W, X, Y in cases:
        answer.expect(smallest(W, X, Y), W, X, Y, same=alike, hint=hint, mistakes=mistakes)


def front(points, beats):
    return [i for i, a in enumerate(points) if not any(beats(b, a) for b in points)]


def is_better(b, a):
    return b[0] <= a[0] and b[1] <= a[1] and tuple(b) != tuple(a)


@exercise("12.2", forbid=["gptbook"])
def pareto_front(answer):
    hint = "A point falls out if another is nowhere worse and somewhere better."
    mistakes = [
        (lambda points: front(points, lambda b, a: b[0] < a[0] and b[1] < a[1]), "A point that is "
         "equal in one and worse in the other is beaten, too."),
        (lambda points: front(points, lambda b, a: is_better(a, b)), "Low is good here, in both."),
        (lambda points: front(points, lambda b, a: b[0] < a[0] or b[1] < a[1]), "To be better in "
         "one is not enough to beat a point, if it is worse in the other."),
        (lambda points: [points[i] for i in front(points, is_better)], "These are the points; "
         "return their indices."),
        (lambda points: [i for i in front(points, is_better) if points.count(points[i]) == 1],
         "Two equal points do not beat each other."),
        (lambda points: [i for i in front(points, is_better) if points.index(points[i]) == i],
         "Of equal points, all are on the front."),
        (lambda points: sorted(front(points, is_better), key=lambda i: points[i]), "Return the "
         "indices in ascending order."),
        (lambda points: min(range(len(points)), key=lambda i: points[i]), "There may be several; "
         "return a list."),
    ]  # fmt: skip
    cases = [
        [(1.0, 3.0), (2.0, 2.0), (3.0, 3.0)], [(2.0, 1.0), (2.0, 2.0), (1.0, 3.0)],
        [(1.0, 1.0), (1.0, 1.0), (2.0, 0.5)], [(3.0, 1.0), (1.0, 3.0), (2.0, 2.0), (2.5, 2.5)],
        [(1.0, 5.0)], [(0.5, 0.9), (0.6, 0.8), (0.7, 0.85), (0.55, 0.95), (0.5, 0.8)], [],
    ]  # fmt: skip
    for points in cases:
        answer.expect(front(points, is_better), points, hint=hint, mistakes=mistakes)


def crossing(new, home, wanted, first=True, part=True):
    if new[0] <= wanted:
        return home[0]
    steps = list(zip(pairwise(new), pairwise(home), strict=True))
    for (a, b), (c, d) in steps if first else reversed(steps):
        if b <= wanted < a:
            return c + (d - c) * ((a - wanted) / (a - b) if part else 1.0)
    return None


@exercise("12.3", forbid=["gptbook"])
def at_equal_loss(answer):
    hint = (
        "Find the first look at which `new` has come down to `wanted`, and go back from it by the "
        "part of the step that was not needed."
    )
    mistakes = [
        (lambda n, h, w: crossing(n, h, w, part=False), "This is the loss at the next look; take "
         "the part of the way to it that leads to `wanted`."),
        (lambda n, h, w: crossing(n, h, w, first=False), "The loss comes down to `wanted` more "
         "than once; take the first time."),
        (lambda n, h, w: h[-1] if min(n) > w else crossing(n, h, w), "A run that never comes down "
         "to `wanted` has no loss there: return None."),
        (lambda n, h, w: h[min(range(len(n)), key=lambda i: abs(n[i] - w))], "This is the loss at "
         "the nearest look; take the part of the way between two looks."),
        (lambda n, h, w: h[-1], "This is the end of the run."),
        (lambda n, h, w: crossing(h, n, w), "The two losses are exchanged."),
    ]  # fmt: skip
    cases = [
        ([4.0, 2.0, 1.0], [1.0, 2.0, 3.0], 3.5), ([4.0, 3.0, 1.0], [1.0, 1.5, 3.5], 2.0),
        ([4.0, 2.0], [1.0, 2.0], 2.0), ([4.0, 3.0], [1.0, 2.0], 1.0), ([4.0, 2.0], [1.0, 2.0], 4.0),
        ([4.0, 1.0, 3.0, 0.5], [1.0, 2.0, 3.0, 4.0], 2.0), ([2.0, 1.9, 1.5], [0.9, 0.92, 1.2], 1.6),
    ]  # fmt: skip
    for new, home, wanted in cases:
        result = crossing(new, home, wanted)
        same = None if result is None else close
        answer.expect(result, new, home, wanted, same=same, hint=hint, mistakes=mistakes)


def two_sided(differences, sides=2, zeros=False, strict=False):
    signs = [d for d in differences if d != 0 or zeros]
    n, k = len(signs), max(sum(d > 0 for d in signs), sum(d < 0 for d in signs))
    tail = sum(math.comb(n, i) for i in range(k + strict, n + 1)) / 2**n
    return min(1.0, sides * tail)


@exercise("12.4", forbid=["gptbook"])
def sign_test(answer):
    hint = (
        "Of n throws of a coin, how often does one side come at least as often as the larger count "
        "of signs? That, twice, and never more than 1."
    )
    mistakes = [
        (lambda ds: two_sided(ds, sides=1), "This is one side; either method could have been the "
         "better one, so take twice as much."),
        (lambda ds: two_sided(ds, zeros=True), "Differences of 0 have no sign: leave them out."),
        (lambda ds: two_sided(ds, strict=True), "Count what was seen as well: at least as often, "
         "not more often."),
        (lambda ds: 2 * math.comb(len(ds), sum(d > 0 for d in ds)) / 2 ** len(ds), "This is the "
         "probability of exactly this count; add up those that are as uneven or more."),
        (lambda ds: 2 * sum(
            math.comb(len(ds), i) for i in range(sum(d > 0 for d in ds), len(ds) + 1)
        ) / 2 ** len(ds), "This counts the positive signs even where there are more negative ones, "
         "or comes out above 1."),
    ]  # fmt: skip
    cases = [
        [1.0, 2.0, 0.5, 0.1, 3.0], [-1.0, -2.0, -0.5], [1.0, 2.0, -0.5, 0.1, 3.0], [1.0, -1.0],
        [1.0, 0.0, 2.0], [-1.0, -1.0, -2.0, 4.0], [0.0], [0.2] * 6, [-0.1, 0.3, -0.2, -0.4, -0.5],
    ]  # fmt: skip
    for differences in cases:
        wanted = float(two_sided(differences))
        answer.expect(wanted, differences, same=close, hint=hint, mistakes=mistakes)


@exercise("12.5")
def five_seeds(answer):
    answer.predicts(
        (2 / 2**5, 6, 0.9**6),
        tolerance=(0.0005, 0, 0.005),
        explain="All five signs alike: twice 1/32, 0.0625, so with five seeds a sign test cannot "
        "come below 0.05, whatever the methods do. With six it can, 2/64; but six out of six come, "
        "if each sign is right with probability 0.9, in 0.9 to the power of 6, 53 % of all cases.",
        names=("five of five", "how many seeds", "six of six"),
    )


def thin(A, B, fraction, squared=True):
    values = torch.linalg.svdvals(B @ A)
    energy = values**2 if squared else values
    return int((energy.cumsum(0) / energy.sum() < fraction - 1e-6).sum()) + 1


@exercise("12.6", forbid=["gptbook"])
def terms_of_product(answer):
    hint = "BA is (out, in), but no more than r of its singular values are not zero."
    mistakes = [
        (lambda A, B, f: thin(A, B, f, squared=False), "The energy is the sum of the squares of "
         "the singular values; here, they are not squared."),
        (lambda A, B, f: thin(A, B, f) - 1, "One more term is needed: these hold less than the "
         "fraction."),
        (lambda A, B, f: thin(A, torch.eye(len(A)), f), "This is about A alone; B stretches the "
         "directions, too."),
        (lambda A, B, f: thin(torch.eye(B.shape[1]), B, f), "This is about B alone."),
        (lambda A, B, f: len(A), "This is r; how many terms does it take?"),
        (lambda A, B, f: float(thin(A, B, f)), "A number of terms is a whole number."),
    ]  # fmt: skip
    # Terms for 90 %: of BA 3 of 6, of A alone 5, of B alone 1, with values not squared 4.
    A, B = torch.diag(torch.tensor([4.0, 4, 10, 3, 3, 3])), torch.eye(7)[:, :6]
    cases = [(A, B * torch.tensor([1.0, 2, 1, 12, 3, 1]), 0.9)]
    for r, inside, out, seed in ((4, 9, 7, 0), (8, 20, 30, 1), (3, 5, 8, 2), (16, 64, 48, 3)):
        A, B = drawn((r, inside), (out, r), seed=seed)
        A *= 2.0 ** -torch.arange(r)[:, None]
        cases += [(A, B, fraction) for fraction in (0.5, 0.9)]
    for A, B, fraction in cases:
        answer.expect(thin(A, B, fraction), A, B, fraction, hint=hint, mistakes=mistakes)


@exercise("12.7")
def storage(answer):
    answer.predicts(
        (140, 14.8, 175),
        tolerance=(0.5, 0.05, 1),
        explain="A copy takes 7 · 2 = 14 GB, an adapter 0.04 · 2 = 0.08 GB: ten copies 140 GB, one "
        "copy and ten adapters 14 + 0.8 GB, and 14 / 0.08 = 175 adapters as much as a copy.",
        names=("ten copies", "one copy and ten adapters", "adapters for a copy"),
    )


@exercise("12.8")
def replay_or_lora(answer):
    arms = {"arm": "full, 5 % old texts"}, {"arm": "LoRA, rank 16"}
    runs = read_result("forgetting_people")
    points = paired(runs, *arms, lambda run: 100 * run["recalled"][-1])
    loss = paired(runs, *arms, lambda run: run["validation_losses"][-1])
    answer.measures(
        (points.mean, points.clear, loss.mean, loss.clear),
        tolerance=(0.1, 0, 0.001, 0),
        hint="Replay minus LoRA, seed by seed, at the last look; points are hundredths. A "
        "difference is clear if its interval leaves out 0.",
        names=("the points", "whether they are clear", "the loss", "whether that is clear"),
    )
