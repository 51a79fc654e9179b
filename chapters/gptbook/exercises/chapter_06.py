"""Checks of chapter 6's exercises."""

import torch

from gptbook.exercises import NotYet, close, exercise
from gptbook.scoring import confidence_interval

OFF = -100
# An entry whose response repeats words of the template and of the instruction, and ends in 0.
IDS = [7, 8, 9, 4, 4, 5, 6, 9, 3, 5, 7, 9, 5, 6, 0]
SPANS = [
    ("boilerplate", 0, 2), ("role", 2, 4), ("instruction", 4, 7), ("boilerplate", 7, 8),
    ("role", 8, 10), ("response", 10, 15),
]  # fmt: skip
WITH_INPUT = (
    [1, 2, 3, 1, 2, 3, 1, 2, 3, 1],
    [
        ("boilerplate", 0, 1), ("role", 1, 2), ("instruction", 2, 3), ("boilerplate", 3, 4),
        ("role", 4, 5), ("input", 5, 7), ("role", 7, 8), ("response", 8, 10),
    ],
)  # fmt: skip
DIALOGUE = (
    [5, 1, 2, 0, 6, 3, 0, 5, 1, 6, 3, 3, 0],
    [
        ("role", 0, 1), ("user", 1, 4), ("role", 4, 5), ("assistant", 5, 7), ("role", 7, 8),
        ("user", 8, 9), ("role", 9, 10), ("assistant", 10, 13),
    ],
)  # fmt: skip


def labels_of(ids, spans, counted):
    """The ids in spans of the kinds `counted`, and -100 elsewhere."""
    return [id if kind in counted else OFF for kind, i, j in spans for id in ids[i:j]]


# Two answers with a question between them, and a text that no response ends.
TWO_ANSWERS = (
    [5, 1, 6, 2, 0, 5, 3, 6, 4, 0],
    [
        ("role", 0, 1), ("instruction", 1, 2), ("role", 2, 3), ("response", 3, 5), ("role", 5, 6),
        ("instruction", 6, 7), ("role", 7, 8), ("response", 8, 10),
    ],
)  # fmt: skip
NO_ANSWER = ([5, 1, 2, 6], [("role", 0, 1), ("instruction", 1, 3), ("role", 3, 4)])


def same_labels(got, wanted):
    """Equal, and whole numbers in a list: True is not 1 here, nor is 1.0."""
    return isinstance(got, list) and got == wanted and all(type(label) is int for label in got)


@exercise("6.1")
def instruction_labels(answer):
    hint = "Only the response counts, from its first token to the end of text. A list of int."
    short = ([3, 4, 5], [("role", 0, 2), ("response", 2, 3)])
    for ids, spans in ((IDS, SPANS), WITH_INPUT, short, TWO_ANSWERS, NO_ANSWER):
        wanted = labels_of(ids, spans, {"response"})
        answer.expect(wanted, ids, spans, same=same_labels, hint=hint)


@exercise("6.2")
def boilerplate_labels(answer):
    hint = "Headers and boilerplate are masked by their places; the same ids elsewhere count."
    kinds = {"instruction", "input", "response"}
    for ids, spans in ((IDS, SPANS), WITH_INPUT, TWO_ANSWERS, NO_ANSWER):
        answer.expect(labels_of(ids, spans, kinds), ids, spans, same=same_labels, hint=hint)


@exercise("6.3")
def role_labels(answer):
    hint = "Nothing but the role tokens is masked, and labels are not shifted."
    answer.expect([OFF, 4, 4, OFF, 6, 0], [1, 4, 4, 2, 6, 0], {1, 2}, hint=hint)
    answer.expect([OFF, OFF, 3], [1, 1, 3], {1, 2}, hint=hint)
    answer.expect([3, 0], [3, 0], {1}, hint="Without role tokens, everything counts.")
    answer.expect([3, OFF], [3, 9], {9}, hint=hint)


@exercise("6.4")
def assistant_targets(answer):
    hint = "One target less than ids; the first token of an answer is the target of the header."
    ids, spans = DIALOGUE
    answer.expect(labels_of(ids, spans, {"assistant"})[1:], ids, spans, hint=hint)
    spans = [("assistant", 0, 2), ("role", 2, 3), ("user", 3, 4), ("role", 4, 5)]
    ids = [8, 9, 7, 6, 5, 4]
    for last in ("assistant", "user"):
        wanted = [9, OFF, OFF, OFF, 4 if last == "assistant" else OFF]
        answer.expect(wanted, ids, [*spans, (last, 5, 6)], hint=hint)


@exercise("6.5")
def make_batch(answer):
    def same(got, wanted):
        return isinstance(got, (tuple, list)) and all(
            isinstance(g, torch.Tensor) and g.dtype == torch.long and torch.equal(g, w)
            for g, w in zip(got, wanted, strict=True)
        )

    hint = "Two tensors of torch.long: inputs leave out the last id, targets the first label."
    rows = [[9, 5, 0], [4, 7, 8, 5, 0], [6, 0]]  # the longest is neither the first nor the last
    labels = [[OFF, 5, 0], [OFF, OFF, 8, 5, 0], [OFF, 0]]
    for pad_id in (0, 9, 5):
        wanted = (
            torch.tensor([[9, 5, pad_id, pad_id], [4, 7, 8, 5], [6, pad_id, pad_id, pad_id]]),
            torch.tensor([[5, 0, OFF, OFF], [OFF, 8, 5, 0], [0, OFF, OFF, OFF]]),
        )
        answer.expect(wanted, rows, labels, pad_id, same=same, hint=hint)
    rows, labels = [[1, 2, 3], [3, 2, 1]], [[1, 2, 3], [OFF, OFF, OFF]]
    wanted = (torch.tensor([[1, 2], [3, 2]]), torch.tensor([[2, 3], [OFF, OFF]]))
    answer.expect(wanted, rows, labels, 0, same=same, hint=hint)


@exercise("6.6")
def wilson(answer):
    def same(got, wanted):
        return len(got) == 2 and all(map(close, got, wanted))

    hint = "Two numbers: the middle minus the reach, the middle plus it. z = 1.96, z² = 3.8416."
    for r, n in ((9, 10), (0, 20), (20, 20), (50, 100), (1, 1)):
        answer.expect(confidence_interval(r, n), r, n, same=same, hint=hint)


@exercise("6.7")
def equal_weight_loss(answer):
    losses = torch.tensor([[1.0, 2.0, 4.0, 8.0], [3.0, 5.0, 100.0, 1000.0]])
    targets = torch.tensor([[4, 4, 4, 0], [4, 0, OFF, OFF]])
    response = torch.tensor([[False, False, False, True], [False, True, True, True]])

    def same(got, wanted):
        return close(float(got), wanted)

    hint = "Responses that count: (8 + 5) / 2. Others that count: (1 + 2 + 4 + 3) / 4."
    answer.expect(9.0, losses, targets, response, same=same, hint=hint)
    hint = "Where all else is masked, it is the plain mean over responses, 6.5."
    only = targets.masked_fill(~response, OFF)
    answer.expect(6.5, losses, only, response, same=same, hint=hint)
    hint = "Where no response counts, it is the plain mean over the others, 2.5."
    others = targets.masked_fill(response, OFF)
    answer.expect(2.5, losses, others, response, same=same, hint=hint)
    nothing = torch.full_like(targets, OFF)
    answer.expect(0.0, losses, nothing, response, same=same, hint="A mean over nothing is 0 here.")
    try:
        gradient = losses.clone().requires_grad_()
        answer.function(gradient, targets, response).backward()
    except (RuntimeError, AttributeError) as error:
        raise NotYet(f"The loss must be a tensor that can go backwards; {error}") from error
    if gradient.grad is None or gradient.grad[1, 2:].any():
        raise NotYet("Padding must have no gradient.")
