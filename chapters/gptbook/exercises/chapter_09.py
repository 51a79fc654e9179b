"""Checks of chapter 9's exercises."""

import math

import torch

from gptbook.exercises import AUTOGRAD, NotYet, alike, drawn, exercise
from gptbook.exercises.compare import difference
from gptbook.exercises.wording import contrast


def lora(x, W, b, A, B, scale):
    return x @ W.T + b + scale * x @ A.T @ B.T


@exercise("9.1", forbid=["gptbook"])
def lora_forward(answer):
    hint = "Two parts are added: the frozen layer, with its bias, and the scaled B (A x)."
    mistakes = [
        (lambda x, W, b, A, B, a: lora(x, W, b, A, B, a), "alpha is not divided by r."),
        (lambda x, W, b, A, B, a: lora(x, W, b, A, B, 1), "The scaling, alpha / r, is missing."),
        (lambda x, W, b, A, B, a: lora(x, W, 0, A, B, a / len(A)), "The bias is missing."),
        (lambda x, W, b, A, B, a: lora(x, W, b, A, B, a / len(A) ** 0.5),
         "This divides alpha by the root of r; here it is r itself."),
        (lambda x, W, b, A, B, a: lora(x, W, b, A, B, a / len(x)),
         "alpha is divided by the number of inputs, N; r is the number of rows of A."),
        (lambda x, W, b, A, B, a: lora(x, W, b, A, B, a / len(B)),
         "alpha is divided by the number of rows of B, which is out; r is its number of columns."),
        (lambda x, W, b, A, B, a: x @ W.T + b, "Where is the adapter?"),
        (lambda x, W, b, A, B, a: a / len(A) * x @ A.T @ B.T, "Where is the frozen layer?"),
        (lambda x, W, b, A, B, a: a / len(A) * lora(x, W, b, A, B, 1),
         "Only the adapter is scaled, not the frozen layer."),
    ]  # fmt: skip
    x = torch.tensor([[1.0, 0, 2], [0, 1, 0], [1, 1, 1]])
    W, b = torch.arange(15.0).view(5, 3), torch.arange(100.0, 600, 100)
    A = torch.tensor([[1.0, 1, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]])
    B = torch.eye(5)[:, :4]
    cases = [(x, W, b, A, B, 60.0)]
    for (inside, out), r, alpha in (((3, 5), 2, 6.0), ((4, 4), 1, 1.0), ((5, 2), 3, 0.5)):
        cases.append((*drawn((7, inside), (out, inside), (out,), (r, inside), (out, r)), alpha))
    for x, W, b, A, B, alpha in cases:
        wanted = lora(x, W, b, A, B, alpha / len(A))
        answer.expect(wanted, x, W, b, A, B, alpha, same=alike, hint=hint, mistakes=mistakes)


@exercise("9.2", forbid=["gptbook"])
def lora_size(answer):
    hint = "Each layer gets an A and a B. How many weights does each of them have?"
    mistakes = [
        (lambda shapes, r: sum(out * inside for out, inside in shapes),
         "This counts the weights of the layers themselves, which stay frozen."),
        (lambda shapes, r: sum(r * out * inside for out, inside in shapes),
         "A and B are thin matrices: neither has out times in numbers."),
        (lambda shapes, r: sum(2 * r * out for out, inside in shapes),
         "Only B has as many rows as there are outputs; the columns of A are the inputs."),
        (lambda shapes, r: sum(2 * r * inside for out, inside in shapes),
         "Only A has as many columns as there are inputs; the rows of B are the outputs."),
        (lambda shapes, r: sum(r * (out + inside) + out for out, inside in shapes),
         "Biases stay frozen: LoRA trains none."),
        (lambda shapes, r: sum(r * (o + i) for o, i in shapes[:1]), "Only the first layer."),
        (lambda shapes, r: sum(o + i for o, i in shapes), "The rank is missing."),
        (lambda shapes, r: sum(r * r * (o + i) for o, i in shapes), "The rank comes in only once."),
    ]  # fmt: skip
    for shapes, r in (([(3, 5)], 2), ([(3, 5), (7, 2)], 2), ([(4096, 4096)], 8), ([], 4)):
        wanted = sum(r * (out + inside) for out, inside in shapes)
        answer.expect(wanted, shapes, r, hint=hint, mistakes=mistakes)


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


@exercise("9.5", forbid=["gptbook"])
def merged(answer):
    hint = "The scaling is alpha / r, or with rank_stabilized alpha / √r; W itself must stay."

    def merge(W, A, B, alpha, stabilized, keep=1):
        return keep * W + alpha / (math.sqrt(len(A)) if stabilized else len(A)) * B @ A

    mistakes = [
        (lambda W, A, B, a, s: merge(W, A, B, a, False), "rank_stabilized is True here: the "
         "scaling is another then."),
        (lambda W, A, B, a, s: merge(W, A, B, a, True), "rank_stabilized is False here: alpha is "
         "divided by r itself."),
        (lambda W, A, B, a, s: merge(W, A, B, a, s, keep=0), "This is the change alone; the "
         "merged layer's matrix contains W."),
        (lambda W, A, B, a, s: W + a * B @ A, "alpha is not divided by anything."),
        (lambda W, A, B, a, s: W + B @ A, "The scaling is missing."),
        (lambda W, A, B, a, s: W + A @ B, "The product is B A, not A B: (out, r) times (r, in)."),
    ]  # fmt: skip
    W = 100 * torch.ones(2, 3)
    A = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
    B = torch.tensor([[1.0, 2, 3, 0], [0, 0, 1, 4]])
    cases = [(W, A, B, 8.0)]
    for out, inside, r, alpha in ((3, 5, 2, 6.0), (4, 4, 4, 1.0)):
        cases.append((*drawn((out, inside), (r, inside), (out, r)), alpha))
    for case in cases:
        for stabilized in (False, True):
            arguments = (*case, stabilized)
            wanted = merge(*arguments)
            answer.expect(wanted, *arguments, same=alike, hint=hint, mistakes=mistakes)


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
        pair = answer(D, r, hint=hint)
        call, shapes = answer.called(D, r), [(len(D), r), (r, D.shape[1])]
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise NotYet(f"{call} should return two matrices, (B, A).")
        if any(type(one) not in (torch.Tensor, torch.nn.Parameter) for one in pair):
            raise NotYet(f"{call} should return two tensors, (B, A).")
        got = [tuple(one.shape) for one in pair]
        if got != shapes:
            order = " B comes first." if got == shapes[::-1] else ""
            raise NotYet(f"{call}: B and A have the shapes {got}; expected {shapes}.{order}")
        product, (B, A) = pair[0] @ pair[1], best(D, r)
        if alike(product, B @ A):
            continue
        for wrong, sentence in mistakes:
            B_wrong, A_wrong = wrong(D, r)
            if alike(product, B_wrong @ A_wrong):
                hint = sentence
                break
        product = product.round() if alike(product, product.round()) else product
        rounded = (B @ A).round() if alike(B @ A, (B @ A).round()) else B @ A
        found = f"{contrast(product, rounded)}{difference(product, rounded)}"
        raise NotYet(f"The product B A of {call}, which {found} {hint}")


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
