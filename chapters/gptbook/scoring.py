"""Exact match: is the most likely continuation of a text the one that is true?"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from gptbook.modes import evaluating
from gptbook.tokenizer import BPETokenizer


def first_of(numbers: Sequence[int], most: int = 10) -> str:
    """The first numbers of a list, for a message.

    >>> first_of(range(100), most=3)
    '0, 1, 2 …'
    """
    return ", ".join(map(str, numbers[:most])) + " …" * (len(numbers) > most)


@torch.no_grad()
def greedy_matches(
    model: nn.Module,
    rows: Sequence[Tensor | list[int]],
    starts: Sequence[int],
    batch_size: int = 64,
) -> list[bool]:
    """For each row of ids, True if greedy generation would write it from position `start` on.

    All positions are computed at once: greedy generation writes the rest of a row exactly if each
    of its tokens is the most likely one after the true tokens before it. Raises ValueError for a
    row that is longer than the model's context.
    """
    device = next(model.parameters()).device
    pairs = [(torch.as_tensor(row), s) for row, s in zip(rows, starts, strict=True)]
    context = getattr(getattr(model, "config", None), "context_length", math.inf)
    if long := [i for i, (row, _) in enumerate(pairs) if len(row) > context]:
        raise ValueError(
            f"{len(long)} of {len(pairs)} rows, {first_of(long)}, have more tokens than "
            f"context_length={context}; row {long[0]} has {len(pairs[long[0]][0])}"
        )
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]))  # so that little is padded
    found = [False] * len(pairs)
    with evaluating(model):
        for first in range(0, len(order), batch_size):
            chosen = order[first : first + batch_size]
            # Padding stands at the end, where no earlier position can see it.
            batch = pad_sequence([pairs[i][0] for i in chosen], batch_first=True)
            best = model(batch.to(device)).argmax(dim=-1).cpu()
            for i, likely in zip(chosen, best, strict=True):
                row, start = pairs[i]
                found[i] = torch.equal(likely[start - 1 : len(row) - 1], row[start:])
    return found


def exact_matches(
    model: nn.Module,
    tokenizer: BPETokenizer,
    pairs: Sequence[tuple[str, str]],
    batch_size: int = 64,
) -> list[bool]:
    """For each (prompt, end), True if greedy generation after the prompt would write the end.

    A prompt is taken for the beginning of a document, so it stands behind an end-of-text. Raises
    ValueError for a pair that is longer than the model's context, and for an end that begins within
    the last token of its prompt.
    """
    begin = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    prompts = [begin + tokenizer.encode(prompt) for prompt, _ in pairs]
    rows = [begin + tokenizer.encode(f"{prompt} {end}") for prompt, end in pairs]
    for ids, row, (_, end) in zip(prompts, rows, pairs, strict=True):
        if not ids or row[: len(ids)] != ids:
            raise ValueError(f"{end!r} does not begin with a token of its own")
    return greedy_matches(model, rows, list(map(len, prompts)), batch_size)


def accuracy(found: Sequence[bool]) -> float:
    """The fraction of True in a list; ValueError if it is empty."""
    if not found:
        raise ValueError("no accuracy of nothing")
    return sum(found) / len(found)


def by_task(entries: Iterable[Mapping[str, Any]], right: Iterable[bool]) -> dict[str, list[bool]]:
    """Return {task: its part of `right`}, for a list of True and False, one for each entry."""
    found = defaultdict(list)
    for entry, is_right in zip(entries, right, strict=True):
        found[entry["task"]].append(is_right)
    return dict(found)


def macro_average(found: Mapping[str, Sequence[bool]]) -> float:
    """The accuracies of the lists of a dict, averaged: every task weighs the same."""
    return sum(map(accuracy, found.values())) / len(found)


def confidence_interval(right: int, count: int) -> tuple[float, float]:
    """The 95 % confidence interval (low, high) of an accuracy, `right` of `count` (Wilson 1927).

    >>> [round(end, 2) for end in confidence_interval(9, 10)]
    [0.6, 0.98]
    """
    z = 1.96
    middle = (right + z**2 / 2) / (count + z**2)
    half = z / (count + z**2) * math.sqrt(right * (count - right) / count + z**2 / 4)
    return max(0.0, middle - half), min(1.0, middle + half)
