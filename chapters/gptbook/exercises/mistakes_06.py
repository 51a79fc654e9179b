"""Mistakes that can be foreseen in chapter 6's exercises, each with what the check then says.

Each list holds (wrong answer, sentence); the right answer stands before it.
"""

import math

import torch

SHIFTED = "You subtracted the largest logit in one of the two terms only."


def log_sum(z):
    return z.max() + (z - z.max()).exp().sum().log()


CROSS_ENTROPY_MISTAKES = [
    (
        lambda z, y: -((z - z.max()).exp()[y] / (z - z.max()).exp().sum()).log().item(),
        "The probability rounds to 0 before its logarithm is taken. Work out ln of the quotient by "
        "hand: a difference is left.",
    ),
    (
        lambda z, y: (z.exp().sum().log() - z[y]).item(),
        "e to the power of 1000 is too large for a float. Subtract the largest logit first.",
    ),
    (
        lambda z, y: -math.log(math.exp(z[y]) / sum(math.exp(v) for v in z)),
        "e to the power of 1000 is too large for a float. Subtract the largest logit first.",
    ),
    (
        lambda z, y: math.log(sum(math.exp(v) for v in z)) - z[y].item(),
        "e to the power of 1000 is too large for a float. Subtract the largest logit first.",
    ),
    (lambda z, y: (z - z.max()).exp().sum().log().item() - z[y].item(), SHIFTED),
    (lambda z, y: z.exp().sum().log().item() - (z[y] - z.max()).item(), SHIFTED),
    (lambda z, y: (z[y] - log_sum(z)).item(), "The sign is wrong."),
    (
        lambda z, y: (z - z.max()).exp()[y].item() / (z - z.max()).exp().sum().item(),
        "This is the probability; the loss is -ln of it.",
    ),
    (
        lambda z, y: (log_sum(z) - z[y]).item() / math.log(2),
        "These are bits; nats take the natural logarithm.",
    ),
]


def line(x, y, steps, lr, double=2.0, mean=True, at_once=True, adds_up=False, sign=1.0):
    a = b = old_a = old_b = 0.0
    for _ in range(steps):
        errors = [a * p + b - q for p, q in zip(x, y, strict=True)]
        count = len(x) if mean else 1
        grad_a = double * sum(e * p for e, p in zip(errors, x, strict=True)) / count
        new_a = a - sign * lr * (grad_a + adds_up * old_a)
        if not at_once:
            errors = [new_a * p + b - q for p, q in zip(x, y, strict=True)]
        grad_b = double * sum(errors) / count
        b -= sign * lr * (grad_b + adds_up * old_b)
        a, old_a, old_b = new_a, grad_a + adds_up * old_a, grad_b + adds_up * old_b
    return a, b


def line_but(**change):
    return lambda *given: line(*given, **change)


LINE_MISTAKES = [
    (lambda x, y, s, lr: line(x, y, s, lr)[::-1], "Return a first, then b."),
    (line_but(mean=False), "This is the gradient of the sum; divide by the number of points."),
    (line_but(double=1.0), "The derivative of a square has a factor 2."),
    (line_but(at_once=False), "b was moved with the new a; take both gradients first, then step."),
    (line_but(adds_up=True), "The gradients pile up: set them to zero before each backward."),
    (line_but(sign=-1.0), "This walks uphill: the step goes against the gradient."),
    (lambda x, y, s, lr: line(x, y, s + 1, lr), "That is one step more than `steps`."),
    (lambda x, y, s, lr: line(x, y, s - 1, lr), "That is one step fewer than `steps`."),
]


def adam(
    weight, gradients, lr, decay, inside=True, corrected=True, keeps=True, frozen=False,
    beta2=0.999, first=1,
):  # fmt: skip
    start, m, v = weight, torch.zeros_like(weight), torch.zeros_like(weight)
    for t, g in enumerate(gradients, start=first):
        if not keeps:
            m, v = torch.zeros_like(weight), torch.zeros_like(weight)
        if inside:
            g = g + decay * (start if frozen else weight)
        m, v = 0.9 * m + 0.1 * g, beta2 * v + (1 - beta2) * g**2
        of_m, of_v = (1 - 0.9**t, 1 - beta2**t) if corrected else (1.0, 1.0)
        if not inside:
            weight = weight * (1 - lr * decay)
        weight = weight - lr * (m / of_m) / ((v / of_v).sqrt() + 1e-8)
    return weight


def adam_but(**change):
    return lambda *given: adam(*given, **change)


ADAM_MISTAKES = [
    (adam_but(inside=False), "This is AdamW: the decay should be added to the gradient."),
    (adam_but(corrected=False), "The averages are not corrected: divide by 1 - beta**t."),
    (lambda w, gs, lr, d: adam(w, gs, lr, 0.0), "Nothing decays."),
    (adam_but(beta2=0.95), "Those are the betas of `adamw_step`; here the second is 0.999."),
    (adam_but(first=0), "The steps are counted from 1: 1 - beta**0 is 0."),
    (adam_but(frozen=True), "The decay uses the weight of the start; use the present one."),
    (adam_but(keeps=False), "The averages start anew in each step; keep them."),
    (
        lambda w, gs, lr, d: adam(w * (1 - lr * d) if gs else w, gs, lr, d),
        "The weight decays twice, in the gradient and directly.",
    ),
    (lambda w, gs, lr, d: adam(w, gs, -lr, d), "This walks uphill."),
]


def rate(step, steps, peak, warmup, decay, first=1, left=0):
    rise = (step + first) / warmup if warmup else 1.0
    return peak * min(rise, 1.0, (steps - step - left) / decay)


RATE_MISTAKES = [
    (
        lambda s, n, p, w, d: rate(s, n, p, w, d, first=0),
        "The first step has the rate peak / warmup, not 0.",
    ),
    (
        lambda s, n, p, w, d: rate(s, n, p, w, d, left=1),
        "The last step has the rate peak / decay, not 0.",
    ),
    (
        lambda s, n, p, w, d: p * min((s + 1) / w if w else 1.0, 1.0),
        "It does not fall over the last `decay` steps.",
    ),
    (
        lambda s, n, p, w, d: p * min(1.0, (n - s) / d),
        "It does not rise over the first `warmup` steps.",
    ),
    (lambda s, n, p, w, d: rate(s, n, 1.0, w, d), "`peak` is left out."),
    (
        lambda s, n, p, w, d: p * min((s + 1) / w, 1.0, (n - s) / d),
        "Without warm-up (0 steps), the learning rate begins at its peak.",
    ),
]


def cut(x, add):
    bits = x.view(torch.int32)
    return ((bits + add(bits)) & -65536).view(torch.float32)


BF16_MISTAKES = [
    (
        lambda x: cut(x, lambda bits: 0x8000),
        "Ties go up here; they should go to the neighbour whose last kept bit is 0.",
    ),
    (
        lambda x: cut(x, lambda bits: 0x7FFF),
        "Ties go down here; they should go to the neighbour whose last kept bit is 0.",
    ),
    (lambda x: cut(x, lambda bits: 0), "This cuts off, towards zero; round to the nearest."),
    (
        lambda x: cut(x, lambda bits: 0x8000 - ((bits >> 16) & 1)),
        "Ties go to the neighbour whose last kept bit is 1; they should go to the other.",
    ),
    (lambda x: x.half().float(), "This is fp16, which has other bits."),
    (lambda x: x, "Nothing is rounded: the lower 16 bits should be zero."),
]
