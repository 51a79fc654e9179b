"""Wrong answers to the exercises of chapter 7, each rejected with a hint."""

import math

import torch

from tests.exercises.helpers import assert_rejected, wrong_answers


def wrong_energy_rank(values, wanted, power=2):
    parts = [value**power for value in values]
    return next(n for n in range(len(parts) + 1) if sum(parts[:n]) >= wanted * sum(parts))


def wrong_svd(W, r, values=True, last=False):
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    kept = slice(-r, None) if last else slice(r)
    return U[:, kept] * (S[kept] if values else 1), Vh[kept]


def wrong_peft_name(layer, matrix):
    names = {"qkv": "attn.c_attn", "out": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}
    _, index, *_, end = layer.split(".")
    return f"base_model.model.transformer.h.{index}.{names[end]}.lora_{matrix}.weight"


WRONG = {
    "7.1": [
        lambda x, W, b, A, B, alpha: x @ W.T + b + alpha * x @ A.T @ B.T,  # not divided by r
        lambda x, W, b, A, B, alpha: x @ W.T + alpha / len(A) * x @ A.T @ B.T,  # the bias is lost
        lambda x, W, b, A, B, alpha: x @ W.T + b + alpha / len(x) * x @ A.T @ B.T,
        lambda x, W, b, A, B, alpha: x @ W.T + b + alpha / len(A) ** 0.5 * x @ A.T @ B.T,
        lambda x, W, b, A, B, alpha: (x @ W.T + b) * (1 + alpha / len(A)),
        lambda x, W, b, A, B, alpha: alpha / len(A) * x @ A.T @ B.T,
    ],
    "7.2": [
        lambda shapes, r: sum(out * inside for out, inside in shapes),
        lambda shapes, r: sum(r * out * inside for out, inside in shapes),
        lambda shapes, r: sum(2 * r * out for out, inside in shapes),
        lambda shapes, r: sum(r * (out + inside) + out for out, inside in shapes),  # with biases
        lambda shapes, r: r * (shapes[0][0] + shapes[0][1]) * len(shapes) if shapes else 0,
    ],
    "7.3": [
        lambda x, g, A, B, s: (torch.outer(B.T @ g, x), torch.outer(g, A @ x)),  # s forgotten
        lambda x, g, A, B, s: (s * torch.outer(x, B.T @ g), s * torch.outer(A @ x, g)),
        lambda x, g, A, B, s: (s * torch.outer(g, A @ x), s * torch.outer(B.T @ g, x)),
        lambda x, g, A, B, s: (torch.zeros_like(A), s * torch.outer(g, A @ x)),
        lambda x, g, A, B, s: (s * torch.outer(B.T @ g, x), s**2 * torch.outer(g, A @ x)),
    ],
    "7.4": [
        lambda values, wanted: wrong_energy_rank(values, wanted, power=1),
        lambda values, wanted: wrong_energy_rank(values, wanted) - 1,
        lambda values, wanted: sum(v**2 >= (1 - wanted) * values[0] ** 2 for v in values),
        lambda values, wanted: math.ceil(wanted * len(values)),
        lambda values, wanted: len([v for v in values if v > 0]),
    ],
    "7.5": [
        lambda W, A, B, alpha, s: W + alpha / len(A) * B @ A,  # rank_stabilized is not looked at
        lambda W, A, B, alpha, s: W + alpha / (len(A) if s else len(A) ** 0.5) * B @ A,
        lambda W, A, B, alpha, s: W.add_(alpha / (len(A) ** 0.5 if s else len(A)) * B @ A),
        lambda W, A, B, alpha, s: alpha / (len(A) ** 0.5 if s else len(A)) * B @ A,
        lambda W, A, B, alpha, s: W + alpha * B @ A,
    ],
    "7.6": [
        lambda W, r: (W[:, :r], torch.eye(r, W.shape[1])),  # the first columns
        lambda W, r: wrong_svd(W, r, values=False),
        lambda W, r: wrong_svd(W, r, last=True),
        lambda W, r: wrong_svd(W, r)[::-1],
        lambda W, r: wrong_svd(W, min(W.shape)),
    ],
    "7.7": [
        lambda layer, matrix: f"base_model.model.{layer}.lora_{matrix}.weight",
        lambda layer, matrix: wrong_peft_name(layer, matrix).removesuffix(".weight"),
        lambda layer, matrix: wrong_peft_name(layer, matrix).replace("transformer.", ""),
        lambda layer, matrix: wrong_peft_name(layer, "A"),
        lambda layer, matrix: wrong_peft_name(layer[:8] + layer[layer.index(".", 8) :], matrix),
        lambda layer, matrix: wrong_peft_name(layer, matrix).replace("c_fc", "c_proj"),
    ],
}


@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)
