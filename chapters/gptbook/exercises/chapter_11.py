"""Checks of chapter 11's exercises."""

import math

import torch

from gptbook.exercises import AUTOGRAD, alike, drawn, exactly, exercise
from gptbook.results import paired, read_result


@exercise("11.1")
def when_one_stops(answer):
    runs, methods = (
        read_result("capacity"),
        ({"method": "random square"}, {"method": "MoRA, sharing"}),
    )
    early = paired(runs, *methods, lambda run: -run["bits_left"][1] / run["trained"])
    late = paired(runs, *methods, lambda run: -run["bits_left"][-1] / run["trained"])
    answer.measures(
        (early.mean, early.clear, late.mean, late.clear),
        tolerance=(0.01, 0, 0.01, 0),
        hint="Look 0 is that after 250 steps, so look 1 is that after 500. Divide by the weights, "
        "18,636 in both. Whoever has less left has learned more: that turns the sign.",
        names=("after 500", "whether that is clear", "after 1,500", "whether this is clear"),
    )


def groups(x, k, fill="start"):
    """`x` (N, in) in groups of k, the last one filled up with numbers of `x`, or with 0."""
    missing = -x.shape[1] % k
    ends = {
        "start": x[:, :missing],
        "end": x[:, x.shape[1] - missing :],
        "zeros": 0 * x[:, :missing],
    }
    return torch.cat([x, ends[fill]], dim=1).view(len(x), -1, k)


@exercise("11.2", forbid=["gptbook"])
def compress(answer):
    hint = "Write the groups below each other, k columns, and add up each column."
    mistakes = [
        (lambda x, k: groups(x, k, "zeros").sum(dim=1), "The last group is filled up with zeros; "
         "the first numbers of the row should fill it."),
        (lambda x, k: groups(x, k, "end").sum(dim=1), "The last group is filled up with the last "
         "numbers; the first ones of the row should fill it."),
        (lambda x, k: x[:, : x.shape[1] // k * k].view(len(x), -1, k).sum(dim=1), "What fills no "
         "group is dropped; it should be filled up."),
        (lambda x, k: groups(x, k).mean(dim=1), "This is the mean of the groups, not their sum."),
        (lambda x, k: groups(x, k).sum(dim=2), "Each group is added up within itself: add up what "
         "is at the same position of all groups."),
        (lambda x, k: groups(x, k).flatten(1).view(len(x), k, -1).sum(dim=2), "Neighbours are "
         "added up; number j belongs with numbers j + k, j + 2k …"),
        (lambda x, k: x[:, :k], "These are the first k numbers: nothing is added up."),
    ]  # fmt: skip
    cases = [(torch.arange(1.0, n + 1)[None], k) for n, k in ((6, 2), (5, 3), (3, 3), (8, 5))]
    cases += [(*drawn((3, inside)), k) for inside, k in ((4, 2), (5, 2), (7, 3), (6, 6), (8, 5))]
    for x, k in cases:
        answer.expect(groups(x, k).sum(dim=1), x, k, same=alike, hint=hint, mistakes=mistakes)


def copies(z, out):
    return z.repeat(1, -(-out // z.shape[1]))


@exercise("11.3", forbid=["gptbook"])
def expand(answer):
    hint = "After the last number of z, its first one comes again, until there are `out`."
    mistakes = [
        (lambda z, out: z.repeat_interleave(-(-out // z.shape[1]), dim=1)[:, :out], "Each number "
         "is repeated by itself; repeat z as a whole."),
        (lambda z, out: copies(z, out), "There are more than `out` numbers: cut."),
        (lambda z, out: copies(z, out)[:, -out:], "The beginning is cut; cut the end."),
        (lambda z, out: torch.cat([z, torch.zeros(len(z), max(0, out - z.shape[1]))], 1)[:, :out],
         "The rest is filled up with zeros; repeat z instead."),
        (lambda z, out: z[:, :out], "z is not repeated."),
        (lambda z, out: z.repeat(1, out // z.shape[1]), "The last copy, which is cut, is missing."),
    ]  # fmt: skip
    cases = [(torch.arange(float(k))[None], out) for k, out in ((3, 7), (2, 4), (5, 3))]
    cases += [(*drawn((3, k)), out) for k, out in ((2, 4), (3, 7), (4, 4), (5, 3))]
    for z, out in cases:
        wanted = z[:, torch.arange(out) % z.shape[1]]
        answer.expect(wanted, z, out, same=alike, hint=hint, mistakes=mistakes)


def turned(group, g, base=10000.0, step=2, degrees=False):
    k = len(group)
    angle = g * base ** (-step * torch.arange(k // 2) / k)
    angle = angle.deg2rad() if degrees else angle
    a, b = group.chunk(2)
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()])


@exercise("11.4", forbid=["gptbook"])
def turn(answer):
    hint = "Group 0 stays; in group 1, pair 0 turns by one radian, and later pairs by less."

    def neighbours(group, g):
        return turned(group.view(-1, 2).T.flatten(), g).view(2, -1).T.flatten()

    mistakes = [
        (lambda group, g: turned(group, -g), "This turns clockwise."),
        (lambda group, g: turned(group, g + 1), "Groups count from 0: group 0 is not turned."),
        (neighbours, "Neighbours are a pair here; the pairs are j and j + k/2."),
        (lambda group, g: turned(group, g, degrees=True), "cos and sin of torch want radians."),
        (lambda group, g: turned(group, g, step=1), "In the exponent, the 2 is missing."),
        (lambda group, g: turned(group, g, step=-2), "In the exponent, the minus is missing."),
        (lambda group, g: turned(group, g, base=1.0), "Every pair has an angle of its own."),
        (lambda group, g: turned(group, g, base=1000.0), "The base is 10,000."),
        (lambda group, g: group, "Nothing is turned here."),
        (lambda group, g: turned(group, 1), "The angle grows with the number of the group, g."),
    ]  # fmt: skip
    cases = [(torch.arange(1.0, 5), 0), (torch.tensor([1.0, 0]), 1), (torch.tensor([0.0, 1]), 2)]
    cases += [(torch.tensor([1.0, 1, 0, 0]), 3)]
    cases += [(*drawn((k,)), g) for k, g in ((2, 0), (2, 1), (4, 1), (6, 3), (8, 10))]
    for group, g in cases:
        answer.expect(turned(group, g), group, g, same=alike, hint=hint, mistakes=mistakes)


def table(M, inside, out, fill="start"):
    z = groups(torch.eye(inside), len(M), fill).sum(dim=1) @ M.T
    return z.T[torch.arange(out) % len(M)]


@exercise("11.5", forbid=["gptbook"])
def sharing_matrix(answer):
    hint = "Column i of the result is what the layer adds for unit vector i."
    mistakes = [
        (lambda M, i, o: table(M.T, i, o), "M is transposed: rows of units come in, so that M x "
         "for each of them is units @ M.T."),
        (lambda M, i, o: table(M, i, o, "zeros"), "Some inputs come in at two positions, in their "
         "own group and where they fill up the last one; here they come in once."),
        (lambda M, i, o: table(M, i, o).T, "Outputs are the rows and inputs the columns; this is "
         "transposed."),
        (lambda M, i, o: M[torch.arange(o) * len(M) // max(o, len(M)) % len(M)][
            :, torch.arange(i) % len(M)], "Output i is number i mod k: copies of M are side by "
         "side, no row is repeated by itself."),
        (lambda M, i, o: M, "This is M itself, (k, k); the result is (out, in)."),
    ]  # fmt: skip
    cases = [(torch.tensor([[1.0, 2], [3, 4]]), inside, out) for inside, out in ((4, 6), (5, 3))]
    for inside, out, k in ((4, 4, 2), (5, 3, 2), (7, 8, 3), (6, 2, 4)):
        cases.append((*drawn((k, k)), inside, out))
    for M, inside, out in cases:
        wanted = table(M, inside, out)
        answer.expect(wanted, M, inside, out, same=alike, hint=hint, mistakes=mistakes)


@exercise("11.6", forbid=["gptbook", *AUTOGRAD])
def square_gradient(answer):
    hint = "Number j of M c has several copies among the outputs: each brings back its g."

    def back(c, g):
        return torch.stack([g[j :: len(c)].sum() for j in range(len(c))])

    def first(c, g):
        return torch.cat([g, torch.zeros(len(c))])[: len(c)]

    def blocks(c, g):
        padded = torch.cat([g, torch.zeros(-len(g) % len(c))])
        return padded.view(len(c), -1).sum(dim=1)

    mistakes = [
        (lambda c, g: torch.outer(first(c, g), c), "Only the first copy counts here: every output "
         "brings back its g."),
        (lambda c, g: torch.outer(c, back(c, g)), "This is transposed: row j of M makes number j, "
         "from all of c."),
        (lambda c, g: torch.outer(back(c, g), c) / -(-len(g) // len(c)), "This is the mean over "
         "the copies; their gradients add up."),
        (lambda c, g: torch.zeros(len(c), len(c)), "Is it 0 because M is? The gradient does not "
         "depend on M."),
        (lambda c, g: torch.outer(blocks(c, g), c), "Neighbouring outputs are added up; copies of "
         "number j are k apart."),
        (lambda c, g: torch.outer(g, c), "This has a row for each output; M has k rows."),
        (lambda c, g: back(c, g), "This is what comes back to M c; c is missing."),
    ]  # fmt: skip
    cases = [(torch.tensor([1.0, 2]), 10.0 ** torch.arange(out)) for out in (4, 5)]
    cases += [tuple(drawn((k,), (out,))) for k, out in ((2, 4), (3, 7), (4, 4), (5, 3))]
    for c, g in cases:
        answer.expect(torch.outer(back(c, g), c), c, g, same=alike, hint=hint, mistakes=mistakes)


@exercise("11.7", forbid=["gptbook"])
def inputs_seen(answer):
    hint = "How many groups does it take to fill `out` positions, and how many inputs are in them?"
    mistakes = [
        (lambda i, o, k: -(-o // k) * k, "There are no more than `inside` inputs."),
        (lambda i, o, k: min(i, o // k * k), "A group of which only a part is left still depends "
         "on all of its k inputs."),
        (lambda i, o, k: min(i, o), "An output depends on all k inputs of its group, not on one."),
        (lambda i, o, k: i, "What groups behind the last output see is cut off."),
        (lambda i, o, k: min(i, k), "Each group makes k outputs: it may take several to fill "
         "`out`."),
        (lambda i, o, k: min(i, (o // k + 1) * k), "Where `out` is a multiple of k, no further "
         "group is needed."),
        (lambda i, o, k: -(-o // k), "This is the number of groups."),
    ]  # fmt: skip
    cases = [
        (20, 12, 2), (9, 5, 2), (4, 4, 2), (6, 5, 4), (7, 3, 4), (768, 192, 30), (192, 768, 30),
    ]  # fmt: skip
    for inside, out, k in cases:
        wanted = min(inside, math.ceil(out / k) * k)
        answer.expect(wanted, inside, out, k, same=exactly, hint=hint, mistakes=mistakes)


@exercise("11.8", forbid=["gptbook"])
def ranks(answer):
    """Made of random numbers, with in = out = 18 and k = 6: its matrices, and their ranks."""
    blocks = torch.eye(18).unflatten(1, (3, 6))  # (18, 3, 6): each unit vector in three groups
    A, B, M, N, turn = drawn((1, 18), (18, 1), (6, 6), (6, 6), (6, 6), seed=8)

    def sharing(square):
        return (blocks.sum(dim=1) @ square.T).repeat(1, 3).T

    turned = torch.stack([torch.linalg.matrix_power(turn, g) for g in range(3)])  # of full rank
    rotation = (torch.einsum("ngk,gjk->ngj", blocks, turned) @ M.T).flatten(1).T
    changes = (B @ A, sharing(M), rotation, sharing(M) + sharing(N))
    answer.predicts(
        tuple(int(torch.linalg.matrix_rank(change)) for change in changes),
        explain="LoRA's rank is r. Sharing is B M C with a fixed compress C of 6 rows: the rank is "
        "that of M, and the sum of two of them is B (M + N) C. Rotation has a square of full rank "
        "for each of the three groups, on the diagonal.",
        names=("LoRA", "sharing", "rotation", "two with sharing"),
    )


@exercise("11.9")
def bits(answer):
    each = 8 * math.log2(10)
    answer.predicts(
        (200 * each, 200 * each / 18_432, 2 * 18_432 / each),
        tolerance=(10, 0.01, 15),
        explain="A digit is one of ten, log2(10) = 3.32 bits, so a code has 26.6 and 200 have "
        "5,315: 0.29 for each weight. At 2 bits a weight there is room for 36,864 bits, 1,387 "
        "codes.",
        names=("the bits of 200 codes", "bits for each weight", "the codes that fit"),
    )
