"""Checks of chapter 8's exercises."""

from contextlib import suppress

import torch

from gptbook.exercises import NotYet, alike, close, exercise
from gptbook.exercises.compare import agrees, equal
from gptbook.exercises.labels import (
    BATCH_SLIPS,
    DIALOGUES,
    ENTRY,
    NO_ANSWER,
    OFF,
    PACKED_SLIPS,
    SHORT,
    TWO_ANSWERS,
    WITH_INPUT,
    batch,
    by_id,
    label_slips,
    labels_of,
    packed,
)
from gptbook.results import collect, load_runs, paired_difference
from gptbook.scoring import confidence_interval


@exercise("8.1", forbid=["gptbook"])
def instruction_labels(answer):
    hint = "A label is the id itself inside of a response, and −100 everywhere else."
    kinds = {"response"}
    mistakes = [
        (lambda ids, spans: by_id(ids, spans, kinds, None),
         "Ids that also stand in the response count in other spans here. Go by positions."),
        (lambda ids, spans: labels_of(ids, spans, kinds | {"role"}),
         "Headers, the spans of the kind \"role\", do not count."),
        (lambda ids, spans: labels_of(ids, spans, kinds | {"input"}),
         "An input belongs to the question: it does not count."),
        (lambda ids, spans: labels_of(ids, spans, kinds | {"input", "instruction"}),
         "The question, instruction and input, does not count here."),
        (lambda ids, spans: labels_of(ids, spans, lambda s: s[-1:]),
         "The last span counts here, whatever its kind, and nothing else: look at each span."),
        (lambda ids, spans: labels_of(ids, spans, lambda s: [x for x in s if x[0] in kinds][:1]),
         "Only the first response counts here; there may be several."),
        *label_slips("response"),
    ]  # fmt: skip
    for ids, spans in (SHORT, ENTRY, WITH_INPUT, TWO_ANSWERS, NO_ANSWER):
        wanted = labels_of(ids, spans, kinds)
        answer.expect(wanted, ids, spans, hint=hint, mistakes=mistakes)


@exercise("8.2", forbid=["gptbook"])
def boilerplate_labels(answer):
    hint = "Which kinds of spans are the template's? These, and no others, get −100."
    kinds = {"instruction", "input", "response"}
    mistakes = [
        (lambda ids, spans: by_id(ids, spans, None, {"role", "boilerplate"}),
         "Ids of the template are masked in other spans, too. Go by positions: the same ids "
         "count in an instruction or a response."),
        (lambda ids, spans: labels_of(ids, spans, kinds | {"role"}),
         "Headers, the spans of the kind \"role\", belong to the template."),
        (lambda ids, spans: labels_of(ids, spans, kinds | {"boilerplate"}),
         "Boilerplate counts here, and should not."),
        (lambda ids, spans: labels_of(ids, spans, {"response"}),
         "This is exercise 8.1: here, the question counts as well."),
        (lambda ids, spans: labels_of(ids, spans, {"instruction", "response"}),
         "Inputs are forgotten: they belong to the question."),
        *label_slips(*kinds),
    ]  # fmt: skip
    for ids, spans in (SHORT, ENTRY, WITH_INPUT, TWO_ANSWERS, NO_ANSWER):
        answer.expect(labels_of(ids, spans, kinds), ids, spans, hint=hint, mistakes=mistakes)


@exercise("8.3")
def targets_that_count(answer):
    answer.predicts(
        (69, 42, 24, 8, 8),
        explain="There are 70 labels and 69 targets: nothing is there to predict the first token. "
        "The headers have 11 + 7 + 9 tokens, the other boilerplate 15 + 2 + 2, of which the first "
        "one is no target anyway; instruction, input and response have 8 each. Padding never "
        "counts.",
        names=("none", "role", "boilerplate", "instruction", "with padding"),
    )


@exercise("8.4", forbid=["gptbook"])
def assistant_targets(answer):
    hint = "The target of a position is what comes next, and there is one target less than ids."
    kinds = {"assistant"}

    def around(ids, spans):
        """The first token of a text becomes its last target: targets[-1]."""
        targets = [OFF] * (len(ids) - 1)
        for place, label in enumerate(labels_of(ids, spans, kinds)):
            if label != OFF:
                targets[place - 1] = label
        return targets

    mistakes = [
        (lambda ids, spans: labels_of(ids, spans, kinds),
         "These are labels. Targets are shifted by one, so that they belong to ids[:-1]."),
        (lambda ids, spans: labels_of(ids, spans, kinds)[:-1],
         "The last label is left out; to shift, leave out the first."),
        (lambda ids, spans: labels_of(ids, spans, kinds, before=-1)[1:],
         "The first token of an answer is missing: it is the target of the header before it."),
        (lambda ids, spans: labels_of(ids, spans, kinds, after=-1)[1:],
         "The last token of each answer is missing: its end of text."),
        (lambda ids, spans: labels_of(ids, spans, kinds | {"role"})[1:],
         "Headers do not count, also that of the assistant."),
        (lambda ids, spans: labels_of(ids, spans, kinds | {"user"})[1:],
         "What the user says does not count."),
        (lambda ids, spans: labels_of(ids, spans, lambda s: s[-1:])[1:],
         "Only the last span counts here: look at every span, and at its kind."),
        (lambda ids, spans: labels_of(ids, spans, lambda s: s if s[-1][0] in kinds else [])[1:],
         "Everything counts here."),
        (around, "An answer at position 0 has no position before it: index −1 is the last one."),
    ]  # fmt: skip
    for ids, spans in DIALOGUES:
        wanted = labels_of(ids, spans, kinds)[1:]
        answer.expect(wanted, ids, spans, hint=hint, mistakes=mistakes)


@exercise("8.5", forbid=["gptbook"])
def make_batch(answer):
    hint = "Two tensors of torch.long: inputs leave out the last id, targets the first label."
    cases = [([[1, 2, 3], [3, 2, 1]], [[1, 2, 3], [OFF, OFF, OFF]], 0)]
    rows = [[6, 0], [9, 5, 0], [4, 7, 8, 5, 0], [2, 3, 1, 0]]  # the third is the longest
    labels = [[OFF, 0], [OFF, 5, 0], [OFF, OFF, 8, 5, 0], [OFF, OFF, 1, 0]]
    cases += [(rows, labels, pad_id) for pad_id in (1, 0, 9, 5)]
    for arguments in cases:
        wanted, other = batch(*arguments), batch(*arguments, padded_first=True)
        # Filled up first and shifted then, a short row keeps its last id as an input. Its target
        # is −100, so that nothing is learned from it: that is right, too.
        with suppress(NotYet, TypeError, IndexError):  # what is wrong is reported below
            wanted = other if agrees(answer(*arguments)[0], other[0]) else wanted
        answer.expect(wanted, *arguments, same=equal, hint=hint, mistakes=BATCH_SLIPS)


@exercise("8.6", forbid=["gptbook"])
def wilson(answer):
    z = 1.96

    def same(got, wanted):
        return len(got) == 2 and all(map(close, got, wanted))

    def ends(r, n, z=1.96, power=0.5):
        middle = (r + z**2 / 2) / (n + z**2)
        reach = z / (n + z**2) * (r * (n - r) / n + z**2 / 4) ** power
        return middle - reach, middle + reach

    def simple(r, n):
        p, reach = r / n, z * (r / n * (1 - r / n) / n) ** 0.5
        return p - reach, p + reach

    def reach_twice(r, n):
        low, high = ends(r, n)
        return (low + high) / 2, (high - low) / 2

    rounded = "Not rounded, says the exercise: the last digits are missing."
    mistakes = [
        (simple, "This is the simple formula, p ± 1.96 · √(p(1 − p)/n); for r = n it has no width "
         "at all."),
        (lambda r, n: ends(r, n)[::-1], "The lower end comes first."),
        (lambda r, n: ends(r, n, power=1), "The root is missing."),
        (lambda r, n: ends(r, n, z=2.58), "z is 1.96 for 95 %; 2.58 would be for 99 %."),
        (lambda r, n: ends(n - r, n), "This is the interval of the wrong ones, n − r."),
        (reach_twice, "These are the middle and the reach; return the two ends."),
        (lambda r, n: tuple(100 * end for end in ends(r, n)), "Fractions between 0 and 1, not "
         "per cent."),
        *[(lambda r, n, d=d: tuple(round(end, d) for end in ends(r, n)), rounded)
          for d in (2, 3, 4)],
    ]  # fmt: skip
    hint = "Return (low, high): the middle minus the reach, the middle plus the reach."
    for r, n in ((9, 10), (0, 20), (20, 20), (50, 100), (1, 1)):
        wanted = confidence_interval(r, n)
        answer.expect(wanted, r, n, same=same, hint=hint, mistakes=mistakes)


@exercise("8.7", forbid=["gptbook"])
def equal_weight_loss(answer):
    losses = torch.tensor([[1.0, 2.0, 4.0, 8.0], [3.0, 5.0, 100.0, 1000.0]])
    targets = torch.tensor([[4, 4, 4, 0], [4, 0, OFF, OFF]])
    response = torch.tensor([[False, False, False, True], [False, True, True, True]])

    def means(losses, *parts):
        return sum((losses * part).sum() / part.sum().clamp(min=1) for part in parts)

    def parts(targets, response):
        return (targets != OFF) & response, (targets != OFF) & ~response

    mistakes = [
        (lambda x, t, r: x[t != OFF].mean(), "This is one mean over all tokens that count; the "
         "control has two, of the responses and of the others, and adds them."),
        (lambda x, t, r: x.mean(), "Padding, with the target −100, is in this mean."),
        (lambda x, t, r: means(x, r, ~r), "Padding is in these means: where the target is −100, "
         "nothing counts, whatever is_response says."),
        (lambda x, t, r: means(x, parts(t, r)[0]), "The other tokens that count are missing."),
        (lambda x, t, r: means(x, parts(t, r)[1]), "The responses are missing."),
        (lambda x, t, r: means(x, *parts(t, r)) / 2, "Add the two means; do not average them."),
        (lambda x, t, r: sum(x[part].sum() for part in parts(t, r)), "These are sums: divide each "
         "by the number of its tokens."),
        (lambda x, t, r: sum(x[part].mean() for part in parts(t, r)), "A mean over nothing is "
         "0/0, nan; here it should be 0."),
    ]  # fmt: skip
    # Once with both kinds of tokens, then with one of them, then with none.
    cases = {
        9.0: (targets, "Responses that count: 8 and 5. Others that count: 1, 2, 4 and 3."),
        6.5: (targets.masked_fill(~response, OFF), "Only responses count here, 8 and 5."),
        2.5: (targets.masked_fill(response, OFF), "No response counts here: the others are left."),
        0.0: (torch.full_like(targets, OFF), "A mean over nothing is 0 here."),
    }
    for wanted, (goal, hint) in cases.items():
        arguments = (losses, goal, response)
        result = torch.tensor(wanted)
        answer.expect(result, *arguments, same=alike, hint=hint, mistakes=mistakes)
    for goal, _ in cases.values():
        leaf = losses.clone().requires_grad_()
        [gradient] = torch.autograd.grad(means(leaf, *parts(goal, response)), leaf)
        hint = "Padding must have no gradient."
        if not (goal != OFF).any():
            hint = "Also a mean over nothing must come from `losses`: a sum over no tokens is 0."
        answer.differentiates(gradient, losses, goal, response, hint=hint)


@exercise("8.8", forbid=["gptbook"])
def pack(answer):
    hint = "Longest first; of the rows where it fits, the one with the least room; else a new one."
    many = [60, 52, 71, 48, 55, 66, 50, 49, 80, 30, 20]
    cases = [([3, 5, 2], 10), ([1, 6, 4], 10), ([6, 7, 4, 3], 10), (many, 128)]
    cases += [([7, 5, 4, 1], 10), ([5, 5], 5), ([], 8), ([9, 7, 2, 1, 1], 10)]
    for lengths, size in cases:
        answer.expect(packed(lengths, size), lengths, size, hint=hint, mistakes=PACKED_SLIPS)


@exercise("8.9")
def gain_of_stopping(answer):
    runs = load_runs("masking", tasks="short", size=100, variant="none", phase="final")
    gains = [
        paired_difference(*(collect(runs, f"{when}_{name}") for when in ("best", "last")))
        for name in ("test_loss", "exact_match")
    ]
    answer.measures(
        (gains[0].mean, gains[0].clear, 100 * gains[1].mean, gains[1].clear),
        tolerance=(0.0005, 0, 0.03, 0),
        hint="Take best minus last, in pairs, over the five runs, and points as hundredths; a "
        "difference is clear if its interval leaves out 0.",
        names=("the loss", "whether that is clear", "the points", "whether they are clear"),
    )
