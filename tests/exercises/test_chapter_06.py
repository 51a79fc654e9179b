"""Wrong answers to the exercises of chapter 6, each rejected with a hint."""

import math

import torch

from tests.exercises.helpers import assert_rejected, wrong_answers


def labels_by(ids, spans, counted, before=0, after=0):
    """Labels of spans of the kinds `counted`, grown or shrunk at their ends by mistake."""
    labels = [-100] * len(ids)
    for kind, start, stop in spans:
        if kind in counted:
            for i in range(max(0, start - before), min(len(ids), stop + after)):
                labels[i] = ids[i]
    return labels


def wrong_wrap_around(ids, spans):
    """The first token of a text becomes the last target: targets[-1]."""
    targets = [-100] * (len(ids) - 1)
    for kind, start, stop in spans:
        if kind == "assistant":
            for place in range(start, stop):
                targets[place - 1] = ids[place]
    return targets


def wrong_batch(
    rows, labels, pad, shift=True, left=False, count_padding=False, by_id=False, size=None
):
    size = max(map(len, rows)) - 1 if size is None else size
    inputs, targets = [], []
    for row, label in zip(rows, labels, strict=True):
        row, goal = (row[:-1], label[1:]) if shift else (row[:-1], label[:-1])
        if by_id:
            goal = [-100 if i == pad else i for i in goal]
        fill, off = [pad] * (size - len(row)), [pad if count_padding else -100] * (size - len(row))
        inputs.append(fill + row if left else row + fill)
        targets.append(off + goal if left else goal + off)
    return torch.tensor(inputs), torch.tensor(targets)


def wrong_control(losses, *parts):
    """The sum of the means over parts, 0 for an empty one."""
    return sum((losses * part).sum() / part.sum().clamp(min=1) for part in parts)


def wrong_wilson(r, n, z=1.96, root=True):
    middle = (r + z**2 / 2) / (n + z**2)
    reach = r * (n - r) / n + z**2 / 4
    reach = z / (n + z**2) * (reach**0.5 if root else reach)
    return middle - reach, middle + reach


RESPONSE, CONTENT = {"response"}, {"instruction", "input", "response"}


WRONG = {
    "6.1": [
        lambda ids, spans: labels_by(ids, spans, RESPONSE, before=1),  # a token of the header
        lambda ids, spans: labels_by(ids, spans, RESPONSE, before=-1),  # the first one is lost
        lambda ids, spans: labels_by(ids, spans, RESPONSE, after=-1),  # the end of text is masked
        lambda ids, spans: labels_by(ids, spans, {"response", "role"}),  # headers left in
        lambda ids, spans: labels_by(ids, spans, {"response", "input"}),
        lambda ids, spans: [i if i in labels_by(ids, spans, RESPONSE) else -100 for i in ids],
        lambda ids, spans: labels_by(ids, spans, RESPONSE)[1:],  # shifted already
        lambda ids, spans: labels_by(ids, spans[-1:], RESPONSE),  # the last span only
        lambda ids, spans: labels_by(ids, [s for s in spans if s[0] == "response"][:1], RESPONSE),
        lambda ids, spans: list(map(float, labels_by(ids, spans, RESPONSE))),
        lambda ids, spans: [i for i in labels_by(ids, spans, RESPONSE) if i != -100],
        lambda ids, spans: [-1 if i == -100 else i for i in labels_by(ids, spans, RESPONSE)],
    ],
    "6.2": [
        lambda ids, spans: labels_by(ids, spans, {*CONTENT, "role"}),  # headers left in
        lambda ids, spans: labels_by(ids, spans, {*CONTENT, "boilerplate"}),
        lambda ids, spans: labels_by(ids, spans, RESPONSE),
        lambda ids, spans: labels_by(ids, spans, {"instruction", "response"}),  # inputs forgotten
        lambda ids, spans: labels_by(ids, spans, CONTENT, after=-1),
        lambda ids, spans: labels_by(ids, spans, CONTENT, after=1),
        lambda ids, spans: [  # by id: what the template says is masked everywhere
            i if i not in labels_by(ids, spans, {"role", "boilerplate"}) else -100 for i in ids
        ],
    ],
    "6.3": [
        lambda ids, roles: [*ids],
        lambda ids, roles: [-100 if i in roles else i for i in ids][1:],
        lambda ids, roles: [i if i in roles else -100 for i in ids],
        lambda ids, roles: [
            -100 if i in roles or (n and ids[n - 1] in roles) else i for n, i in enumerate(ids)
        ],
        lambda ids, roles: [
            -100 if n + 1 < len(ids) and ids[n + 1] in roles else i for n, i in enumerate(ids)
        ],
        lambda ids, roles: [i for i in ids if i not in roles],
        lambda ids, roles: [-100 if i == min(roles) else i for i in ids],
    ],
    "6.4": [
        lambda ids, spans: labels_by(ids, spans, {"assistant"}),  # not shifted
        lambda ids, spans: labels_by(ids, spans, {"assistant"})[:-1],  # the other way
        lambda ids, spans: labels_by(ids, spans, {"assistant"}, after=-1)[1:],
        lambda ids, spans: labels_by(ids, spans, {"assistant"}, before=-1)[1:],
        lambda ids, spans: labels_by(ids, spans, {"assistant", "role"})[1:],
        lambda ids, spans: labels_by(ids, spans[-1:], {"assistant"})[1:],  # only the last answer
        wrong_wrap_around,
    ],
    "6.5": [
        lambda rows, labels, pad: wrong_batch(rows, labels, pad, shift=False),
        lambda rows, labels, pad: wrong_batch(rows, labels, pad, left=True),
        lambda rows, labels, pad: wrong_batch(rows, labels, pad, count_padding=True),
        lambda rows, labels, pad: wrong_batch(rows, labels, pad, by_id=True),
        lambda rows, labels, pad: wrong_batch(rows, labels, -100),
        lambda rows, labels, pad: wrong_batch(rows, rows, pad),  # labels not used
        lambda rows, labels, pad: wrong_batch(rows, labels, pad, size=len(max(rows)) - 1),
        lambda rows, labels, pad: wrong_batch(rows, labels, pad, size=len(rows[-1]) - 1),
        lambda rows, labels, pad: [t.int() for t in wrong_batch(rows, labels, pad)],
        lambda rows, labels, pad: wrong_batch(rows, labels, pad)[::-1],
        lambda rows, labels, pad: tuple(t.float() for t in wrong_batch(rows, labels, pad)),
    ],
    "6.6": [
        lambda r, n: (
            r / n - 1.96 * (r / n * (1 - r / n) / n) ** 0.5,
            r / n + 1.96 * (r / n * (1 - r / n) / n) ** 0.5,
        ),
        lambda r, n: wrong_wilson(r, n, z=2.58),
        lambda r, n: wrong_wilson(r, n)[::-1],
        lambda r, n: wrong_wilson(r, n, root=False),
        lambda r, n: [round(end, 2) for end in wrong_wilson(r, n)],
        lambda r, n: wrong_wilson(n - r, n),
        lambda r, n: (*wrong_wilson(r, n), "sure"),
        lambda r, n: (math.nan, math.nan) if r in (0, n) else wrong_wilson(r, n),
        lambda r, n: (-3.0, wrong_wilson(r, n)[1]) if r == 0 else wrong_wilson(r, n),
    ],
    "6.7": [
        lambda x, t, r: x[t != -100].mean(),  # a plain mean
        lambda x, t, r: wrong_control(x, (t != -100) & r),  # responses alone
        lambda x, t, r: wrong_control(x, r, ~r),  # padding counts
        lambda x, t, r: x[t != -100].sum() / ((t != -100) & r).sum().clamp(min=1),
        lambda x, t, r: x[(t != -100) & r].mean() + x[(t != -100) & ~r].mean(),  # 0/0
        lambda x, t, r: wrong_control(x, (t != -100) & r, (t != -100) & ~r) / 2,
        lambda x, t, r: float(wrong_control(x, (t != -100) & r, (t != -100) & ~r)),
    ],
}


@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)
