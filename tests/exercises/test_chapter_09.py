"""Wrong answers to the exercises of chapter 9, each rejected with a hint."""

import torch
import torch.nn.functional as F

from tests.exercises.helpers import assert_rejected, wrong_answers


def wrong_compress(x, k, fill=None, mean=False):
    missing = -x.shape[1] % k
    end = x[:, :missing] if fill is None else torch.full((len(x), missing), float(fill))
    groups = torch.cat([x, end], dim=1).view(len(x), -1, k)
    return groups.mean(dim=1) if mean else groups.sum(dim=1)


def wrong_turn(group, g, base=10000.0, step=2):
    k = len(group)
    angle = g * base ** (-step * torch.arange(k // 2) / k)
    a, b = group.chunk(2)
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()])


def wrong_table(M, inside, out, dim=1):
    k = len(M)
    z = wrong_compress(torch.eye(inside), k) @ M.T  # (inside, k)
    copies = [z[:, i % k] if dim else z[:, i * k // max(out, k) % k] for i in range(out)]
    return torch.stack(copies)


def wrong_back(g, k):
    return torch.stack([g[j::k].sum() for j in range(k)])


WRONG = {
    "9.1": [
        lambda budget, kind: int(budget**0.5 + 0.5) // (2 if kind == "rotation" else 1),
        lambda budget, kind: (
            round(budget**0.5) // 2 * 2 if kind == "rotation" else int(budget**0.5)
        ),
        lambda budget, kind: 2 * round(budget**0.5 / 2) if kind == "rotation" else int(budget**0.5),
        lambda budget, kind: round(budget**0.5),
        lambda budget, kind: int(budget**0.5),  # rotation not made even
        lambda budget, kind: int(budget**0.5) // 2 * 2,  # sharing made even, too
        lambda budget, kind: budget**0.5 // 1,  # no whole number for Python
    ],
    "9.2": [
        lambda x, k: wrong_compress(x, k, fill=0),  # filled up with zeros
        lambda x, k: x[:, : x.shape[1] // k * k].view(len(x), -1, k).sum(dim=1),  # the rest cut
        lambda x, k: wrong_compress(x, k, mean=True),
        lambda x, k: wrong_compress(x, k).flip(1),
        lambda x, k: x[:, :k],
    ],
    "9.3": [
        lambda z, out: z.repeat_interleave(-(-out // z.shape[1]), dim=1)[:, :out],
        lambda z, out: F.pad(z, (0, max(0, out - z.shape[1])))[:, :out],
        lambda z, out: z.repeat(1, -(-out // z.shape[1])),  # not cut
        lambda z, out: z.repeat(1, -(-out // z.shape[1]))[:, -out:],
    ],
    "9.4": [
        lambda group, g: wrong_turn(group, -g),
        lambda group, g: wrong_turn(group, g + 1),
        lambda group, g: wrong_turn(group, g, base=1000.0),
        lambda group, g: wrong_turn(group, g, step=1),
        lambda group, g: wrong_turn(group.view(-1, 2).T.flatten(), g).view(2, -1).T.flatten(),
        lambda group, g: group,
    ],
    "9.5": [
        lambda M, i, o: M.repeat(-(-o // len(M)), -(-i // len(M)))[:o, :i],  # none come in twice
        lambda M, i, o: wrong_table(M.T, i, o),
        lambda M, i, o: wrong_table(M, i, o).T,
        lambda M, i, o: wrong_table(M, i, o, dim=0),
        lambda M, i, o: M,
    ],
    "9.6": [
        lambda c, g: (
            torch.outer(g[: len(c)], c) if len(g) >= len(c) else torch.zeros(len(c), len(c))
        ),
        lambda c, g: torch.outer(c, wrong_back(g, len(c))),
        lambda c, g: torch.outer(wrong_back(g, len(c)), c) / -(-len(g) // len(c)),
        lambda c, g: torch.zeros(len(c), len(c)),  # as if it contained M, which is zero
        lambda c, g: torch.outer(wrong_back(g.flip(0), len(c)), c),
    ],
    "9.7": [
        lambda i, o, k: i,
        lambda i, o, k: min(i, o),
        lambda i, o, k: -(-o // k) * k,  # may be more than there are
        lambda i, o, k: min(i, o // k * k),
        lambda i, o, k: min(i, k),
    ],
}


@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)
