"""Checks of chapter 6's exercises."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from gptbook.exercises import NotYet, close, exercise, large_logits, show
from gptbook.exercises import mistakes_06 as wrong
from gptbook.results import paired_difference


@exercise(
    "6.1",
    forbid=[
        F.cross_entropy, F.nll_loss, F.softmax, F.log_softmax, torch.logsumexp, torch.logaddexp,
        torch.logcumsumexp, nn.CrossEntropyLoss, torch.distributions.Categorical, "gptbook",
        "scipy",
    ],
)  # fmt: skip
def cross_entropy(answer):
    hint = (
        "It is ln of the sum of all exponentials, minus the logit of the true token. Where logits "
        "are large, subtract the largest from all first."
    )
    cases = [
        (torch.tensor([0.0, 0.0]), 0),
        (torch.tensor([2.0, 1.0, 0.0]), 0),
        (torch.tensor([2.0, 1.0, 0.0]), 2),
        (torch.zeros(7), 3),
        *zip(large_logits(), (1, 0, 0, 1), strict=True),
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
            same=lambda got, wanted, rounding=rounding: (
                got == wanted or abs(got - wanted) <= rounding
            ),
            hint=hint,
            mistakes=wrong.CROSS_ENTROPY_MISTAKES,
        )


@exercise("6.2", forbid=["torch.optim"])
def fit_line(answer):
    cases = (
        ([0.0, 2.0], [1.0, 3.0], 1, 0.5),
        ([0.0, 2.0], [2.0, 4.0], 2, 0.25),
        ([3.0], [5.0], 0, 0.1),
        ([-1.0, 0.0, 1.0], [0.0, 4.0, 2.0], 3, 0.25),
        ([0.0, 1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 5.0, 7.0, 9.0], 400, 0.1),
    )
    for x, y, steps, lr in cases:
        answer.expect(
            wrong.line(x, y, steps, lr),
            x,
            y,
            steps,
            lr,
            same=lambda got, wanted: all(
                close(g, w, 1e-4) for g, w in zip(got, wanted, strict=True)
            ),
            hint="Loss, gradients of a and b, step, as often as `steps` says; then (a, b).",
            mistakes=wrong.LINE_MISTAKES,
        )


@exercise("6.3", forbid=["torch.optim", "gptbook"])
def adam_l2(answer):
    zero, one = torch.zeros(2), torch.ones(2)
    cases = (
        (torch.tensor([1.0, -2.0]), [zero], 0.5, 0.1),
        (torch.tensor([3.0, 3.0]), [one], 1.0, 0.0),
        (torch.tensor([4.0, 1.0]), [one, -3 * one], 1.0, 0.5),
        (torch.tensor([1.0, 2.0]), [zero, one, zero, -one, 5 * one], 0.1, 0.2),
    )
    for weight, gradients, lr, decay in cases:
        answer.expect(
            wrong.adam(weight, gradients, lr, decay),
            weight,
            gradients,
            lr,
            decay,
            same=lambda got, wanted: (
                got.shape == wanted.shape and torch.allclose(got.float(), wanted, atol=1e-4)
            ),
            hint="Add weight_decay times the weight to the gradient; then m, v, correct both, "
            "step by lr * m / (sqrt(v) + eps).",
            mistakes=wrong.ADAM_MISTAKES,
        )


@exercise("6.4")
def first_step(answer):
    gradient, moved = 7.0, []
    for beta2 in (0.95, 0.999):
        m, v = (1 - 0.9) * gradient, (1 - beta2) * gradient**2
        moved.append(m / math.sqrt(v))
    answer.predicts(
        tuple(moved),
        tolerance=(0.01, 0.02),
        explain="m is 0.1 g, and v is (1 - beta2) g², so the root of v is 0.224 |g| for 0.95 and "
        "0.032 |g| for 0.999. The slower v is, the longer it is too small, and the larger the "
        "first steps are.",
        names=("for 0.95", "for 0.999"),
    )


@exercise("6.5")
def stable_rate(answer):
    hint = (
        "It rises for `warmup` steps, the first at peak / warmup, stays, and falls over the last "
        "`decay` steps, the last at peak / decay."
    )

    for steps, peak, warmup, decay in ((10, 12.0, 2, 4), (6, 12.0, 0, 3), (100, 3e-3, 10, 90)):
        for step in range(steps):
            given = (step, steps, peak, warmup, decay)
            answer.expect(
                wrong.rate(*given),
                *given,
                same=_very_close,
                hint=hint,
                mistakes=wrong.RATE_MISTAKES,
            )


def _very_close(got, wanted):
    return math.isclose(got, wanted, rel_tol=1e-6)


@exercise("6.6", forbid=[torch.bfloat16, torch.Tensor.bfloat16, torch.autocast])
def to_bf16(answer):
    def exact(got, wanted):
        return got.dtype == wanted.dtype and torch.equal(got, wanted)

    generator = torch.Generator().manual_seed(0)
    ties = torch.tensor([257.0, 259.0, 261.0, -257.0, -259.0, 1 + 2**-8, 1 + 3 * 2**-8])
    for x, hint in (
        (torch.tensor([1.0, -2.0, 0.5, 0.0]), "These numbers are bf16 numbers already."),
        (torch.tensor([1 / 3, 2 / 3, -0.1]), "Is it the nearest? 1/3 becomes 0.333984375."),
        (torch.tensor([256.0, 258.0, 260.0]), "These numbers are bf16 numbers already."),
        (ties, "Ties go to the neighbour whose last kept bit is 0."),
        (torch.randn(1000, generator=generator) * 1e3, "The nearest with 16 bits of zero."),
        (torch.randn(3, 4, generator=generator), "x may have any shape."),
    ):
        answer.expect(x.bfloat16().float(), x, same=exact, hint=hint, mistakes=wrong.BF16_MISTAKES)


def _small_run(forget=""):
    """The losses of a run of 40 steps with dropout; with `forget`, broken off after 20."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.5), nn.Linear(16, 1))
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=0.01), []
    data = torch.Generator().manual_seed(1)
    for step in range(40):
        if step == 20 and forget == "optimizer":
            optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        if step == 20 and forget == "random":
            torch.manual_seed(2)
        loss = (model(torch.randn(4, 8, generator=data)) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@exercise("6.7")
def first_difference(answer):
    with torch.random.fork_rng(devices=[]):
        whole = _small_run()
        found = tuple(
            next(i for i, (a, b) in enumerate(zip(whole, _small_run(f), strict=True), 1) if a != b)
            for f in ("optimizer", "random")
        )
    answer.predicts(
        found,
        explain="The weights are the same when step 21 begins. Its loss is computed before they "
        "move, so Adam's averages show only in the step after it; dropout is drawn while the loss "
        "is computed.",
        names=("without the optimizer's state", "without the random state"),
    )


@exercise("6.8")
def warmup_effect(answer):
    value = answer()
    form = "Return (without, with_it, verdict): two lists of five losses, and a word."
    if not isinstance(value, (tuple, list)) or len(value) != 3:
        raise NotYet(f"warmup_effect() returned {show(value)}. {form}")
    *given, verdict = value
    try:
        without, with_it = ([float(loss) for loss in losses] for losses in given)
    except (TypeError, ValueError):
        raise NotYet(f"The losses are {show(given[0])} and {show(given[1])}. {form}") from None
    for name, losses in (("without", without), ("with", with_it)):
        if len(losses) != 5 or not all(map(math.isfinite, losses)):
            raise NotYet(f"The losses {name} warm-up are {show(losses)}. {form}")
        if any(a == b for a, b in pairwise(sorted(losses))):
            raise NotYet(
                f"Two of the losses {name} warm-up, {show(losses)}, are equal. Each seed gives "
                "other weights and other batches; are both seeded with it?"
            )
        if not 4 < min(losses) <= max(losses) < 7:
            raise NotYet(
                f"The losses {name} warm-up are {show(losses)}. After 80 steps at 0.01 they should "
                "be near the plateau, which is at 5.8. Is each the mean of the last ten steps?"
            )
    found = paired_difference(without, with_it)
    wanted = "unclear" if not found.clear else "helps" if found.mean > 0 else "hurts"
    if verdict not in ("helps", "hurts", "unclear"):
        raise NotYet(f'The verdict is {show(verdict)}; say "helps", "hurts" or "unclear".')
    if verdict != wanted:
        raise NotYet(
            f'Without minus with is {found}; you say "{verdict}". The warm-up is clear only if the '
            "interval does not contain 0, and helps if the loss is larger without it."
        )
