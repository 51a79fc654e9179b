"""Wrong answers to the exercises of chapter 8, each rejected with a hint."""

import math

import torch

from gptbook.exercises import check
from gptbook.instructions import Example, make_labels
from gptbook.scoring import confidence_interval
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


def newest_pack(lengths, size, cost):
    """The newest of the rows with the least `cost` of their room."""
    rows, room = [], []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fits = [(cost(left), -n) for n, left in enumerate(room) if left >= lengths[i]]
        n = -min(fits)[1] if fits else len(rows)
        if not fits:
            rows.append([])
            room.append(size)
        rows[n].append(i)
        room[n] -= lengths[i]
    return rows


def next_pack(lengths, size):
    """A new row as soon as something does not fit into the last one."""
    rows = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if not rows or sum(lengths[j] for j in rows[-1]) + lengths[i] > size:
            rows.append([])
        rows[-1].append(i)
    return rows


def wrong_pack(lengths, size, order, best=1, spare=0):
    """Rows filled in an order; `best` 1 takes the least room, 0 the first row, -1 the most."""
    rows = []
    for i in sorted(range(len(lengths)), key=order):
        left = [size - sum(lengths[j] for j in row) for row in rows]
        fits = [n for n, room in enumerate(left) if room - spare >= lengths[i]]
        if fits:
            rows[min(fits, key=lambda n: best * left[n])].append(i)
        else:
            rows.append([i])
    return rows


WRONG = {
    "8.1": [
        (lambda ids, spans: labels_by(ids, spans, RESPONSE, before=1), "one position too early"),
        (lambda ids, spans: labels_by(ids, spans, RESPONSE, before=-1), "The first token of a"),
        (lambda ids, spans: labels_by(ids, spans, RESPONSE, after=-1), "it is the end of text"),
        (lambda ids, spans: labels_by(ids, spans, RESPONSE, after=1), "the first position behind"),
        (lambda ids, spans: labels_by(ids, spans, {"response", "role"}), "Headers"),
        (lambda ids, spans: labels_by(ids, spans, {"response", "input"}), "An input belongs"),
        (lambda ids, spans: labels_by(ids, spans, CONTENT), "does not count here"),
        (
            lambda ids, spans: [i if i in labels_by(ids, spans, RESPONSE) else -100 for i in ids],
            "Go by positions",
        ),
        (lambda ids, spans: labels_by(ids, spans, RESPONSE)[1:], "are not shifted"),
        (lambda ids, spans: labels_by(ids, spans, RESPONSE)[:-1], "The last id has a label"),
        (lambda ids, spans: labels_by(ids, [("response", *spans[-1][1:])], RESPONSE), "last span"),
        (
            lambda ids, spans: labels_by(
                ids, [s for s in spans if s[0] == "response"][:1], RESPONSE
            ),
            "Only the first response",
        ),
        (
            lambda ids, spans: list(map(float, labels_by(ids, spans, RESPONSE))),
            "the type should be int, not float",
        ),
        (
            lambda ids, spans: torch.tensor(labels_by(ids, spans, RESPONSE)),
            "Return type list, not Tensor",
        ),
        (lambda ids, spans: [i for i in labels_by(ids, spans, RESPONSE) if i != -100], "left out"),
        (
            lambda ids, spans: [-1 if i == -100 else i for i in labels_by(ids, spans, RESPONSE)],
            "that is what PyTorch leaves out",
        ),
        (
            lambda ids, spans: [0 if i == -100 else i for i in labels_by(ids, spans, RESPONSE)],
            "not 0",
        ),
        (lambda ids, spans: list(ids), "every token counts"),
        (lambda ids, spans: [ids[i] for kind, i, j in spans if kind == "answer"], "A label is"),
    ],
    "8.2": [
        (lambda ids, spans: labels_by(ids, spans, {*CONTENT, "role"}), "Headers"),
        (lambda ids, spans: labels_by(ids, spans, {*CONTENT, "boilerplate"}), "Boilerplate counts"),
        (lambda ids, spans: labels_by(ids, spans, RESPONSE), "This is exercise 8.1"),
        (lambda ids, spans: labels_by(ids, spans, {"instruction", "response"}), "Inputs are"),
        (lambda ids, spans: labels_by(ids, spans, CONTENT, after=-1), "The last token of a span"),
        (lambda ids, spans: labels_by(ids, spans, CONTENT, after=1), "first position behind"),
        (lambda ids, spans: labels_by(ids, spans, CONTENT, before=1), "one position too early"),
        (lambda ids, spans: labels_by(ids, spans, CONTENT, before=-1), "The first token of a span"),
        (
            lambda ids, spans: [
                i if i not in labels_by(ids, spans, {"role", "boilerplate"}) else -100 for i in ids
            ],
            "Go by positions",
        ),
        (lambda ids, spans: labels_by(ids, spans, CONTENT)[1:], "are not shifted"),
        (lambda ids, spans: labels_by(ids, spans, CONTENT)[:-1], "The last id has a label"),
        (lambda ids, spans: [i for i in labels_by(ids, spans, CONTENT) if i != -100], "left out"),
        (
            lambda ids, spans: [-1 if i == -100 else i for i in labels_by(ids, spans, CONTENT)],
            "that is what PyTorch leaves out",
        ),
        (
            lambda ids, spans: [0 if i == -100 else i for i in labels_by(ids, spans, CONTENT)],
            "not 0",
        ),
        (lambda ids, spans: list(ids), "every token counts"),
    ],
    "8.3": [
        (lambda: (70, 43, 24, 8, 8), "none: 70"),  # labels, not targets
        (lambda: (69, 42, 23, 8, 8), "boilerplate: 23"),  # the first token taken off twice
        (lambda: (69, 42, 24, 8, 38), "with padding: 38"),
        (lambda: (69, 50, 24, 8, 8), "role: 50"),
        (lambda: 69, "it should return"),
    ],
    "8.4": [
        (lambda ids, spans: labels_by(ids, spans, {"assistant"}), "These are labels"),
        (lambda ids, spans: labels_by(ids, spans, {"assistant"})[:-1], "leave out the first"),
        (
            lambda ids, spans: labels_by(ids, spans, {"assistant"}, after=-1)[1:],
            "its end of text",
        ),
        (
            lambda ids, spans: labels_by(ids, spans, {"assistant"}, before=-1)[1:],
            "the target of the header",
        ),
        (lambda ids, spans: labels_by(ids, spans, {"assistant", "role"})[1:], "Headers"),
        (lambda ids, spans: labels_by(ids, spans, {"assistant", "user"})[1:], "What the user"),
        (lambda ids, spans: labels_by(ids, spans[-1:], {"assistant", "user"})[1:], "last span"),
        (lambda ids, spans: ids[1:], "Everything counts"),
        (wrong_wrap_around, "index −1"),
    ],
    "8.5": [
        (lambda *a: wrong_batch(*a, shift=False), "The targets are not shifted"),
        (lambda *a: wrong_batch(*a, left=True), "filled up at the end"),
        (lambda *a: wrong_batch(*a, count_padding=True), "must be −100"),
        (lambda *a: wrong_batch(*a, by_id=True), "Mask by position"),
        (lambda rows, labels, pad: wrong_batch(rows, labels, -100), "which is no id"),
        (lambda rows, labels, pad: wrong_batch(rows, rows, pad), "take them from the labels"),
        (lambda rows, labels, pad: wrong_batch(labels, labels, pad), "take them from the ids"),
        (lambda *a: wrong_batch(*a, size=len(max(a[0])) - 1), "max of lists"),
        (lambda *a: wrong_batch(*a, size=len(a[0][0]) - 1), "that of the first row"),
        (lambda *a: wrong_batch(*a, size=len(a[0][-1]) - 1), "leave out the last id"),
        (lambda *a: wrong_batch(*a, size=max(map(len, a[0]))), "the longest minus 1"),
        (lambda *a: [t.int() for t in wrong_batch(*a)], "The dtype at [0] is torch.int32"),
        (lambda *a: wrong_batch(*a)[::-1], "Inputs come first"),
        (lambda *a: tuple(t.float() for t in wrong_batch(*a)), "has the dtype torch.float32"),
        (lambda *a: wrong_batch(*a)[0], "Return type tuple, not Tensor"),
        (lambda *a: wrong_batch(*a)[0][9], "leave out the last id"),  # raises
    ],
    "8.6": [
        (
            lambda r, n: (
                r / n - 1.96 * (r / n * (1 - r / n) / n) ** 0.5,
                r / n + 1.96 * (r / n * (1 - r / n) / n) ** 0.5,
            ),
            "the simple formula",
        ),
        (lambda r, n: wrong_wilson(r, n, z=2.58), "would be for 99 %"),
        (lambda r, n: wrong_wilson(r, n)[::-1], "The lower end comes first"),
        (lambda r, n: wrong_wilson(r, n, root=False), "The root is missing"),
        (lambda r, n: [round(end, 2) for end in wrong_wilson(r, n)], "Not rounded"),
        (lambda r, n: tuple(round(end, 4) for end in wrong_wilson(r, n)), "Not rounded"),
        (lambda r, n: wrong_wilson(n - r, n), "of the wrong ones"),
        (lambda r, n: tuple(100 * end for end in wrong_wilson(r, n)), "per cent"),
        (
            lambda r, n: (
                sum(wrong_wilson(r, n)) / 2,
                wrong_wilson(r, n)[1] - sum(wrong_wilson(r, n)) / 2,
            ),
            "return the two ends",
        ),
        lambda r, n: (*wrong_wilson(r, n), "sure"),
        (
            lambda r, n: (math.nan, math.nan) if r in (0, n) else wrong_wilson(r, n),
            "got nan",
        ),
        lambda r, n: (-3.0, wrong_wilson(r, n)[1]) if r == 0 else wrong_wilson(r, n),
    ],
    "8.7": [
        (lambda x, t, r: x[t != -100].mean(), "one mean over all"),
        (lambda x, t, r: x.mean(), "Padding, with the target −100"),
        (lambda x, t, r: wrong_control(x, (t != -100) & r), "The other tokens"),
        (lambda x, t, r: wrong_control(x, (t != -100) & ~r), "The responses are missing"),
        (lambda x, t, r: wrong_control(x, r, ~r), "Padding is in these means"),
        lambda x, t, r: x[t != -100].sum() / ((t != -100) & r).sum().clamp(min=1),
        (
            lambda x, t, r: x[(t != -100) & r].mean() + x[(t != -100) & ~r].mean(),
            "A mean over nothing is 0/0, nan",
        ),
        (
            lambda x, t, r: x[(t != -100) & r].sum() + x[(t != -100) & ~r].sum(),
            "These are sums",
        ),
        (
            lambda x, t, r: wrong_control(x, (t != -100) & r, (t != -100) & ~r) / 2,
            "do not average",
        ),
        (
            lambda x, t, r: wrong_control(x, (t != -100) & r, (t != -100) & ~r).item(),
            "Return type Tensor, not float",
        ),
        (
            lambda x, t, r: wrong_control(x, (t != -100) & r, (t != -100) & ~r).detach(),
            "on which backward() works",
        ),
        (
            lambda x, t, r: (
                wrong_control(x, (t != -100) & r, (t != -100) & ~r)
                if (t != -100).any()
                else torch.tensor(0.0)
            ),
            "a sum over no tokens is 0",
        ),
    ],
    "8.8": [
        (lambda ls, size: wrong_pack(ls, size, lambda i: ls[i]), "not the shortest"),
        (lambda ls, size: wrong_pack(ls, size, lambda i: 0), "Sort first"),
        (lambda ls, size: wrong_pack(ls, size, lambda i: -ls[i], best=0), "the first row with"),
        (lambda ls, size: wrong_pack(ls, size, lambda i: -ls[i], best=-1), "the most room"),
        (lambda ls, size: newest_pack(ls, size, lambda room: 0), "the newest row with enough"),
        (lambda ls, size: newest_pack(ls, size, lambda room: room), "take the oldest"),
        (lambda ls, size: next_pack(ls, size), "Only the row begun last"),
        (lambda ls, size: wrong_pack(ls, size, lambda i: (-ls[i], -i)), "the first comes first"),
        (lambda ls, size: wrong_pack(ls, size, lambda i: -ls[i], spare=1), "just fills a row"),
        (lambda ls, size: [[i] for i in sorted(range(len(ls)), key=lambda i: -ls[i])], "its own"),
        (
            lambda ls, size: [
                [ls[i] for i in row] for row in wrong_pack(ls, size, lambda i: -ls[i])
            ],
            "return the indices",
        ),
        (lambda ls, size: ls[0][0], "the least room"),  # raises
    ],
    "8.9": [
        (lambda: (0.0084, True, -0.4, False), "the loss; that is too high"),  # last minus best
        (lambda: (-0.0084, False, 0.4, False), "whether that is clear"),
        (lambda: (-0.0084, True, 0.004, False), "the points; that is too low"),
        (lambda: (-0.0084, True, -0.4, False), "the points; that is too low"),
        (lambda: (-0.0084, True, 0.4, True), "its interval leaves out 0"),
        (lambda: -0.0084, "it should return"),
    ],
}


@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)


def padded_first(rows, labels, pad):
    """As a collator does: rows are filled up, then shifted."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])
    goal = torch.tensor([[*label, *[-100] * (longest - len(label))] for label in labels])
    return ids[:, :-1], goal[:, 1:]


def one_by_one(losses, targets, is_response):
    total = 0 * losses.sum()
    for kind in (True, False):
        found = [
            losses[i, j]
            for i in range(len(losses))
            for j in range(losses.shape[1])
            if targets[i, j] != -100 and is_response[i, j] == kind
        ]
        total = total + (sum(found) / len(found) if found else 0)
    return total


def test_other_right_answers_are_accepted():
    assert check("8.5", padded_first).correct
    assert check("8.5", lambda *a: [*wrong_batch(*a)]).correct
    assert check("8.6", lambda r, n: [*wrong_wilson(r, n)]).correct
    assert check("8.7", one_by_one).correct


def test_the_books_functions_do_not_answer_the_exercises():
    def by_the_book(ids, spans):
        return make_labels(Example(ids, spans), "instruction")

    assert "gptbook.instructions" in check("8.1", by_the_book).hint
    assert "gptbook.scoring.confidence_interval" in check("8.6", confidence_interval).hint
    assert "not allowed" in check("8.6", lambda r, n: confidence_interval(r, n)).hint
