"""Models that are easy to follow, and what continues texts with them: for chapter 5's checks."""

import copy
from functools import partial

import torch

from gptbook.exercises import drawn
from gptbook.model import GPT, GPTConfig


def random(*shape, seed=0):
    return drawn(shape, seed=seed)[0]


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


def next_of(model, ids):
    return model(torch.tensor([ids]))[0, -1].argmax().item()


def written_until(model, ids, stop, most, prompt=False, cut=False, last=False):
    """The solution of 5.3; the options are mistakes."""
    new = []
    while len(new) < most:
        if prompt and stop and ids[-len(stop) :] == stop:
            break
        new.append(next_of(model, ids + new))
        text, wanted = ids + new if prompt else new, stop[-1:] if last else stop
        if wanted and text[-len(wanted) :] == wanted:
            new = new[: -len(stop)] if cut else new
            break
    return ids + new


def stopped_at_any(model, ids, stop, most):
    new = []
    while len(new) < most and not set(new) & set(stop):
        new.append(next_of(model, ids + new))
    return ids + new


def stopped_at_nothing(model, ids, stop, most):
    new = []
    while len(new) < most:
        new.append(next_of(model, ids + new))
        if new[-len(stop) :] == stop or not stop:
            break
    return ids + new


UNTIL = [
    (
        partial(written_until, prompt=True),
        "You compare the end of the whole text; only new tokens count, not the prompt's.",
    ),
    (partial(written_until, cut=True), "The stop sequence stays in the result."),
    (
        partial(written_until, last=True),
        "You stop at the last token of the sequence; the whole sequence must be there.",
    ),
    (stopped_at_any, "You stop at any token of the sequence; all of it must be there, in a row."),
    (stopped_at_nothing, "An empty `stop` never stops anything."),
    (
        lambda model, ids, stop, most: written_until(model, ids, [], most),
        "It did not stop at the sequence.",
    ),
    (
        lambda model, ids, stop, most: written_until(model, ids, stop, most)[len(ids) :],
        "Return the prompt, too, not the new tokens alone.",
    ),
    (
        lambda model, ids, stop, most: written_until(model, ids, stop, most + 1),
        "That is one token more than max_new_tokens.",
    ),
    (
        lambda model, ids, stop, most: written_until(lambda x: model(x[:, -1:]), ids, stop, most),
        "Give the model the whole text, not its last token alone.",
    ),
]


def best_text(model, ids, width, steps, sums=True, logs=True, per_beam=False, reverse=True):
    """The solution of 5.4; the options are mistakes."""
    beams = [(0.0, ids)]
    for _ in range(steps):
        longer = []
        for total, row in beams:
            logits = model(torch.tensor([row]))[0, -1]
            gains = (logits.log_softmax(dim=-1) if logs else logits).tolist()
            found = [(total + q if sums else q, [*row, i]) for i, q in enumerate(gains)]
            found.sort(key=lambda beam: beam[0], reverse=True)
            longer += found[:1] if per_beam and len(beams) > 1 else found
        longer.sort(key=lambda beam: beam[0], reverse=reverse)
        beams = longer[:width]
    return beams[0][1]


BEAMS = [
    (
        partial(best_text, per_beam=True),
        "In each step, `width` candidates are kept of all together, not one of each.",
    ),
    (
        lambda model, ids, width, steps: best_text(model, ids, width, steps)[len(ids) :],
        "The prompt is missing: return ids and the new tokens in one list.",
    ),
    (
        lambda model, ids, width, steps: best_text(model, ids, width, steps + 1),
        "That is one step too many.",
    ),
    (
        lambda model, ids, width, steps: best_text(model, ids, 1, steps),
        "That is the greedy text; keep `width` candidates.",
    ),
    (
        partial(best_text, sums=False),
        "You compare the newest token's log-probability alone; add up those of all new tokens.",
    ),
    (
        partial(best_text, logs=False),
        "You add up logits. After different texts they have different sums of exponentials: "
        "log_softmax makes log-probabilities of them.",
    ),
    (partial(best_text, reverse=False), "That is the least probable candidate."),
    (
        lambda model, ids, width, steps: best_text(lambda x: model(x[:, -1:]), ids, width, steps),
        "Give the model the whole text of each candidate, not its last token alone.",
    ),
]


class CountingGPT(GPT):
    """A GPT that counts the tokens it computes."""

    seen = 0

    def forward(self, ids, caches=None):
        self.seen += ids.numel()
        return super().forward(ids, caches)

    def __deepcopy__(self, memo):
        return self  # a Probe compares the arguments before and after by ==

    def __repr__(self):
        return "model"


def counting_model():
    config = GPTConfig(vocab_size=12, context_length=32, embed_dim=8, num_layers=2, num_heads=2)
    with torch.random.fork_rng(devices=[]):  # the reader's random numbers stay as they are
        model = CountingGPT(config)
    with torch.no_grad():  # large weights, so that a mistake shows
        for i, parameter in enumerate(model.parameters()):
            parameter.copy_(0.7 * random(*parameter.shape, seed=i))
    return model.eval()


def option_sums(model, ids, options, mean=False, first=True, alone=False, logs=True, after=0):
    """The solution of 5.6 without caches; the options are mistakes."""
    sums = []
    for option in options:
        text = option if alone else ids + option
        with torch.no_grad():
            logits = GPT.forward(model, torch.tensor([text]))[0]
        rows = logits.log_softmax(dim=-1) if logs else logits
        start = len(text) - len(option)
        gains = [
            rows[min(start + i - 1 + after, len(text) - 1), id].item()
            for i, id in enumerate(option)
            if start + i > 0 and (first or i > 0)
        ]
        sums.append(sum(gains) / (len(gains) or 1) if mean else float(sum(gains)))
    return sums


def chained(model, ids, options, read=None):
    """The caches are not copied: each option is read behind what was read of those before."""
    sums, text = [], ids
    with torch.no_grad():
        first = GPT.forward(model, torch.tensor([ids]))[0, -1].log_softmax(dim=-1)
        for option in options:
            rows = GPT.forward(model, torch.tensor([text + option]))[0].log_softmax(dim=-1)
            later = (rows[len(text) + i - 1, id].item() for i, id in enumerate(option) if i)
            sums.append(first[option[0]].item() + sum(later))
            text = text + option[:read]
    return sums


NOT_COPIED = "Each option must find the caches as they were after the question: copy them."
OPTIONS = [
    (
        partial(option_sums, first=False),
        "The first token of each option is missing; the question's last logits are about it.",
    ),
    (partial(option_sums, mean=True), "The sum over the tokens, not the mean."),
    (
        partial(option_sums, alone=True),
        "The options must follow the question; without it, they mean something else.",
    ),
    (
        partial(option_sums, logs=False),
        "You add up logits; log_softmax makes log-probabilities of them.",
    ),
    (
        partial(option_sums, after=1),
        "Logits at a position are about the next token, not about the one at that position.",
    ),
    (chained, NOT_COPIED),
    (partial(chained, read=-1), NOT_COPIED),
    (
        lambda model, ids, options: copy.deepcopy([GPT.forward(model, torch.tensor([ids]))]),
        "Caches with gradients in them cannot be copied: use torch.no_grad().",
    ),
]
