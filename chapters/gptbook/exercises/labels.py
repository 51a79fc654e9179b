"""Texts with spans, and the mistakes made with labels, batches and packing: for chapter 8."""

import torch

OFF = -100
# Each kind of span once.
SHORT = (
    [3, 4, 5, 6, 7, 8, 9],
    [("boilerplate", 0, 1), ("role", 1, 3), ("instruction", 3, 5), ("response", 5, 7)],
)
# An entry whose response repeats words of the template and of the instruction, and ends in 0.
ENTRY = (
    [7, 8, 9, 4, 4, 5, 6, 9, 3, 5, 7, 9, 5, 6, 0],
    [
        ("boilerplate", 0, 2), ("role", 2, 4), ("instruction", 4, 7), ("boilerplate", 7, 8),
        ("role", 8, 10), ("response", 10, 15),
    ],
)  # fmt: skip
WITH_INPUT = (
    [1, 2, 3, 1, 2, 3, 1, 2, 3, 1],
    [
        ("boilerplate", 0, 1), ("role", 1, 2), ("instruction", 2, 3), ("boilerplate", 3, 4),
        ("role", 4, 5), ("input", 5, 7), ("role", 7, 8), ("response", 8, 10),
    ],
)  # fmt: skip
# Two answers with a question between them, and a text that no response ends.
TWO_ANSWERS = (
    [5, 1, 6, 2, 0, 5, 3, 6, 4, 0],
    [
        ("role", 0, 1), ("instruction", 1, 2), ("role", 2, 3), ("response", 3, 5), ("role", 5, 6),
        ("instruction", 6, 7), ("role", 7, 8), ("response", 8, 10),
    ],
)  # fmt: skip
NO_ANSWER = ([5, 1, 2, 6], [("role", 0, 1), ("instruction", 1, 3), ("role", 3, 4)])
DIALOGUE = (
    [5, 1, 2, 0, 6, 3, 0, 5, 1, 6, 3, 3, 0],
    [
        ("role", 0, 1), ("user", 1, 4), ("role", 4, 5), ("assistant", 5, 7), ("role", 7, 8),
        ("user", 8, 9), ("role", 9, 10), ("assistant", 10, 13),
    ],
)  # fmt: skip
ANSWER_FIRST = [("assistant", 0, 2), ("role", 2, 3), ("user", 3, 4), ("role", 4, 5)]
DIALOGUES = [
    ([5, 6, 7, 8, 0], [("role", 0, 1), ("user", 1, 2), ("role", 2, 3), ("assistant", 3, 5)]),
    DIALOGUE,
    *(([8, 9, 7, 6, 5, 4], [*ANSWER_FIRST, (last, 5, 6)]) for last in ("assistant", "user")),
]


def labels_of(ids, spans, counted, before=0, after=0, off=OFF):
    """The ids in spans of the kinds `counted`, grown or shrunk at their ends, and `off` elsewhere.

    `counted` may also be a function of the spans that says which of them count.
    """
    chosen = counted(spans) if callable(counted) else [s for s in spans if s[0] in counted]
    labels = [off] * len(ids)
    for _, start, stop in chosen:
        for i in range(max(0, start - before), min(len(ids), stop + after)):
            labels[i] = ids[i]
    return labels


def by_id(ids, spans, counted, masked):
    """What going by ids instead of positions leads to: one of the two sets decides."""
    seen = set(labels_of(ids, spans, counted or masked))
    return [id if (id in seen) == bool(counted) else OFF for id in ids]


def label_slips(*counted):
    """Mistakes at the ends of spans, and in the form of the labels."""
    return [
        (lambda ids, spans: labels_of(ids, spans, counted)[1:],
         "The labels are not shifted: one for each id, at its position."),
        (lambda ids, spans: labels_of(ids, spans, counted)[:-1],
         "The last id has a label, too."),
        (lambda ids, spans: [id for id in labels_of(ids, spans, counted) if id != OFF],
         "What does not count gets −100; it is not left out."),
        (lambda ids, spans: labels_of(ids, spans, counted, off=0),
         "What does not count gets −100, not 0: 0 is the id of a token."),
        (lambda ids, spans: labels_of(ids, spans, counted, off=-1),
         "What does not count gets −100: that is what PyTorch leaves out."),
        (lambda ids, spans: labels_of(ids, spans, counted, before=1),
         "A span begins at its first number: you start one position too early."),
        (lambda ids, spans: labels_of(ids, spans, counted, before=-1),
         "The first token of a span counts like the others."),
        (lambda ids, spans: labels_of(ids, spans, counted, after=-1),
         "The last token of a span counts, too: of a response, it is the end of text. As in "
         "slices, the second number of a span is the first position behind it."),
        (lambda ids, spans: labels_of(ids, spans, counted, after=1),
         "The second number of a span is the first position behind it, as in slices."),
        (lambda ids, spans: list(ids), "Here every token counts, also the template's."),
    ]  # fmt: skip


def batch(rows, labels, pad, *, shift=1, left=False, fill=OFF, padded_first=False, size=None):
    """Inputs and targets, in many wrong ways and two right ones: `padded_first` or not."""
    longest = max(map(len, rows)) - 1 if size is None else size
    inputs, targets = [], []
    for row, label in zip(rows, labels, strict=True):
        goal = label[shift:] if shift else label[:-1]
        row = [*row, pad][:longest] if padded_first else row[:-1]
        fill_in, fill_out = [pad] * (longest - len(row)), [fill] * (longest - len(goal))
        inputs.append([*fill_in, *row] if left else [*row, *fill_in])
        targets.append([*fill_out, *goal] if left else [*goal, *fill_out])
    return torch.tensor(inputs), torch.tensor(targets)


def masked_by_id(rows, labels, pad):
    inputs, targets = batch(rows, labels, pad)
    return inputs, targets.masked_fill(targets == pad, OFF)


BATCH_SLIPS = [
    (masked_by_id, "Targets that equal pad_id are masked, also real ones. Mask by position: "
     "pad_id may occur as a real token."),
    (lambda *a: batch(*a, fill=a[2]), "Filled-up targets must be −100: nothing is learned "
     "there."),
    (lambda *a: batch(*a, shift=0), "The targets are not shifted: the target of a position is "
     "the label after it."),
    (lambda *a: batch(*a, left=True), "Short rows are filled up at the end, not at the start."),
    (lambda rows, labels, pad: batch(rows, labels, OFF), "The inputs contain −100, which is no "
     "id: fill them up with pad_id."),
    (lambda rows, labels, pad: batch(rows, rows, pad), "The targets come from the ids: take "
     "them from the labels."),
    (lambda rows, labels, pad: batch(labels, labels, pad), "The inputs come from the labels: "
     "take them from the ids."),
    (lambda *a: batch(*a)[::-1], "Inputs come first, then targets."),
    (lambda *a: batch(*a, size=len(max(a[0])) - 1), "max of lists compares their first "
     "ids; the longest is max(map(len, rows))."),
    (lambda *a: batch(*a, size=len(a[0][0]) - 1), "T is that of the first row here; the "
     "longest may be any of them."),
    (lambda *a: batch(*a, size=max(map(len, a[0]))), "T is the length of the longest minus 1: "
     "after the shift, each row is one shorter."),
]  # fmt: skip


def packed(lengths, size, order=-1, best=1, slack=0, tie=0, newest=False, last=False):
    """Rows of indices; `order`, `best` and so on are ways to get it wrong."""
    rows, room = [], []
    for i in sorted(range(len(lengths)), key=lambda i: (order * lengths[i], tie * i)):
        fits = [row for row in range(len(rows)) if room[row] >= lengths[i] + slack]
        fits = [row for row in fits if row == len(rows) - 1] if last else fits
        if not fits:
            fits = [len(rows)]
            rows.append([])
            room.append(size)
        chosen = min(fits[::-1] if newest else fits, key=lambda row: best * room[row])
        rows[chosen].append(i)
        room[chosen] -= lengths[i]
    return rows


PACKED_SLIPS = [
    (lambda ls, size: packed(ls, size, order=1), "Begin with the longest, not the shortest."),
    (lambda ls, size: packed(ls, size, order=0), "Sort first: the longest comes first."),
    (lambda ls, size: packed(ls, size, best=0), "This takes the first row with enough room; "
     "take the one with the least room."),
    (lambda ls, size: packed(ls, size, best=-1), "This takes the row with the most room; take "
     "the one with the least that is enough."),
    (lambda ls, size: packed(ls, size, newest=True), "Of rows with equal room, take the oldest."),
    (lambda ls, size: packed(ls, size, best=0, newest=True), "This takes the newest row with "
     "enough room; take the one with the least room."),
    (lambda ls, size: packed(ls, size, last=True), "Only the row begun last is tried; an older "
     "one may have room."),
    (lambda ls, size: packed(ls, size, tie=-1), "Of equal lengths, the first comes first."),
    (lambda ls, size: packed(ls, size, slack=1), "An example that just fills a row fits."),
    (lambda ls, size: [[i] for i in sorted(range(len(ls)), key=lambda i: -ls[i])],
     "Each example has a row of its own."),
    (lambda ls, size: [[ls[i] for i in row] for row in packed(ls, size)], "These are the "
     "lengths; return the indices."),
]  # fmt: skip
