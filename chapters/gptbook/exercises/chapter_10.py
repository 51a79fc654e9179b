"""Checks of chapter 10's exercises."""

import statistics

import torch
import torch.nn.functional as F

from gptbook.exercises import AUTOGRAD, NotYet, alike, close, drawn, exercise
from gptbook.exercises.watch import Watch
from gptbook.results import load_runs

SHAPES = [(5, 3, 2), (4, 4, 1), (3, 6, 2)]  # out, in, r: wide, square, tall
ROWS = "Divide row by row: give the norms the shape (out, 1), by [:, None] or keepdim=True."
# W, A, B, m and s in whole numbers: the rows of W + s B A are (3, 4), (4, 3) and (6, 8).
SMALL = (
    torch.tensor([[1.0, 2], [2, 1], [0, 8]]),
    torch.eye(2),
    torch.tensor([[0.5, 0.5], [0.5, 0.5], [1.5, 0]]),
    torch.tensor([10.0, 5, 20]),
    4.0,
)


def trained(out, inside, r):
    """W, A, B, m of a DoRA layer that has been trained; m is not the norm of anything."""
    W, A, B, m = drawn((out, inside), (r, inside), (out, r), (out,), seed=out)
    return W, A, B, m.abs() + 0.5


def layers(*scales):
    """Layers (W, A, B, m, s), the small one first."""
    return [SMALL, *((*trained(*shape), s) for shape in SHAPES for s in scales)]


@exercise("10.1")
def first_numbers(answer):
    answer.predicts(
        (3.0, 3.0, -3.0, 35 / 50**0.5, 70 / 50**0.5),
        tolerance=0.01,
        explain="A change along the row leaves its direction, and the norm is m, so nothing moves, "
        "unless it is so long that it turns the row round, to (-3, -4). (7, 1) has the norm 7.07: "
        "the row becomes 5 · (7, 1) / 7.07 = (4.95, 0.71), and twice that with m = 10.",
        names=("+ (3, 4)", "+ (-1.5, -2)", "+ (-6, -8)", "+ (4, -3)", "m = 10"),
    )


def dora(W, A, B, m, s, dim=1):
    V = W + s * B @ A
    return m[:, None] * V / V.norm(dim=dim, keepdim=True)


@exercise("10.2", forbid=["gptbook"])
def dora_weight(answer):
    hint = "Each row of the result has the norm that m says. Does it? And where does it point?"
    mistakes = [
        (lambda *a: dora(*a, dim=0), "These are the norms of the columns: dim=1 goes along a row."),
        (lambda W, A, B, m, s: m * (W + s * B @ A) / (W + s * B @ A).norm(dim=1), ROWS),
        (lambda W, A, B, m, s: W + s * B @ A, "This is V: its rows do not have the norms m yet."),
        (lambda W, A, B, m, s: (m / W.norm(dim=1))[:, None] * (W + s * B @ A), "V is divided by "
         "the norms of the rows of W: take those of V itself."),
        (lambda W, A, B, m, s: m[:, None] * (W + s * B @ A) / (W + s * B @ A).norm(), "Each row is "
         "divided by its own norm, not by that of the whole matrix."),
        (lambda W, A, B, m, s: dora(W, A, B, m, 1.0), "The scaling s is missing."),
        (lambda W, A, B, m, s: dora(W, A, B, m * 0 + 1, s), "The rows have norm 1: m is missing."),
        (lambda W, A, B, m, s: m[:, None] * (W + s * B @ A), "V is multiplied by m, but not "
         "divided by its norms."),
    ]  # fmt: skip
    for arguments in layers(0.5, 2.0):
        answer.expect(dora(*arguments), *arguments, same=alike, hint=hint, mistakes=mistakes)


@exercise("10.3")
def turns_farther(answer):
    def turned(**way):
        runs = load_runs("adapters", targets="all", phase="final", **way)
        pairs = [pair for run in runs for pair in run["changes"][-1].items()]
        return statistics.fmean(moved[1] for name, moved in pairs if name.endswith("qkv"))

    usual = turned(kind="full")
    wanted = tuple(turned(kind=kind, rank=16) / usual for kind in ("LoRA", "DoRA"))
    answer.measures(
        wanted,
        tolerance=[one / 10 for one in wanted],
        hint="Take the second number of each pair, the mean over all layers and seeds, and divide "
        "by that of full finetuning.",
        names=("LoRA", "DoRA"),
    )


@exercise("10.4", forbid=["gptbook"])
def row_norms(answer):
    hint = "Three terms, as above: of W alone, which is given, of both, and of B A alone."

    def squares(W, w2, A, B, s, first=1, mixed=2, own=1, of_mixed=1, of_own=2):
        both, alone = (B * (W @ A.T)).sum(dim=1), (B * (B @ (A @ A.T))).sum(dim=1)
        return first * w2 + mixed * s**of_mixed * both + own * s**of_own * alone

    mistakes = [
        (lambda *a: squares(*a), "These are the squares of the norms: the root is missing."),
        (lambda *a: squares(*a, mixed=1) ** 0.5, "The mixed term comes in twice: (a + b)² = a² + "
         "2 a b + b²."),
        (lambda *a: squares(*a, mixed=0) ** 0.5, "The mixed term is missing: (a + b)² = a² + 2 a b "
         "+ b²."),
        (lambda *a: squares(*a, of_own=1) ** 0.5, "In the term of B A alone, s is squared, too."),
        (lambda *a: squares(*a, of_mixed=0) ** 0.5, "In the mixed term, s is missing."),
        (lambda *a: squares(*a, own=0) ** 0.5, "The term of B A alone is missing."),
        (lambda *a: a[1] ** 0.5, "These are the norms of the rows of W: what do B and A change?"),
    ]  # fmt: skip
    for W, A, B, _, s in layers(0.5, 2.0):
        wanted, w2 = (W + s * B @ A).norm(dim=1), (W**2).sum(dim=1)
        answer.expect(wanted, W, w2, A, B, s, same=alike, hint=hint, mistakes=mistakes)
    W, A, B = drawn((64, 96), (2, 96), (64, 2))
    w2 = (W**2).sum(dim=1)
    with Watch(W.numel()) as watch:
        answer.function(W, w2, A, B, 0.5)
    if watch.names:
        made = {"pow": "W is squared, but the sums of these squares are given, as w2"}
        made |= dict.fromkeys(("mm", "addmm", "matmul", "bmm"), "a product like B @ A is one")
        what = made.get(watch.names[0], f"the operation `{watch.names[0]}` makes one")
        raise NotYet(f"The norms are right, but a matrix of the size of W was made: {what}.")


@exercise("10.5", forbid=["gptbook", *AUTOGRAD])
def magnitude_gradient(answer):
    hint = "If one entry of m grows by 1, which output changes, and by how much?"

    def gradient(x, g, W, A, B, s, power=1):
        V = W + s * B @ A
        return g * (V @ x) / V.norm(dim=1) ** power

    mistakes = [
        (lambda *a: gradient(*a, power=0), "Directions have the norm 1: divide by it."),
        (lambda *a: gradient(*a, power=2), "Divide by the norms once, not twice."),
        (lambda x, g, W, A, B, s: gradient(x, g, W, A, 0 * B, s), "These are the directions of W, "
         "as at the beginning; they come from V = W + s B A."),
        (lambda x, g, W, A, B, s: gradient(x, g, W, A, B, 1), "The scaling s is missing."),
        (lambda x, g, *a: gradient(x, g * 0 + 1, *a), "This is by how much the outputs change; g "
         "says what that means for the loss."),
        (lambda x, g, W, A, B, s: g * ((W + s * B @ A) @ x) / (W + s * B @ A).norm(), "Each row is "
         "divided by its own norm, not by that of the whole matrix."),
    ]  # fmt: skip
    W, A, B, _, s = SMALL
    cases = [(torch.tensor([2.0, 1]), torch.tensor([1.0, 10, 100]), W, A, B, s)]
    for out, inside, r in SHAPES:
        W, A, B, _ = trained(out, inside, r)
        cases.append((*drawn((inside,), (out,), seed=3), W, A, B, 1.5))
    for arguments in cases:
        wanted = gradient(*arguments)
        answer.expect(wanted, *arguments, same=alike, hint=hint, mistakes=mistakes)


@exercise("10.6", forbid=["gptbook", *AUTOGRAD])
def full_gradient(answer):
    hint = (
        "Each row of the result should be at a right angle to the same row of V, so that "
        "(result * V).sum(dim=1) is 0."
    )

    def gradient(V, m, g, power=2, sign=1):
        norm = V.norm(dim=1, keepdim=True)
        return m[:, None] / norm * (g - sign * (V * g).sum(dim=1, keepdim=True) / norm**power * V)

    mistakes = [
        (lambda V, m, g: gradient(V, m, g, sign=0), "The norm is treated as a constant: the second "
         "term is missing."),
        (lambda V, m, g: gradient(V, m, g, sign=-1), "The part along v is added instead of taken "
         "out."),
        (lambda V, m, g: gradient(V, m, g, power=1), "In the second term, v · g is divided by the "
         "norm; it is its square."),
        (lambda V, m, g: gradient(V, V.norm(dim=1), g), "The factor m / ‖v‖ is missing."),
        (lambda V, m, g: gradient(V, m * 0 + 1, g), "The magnitude m is missing."),
        (lambda V, m, g: gradient(V, m * V.norm(dim=1), g), "The division by ‖v‖ is missing."),
        (lambda V, m, g: (m / V.norm(dim=1))[:, None] * (g - (V * g).sum() / V.norm() ** 2 * V),
         "Here one dot product and one norm are taken of the whole matrix; each row has its own."),
        (lambda V, m, g: m / V.norm(dim=1) * gradient(V, V.norm(dim=1), g), ROWS),
    ]  # fmt: skip
    V, g = torch.tensor([[3.0, 4], [0, 2], [1, 0]]), torch.tensor([[7.0, 1], [3, 5], [2, 3]])
    cases = [(V, torch.tensor([5.0, 4, 3]), g)]
    for out, inside, _ in SHAPES:
        V, g, m = drawn((out, inside), (out, inside), (out,), seed=4)
        cases.append((V, m, g))
    for arguments in cases:
        wanted = gradient(*arguments)
        answer.expect(wanted, *arguments, same=alike, hint=hint, mistakes=mistakes)


@exercise("10.7", forbid=["gptbook"])
def moved(answer):
    def same(got, wanted):
        return len(got) == 2 and all(close(*pair, 1e-5) for pair in zip(got, wanted, strict=True))

    def change(before, after, dim=1, absolute=True):
        norms = after.norm(dim=dim) - before.norm(dim=dim)
        norms = norms.abs() if absolute else norms
        turn = 1 - F.cosine_similarity(before, after, dim=dim)
        return norms.mean().item(), turn.mean().item()

    def of_difference(before, after):
        return (after - before).norm(dim=1).mean().item(), change(before, after)[1]

    hint = "ΔM comes from the norms of the rows alone, ΔD from the cosines of the rows alone."
    mistakes = [
        (lambda *a: change(*a, dim=0), "This goes down the columns: dim=1 goes along a row."),
        (lambda *a: change(*a, absolute=False), "Take absolute values before the mean: rows that "
         "grow must not make up for rows that shrink."),
        (lambda *a: (change(*a)[0], 1 - change(*a)[1]), "ΔD is one minus the cosine: 0 if nothing "
         "has turned."),
        (lambda *a: change(*a)[::-1], "ΔM comes first."),
        (of_difference, "ΔM is the difference of the norms, not the norm of the difference: a row "
         "that only turns has not changed its norm."),
        (lambda *a: tuple(len(a[0]) * one for one in change(*a)), "These are sums over the rows; "
         "take the mean."),
    ]  # fmt: skip
    small = torch.tensor([[3.0, 4], [0, 4]]), torch.tensor([[6.0, 8], [2, 0]])
    cases = [small]
    for out, inside, _ in SHAPES:
        before, step = drawn((out, inside), (out, inside), seed=5)
        cases += [(before, after) for after in (before + 0.3 * step, 2 * before, -before)]
    for arguments in cases:
        wanted = change(*arguments)
        answer.expect(wanted, *arguments, same=same, hint=hint, mistakes=mistakes)


@exercise("10.8")
def norms_at_the_end(answer):
    def norm_after(target, full):
        v, target = torch.tensor([3.0, 4.0]), torch.tensor(target)
        for _ in range(200):
            unit = v / v.norm()
            gradient = 5 / v.norm() * (5 * unit - target)
            v = v - 0.1 * (gradient - full * (gradient @ unit) * unit)
        return v.norm().item()

    answer.measures(
        tuple(norm_after(t, full) for t in ([4.0, -3.0], [6.0, 2.5]) for full in (False, True)),
        tolerance=0.05,
        hint="Begin with v = (3, 4) each time, and take the norm of v itself, not that of w'. The "
        "loss is half of the sum of the two squares.",
        names=("(4, -3), constant", "(4, -3), in full", "(6, 2.5), constant", "(6, 2.5), in full"),
    )
