"""Wrong answers to the exercises of chapter 11, each rejected with a hint."""

import math

import torch
import torch.nn.functional as F

from gptbook.exercises import check
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


def by_autograd(c, g):
    M = torch.zeros(len(c), len(c), requires_grad=True)
    (g * (M @ c)[torch.arange(len(g)) % len(c)]).sum().backward()
    return M.grad


WRONG = {
    "11.1": [
        (lambda: (0.12, True, -0.40, True), "after 500; that is too high"),  # the other way round
        (lambda: (-0.123, False, 0.40, True), "whether that is clear"),
        (lambda: (-0.123, True, 7448.0, True), "after 1,500; that is too high"),  # bits, not each
        (lambda: (-0.123, True, 0.40, False), "whether this is clear"),
        (lambda: -0.12, "it should return"),
    ],
    "11.2": [
        (lambda x, k: wrong_compress(x, k, fill=0), "filled up with zeros"),
        (lambda x, k: wrong_compress(x.flip(1), k).flip(1), "Write the groups"),
        (
            lambda x, k: x[:, : x.shape[1] // k * k].view(len(x), -1, k).sum(dim=1),
            "is dropped",
        ),
        (lambda x, k: wrong_compress(x, k, mean=True), "the mean of the groups"),
        (lambda x, k: wrong_compress(x, k).flip(1), "Write the groups"),
        (lambda x, k: x[:, :k], "nothing is added up"),
        (lambda x, k: x.view(len(x), -1, k).sum(dim=2), "within itself"),
        (lambda x, k: x.view(len(x), k, -1).sum(dim=2), "Neighbours are added up"),
        (
            lambda x, k: (
                torch.cat([x, x[:, x.shape[1] - -x.shape[1] % k :]], dim=1)
                .view(len(x), -1, k)
                .sum(dim=1)
            ),
            "filled up with the last numbers",
        ),
        (lambda x, k: x.view(len(x), -1, k).sum(dim=1), "Write the groups"),  # raises
    ],
    "11.3": [
        (
            lambda z, out: z.repeat_interleave(-(-out // z.shape[1]), dim=1)[:, :out],
            "repeat z as a whole",
        ),
        (lambda z, out: F.pad(z, (0, max(0, out - z.shape[1])))[:, :out], "zeros; repeat z"),
        (lambda z, out: z.repeat(1, -(-out // z.shape[1])), "more than `out` numbers"),
        (lambda z, out: z.repeat(1, -(-out // z.shape[1]))[:, -out:], "cut the end"),
        (lambda z, out: z[:, :out], "z is not repeated"),
        (lambda z, out: z.repeat(1, out // z.shape[1]), "The last copy, which is cut"),
        (lambda z, out: z[out], "its first one comes again"),  # raises
    ],
    "11.4": [
        (lambda group, g: wrong_turn(group, -g), "clockwise"),
        (lambda group, g: wrong_turn(group, g + 1), "count from 0"),
        (lambda group, g: wrong_turn(group, 1) if g else group, "grows with the number"),
        (lambda group, g: wrong_turn(group, g, base=1000.0), "The base is 10,000"),
        (lambda group, g: wrong_turn(group, g, base=1.0), "an angle of its own"),
        (lambda group, g: wrong_turn(group, g, step=1), "the 2 is missing"),
        (lambda group, g: wrong_turn(group, g, step=-2), "the minus is missing"),
        (lambda group, g: wrong_turn(group, g * math.pi / 180), "want radians"),
        (
            lambda group, g: wrong_turn(group.view(-1, 2).T.flatten(), g).view(2, -1).T.flatten(),
            "Neighbours are a pair",
        ),
        (lambda group, g: group, "Nothing is turned"),
        (lambda group, g: group @ g, "one radian"),  # raises
    ],
    "11.5": [
        (
            lambda M, i, o: M.repeat(-(-o // len(M)), -(-i // len(M)))[:o, :i],
            "Some inputs come in at two positions",
        ),
        (lambda M, i, o: wrong_table(M.T, i, o), "M is transposed"),
        (lambda M, i, o: wrong_table(M, i, o).T, "Outputs are the rows"),
        lambda M, i, o: wrong_table(M, i, o, dim=0),
        (
            lambda M, i, o: M.repeat_interleave(-(-o // len(M)), dim=0)[:o].repeat(
                1, -(-i // len(M))
            )[:, :i],
            "no row is repeated by itself",
        ),
        (lambda M, i, o: M, "This is M itself"),
        (lambda M, i, o: M @ torch.eye(i), "unit vector i"),  # raises
    ],
    "11.6": [
        (
            lambda c, g: (
                torch.outer(g[: len(c)], c) if len(g) >= len(c) else torch.zeros(len(c), len(c))
            ),
            "Only the first copy",
        ),
        (lambda c, g: torch.outer(c, wrong_back(g, len(c))), "This is transposed"),
        (
            lambda c, g: torch.outer(wrong_back(g, len(c)), c) / -(-len(g) // len(c)),
            "gradients add up",
        ),
        (lambda c, g: torch.zeros(len(c), len(c)), "Is it 0 because M is?"),
        lambda c, g: torch.outer(wrong_back(g.flip(0), len(c)), c),
        (lambda c, g: torch.outer(g.view(len(c), -1).sum(dim=1), c), "k apart"),
        (lambda c, g: torch.outer(g, c), "a row for each output"),
        (lambda c, g: wrong_back(g, len(c)), "c is missing"),
        (lambda c, g: g @ c, "brings back its g"),  # raises
        (by_autograd, "Tensor.backward, which is not allowed"),
    ],
    "11.7": [
        (lambda i, o, k: i, "is cut off"),
        (lambda i, o, k: min(i, o), "not on one"),
        (lambda i, o, k: -(-o // k) * k, "no more than `inside`"),
        (lambda i, o, k: min(i, o // k * k), "of which only a part"),
        (lambda i, o, k: min(i, k), "Each group makes k outputs"),
        (lambda i, o, k: min(i, (o // k + 1) * k), "no further group"),
        (lambda i, o, k: -(-o // k), "the number of groups"),
        (lambda i, o, k: torch.tensor(min(i, -(-o // k) * k)), "Return type int, not Tensor"),
    ],
    "11.8": [
        (lambda: (1, 6, 6, 6), "rotation"),
        (lambda: (1, 6, 18, 12), "two with sharing"),
        (lambda: (1, 1, 18, 1), "predicted sharing"),
        (lambda: (36, 6, 18, 6), "LoRA"),
        (lambda: (1, 6, 18), "it should return"),
    ],
    "11.9": [
        (lambda: (1600, 0.087, 4608), "the bits of 200 codes"),  # a bit for each digit
        (lambda: (5315, 3.47, 1387), "bits for each weight"),
        (lambda: (5315, 0.288, 694), "the codes that fit"),  # one bit a weight
        (lambda: 5315, "it should return"),
    ],
}


@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)


def test_other_right_answers_are_accepted():
    assert check("11.2", lambda x, k: wrong_compress(x, k)).correct
    assert check("11.3", lambda z, out: z[:, [i % z.shape[1] for i in range(out)]]).correct
    assert check("11.5", wrong_table).correct
    assert check("11.6", lambda c, g: wrong_back(g, len(c))[:, None] * c).correct
