"""Checks of chapter 7's exercises."""

import math

import torch

from gptbook.exercises import alike, drawn, exercise


@exercise("7.1")
def lora_forward(answer):
    hint = "W x + b + (alpha / r) · B (A x), for every row of x; r is the number of rows of A."
    for (inside, out), r, alpha in (((3, 5), 2, 6.0), ((4, 4), 1, 1.0), ((5, 2), 3, 0.5)):
        x, W, b, A, B = drawn((7, inside), (out, inside), (out,), (r, inside), (out, r))
        wanted = x @ W.T + b + alpha / r * x @ A.T @ B.T
        answer.expect(wanted, x, W, b, A, B, alpha, same=alike, hint=hint)


@exercise("7.2")
def lora_size(answer):
    hint = "A has r · in numbers, B has out · r; the biases stay frozen."
    for shapes, r in (([(4096, 4096)], 8), ([(3, 5), (7, 2)], 2), ([(10, 4)], 1), ([], 4)):
        answer.expect(sum(r * (out + inside) for out, inside in shapes), shapes, r, hint=hint)


@exercise("7.3")
def lora_gradients(answer):
    hint = "With y = … + s B A x: the gradient of B is s g (A x)ᵀ, that of A is s (Bᵀ g) xᵀ."
    for seed, zero in ((0, False), (1, True)):
        x, g, A, B = drawn((4,), (3,), (2, 4), (3, 2), seed=seed)
        if zero:
            B = torch.zeros_like(B)
        s = 1.5
        wanted = (s * torch.outer(B.T @ g, x), s * torch.outer(g, A @ x))
        answer.expect(wanted, x, g, A, B, s, same=alike, hint=hint)


@exercise("7.4")
def terms_needed(answer):
    hint = "Energy is the sum of squares. Count how many are needed to reach the share."
    cases = [
        (([3.0, 2.0, 1.0], 0.9), 2), (([3.0, 2.0, 1.0], 0.5), 1), (([1.0, 1.0, 1.0, 1.0], 0.75), 3),
        (([1.0, 1.0, 1.0, 1.0], 0.76), 4), (([5.0], 0.99), 1), (([2.0, 1.0, 0.0, 0.0], 1.0), 2),
        (([4.0, 3.0], 0.6), 1), (([4.0, 3.0], 0.65), 2),
    ]  # fmt: skip
    for arguments, wanted in cases:
        answer.expect(wanted, *arguments, hint=hint)


@exercise("7.5")
def merged(answer):
    hint = "W + s B A, where s is alpha / r, or alpha / √r if rank_stabilized. W itself must stay."
    for out, inside, r, alpha in ((3, 5, 2, 6.0), (4, 4, 4, 1.0)):
        W, A, B = drawn((out, inside), (r, inside), (out, r))
        for stabilized in (False, True):
            s = alpha / (math.sqrt(r) if stabilized else r)
            answer.expect(W + s * B @ A, W, A, B, alpha, stabilized, same=alike, hint=hint)


@exercise("7.6")
def best_of_rank(answer):
    def same(got, wanted):
        shapes = [factor.shape for factor in wanted]
        return [factor.shape for factor in got] == shapes and alike(got[0] @ got[1], B @ A)

    hint = "B (out, r) and A (r, in): the first r columns of U, times the r largest values, and Vh."
    for shape, r in (((6, 4), 2), ((3, 5), 1), ((5, 5), 4)):
        [D] = drawn(shape)
        U, S, Vh = torch.linalg.svd(D, full_matrices=False)
        B, A = U[:, :r] * S[:r], Vh[:r]
        answer.expect((B, A), D, r, same=same, hint=hint)


@exercise("7.7")
def peft_name(answer):
    hint = "base_model.model.transformer. + h.N. + the name in GPT-2's files + .lora_A.weight"
    start = "base_model.model.transformer.h."
    cases = {
        ("blocks.0.attention.qkv", "A"): "0.attn.c_attn.lora_A.weight",
        ("blocks.11.attention.out", "B"): "11.attn.c_proj.lora_B.weight",
        ("blocks.3.feed_forward.up", "B"): "3.mlp.c_fc.lora_B.weight",
        ("blocks.27.feed_forward.down", "A"): "27.mlp.c_proj.lora_A.weight",
    }
    for arguments, wanted in cases.items():
        answer.expect(start + wanted, *arguments, hint=hint)
