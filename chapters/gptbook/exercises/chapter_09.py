"""Checks of chapter 9's exercises."""

import math

import torch

from gptbook.exercises import AUTOGRAD, NotYet, alike, drawn, exercise
from gptbook.exercises.compare import difference
from gptbook.exercises.wording import contrast
from gptbook.results import load_runs, select


def expect_product(answer, given, shapes, right, mistakes, hint):
    """Expect two tensors (B, A) of these shapes; only their product counts."""
    pair, call = answer(*given, hint=hint), answer.called(*given)
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise NotYet(f"{call} should return two matrices, (B, A).")
    if any(type(one) not in (torch.Tensor, torch.nn.Parameter) for one in pair):
        raise NotYet(f"{call} should return two tensors, (B, A).")
    got = [tuple(one.shape) for one in pair]
    if got != shapes:
        order = " B comes first." if got == shapes[::-1] else ""
        raise NotYet(f"{call}: B and A have the shapes {got}; expected {shapes}.{order} {hint}")
    product, wanted = pair[0] @ pair[1], right[0] @ right[1]
    if alike(product, wanted):
        return
    for wrong, sentence in mistakes:
        B, A = wrong(*given)
        if alike(product, B @ A):
            hint = sentence
            break
    product = product.round() if alike(product, product.round()) else product
    wanted = wanted.round() if alike(wanted, wanted.round()) else wanted
    found = f"{contrast(product, wanted)}{difference(product, wanted)}"
    raise NotYet(f"The product B A of {call}, which {found} {hint}")


@exercise("9.1", forbid=["gptbook"])
def stack(answer):
    def beside(A1, B1, s1, A2, B2, s2, turned=False):
        s1, s2 = (s2, s1) if turned else (s1, s2)
        return torch.cat([s1 * B1, s2 * B2], dim=1), torch.cat([A1, A2])

    mistakes = [
        (lambda *a: beside(a[0], a[1], 1, a[3], a[4], 1), "The scalings are missing."),
        (lambda *a: beside(a[0], a[1], a[2] ** 2, a[3], a[4], a[5] ** 2),
         "Each scaling comes in twice: multiply one of the two matrices by it, not both."),
        (lambda *a: beside(*a, turned=True), "The two scalings are exchanged."),
        (lambda *a: beside(*a[:5], 0), "This is the first adapter alone."),
        (lambda *a: beside(a[0], a[1], 0, *a[3:]), "This is the second adapter alone."),
    ]  # fmt: skip
    hint = "The product of [B1 B2], side by side, and A1 above A2 is B1 A1 + B2 A2."
    small = (torch.tensor([[1.0, 0, 0]]), torch.tensor([[1.0], [0]]), 2.0)
    cases = [(*small, torch.tensor([[0, 1.0, 0]]), torch.tensor([[0.0], [1]]), 3.0)]
    (A1, B1, A2, B2) = drawn((2, 5), (4, 2), (3, 5), (4, 3))
    cases.append((A1, B1, 0.5, A2, B2, 4.0))
    for given in cases:
        shapes = [
            (len(given[1]), len(given[0]) + len(given[3])),
            (len(given[0]) + len(given[3]), given[0].shape[1]),
        ]
        expect_product(answer, given, shapes, beside(*given), mistakes, hint)


@exercise("9.2", forbid=["gptbook"])
def what_it_takes(answer):
    weights = 12 * 8 * (768 + 3 * 768)
    answer.predicts(
        (weights, 4 * weights / 1000, 4 * 124.4, 12 * weights / 1e6),
        tolerance=(0, 1, 10, 0.05),
        explain="A is (8, 768) and B (2304, 8) in each of twelve layers: 8 · 3,072 · 12 = 294,912 "
        "weights, of 4 bytes each. Whoever trains a weight keeps 12 bytes more: its gradient and "
        "two averages. So the frozen model is 498 MB, and what training adds 3.5 MB.",
        names=("the trained weights", "the file in kB", "the frozen model in MB", "the rest in MB"),
    )


@exercise("9.3", forbid=["gptbook", *AUTOGRAD])
def lora_gradients(answer):
    hint = (
        "Entry [i, j] of a gradient says by how much the loss grows if that weight grows by 1: "
        "B[i, j] is multiplied by entry j of A x, and its result is part of output i."
    )

    def of_A(x, g, A, B, s):
        return s * torch.outer(B.T @ g, x)

    def of_B(x, g, A, B, s):
        return s * torch.outer(g, A @ x)

    mistakes = [
        (lambda *a: (of_A(*a[:4], 1), of_B(*a[:4], 1)), "The scaling s is missing."),
        (lambda *a: (of_A(*a[:4], 1), of_B(*a)), "In the gradient of A, the scaling is missing."),
        (lambda *a: (of_A(*a), of_B(*a[:4], 1)), "In the gradient of B, the scaling is missing."),
        (lambda *a: (of_A(*a), a[-1] * of_B(*a)), "In the gradient of B, s comes in twice."),
        (lambda *a: (of_B(*a), of_A(*a)), "The gradient of A comes first."),
        (lambda *a: (of_A(*a).T, of_B(*a).T), "Each gradient has the shape of its matrix: swap the "
         "two arguments of torch.outer."),
        (lambda *a: (torch.zeros_like(a[2]), of_B(*a)),
         "The gradient of A is 0 only where B is: here, B is not 0."),
    ]  # fmt: skip
    x, g = torch.tensor([1.0, 2]), torch.tensor([1.0, 10, 100])
    A, B = torch.tensor([[1.0, 1], [1, 0]]), torch.tensor([[1.0, 0], [0, 2], [0, 0]])
    cases = [(x, g, A, B, 2.0), (x, g, A, 0 * B, 2.0)]
    cases += [(*drawn((4,), (3,), (2, 4), (3, 2), seed=seed), 1.5) for seed in (0, 1)]
    for arguments in cases:
        wanted = of_A(*arguments), of_B(*arguments)
        answer.expect(wanted, *arguments, same=alike, hint=hint, mistakes=mistakes)


@exercise("9.4", forbid=["gptbook"])
def terms_needed(answer):
    hint = "Add up squares, from the first on, until they reach the fraction of the sum of all."

    def count(values, wanted, power=2, more=False):
        total, held = sum(v**power for v in values), 0.0
        for i, value in enumerate(values):
            if held > wanted * total or (held == wanted * total and not more):
                return i
            held += value**power
        return len(values)

    mistakes = [
        (lambda v, w: count(v, w, power=1), "The values are added up themselves; energy is the sum "
         "of their squares."),
        (lambda v, w: count(v, w) - 1, "One too few: the first value is term number 1."),
        (lambda v, w: count(v, w, more=True), "To reach the fraction exactly is enough: at least "
         "`wanted`, not more than it."),
        (lambda v, w: count(v, w) + 1, "One too many."),
        (lambda v, w: math.ceil(w * len(v)), "This is a fraction of the number of values; large "
         "values hold more of the energy."),
        (lambda v, w: len(v), "All of them are not needed here."),
    ]  # fmt: skip
    cases = [
        (([4.0, 1.0, 1.0, 1.0, 1.0], 0.75), 1), (([3.0, 2.0, 1.0], 0.9), 2),
        (([1.0, 1.0, 1.0, 1.0], 0.75), 3),
        (([1.0, 1.0, 1.0, 1.0], 0.76), 4), (([5.0], 0.99), 1), (([2.0, 1.0, 0.0, 0.0], 1.0), 2),
        (([4.0, 3.0], 0.6), 1), (([4.0, 3.0], 0.65), 2),
    ]  # fmt: skip
    for arguments, wanted in cases:
        answer.expect(wanted, *arguments, hint=hint, mistakes=mistakes)


@exercise("9.5")
def merged_in_bf16(answer):
    weights, changes = (
        torch.tensor([1.0, 1.0, 0.1, 1.0]),
        torch.tensor([0.003, 0.005, 0.003, -0.003]),
    )
    merged = (weights.bfloat16().float() + changes).bfloat16().float()
    answer.predicts(
        tuple(merged.tolist()),
        tolerance=(1e-4, 1e-4, 2e-4, 1e-4),
        explain="From 1 on, bf16 has 1, 1 + 1/128, 1 + 2/128 …, and below 1 steps of 1/256: 1.003 "
        "is nearest to 1, 1.005 to 1.0078, 0.997 to 0.9961. Near 0.1 the steps are 1/2048, and the "
        "change survives.",
        names=("1 + 0.003", "1 + 0.005", "0.1 + 0.003", "1 - 0.003"),
    )


def best(D, r, power=1.0, last=False):
    """Factors of the best of rank r, with a `power` of the singular values."""
    U, S, Vh = torch.linalg.svd(D, full_matrices=False)
    kept = slice(-r, None) if last else slice(r)
    return U[:, kept] * S[kept] ** power, Vh[kept]


@exercise("9.6", forbid=["gptbook"])
def best_of_rank(answer):
    hint = "Only the product B A is compared: its factors may be split in any way."
    mistakes = [
        (lambda D, r: best(D, r, power=0), "The singular values are missing."),
        (lambda D, r: best(D, r, last=True), "These are the smallest terms."),
        (lambda D, r: (D[:, :r], torch.eye(r, D.shape[1])), "These are the first r columns of D."),
        (lambda D, r: best(D, r, power=2), "The singular values come in twice."),
        (lambda D, r: best(D, r, power=0.5), "The roots of the singular values come in only once."),
    ]  # fmt: skip
    [square, wide, narrow] = drawn((5, 5), (3, 5), (6, 4))
    diagonal = torch.tensor([[9.0, 0, 0], [0, 4, 0], [0, 0, 0]])
    for D, r in ((diagonal, 1), (narrow, 2), (wide, 1), (square, 4)):
        shapes = [(len(D), r), (r, D.shape[1])]
        expect_product(answer, (D, r), shapes, best(D, r), mistakes, hint)


@exercise("9.7", forbid=["gptbook"])
def peft_name(answer):
    start, hint = "base_model.model.transformer.h.", "Compare piece by piece, from dot to dot."
    names = {"qkv": "attn.c_attn", "out": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}

    def named(layer, matrix, names=names, start=start):
        _, index, *_, end = layer.split(".")
        return f"{start}{index}.{names[end]}.lora_{matrix}.weight"

    mistakes = [
        (lambda layer, m: f"base_model.model.transformer.{layer}.lora_{m}.weight", "This is our "
         "name of the layer; GPT-2's files call it otherwise."),
        (lambda layer, m: f"base_model.model.{layer}.lora_{m}.weight", "This is our name of the "
         "layer; GPT-2's files call it otherwise, and begin with transformer."),
        (lambda layer, m: named(layer, m).removesuffix(".weight"), "The end, .weight, is missing."),
        (lambda layer, m: named(layer, m).replace("transformer.", ""), "transformer. is missing."),
        (lambda layer, m: named(layer, m).replace(".h.", ".blocks."), "`blocks` is `h` there."),
        (lambda layer, m: named(layer, m).replace(".h.", "."), "`blocks` is `h` there."),
        (lambda layer, m: named(layer, "A"), "Look at `matrix`: this is not always A."),
        (lambda layer, m: named(f"blocks.{layer.split('.')[1][0]}.{layer.split('.', 2)[2]}", m),
         "The number of a layer may have two digits."),
        (lambda layer, m: named(layer, m).replace("c_fc", "c_proj"), "In the feed-forward network, "
         "up is c_fc; only down is c_proj."),
        (lambda layer, m: named(layer, m).replace("attn.", "attention."), "The pieces in GPT-2's "
         "files are called attn and mlp."),
    ]  # fmt: skip
    cases = (
        ("blocks.0.attention.qkv", "A"),
        ("blocks.11.attention.out", "B"),
        ("blocks.3.feed_forward.up", "B"),
        ("blocks.27.feed_forward.down", "A"),
    )
    for layer, matrix in cases:
        wanted = named(layer, matrix)
        answer.expect(wanted, layer, matrix, hint=hint, mistakes=mistakes)


@exercise("9.8")
def best_ranks(answer):
    ranks, runs = (1, 4, 16, 64), load_runs("adapters", kind="LoRA", targets="all", phase="search")
    found = []
    for rate in (3e-4, 1e-3, 3e-3, 1e-2, 3e-2):
        lowest = {r["rank"]: min(r["validation_losses"]) for r in select(runs, learning_rate=rate)}
        found.append(min(ranks, key=lowest.__getitem__))
    answer.measures(
        tuple(found),
        hint="Take the runs whose phase is search, on all layers, and of each run the lowest of "
        "its validation losses.",
        names=("0.0003", "0.001", "0.003", "0.01", "0.03"),
    )
