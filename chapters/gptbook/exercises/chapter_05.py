"""Checks of chapter 5's exercises."""

import math

import torch
import torch.nn.functional as F

from gptbook.exercises import close, exercise


def same(got, wanted):
    """True if two tensors, or two tuples of them, have the same shapes and numbers."""
    if isinstance(wanted, tuple):
        return len(got) == len(wanted) and all(map(same, got, wanted))
    return got.shape == wanted.shape and torch.allclose(got, wanted, rtol=1e-5, atol=1e-6)


@exercise("5.1")
def perplexity(answer):
    hint = "It is e to the power of the mean of -ln p. (Thousands of p multiplied become 0.)"
    for probabilities in (
        [0.25, 0.25, 0.25],
        [1.0, 1.0],
        [0.5, 0.125],
        [0.9, 0.1, 0.01, 0.3],
        [0.25] * 2000,
    ):
        wanted = math.exp(-sum(map(math.log, probabilities)) / len(probabilities))
        answer.expect(wanted, probabilities, same=close, hint=hint)


@exercise("5.2")
def cross_entropy(answer):
    hint = (
        "It is ln of the sum of all exponentials, minus the logit of the true token. Where logits "
        "are large, subtract the largest first."
    )
    cases = [
        (torch.tensor([2.0, 1.0, 0.0]), 0),
        (torch.tensor([2.0, 1.0, 0.0]), 2),
        (torch.zeros(7), 3),
        (torch.tensor([1000.0, 998.0, -1000.0]), 1),
        (torch.tensor([-1000.0, -999.0]), 0),
        (torch.tensor([0.0, 300.0]), 0),
    ]
    for logits, target in cases:
        wanted = F.cross_entropy(logits[None], torch.tensor([target])).item()
        # float32 has seven digits: beside a logit of 1,000, all but the first four behind the point
        # are lost when it is subtracted only in the end.
        rounding = 1e-6 * max(1.0, logits.abs().max().item()) + 1e-6
        answer.expect(
            wanted,
            logits,
            target,
            same=lambda got, wanted, rounding=rounding: abs(float(got) - wanted) <= rounding,
            hint=hint,
        )


@exercise("5.3")
def momentum_step(answer):
    generator = torch.Generator().manual_seed(0)
    weight, velocity = torch.randn(3, generator=generator), torch.randn(3, generator=generator)
    for lr, beta in ((0.1, 0.9), (0.5, 0.0), (1.0, 0.5)):
        gradient = torch.randn(3, generator=generator)
        new = beta * velocity + gradient
        answer.expect(
            (weight - lr * new, new),
            weight,
            gradient,
            velocity,
            lr,
            beta,
            same=same,
            hint="First the new velocity, then the step along it; return (weight, velocity).",
        )


@exercise("5.4")
def stable_rate(answer):
    for steps, peak, warmup, decay in ((10, 1.0, 2, 4), (100, 3e-3, 10, 20), (6, 2.0, 0, 3)):
        for step in range(steps):
            wanted = peak * min((step + 1) / warmup if warmup else 1.0, 1.0, (steps - step) / decay)
            answer.expect(
                wanted,
                step,
                steps,
                peak,
                warmup,
                decay,
                same=close,
                hint="It rises for `warmup` steps, the first at peak / warmup, stays, and falls "
                "over the last `decay` steps.",
            )


@exercise("5.5")
def batch_loss(answer):
    hint = "Every target counts the same, in whatever part it stands."
    for means, counts in (
        ([1.0, 3.0], [1, 3]),
        ([2.0], [5]),
        ([2.0, 0.0, 4.0], [4, 0, 1]),
        ([0.5, 1.5], [7, 7]),
    ):
        wanted = sum(map(math.prod, zip(means, counts, strict=True))) / sum(counts)
        answer.expect(wanted, means, counts, same=close, hint=hint)
    answer.expect(0.0, [0.0, 0.0], [0, 0], same=close, hint="No target counts: the loss is 0.")


@exercise("5.6")
def to_bf16(answer):
    def exactly(got, wanted):
        return got.dtype == wanted.dtype and torch.equal(got, wanted)

    generator = torch.Generator().manual_seed(0)
    ties = torch.tensor(
        [256.0, 257.0, 258.0, 259.0, 261.0, -257.0, -259.0, 1 + 2**-8, 1 + 3 * 2**-8]
    )
    cases = [
        (torch.tensor([1.0, -2.0, 0.5, 0.0]), "These numbers are bf16 numbers already."),
        (torch.tensor([1 / 3, 2 / 3, -0.1]), "Is it the nearest? 1/3 becomes 0.333984375."),
        (
            ties,
            "Ties go to the neighbour whose last kept bit is 0: 257 becomes 256, 259 becomes 260.",
        ),
        (
            torch.randn(1000, generator=generator) * 1e3,
            "The nearest number of which 16 bits are 0.",
        ),
    ]
    for x, hint in cases:
        answer.expect(x.bfloat16().float(), x, same=exactly, hint=hint)
    x = torch.randn(3, 4, generator=generator)
    answer.expect(x.bfloat16().float(), x, same=exactly, hint="x may have any shape.")


@exercise("5.7")
def our_name(answer):
    pieces = {
        "ln_1": "norm1", "ln_2": "norm2", "attn.c_attn": "attention.qkv",
        "attn.c_proj": "attention.out", "mlp.c_fc": "feed_forward.up",
        "mlp.c_proj": "feed_forward.down",
    }  # fmt: skip
    names = {"wte.weight": "token_embedding.weight", "wpe.weight": "position_embedding.weight"}
    names |= {"ln_f.weight": "final_norm.weight", "ln_f.bias": "final_norm.bias"}
    for layer in (0, 3, 11):
        for theirs, ours in pieces.items():
            names[f"h.{layer}.{theirs}.weight"] = f"blocks.{layer}.{ours}.weight"
            names[f"h.{layer}.{theirs}.bias"] = f"blocks.{layer}.{ours}.bias"
    for theirs, ours in names.items():
        answer.expect(
            ours,
            theirs,
            hint="Replace each piece by ours; `h.` at the beginning becomes `blocks.`.",
        )
        answer.expect(ours, f"transformer.{theirs}", hint="Drop the prefix `transformer.`.")
