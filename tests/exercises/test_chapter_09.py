"""Wrong answers to the exercises of chapter 9, each rejected with a hint."""

import math

import torch

from gptbook.exercises import check
from tests.exercises.helpers import assert_rejected, wrong_answers


def wrong_lora(x, W, b, A, B, scale):
    return x @ W.T + b + scale * x @ A.T @ B.T


def wrong_energy_rank(values, wanted, power=2):
    parts = [value**power for value in values]
    return next(n for n in range(len(parts) + 1) if sum(parts[:n]) >= wanted * sum(parts))


def more_than(values, wanted):
    squares, held = [v**2 for v in values], 0.0
    for i, square in enumerate(squares, 1):
        held += square
        if held > wanted * sum(squares):
            return i
    return len(values)


def wrong_svd(W, r, power=1.0, last=False):
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    kept = slice(-r, None) if last else slice(r)
    return U[:, kept] * S[kept] ** power, Vh[kept]


def by_autograd(x, g, A, B, s):
    A, B = A.clone().requires_grad_(), B.clone().requires_grad_()
    return torch.autograd.grad((g * (s * B @ (A @ x))).sum(), (A, B))


def wrong_peft_name(layer, matrix):
    names = {"qkv": "attn.c_attn", "out": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}
    _, index, *_, end = layer.split(".")
    return f"base_model.model.transformer.h.{index}.{names[end]}.lora_{matrix}.weight"


WRONG = {
    "9.1": [
        (lambda x, W, b, A, B, a: wrong_lora(x, W, b, A, B, a), "not divided by r"),
        (lambda x, W, b, A, B, a: wrong_lora(x, W, b, A, B, 1), "The scaling, alpha / r"),
        (lambda x, W, b, A, B, a: wrong_lora(x, W, 0, A, B, a / len(A)), "The bias is missing"),
        (lambda x, W, b, A, B, a: wrong_lora(x, W, b, A, B, a / len(x)), "the number of inputs"),
        (lambda x, W, b, A, B, a: wrong_lora(x, W, b, A, B, a / len(B)), "rows of B, which is out"),
        (lambda x, W, b, A, B, a: wrong_lora(x, W, b, A, B, a / len(A) ** 0.5), "the root of r"),
        (lambda x, W, b, A, B, a: a / len(A) * wrong_lora(x, W, b, A, B, 1), "Only the adapter"),
        (lambda x, W, b, A, B, a: x @ W.T + b, "Where is the adapter?"),
        (lambda x, W, b, A, B, a: a / len(A) * x @ A.T @ B.T, "Where is the frozen layer?"),
        (lambda x, W, b, A, B, a: x @ W + b, "Two parts are added"),  # raises
    ],
    "9.2": [
        (lambda shapes, r: sum(out * inside for out, inside in shapes), "which stay frozen"),
        (lambda shapes, r: sum(r * out * inside for out, inside in shapes), "thin matrices"),
        (lambda shapes, r: sum(2 * r * out for out, inside in shapes), "Only B has"),
        (lambda shapes, r: sum(2 * r * inside for out, inside in shapes), "Only A has"),
        (lambda shapes, r: sum(r * (out + inside) + out for out, inside in shapes), "Biases stay"),
        (lambda shapes, r: r * sum(shapes[0]) if shapes else 0, "Only the first layer"),
        (lambda shapes, r: sum(map(sum, shapes)), "The rank is missing"),
        (lambda shapes, r: r**2 * sum(map(sum, shapes)), "comes in only once"),
        (lambda shapes, r: float(r * sum(map(sum, shapes))), "Return type int, not float"),
    ],
    "9.3": [
        (lambda x, g, A, B, s: (torch.outer(B.T @ g, x), torch.outer(g, A @ x)), "The scaling s"),
        (
            lambda x, g, A, B, s: (torch.outer(B.T @ g, x), s * torch.outer(g, A @ x)),
            "In the gradient of A",
        ),
        (
            lambda x, g, A, B, s: (s * torch.outer(B.T @ g, x), torch.outer(g, A @ x)),
            "In the gradient of B, the scaling is missing",
        ),
        (
            lambda x, g, A, B, s: (s * torch.outer(x, B.T @ g), s * torch.outer(A @ x, g)),
            "swap the two arguments",
        ),
        (
            lambda x, g, A, B, s: (s * torch.outer(g, A @ x), s * torch.outer(B.T @ g, x)),
            "The gradient of A comes first",
        ),
        (
            lambda x, g, A, B, s: (torch.zeros_like(A), s * torch.outer(g, A @ x)),
            "only where B is",
        ),
        (
            lambda x, g, A, B, s: (s * torch.outer(B.T @ g, x), s**2 * torch.outer(g, A @ x)),
            "s comes in twice",
        ),
        (lambda x, g, A, B, s: (s * torch.outer(B @ g, x), 0), "by how much the loss grows"),
        (lambda *a: by_autograd(*a), "torch.autograd.grad, which is not allowed"),
    ],
    "9.4": [
        (lambda v, w: wrong_energy_rank(v, w, power=1), "the sum of their squares"),
        (lambda v, w: wrong_energy_rank(v, w) - 1, "One too few"),
        (lambda v, w: wrong_energy_rank(v, w) + 1, "One too many"),
        (more_than, "To reach the fraction exactly is enough"),
        lambda v, w: sum(x**2 >= (1 - w) * v[0] ** 2 for x in v),
        (lambda v, w: math.ceil(w * len(v)), "a fraction of the number of values"),
        (lambda v, w: len([x for x in v if x > 0]), "All of them"),
        (lambda v, w: torch.tensor(wrong_energy_rank(v, w)), "Return type int, not Tensor"),
    ],
    "9.5": [
        (lambda W, A, B, a, s: W + a / len(A) * B @ A, "rank_stabilized is True here"),
        (lambda W, A, B, a, s: W + a / len(A) ** 0.5 * B @ A, "rank_stabilized is False here"),
        (
            lambda W, A, B, a, s: W + a / (len(A) if s else len(A) ** 0.5) * B @ A,
            "rank_stabilized is False here",
        ),
        (
            lambda W, A, B, a, s: W.add_(a / (len(A) ** 0.5 if s else len(A)) * B @ A),
            "changed its arguments",
        ),
        (lambda W, A, B, a, s: a / (len(A) ** 0.5 if s else len(A)) * B @ A, "the change alone"),
        (lambda W, A, B, a, s: W + a * B @ A, "not divided by anything"),
        (lambda W, A, B, a, s: W + B @ A, "The scaling is missing"),
        (lambda W, A, B, a, s: W + A @ B, "The product is B A"),
    ],
    "9.6": [
        (lambda D, r: (D[:, :r], torch.eye(r, D.shape[1])), "the first r columns"),
        (lambda D, r: wrong_svd(D, r, power=0), "The singular values are missing"),
        (lambda D, r: wrong_svd(D, r, power=2), "come in twice"),
        (lambda D, r: wrong_svd(D, r, power=0.5), "come in only once"),
        (lambda D, r: wrong_svd(D, r, last=True), "the smallest terms"),
        (lambda D, r: wrong_svd(D, r)[::-1], "B comes first"),
        (lambda D, r: wrong_svd(D, min(D.shape)), "have the shapes"),
        (lambda D, r: wrong_svd(D, r)[0] @ wrong_svd(D, r)[1], "should return two matrices"),
        (lambda D, r: [[1], [2]], "two tensors"),
        (lambda D, r: torch.linalg.svd(D)[5], "may be split in any way"),  # raises
        (lambda D, r: (2 * wrong_svd(D, r)[0], wrong_svd(D, r)[1]), "may be split in any way"),
    ],
    "9.7": [
        (lambda layer, m: f"base_model.model.{layer}.lora_{m}.weight", "begin with transformer"),
        (
            lambda layer, m: f"base_model.model.transformer.{layer}.lora_{m}.weight",
            "GPT-2's files call it otherwise.",
        ),
        (lambda layer, m: wrong_peft_name(layer, m).removesuffix(".weight"), "The end, .weight"),
        (lambda layer, m: wrong_peft_name(layer, m).replace("transformer.", ""), "transformer. is"),
        (lambda layer, m: wrong_peft_name(layer, m).replace(".h.", ".blocks."), "`blocks` is `h`"),
        (lambda layer, m: wrong_peft_name(layer, m).replace(".h.", "."), "`blocks` is `h`"),
        (lambda layer, m: wrong_peft_name(layer, "A"), "Look at `matrix`"),
        (
            lambda layer, m: wrong_peft_name(layer[:8] + layer[layer.index(".", 8) :], m),
            "may have two digits",
        ),
        (lambda layer, m: wrong_peft_name(layer, m).replace("c_fc", "c_proj"), "only down is"),
        (lambda layer, m: wrong_peft_name(layer, m).replace("attn", "attention"), "attn and mlp"),
        (lambda layer, m: {"A": 1}[layer], "piece by piece"),  # raises
    ],
}


@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)


def roots_on_both_sides(D, r):
    U, S, Vh = torch.linalg.svd(D, full_matrices=False)
    return U[:, :r] * S[:r].sqrt(), S[:r, None].sqrt() * Vh[:r]


def test_other_right_answers_are_accepted():
    assert check("9.6", roots_on_both_sides).correct
    assert check(
        "9.3", lambda x, g, A, B, s: [s * (B.T @ g)[:, None] * x, s * g[:, None] * (A @ x)]
    ).correct
    assert check(
        "9.1", lambda x, W, b, A, B, a: (W @ x.T).T + b + x @ (a / len(A) * B @ A).T
    ).correct
