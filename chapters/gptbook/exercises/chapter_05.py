"""Checks of chapter 5's exercises."""

import math

import torch
import torch.nn.functional as F

from gptbook.exercises import NotYet, alike, close, exercise
from gptbook.exercises.continuing import (
    BEAMS,
    OPTIONS,
    UNTIL,
    SumModel,
    TableModel,
    best_text,
    counting_model,
    option_sums,
    random,
)
from gptbook.exercises.cutting import (
    MIN_P,
    NUCLEUS,
    PENALTIES,
    above,
    changed,
    left,
    nucleus,
    pushed_down,
)


@exercise("5.1", forbid=["gptbook", torch.Tensor.item, torch.Tensor.tolist])
def top_p_filter(answer):
    one = torch.tensor([[10.0, 6.0, 3.0, 1.0]]) / 20
    wanted = torch.tensor([[10.0, 6.0, 3.0, 0.0]]) / 19
    hint = "0.5 + 0.3 is not enough for 0.9, with 0.15 it is: keep three, and divide by their sum."
    answer.expect(wanted, one, 0.9, same=alike, hint=hint, mistakes=NUCLEUS)
    wanted = torch.tensor([[5.0, 3.0, 0.0, 0.0]]) / 8
    hint = "The most probable token is always kept."
    answer.expect(torch.eye(4)[:1], one, 0.2, same=alike, hint=hint, mistakes=NUCLEUS)
    hint = "The kept tokens stay at their positions."
    answer.expect(wanted.flip(1), one.flip(1), 0.75, same=alike, hint=hint, mistakes=NUCLEUS)
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
    rows = torch.cat([one, one[:, [2, 3, 1, 0]]])
    wanted = torch.tensor([[5.0, 3.0, 0.0, 0.0], [0.0, 0.0, 3.0, 5.0]]) / 8
    hint = "Each row is filtered by itself."
    answer.expect(wanted, rows, 0.75, same=alike, hint=hint, mistakes=NUCLEUS)
    rows = (2 * random(20, 9)).softmax(dim=-1)
    for share in (0.3, 0.6, 0.9):
        answer.expect(nucleus(rows, share), rows, share, same=alike, hint=hint, mistakes=NUCLEUS)
    hint = "With p = 1 everything is kept."
    answer.expect(rows, rows, 1.0, same=alike, hint=hint, mistakes=NUCLEUS)


@exercise("5.2")
def penalise(answer):
    logits = torch.tensor([[2.0, -1.0, 4.0, 0.0]])
    for ids, wanted, hint in (
        ([0, 1], [1.0, -2.0, 4.0, 0.0], "2 is divided, -1 multiplied: both become smaller."),
        ([0], [1.0, -1.0, 4.0, 0.0], "Only the token 0 occurs in ids: 2 / 2 = 1."),
        (
            [1],
            [2.0, -2.0, 4.0, 0.0],
            "A negative logit is multiplied: it must become smaller, too.",
        ),
        ([2, 2, 2], [2.0, -1.0, 2.0, 0.0], "Penalised once, however often it occurs."),
        ([2, 0], [1.0, -1.0, 2.0, 0.0], "Each token that occurs in ids."),
    ):
        ids, wanted = torch.tensor([ids]), torch.tensor([wanted])
        answer.expect(wanted, logits, ids, 2.0, same=alike, hint=hint, mistakes=PENALTIES)
    logits, ids = torch.tensor([[4.0, -2.0, 6.0, 8.0]]).repeat(2, 1), torch.tensor([[0, 0], [1, 2]])
    wanted = torch.tensor([[2.0, -2.0, 6.0, 8.0], [4.0, -4.0, 3.0, 8.0]])
    hint = "Each row of logits belongs to the same row of ids."
    answer.expect(wanted, logits, ids, 2.0, same=alike, hint=hint, mistakes=PENALTIES)
    for seed in range(3):
        logits = 3 * random(4, 10, seed=seed)
        ids = torch.randint(10, (4, 6), generator=torch.Generator().manual_seed(seed))
        wanted = changed(pushed_down)(logits, ids, 1.5)
        answer.expect(wanted, logits, ids, 1.5, same=alike, hint=hint, mistakes=PENALTIES)


@exercise("5.3", forbid=["gptbook.generate"])
def write_until(answer):
    def expect(wanted, *given, hint):
        answer.expect(wanted, *given, hint=hint, mistakes=UNTIL)

    model = TableModel(10.0 * torch.eye(10).roll(1, dims=1))  # after n comes n + 1, after 9 comes 0
    hint = "After n, this model writes n + 1. The stop sequence stays in the result."
    expect([1, 2, 3, 4], model, [1], [3, 4], 8, hint=hint)
    expect([1, 2, 3], model, [1], [7, 8], 2, hint="No more than max_new_tokens.")
    expect([5, 6, 7], model, [5], [7], 8, hint=hint)
    hint = "All of the sequence must be there, in a row, at the end."
    expect([1, 2, 3, 4, 5], model, [1], [2, 4], 4, hint=hint)
    expect([1, 2, 3, 4, 5], model, [1], [3, 2], 4, hint=hint)
    expect([3, 4], model, [3, 4], [5], 0, hint="With no new tokens, the prompt.")
    hint = "Only new tokens count: that the prompt ends with the stop sequence does not stop it."
    expect([2, 3, 4, 5, 6], model, [2, 3], [2, 3], 3, hint=hint)
    hint = "Only new tokens count: the 3 is the prompt's, so 3, 4 comes only after the 9 and the 0."
    expect([3, *range(4, 10), 0, 1, 2, 3, 4], model, [3], [3, 4], 20, hint=hint)
    expect([1, 2, 3], model, [1], [], 2, hint="An empty `stop` never stops anything.")
    model = SumModel(10.0 * torch.eye(10))
    hint = "This model writes the last digit of the sum of the whole text: give it all of it."
    expect([1, 2, 3, 6, 2, 4], model, [1, 2], [9], 4, hint=hint)
    model = SumModel(10.0 * F.one_hot(torch.tensor([0, 1, 1, 2])))  # after 1, it writes 1, 1, 2
    hint = "The second 1 may be where the sequence begins."
    expect([1, 1, 1, 2], model, [1], [1, 2], 5, hint=hint)


@exercise("5.4", forbid=["gptbook.generate"])
def beam_search(answer):
    def expect(wanted, *given, hint):
        answer.expect(wanted, *given, hint=hint, mistakes=BEAMS)

    # After 0, token 1 is the more probable one; but after 1 nothing is, and after 2 all is clear.
    p = torch.tensor([[0.0, 0.6, 0.4, 0.0], [0.4, 0.0, 0.3, 0.3], [0.0, 0.1, 0.0, 0.9], [0.25] * 4])
    model = TableModel((p + 1e-9).log())
    expect([0, 1], model, [0], 1, 1, hint="With one step, the best token is the best text.")
    expect([0, 1, 0], model, [0], 1, 2, hint="With a width of 1 it is greedy.")
    hint = "0, 1, 0 has the probability 0.6·0.4 = 0.24, and 0, 2, 3 has 0.4·0.9 = 0.36."
    expect([0, 2, 3], model, [0], 2, 2, hint=hint)
    expect([1, 0], model, [1, 0], 2, 0, hint="Without steps, the prompt.")
    hint = "Compare sums of log-probabilities: log_softmax of the last position, in all steps."
    for seed in range(6):
        model = TableModel(2 * random(6, 6, seed=seed))
        for width, steps in [(1, 4), (2, 3), (2, 5), (3, 4)]:
            wanted = best_text(model, [seed % 6], width, steps)
            expect(wanted, model, [seed % 6], width, steps, hint=hint)
    hint = "In each step, `width` candidates are kept of all together, not of each."
    for seed in range(30):
        model = TableModel(2 * random(8, 8, seed=100 + seed))
        expect(best_text(model, [0], 2, 6), model, [0], 2, 6, hint=hint)
    model = SumModel(2 * random(6, 6, seed=3))
    hint = "Give the model the whole text of each candidate, not its last token alone."
    expect(best_text(model, [1, 2], 2, 4), model, [1, 2], 2, 4, hint=hint)
    table = random(30, 30, seed=9)
    wanted = best_text(TableModel(table), [4], 30, 2)
    exact = table.log_softmax(dim=-1)
    best = exact[4, wanted[1]] + exact[wanted[1], wanted[2]]
    assert torch.isclose(best, (exact[4][:, None] + exact).max())
    expect(wanted, TableModel(table), [4], 30, 2, hint="With the width V, nothing is lost.")


@exercise("5.5")
def min_p_filter(answer):
    p = torch.tensor([[8.0, 4.0, 2.0, 1.0, 1.0]]) / 16
    hint = "The threshold is 0.2 · 0.5 = 0.1: three tokens are kept, and divided by their sum."
    wanted = torch.tensor([[8.0, 4.0, 2.0, 0.0, 0.0]]) / 14
    answer.expect(wanted, p, 0.2, same=alike, hint=hint, mistakes=MIN_P)
    hint = "0.25 times 0.5 is 0.125: the token with exactly 0.125 is kept."
    answer.expect(wanted, p, 0.25, same=alike, hint=hint, mistakes=MIN_P)
    hint = "With min_p = 1, only the most probable one is kept."
    answer.expect(torch.eye(5)[:1], p, 1.0, same=alike, hint=hint, mistakes=MIN_P)
    rows = torch.tensor([[4.0, 2.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0]]) / 8
    wanted = torch.tensor([[0.8, 0.0, 0.0, 0.0], [0.2, 0.2, 0.2, 0.2]]) / 0.8
    answer.expect(
        wanted, rows, 0.75, same=alike, mistakes=MIN_P, hint="Each row has its own threshold."
    )
    rows = (2 * random(20, 9)).softmax(dim=-1)
    for m in (0.05, 0.3):
        wanted = above(rows, m * rows.amax(dim=-1, keepdim=True))
        answer.expect(wanted, rows, m, same=alike, mistakes=MIN_P, hint=hint)


def close_lists(got, wanted):
    return len(got) == len(wanted) and all(
        close(*pair, 1e-4) for pair in zip(got, wanted, strict=True)
    )


@exercise("5.6")
def option_log_probs(answer):
    model = counting_model()
    for ids, options in (
        ([1, 2, 3], [[4, 5]]),
        ([1, 2, 3], [[4], [5]]),
        ([1, 2, 3], [[4, 5], [6, 7, 8], [4]]),
        ([5], [[1, 2], [1, 2]]),
        ([9, 3, 0, 7, 7, 2, 4, 1, 8, 10], [[3, 1], [2], [6, 6, 6]]),
    ):
        wanted = option_sums(model, ids, options)
        model.seen = 0
        hint = "Add up, over the option's tokens, the log-probability of each after all before it."
        answer.expect(wanted, model, ids, options, same=close_lists, hint=hint, mistakes=OPTIONS)
        most = len(ids) + sum(map(len, options))
        if model.seen > most:
            raise NotYet(
                f"{answer.called(model, ids, options)} is right, but the model computed "
                f"{model.seen} tokens; with the question read once, {most} are enough. "
                "Read the question into caches and copy these for each option."
            )


@exercise("5.7")
def survivors(answer):
    p = [0.6, 0.2, 0.1, 0.05, 0.05]
    wanted = (*(left(p, 0.7, t) for t in (0.5, 1.0, 2.0)), left(p, 0.7, 2.0, top_k=2))
    names = ("at temperature 0.5", "at 1", "at 2", "at 2 after top-k 2")
    reasons = (
        "Squared: 0.36, 0.04, 0.01 and twice 0.0025, together 0.415. The first alone has 0.87.",
        "0.6 is not enough for 0.7; 0.6 + 0.2 is.",
        "The square roots add up to 1.985: 0.39, then 0.62, then 0.78.",
        "After top-k, the two are divided by their sum: the first has 0.63, so both are needed.",
    )
    for i, reason in enumerate(reasons):
        tolerance = [0.0 if j == i else math.inf for j in range(4)]
        answer.predicts(wanted, tolerance, reason, names)


@exercise("5.8")
def best_by_count(answer):
    hints = (
        "Count `len({s for s in write_sentences(0, temperature=t) if is_right(s)})` for each.",
        "Divide the number of words of all sentences by the number of sentences; rows that are "
        "filled up to 40 tokens are not sentences.",
        "Take `sentences`, the 20,000 that the model learned from; count the full stops, too.",
    )
    names = ("the temperature", "the mean number of words there", "that in the language")
    for i, hint in enumerate(hints):
        tolerance = [[0.0, 2.2, 0.35][j] if j == i else math.inf for j in range(3)]
        answer.measures((0.2, 12.0, 8.0), tolerance, hint, names)
