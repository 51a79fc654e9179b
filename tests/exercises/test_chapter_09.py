"""Wrong answers to the exercises of chapter 9, each rejected with a hint."""

import math

import torch

from gptbook.exercises import check
from tests.exercises.helpers import assert_rejected, wrong_answers


def wrong_stack(A1, B1, s1, A2, B2, s2, power=1):
    return torch.cat([s1**power * B1, s2**power * B2], dim=1), torch.cat([A1, A2])


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
        (lambda *a: wrong_stack(*a, power=0), "The scalings are missing"),
        (lambda *a: wrong_stack(*a, power=2), "comes in twice"),
        (
            lambda A1, B1, s1, A2, B2, s2: wrong_stack(A1, B1, s2, A2, B2, s1),
            "The two scalings are exchanged",
        ),
        (lambda A1, B1, s1, A2, B2, s2: wrong_stack(A1, B1, s1, A2, B2, 0), "the first adapter"),
        (lambda A1, B1, s1, A2, B2, s2: wrong_stack(A1, B1, 0, A2, B2, s2), "the second adapter"),
        (lambda *a: wrong_stack(*a)[::-1], "B comes first"),
        (lambda A1, B1, s1, A2, B2, s2: (s1 * B1 + s2 * B2, A1 + A2), "is B1 A1 + B2 A2"),
        (lambda *a: wrong_stack(*a)[0] @ wrong_stack(*a)[1], "should return two matrices"),
        (lambda *a: tuple(m.tolist() for m in wrong_stack(*a)), "two tensors"),
    ],
    "9.2": [
        (lambda: (294_912, 2359, 498, 3.54), "the file in kB"),  # eight bytes each
        (lambda: (24 * 8 * 768, 590, 498, 1.77), "the trained weights"),  # B as small as A
        (lambda: (294_912, 1180, 498, 1493), "the rest in MB"),  # for all weights
        (lambda: (294_912, 1180, 498, 2.36), "the rest in MB"),  # averages only
        (lambda: 294_912, "it should return"),
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
        (lambda: (1.003, 1.005, 0.103, 0.997), "1 + 0.003"),  # not rounded
        (lambda: (1.0, 1.0, 0.1031, 0.9961), "1 + 0.005"),  # cut off
        (lambda: (1.0, 1.0078, 0.1001, 0.9961), "0.1 + 0.003"),
        (lambda: (1.0, 1.0078, 0.1031, 1.0), "1 - 0.003"),
        (lambda: (1.0, 1.0078, 0.1031), "it should return"),
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
    "9.8": [
        (lambda: (64, 64, 16, 4, 64), "0.03; that is too high"),
        (lambda: (64, 16, 16, 4, 1), "0.001; that is too low"),
        (lambda: (64, 64, 16, 16, 1), "0.01; that is too high"),
        (lambda: 64, "it should return"),
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

    def roots(A1, B1, s1, A2, B2, s2):  # of the scalings, on both sides
        return torch.cat([s1**0.5 * B1, s2**0.5 * B2], dim=1), torch.cat(
            [s1**0.5 * A1, s2**0.5 * A2]
        )

    assert check("9.1", roots).correct
