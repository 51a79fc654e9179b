"""Wrong answers to the exercises of chapter 5, each rejected with a hint, and other right ones."""

import copy

import pytest
import torch

from gptbook.exercises import check
from gptbook.exercises.continuing import BEAMS, OPTIONS, UNTIL, option_sums, written_until
from gptbook.exercises.cutting import MIN_P, NUCLEUS, PENALTIES, above, nucleus
from gptbook.generate import KVCache, make_caches, pick_next
from tests.exercises.helpers import assert_rejected, wrong_answers


def with_ties(p, share):
    kept = nucleus(p, share, divided=False)
    least = kept.where(kept > 0, 2.0).amin(-1, keepdim=True)
    kept = p.where(p >= least, 0.0)  # and all that are as probable as the last one
    return kept / kept.sum(-1, keepdim=True)


def one_more(p, share):
    """Keeps one more where the sum is exactly p."""
    ordered, order = p.sort(dim=-1, descending=True)
    kept = ordered.masked_fill(ordered.cumsum(-1) - ordered > share, 0.0)
    kept = torch.zeros_like(p).scatter(-1, order, kept)
    return kept / kept.sum(-1, keepdim=True)


def counted(model, ids, stop, most):
    """Counts how much of the sequence is there; after a slip it begins at 0, not at 1."""
    new, found = [], 0
    while len(new) < most and found < max(1, len(stop)):
        new.append(model(torch.tensor([ids + new]))[0, -1].argmax().item())
        found = found + 1 if stop and new[-1] == stop[found] else 0
    return ids + new


def of_tensors(model, ids, stop, most):
    """A list whose new items are tensors without axes."""
    right = written_until(model, ids, stop, most)
    return ids + [torch.tensor(id) for id in right[len(ids) :]]


def in_place(model, ids, stop, most):
    ids += written_until(model, ids, stop, most)[len(ids) :]
    return ids


def uncut(model, ids, width, steps):
    """Keeps `width` of each candidate, and all of them."""
    beams = [(0.0, ids)]
    for _ in range(steps):
        longer = []
        for total, row in beams:
            gains = model(torch.tensor([row]))[0, -1].log_softmax(-1).tolist()
            found = sorted(((total + q, [*row, i]) for i, q in enumerate(gains)), reverse=True)
            longer += found[:width]
        beams = sorted(longer, reverse=True)
    return beams[0][1]


def uncached(model, ids, options):
    """Right, but the question is read anew for each option."""
    with torch.no_grad():
        found = []
        for option in options:
            logs = model(torch.tensor([ids + option]))[0].log_softmax(dim=-1)
            start = len(ids) - 1
            found.append(sum(logs[start + i, id].item() for i, id in enumerate(option)))
    return found


@torch.no_grad()
def rewound(model, ids, options, rewind=True, begin=None):
    """One set of caches, set back to the question's length after each option."""
    caches = [KVCache(32) for _ in model.blocks]
    first = model(torch.tensor([ids]), caches)[0, -1].log_softmax(dim=-1)
    found = []
    for option in options:
        total = first[option[0]].item()
        if option[1:]:
            logs = model(torch.tensor([option[:-1]]), caches)[0].log_softmax(dim=-1)
            total += sum(logs[i, id].item() for i, id in enumerate(option[1:]))
        for cache in caches if rewind else []:
            cache.length = len(ids)
        found.append(total)
    return found


@torch.no_grad()
def token_by_token(model, ids, options):
    caches = make_caches(model, 32)
    for id in ids:
        after = model(torch.tensor([[id]]), caches)
    found = []
    for option in options:
        own, logits, total = copy.deepcopy(caches), after, 0.0
        for id in option:
            total += logits[0, -1].log_softmax(dim=-1)[id].item()
            logits = model(torch.tensor([[id]]), own)
        found.append(total)
    return found


WRONG = {
    "5.1": [
        *NUCLEUS,
        (lambda p, share: looped(p, share), "not allowed"),
        lambda p, share: p.where(p >= share, 0.0),
        lambda p, share: nucleus(p, share)[:1].expand_as(p),  # the first row's for all
        one_more,
        with_ties,
    ],
    "5.2": [
        *PENALTIES,
        lambda logits, ids, penalty: logits.scatter(1, ids, 0.0),
        lambda logits, ids, penalty: logits.scatter_(1, ids, 0.0),  # changes the argument
    ],
    "5.3": [
        *UNTIL,
        counted,
        (of_tensors, "int"),
        in_place,
        lambda model, ids, stop, most: torch.tensor(written_until(model, ids, stop, most)),
    ],
    "5.4": [
        *BEAMS,
        uncut,
        lambda model, ids, width, steps: ids,
        lambda model, ids, width, steps: torch.tensor(ids),
    ],
    "5.5": [
        *MIN_P,
        lambda p, m: above(p, m * p.amax(-1, True))[:1].expand_as(p),
        lambda p, m: above(p, p.amax(-1, True) - m),
    ],
    "5.6": [
        *OPTIONS,
        (uncached, "read once"),
        lambda *given: rewound(*given, rewind=False),
        lambda *given: [-x for x in option_sums(*given)],
        lambda *given: option_sums(*given)[0],
    ],
    "5.7": [
        (lambda: (2, 2, 3, 2), "The first alone has 0.87"),
        (lambda: (1, 1, 3, 2), "0.6 is not enough"),
        (lambda: (1, 2, 2, 2), "The square roots add up"),
        (lambda: (1, 2, 3, 1), "After top-k"),
        lambda: (1, 2, 3),
        lambda: (3, 2, 1, 2),
    ],
    "5.8": [
        (lambda: (1.0, 7.8, 8.0), "len({"),
        (lambda: (0.7, 8.4, 8.0), "len({"),
        (lambda: (0.2, 40.0, 8.0), "filled up"),
        (lambda: (0.2, 7.8, 8.0), "too low"),
        (lambda: (0.2, 12.3, 7.0), "count the full stops"),
        lambda: 0.2,
    ],
}


@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)


def looped(p, share):
    """Row by row, token by token, without a sort of numbers."""
    kept = torch.zeros_like(p)
    for row, new in zip(p, kept, strict=True):
        total = 0.0
        for i in row.argsort(descending=True).tolist():
            if total >= share:
                break
            new[i] = row[i]
            total += row[i].item()
    return kept / kept.sum(-1, keepdim=True)


def by_mask(logits, ids, penalty):
    seen = torch.zeros_like(logits).scatter(1, ids, 1.0) > 0
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def by_log(p, m):
    """Min-p on logarithms."""
    logs = p.log()
    return logs.masked_fill(p < m * p.max(dim=1).values[:, None], -torch.inf).softmax(dim=-1)


@pytest.mark.parametrize(
    ("number", "right"),
    [
        ("5.2", by_mask),
        ("5.5", by_log),
        ("5.6", rewound),
        ("5.6", token_by_token),
        ("5.7", lambda: [1, 2, 3, 2]),
        ("5.7", lambda: (1.0, 2.0, 3.0, 2.0)),
        ("5.8", lambda: (0.2, 10.6, 8.02)),
        ("5.8", lambda: [0.2, torch.tensor(12.3), 7.9]),
    ],
)  # fmt: skip
def test_accepts_other_right_ways(number, right):
    assert check(number, right).correct


def test_the_survivors_are_those_of_pick_next():
    """What 5.8 asks for, drawn often enough that each token that is left is seen."""
    logits = torch.tensor([0.6, 0.2, 0.1, 0.05, 0.05]).log().expand(2000, 5)
    generator = torch.Generator().manual_seed(0)
    options = [(0.5, None), (1.0, None), (2.0, None), (2.0, 2)]
    drawn = [pick_next(logits, t, k, 0.7, generator=generator) for t, k in options]
    assert [len(row.unique()) for row in drawn] == [1, 2, 3, 2]
