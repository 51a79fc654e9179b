"""Wrong answers to the exercises of chapter 5, each rejected with a hint."""

import math
import re

import torch

from tests.exercises.helpers import assert_rejected, wrong_answers


def wrong_rename(name):
    """Right for names without the prefix `transformer.`, which it keeps."""
    pieces = {"wte": "token_embedding", "wpe": "position_embedding", "ln_f": "final_norm"}
    pieces |= {"ln_1": "norm1", "ln_2": "norm2", "attn.c_attn": "attention.qkv"}
    pieces |= {"attn.c_proj": "attention.out", "mlp.c_fc": "feed_forward.up"}
    pieces |= {"mlp.c_proj": "feed_forward.down"}
    for theirs, ours in pieces.items():
        name = name.replace(theirs, ours)
    return re.sub(r"^h\.", "blocks.", name)


def unprefixed(name):
    return wrong_rename(name.removeprefix("transformer."))


WRONG = {
    "5.1": [
        lambda ps: math.exp(sum(map(math.log, ps)) / len(ps)),  # the sign is lost
        lambda ps: len(ps) / sum(ps),  # one over the mean probability
        lambda ps: 2 ** (-sum(map(math.log, ps)) / len(ps)),  # nats with the base of bits
        lambda ps: math.exp(-sum(map(math.log, ps))),  # the sum, not the mean
        lambda ps: math.prod(ps) ** (-1 / len(ps)),  # the product becomes 0
    ],
    "5.2": [
        lambda z, y: float(-torch.softmax(z, 0)[y]),
        lambda z, y: float(z.exp().sum().log() - z[y]),  # overflows
        lambda z, y: float(-((z - z.max()).exp() / (z - z.max()).exp().sum())[y].log()),  # ln 0
        lambda z, y: float((z - z.max()).exp().sum().log() - z[y]),  # the largest is lost
        lambda z, y: float(z.logsumexp(0) - z[y]) / math.log(2),  # bits
        lambda z, y: float(torch.log_softmax(z.double(), 0).mul(-1).mean()),
    ],
    "5.3": [
        lambda w, g, u, lr, b: (w - lr * u, b * u + g),  # steps along the old velocity
        lambda w, g, u, lr, b: (w - lr * (b * u + (1 - b) * g), b * u + (1 - b) * g),
        lambda w, g, u, lr, b: (w - lr * g, b * u + g),
        lambda w, g, u, lr, b: (b * u + g, w - lr * (b * u + g)),
        lambda w, g, u, lr, b: (w + lr * (b * u + g), b * u + g),
    ],
    "5.4": [
        lambda s, n, p, w, d: p * min(s / w if w else 1, 1, (n - s) / d),  # starts at 0
        lambda s, n, p, w, d: p * min((s + 1) / w if w else 1, 1, (n - 1 - s) / d),  # ends at 0
        lambda s, n, p, w, d: p * min((s + 1) / w if w else 1, 1),  # no decay
        lambda s, n, p, w, d: p * ((s + 1) / w if s < w else 1 if s < n - d else 0.5),
        lambda s, n, p, w, d: p * min((s + 1) / w, 1, (n - s) / d),  # fails without warm-up
    ],
    "5.5": [
        lambda means, counts: sum(means) / len(means),
        lambda means, counts: sum(m * c for m, c in zip(means, counts, strict=True)) / len(means),
        lambda means, counts: sum(m * c for m, c in zip(means, counts, strict=True)) / sum(counts),
        lambda means, counts: sum(means) / max(1, sum(c > 0 for c in counts)),
    ],
    "5.6": [
        lambda x: (x.view(torch.int32) & -65536).view(torch.float32),  # towards zero
        lambda x: ((x.view(torch.int32) + 0x8000) & -65536).view(torch.float32),  # ties upwards
        lambda x: ((x.view(torch.int32) + 0x7FFF) & -65536).view(torch.float32),  # ties downwards
        lambda x: x.half().float(),
        lambda x: torch.tensor([number.bfloat16().item() for number in x]),  # one axis only
        lambda x: x,
    ],
    "5.7": [
        lambda name: unprefixed(name).replace("feed_forward.down", "attention.out"),
        lambda name: unprefixed(name).replace("blocks", "h"),
        lambda name: re.sub(r"^blocks\.(\d)\d*", r"blocks.\1", unprefixed(name)),
        wrong_rename,  # keeps the prefix
        lambda name: name.replace("h.", "blocks."),
    ],
}


@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)
