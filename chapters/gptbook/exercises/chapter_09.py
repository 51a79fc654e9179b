"""Checks of chapter 9's exercises."""

import math

import torch

from gptbook.exercises import alike, drawn, exactly, exercise


@exercise("9.1")
def largest_square(answer):
    hint = "The whole part of the root; for rotation, one less if it is odd."
    cases = {
        (65_536, "sharing"): 256, (65_535, "sharing"): 255, (65_535, "rotation"): 254,
        (12_288, "sharing"): 110, (12_288, "rotation"): 110, (399, "rotation"): 18,
        (9, "sharing"): 3, (15, "rotation"): 2, (64, "rotation"): 8,
    }  # fmt: skip
    for arguments, wanted in cases.items():
        answer.expect(wanted, *arguments, same=exactly, hint=hint)


def compressed(x, k):
    """The sum of groups of k; `x` (N, in)."""
    missing = -x.shape[1] % k
    return torch.cat([x, x[:, :missing]], dim=1).view(len(x), -1, k).sum(dim=1)


@exercise("9.2")
def compress(answer):
    hint = "Number j is the sum of numbers j, j + k, j + 2k … of the row, filled up from its start."
    for inside, k in ((4, 2), (5, 2), (7, 3), (6, 6), (8, 5)):
        [x] = drawn((3, inside))
        answer.expect(compressed(x, k), x, k, same=alike, hint=hint)


@exercise("9.3")
def expand(answer):
    hint = "Copies side by side: z₀ z₁ … z₀ z₁ …, cut after `out` numbers."
    for k, out in ((2, 4), (3, 7), (4, 4), (5, 3)):
        [z] = drawn((3, k))
        answer.expect(z[:, torch.arange(out) % k], z, out, same=alike, hint=hint)


@exercise("9.4")
def turn(answer):
    hint = (
        "The pairs are j and j + k/2, not neighbours; pair j turns by g · 10000^(−2j/k) radians, "
        "anticlockwise."
    )
    for k, g in ((2, 0), (2, 1), (4, 1), (6, 3), (8, 10)):
        [group] = drawn((k,))
        angle = g * 10000.0 ** (-2 * torch.arange(k // 2) / k)
        a, b = group.chunk(2)
        wanted = torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()])
        answer.expect(wanted, group, g, same=alike, hint=hint)


@exercise("9.5")
def sharing_matrix(answer):
    hint = "Column i is expand(M compress(unit vector i)); some inputs come in at two places."
    for inside, out, k in ((4, 4, 2), (5, 3, 2), (7, 8, 3), (6, 2, 4)):
        [M] = drawn((k, k))
        table = (compressed(torch.eye(inside), k) @ M.T).T[torch.arange(out) % k]
        answer.expect(table, M, inside, out, same=alike, hint=hint)


@exercise("9.6")
def square_gradient(answer):
    hint = "Add up the g of all outputs that are copies of number j; then the outer product with c."
    for k, out in ((2, 4), (3, 7), (4, 4), (5, 3)):
        c, g = drawn((k,), (out,))
        padded = torch.cat([g, torch.zeros(math.ceil(out / k) * k - out)])
        wanted = torch.outer(padded.view(-1, k).sum(dim=0), c)
        answer.expect(wanted, c, g, same=alike, hint=hint)


@exercise("9.7")
def inputs_seen(answer):
    hint = (
        "The first ⌈out / k⌉ groups reach an output, each with k inputs; there are `inside` in all."
    )
    cases = {
        (768, 192, 30): 210, (192, 768, 30): 192, (4, 4, 2): 4, (9, 4, 2): 4, (9, 5, 2): 6,
        (6, 5, 4): 6, (7, 3, 4): 4,
    }  # fmt: skip
    for arguments, wanted in cases.items():
        answer.expect(wanted, *arguments, same=exactly, hint=hint)
