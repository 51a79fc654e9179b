"""Checks of chapter 4's exercises."""

import torch
import torch.nn.functional as F

from gptbook.exercises import NotYet, alike, drawn, exactly, exercise, show
from gptbook.model import GPT, GPTConfig


def random(*shape, seed=0):
    return drawn(shape, seed=seed)[0]


@exercise("4.1")
def rms_norm(answer):
    x, ones = torch.tensor([3.0, 4.0]), torch.ones(2)
    hint = "The squares of 3 and 4 are 9 and 16; their mean is 12.5."
    answer.expect(x / 12.5**0.5, x, ones, 0.0, same=alike, hint=hint)
    hint = "The mean goes over the last axis only: each token has its own."
    for shape in [(4,), (2, 3), (2, 5, 8)]:
        x, weight = 3 * random(*shape) + 1, random(shape[-1], seed=1)
        answer.expect(
            F.rms_norm(x, shape[-1:], weight, 1e-5), x, weight, 1e-5, same=alike, hint=hint
        )
    zeros = torch.zeros(1, 2)
    answer.expect(zeros, zeros, ones, 1e-5, same=alike, hint="eps keeps 0 from being divided by 0.")
    hint = "eps is added to the mean of the squares, under the root."
    answer.expect(
        torch.tensor([3.0, 4.0]) / 5, torch.tensor([3.0, 4.0]), ones, 12.5, same=alike, hint=hint
    )


@exercise("4.2")
def num_parameters(answer):
    small = GPTConfig(vocab_size=11, context_length=7, embed_dim=8, num_layers=1, num_heads=2)
    no_bias = GPTConfig(13, 5, 8, 2, 2, qkv_bias=False)
    for config in (small, GPTConfig(50, 16, 12, 3, 4), no_bias, GPTConfig()):
        with torch.device("meta"):
            total = sum(p.numel() for p in GPT(config).parameters())
        hint = (
            "Is each part there: two tables; in each block qkv, out, up, down, all with a bias, "
            "and two norms; the final norm?"
        )
        if not config.qkv_bias:
            hint = (
                f"Here qkv_bias=False, so 3·D = {3 * config.embed_dim} biases less in each block."
            )
        answer.expect(total, config, True, same=exactly, hint=hint)
        table = config.vocab_size * config.embed_dim
        hint = f"Untied, the head has V·D = {table} parameters of its own, and no bias."
        answer.expect(total + table, config, False, same=exactly, hint=hint)


@exercise("4.3")
def texts_that_fit(answer):
    config = GPTConfig(vocab_size=100, context_length=10, embed_dim=8, num_layers=3, num_heads=2)
    one = 2 * 3 * 10 * 8 * 4  # bytes, at 4 for each number
    hint = f"One text needs 2·L·C·D = 480 numbers, {one} bytes at 4 bytes each."
    answer.expect(1, config, one, 4, same=exactly, hint=hint)
    answer.expect(0, config, one - 1, 4, same=exactly, hint=f"{hint} Half a text does not count.")
    answer.expect(2, config, one, 2, same=exactly, hint="At 2 bytes per number, twice as many fit.")
    answer.expect(7, config, 7 * one + 5, 4, same=exactly, hint=hint)
    free = 8 * 2**30
    wanted = free // (2 * 12 * 1024 * 768 * 2)
    hint = "All heads together have D numbers, and there are as many layers as num_layers."
    answer.expect(wanted, GPTConfig(), free, 2, same=exactly, hint=hint)


@exercise("4.4")
def top_p_filter(answer):
    p = torch.tensor([[0.5, 0.3, 0.1, 0.06, 0.04]])
    wanted = torch.tensor([[0.625, 0.375, 0.0, 0.0, 0.0]])
    hint = "0.5 is not enough for 0.75, 0.5 + 0.3 is: keep both, and divide them by their sum."
    answer.expect(wanted, p, 0.75, same=alike, hint=hint)
    hint = "0.5 alone is at least 0.5: nothing more is kept."
    row = torch.tensor([[0.25, 0.5, 0.25]])
    answer.expect(torch.tensor([[0.0, 1.0, 0.0]]), row, 0.5, same=alike, hint=hint)
    answer.expect(
        torch.tensor([[0.0, 0.0, 0.5, 0.5]]),
        torch.full((1, 4), 0.25),
        0.5,
        same=lambda got, wanted: got.shape == wanted.shape and torch.equal(got.sort()[0], wanted),
        hint="0.25 + 0.25 is enough for 0.5: of four equal tokens, any two are kept.",
    )
    hint = "The most probable token is always kept."
    answer.expect(torch.tensor([[1.0, 0, 0, 0, 0]]), p, 0.2, same=alike, hint=hint)
    hint = "The kept tokens stay at their places; they do not move to the front."
    answer.expect(wanted.flip(1), p.flip(1), 0.75, same=alike, hint=hint)
    rows = torch.cat([p, torch.full((1, 5), 0.2), p[:, [3, 0, 4, 1, 2]]])
    wanted = torch.zeros(3, 5)
    wanted[0, :3] = p[0, :3] / 0.9
    wanted[2, [1, 3, 4]] = p[0, :3] / 0.9
    got = answer(rows, 0.85)
    if not isinstance(got, torch.Tensor) or got.shape != (3, 5):
        raise NotYet(f"{answer.called(rows, 0.85)} returned {show(got)}; expected a tensor (3, 5).")
    for i in (0, 2):
        if not alike(got[i], wanted[i]):
            raise NotYet(
                f"Of three rows, row {i} became {show(got[i])}; expected {show(wanted[i])}. "
                "Each row is filtered by itself."
            )
    random_rows = (2 * random(20, 9)).softmax(dim=-1)
    for share in (0.3, 0.6, 0.9, 1.0):
        wanted = torch.zeros_like(random_rows)
        for row, kept in zip(random_rows, wanted, strict=True):
            total = 0.0
            for i in row.argsort(descending=True).tolist():
                if total >= share:
                    break
                total += row[i].item()
                kept[i] = row[i]
        wanted /= wanted.sum(dim=-1, keepdim=True)
        answer.expect(wanted, random_rows, share, same=alike, hint="Each row adds up to 1 again.")


@exercise("4.5")
def penalise(answer):
    logits = torch.tensor([[2.0, -1.0, 4.0, 0.0]])
    for ids, wanted, hint in (
        ([0], [1.0, -1.0, 4.0, 0.0], "Only tokens that occur in ids change."),
        (
            [1],
            [2.0, -2.0, 4.0, 0.0],
            "A negative logit is multiplied: it must become smaller, too.",
        ),
        ([2, 2, 2], [2.0, -1.0, 2.0, 0.0], "A token that occurs several times is penalised once."),
    ):
        ids, wanted = torch.tensor([ids]), torch.tensor([wanted])
        answer.expect(wanted, logits, ids, 2.0, same=alike, hint=hint)
    for seed in range(3):
        logits = 3 * random(4, 10, seed=seed)
        ids = torch.randint(10, (4, 6), generator=torch.Generator().manual_seed(seed))
        wanted = logits.clone()
        for row in range(4):
            for id in set(ids[row].tolist()):
                wanted[row, id] *= 1 / 1.5 if wanted[row, id] > 0 else 1.5
        hint = "Each row of logits belongs to the same row of ids."
        answer.expect(wanted, logits, ids, 1.5, same=alike, hint=hint)


class TableModel:
    """Looks at the last token only: row i of `table` (V, V) has the logits after token i."""

    def __init__(self, table):
        self.table = table

    def __call__(self, ids):
        if ids.dim() != 2 or ids.shape[0] != 1:
            raise ValueError(f"the model wants ids of shape (1, T), not {tuple(ids.shape)}")
        return self.table[ids]

    def __deepcopy__(self, memo):
        return self  # a Probe compares the arguments before and after by ==

    def __repr__(self):
        return "model"


class SumModel(TableModel):
    """Looks at the whole text: after it come the logits in the row of the sum of its ids."""

    def __call__(self, ids):
        super().__call__(ids)  # complains about a wrong shape
        return self.table[ids.cumsum(dim=1) % len(self.table)]


@exercise("4.6")
def write_until(answer):
    model = TableModel(10.0 * torch.eye(10).roll(1, dims=1))  # after n comes n + 1, after 9 comes 0
    hint = "After n, this model writes n + 1. The stop sequence stays in the result."
    answer.expect([1, 2, 3, 4], model, [1], [3, 4], 8, hint=hint)
    answer.expect([1, 2, 3], model, [1], [7, 8], 2, hint="No more than max_new_tokens.")
    answer.expect([5, 6, 7], model, [5], [7], 8, hint=hint)
    answer.expect([3, 4], model, [3, 4], [5], 0, hint="With no new tokens, the prompt.")
    hint = "Only new tokens count: that the prompt ends with the stop sequence does not stop it."
    answer.expect([2, 3, 4, 5, 6], model, [2, 3], [2, 3], 3, hint=hint)
    hint = (
        "Only new tokens count: the 3 is the prompt's, so 3, 4 is not written until the next round."
    )
    answer.expect([3, *range(4, 10), 0, 1, 2, 3, 4], model, [3], [3, 4], 20, hint=hint)
    hint = "All of the sequence must be there, in a row, at the end."
    answer.expect([1, 2, 3, 4, 5], model, [1], [2, 4], 4, hint=hint)
    answer.expect([1, 2, 3, 4, 5], model, [1], [3, 2], 4, hint=hint)
    model = SumModel(10.0 * torch.eye(10))
    hint = "This model writes the last digit of the sum of the whole text: give it all of it."
    answer.expect([1, 2, 3, 6, 2, 4], model, [1, 2], [9], 4, hint=hint)
    model = SumModel(10.0 * F.one_hot(torch.tensor([0, 1, 1, 2])))  # after 1, it writes 1, 1, 2
    hint = "The second 1 may be where the sequence begins."
    answer.expect([1, 1, 1, 2], model, [1], [1, 2], 5, hint=hint)


def best_text(model, ids, width, steps):
    beams = [(0.0, ids)]
    for _ in range(steps):
        longer = [
            (p + q, [*row, i])
            for p, row in beams
            for i, q in enumerate(model(torch.tensor([row]))[0, -1].log_softmax(dim=-1).tolist())
        ]
        beams = sorted(longer, key=lambda pair: pair[0], reverse=True)[:width]
    return beams[0][1]


@exercise("4.7")
def beam_search(answer):
    # After 0, token 1 is the more probable one; but after 1 nothing is, and after 2 all is clear.
    p = torch.tensor([[0.0, 0.6, 0.4, 0.0], [0.4, 0.0, 0.3, 0.3], [0.0, 0.1, 0.0, 0.9], [0.25] * 4])
    model = TableModel((p + 1e-9).log())
    answer.expect([0, 1], model, [0], 1, 1, hint="With one step, the best token is the best text.")
    answer.expect([0, 1, 0], model, [0], 1, 2, hint="With a width of 1 it is greedy.")
    hint = "0, 1, 0 has the probability 0.6·0.4 = 0.24, and 0, 2, 3 has 0.4·0.9 = 0.36."
    answer.expect([0, 2, 3], model, [0], 2, 2, hint=hint)
    answer.expect([1, 0], model, [1, 0], 2, 0, hint="Without steps, the prompt.")
    for seed in range(6):
        table = 2 * random(6, 6, seed=seed)
        for width, steps in [(1, 4), (2, 3), (2, 5), (3, 4)]:
            hint = (
                "Compare sums of log-probabilities: log_softmax of the last place, in all rounds."
            )
            model = TableModel(table)
            wanted = best_text(model, [seed % 6], width, steps)
            answer.expect(wanted, model, [seed % 6], width, steps, hint=hint)
    hint = "In each round, `width` candidates are kept of all together, not of each."
    for seed in range(30):
        model = TableModel(2 * random(8, 8, seed=100 + seed))
        answer.expect(best_text(model, [0], 2, 6), model, [0], 2, 6, hint=hint)
    model = SumModel(2 * random(6, 6, seed=3))
    hint = "Give the model the whole text of each candidate, not its last token alone."
    answer.expect(best_text(model, [1, 2], 2, 4), model, [1, 2], 2, 4, hint=hint)
    table = random(30, 30, seed=9)
    wanted = best_text(TableModel(table), [4], 30, 2)
    exact = table.log_softmax(dim=-1)
    best = exact[4, wanted[1]] + exact[wanted[1], wanted[2]]
    assert torch.isclose(best, (exact[4][:, None] + exact).max())
    answer.expect(wanted, TableModel(table), [4], 30, 2, hint="With the width V, nothing is lost.")
