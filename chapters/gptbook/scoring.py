"""Exact match: is the most likely continuation of a text the one that is true?"""

import math
from collections import defaultdict

import torch
from torch.nn.utils.rnn import pad_sequence


@torch.no_grad()
def greedy_matches(model, rows, starts, batch_size=64):
    """For each row of ids, True if greedy generation would write it from place `start` on.

    All places are computed at once: greedy generation writes the rest of a row exactly if each of
    its tokens is the most likely one after the true tokens before it. Raises ValueError for a row
    that is longer than the model's context.
    """
    device, was_training = next(model.parameters()).device, model.training
    rows = [torch.as_tensor(row) for row in rows]
    model.eval()
    found = []
    try:
        for i in range(0, len(rows), batch_size):
            batch = rows[i : i + batch_size]
            # Padding stands at the end, where no earlier place can see it.
            best = model(pad_sequence(batch, batch_first=True).to(device)).argmax(dim=-1).cpu()
            for row, likely, start in zip(batch, best, starts[i : i + batch_size], strict=True):
                found.append(torch.equal(likely[start - 1 : len(row) - 1], row[start:]))
    finally:
        model.train(was_training)
    return found


def exact_matches(model, tokenizer, pairs, batch_size=64):
    """For each (prompt, end), True if greedy generation after the prompt would write the end.

    A prompt is taken for the beginning of a document, so it stands behind an end-of-text. Raises
    ValueError for a pair that is longer than the model's context, and for an end that begins within
    the last token of its prompt.
    """
    begin = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    prompts = [begin + tokenizer.encode(prompt) for prompt, _ in pairs]
    rows = [begin + tokenizer.encode(f"{prompt} {end}") for prompt, end in pairs]
    for prompt, row, (_, end) in zip(prompts, rows, pairs, strict=True):
        if not prompt or row[: len(prompt)] != prompt:
            raise ValueError(f"{end!r} does not begin with a token of its own")
    return greedy_matches(model, rows, list(map(len, prompts)), batch_size)


def share(found):
    """The share of True in a list; ValueError if it is empty."""
    if not found:
        raise ValueError("no share of nothing")
    return sum(found) / len(found)


def by_task(entries, right):
    """Return {task: its part of `right`}, for a list of True and False, one for each entry."""
    found = defaultdict(list)
    for entry, is_right in zip(entries, right, strict=True):
        found[entry["task"]].append(is_right)
    return dict(found)


def average(found):
    """The share of True in each list of a dict, averaged: every task weighs the same."""
    return sum(map(share, found.values())) / len(found)


def interval(right, count, z=1.96):
    """The 95 % interval (low, high) for a share, from `right` of `count` (Wilson 1927).

    >>> [round(end, 2) for end in interval(9, 10)]
    [0.6, 0.98]
    """
    middle = (right + z**2 / 2) / (count + z**2)
    half = z / (count + z**2) * math.sqrt(right * (count - right) / count + z**2 / 4)
    return max(0.0, middle - half), min(1.0, middle + half)
