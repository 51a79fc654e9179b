"""What readers get wrong in chapter 2's exercises, and what the checks say of it."""

import codecs

import torch


def token_table(merges):
    """The bytes of every id."""
    tokens = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        tokens.append(tokens[left] + tokens[right])
    return tokens


def _split_where(starts):
    """Wrong: each token is cut where `starts(token, ids)` says, whatever was learned before."""

    def recover(tokens):
        ids = {token: id for id, token in enumerate(tokens)}
        cuts = [(token, starts(token, ids)) for token in tokens[256:]]
        return [(ids[token[:cut]], ids[token[cut:]]) for token, cut in cuts]

    return recover


def _known_cuts(token, ids):
    return [i for i in range(1, len(token)) if token[:i] in ids and token[i:] in ids]


def _larger(token, cut, ids):
    return max(ids[token[:cut]], ids[token[cut:]])


RECOVER = [
    (
        _split_where(lambda token, ids: len(token) - 1),
        "You split off the last byte. A token can end in a longer token, too.",
    ),
    (
        _split_where(lambda token, ids: 1),
        "You split off the first byte. A token can begin with a longer token, too.",
    ),
    (
        _split_where(lambda token, ids: max(_known_cuts(token, ids))),
        "The longest token that it begins with need not be the left part: an earlier merge may "
        "have joined its last byte to the right.",
    ),
    (
        _split_where(lambda t, ids: min(_known_cuts(t, ids), key=lambda i: _larger(t, i, ids))),
        "The cut whose parts were learned earliest is not always right: encode the bytes with the "
        "merges before.",
    ),
    (
        _split_where(lambda token, ids: min(_known_cuts(token, ids))),
        "The first cut that leaves two tokens need not be the one that was learned.",
    ),
    (
        lambda tokens: [
            (tokens[x], tokens[y])
            for x, y in _split_where(lambda t, ids: min(_known_cuts(t, ids)))(tokens)
        ],
        "Return ids, not bytes.",
    ),
]


def streamed(tokens, final=False, errors="replace"):
    """What can be shown after each token; with `final`, also what is unfinished at the end."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors=errors)
    last = len(tokens) - 1
    return [decoder.decode(token, final=final and i == last) for i, token in enumerate(tokens)]


def _wait_until_whole(tokens):
    shown, left = [], b""
    for token in tokens:
        left += token
        try:
            shown.append(left.decode("utf-8"))
            left = b""
        except UnicodeDecodeError:
            shown.append("")
    return shown


STREAM = [
    (
        lambda tokens: streamed(tokens, final=True),
        "What is still unfinished at the end is not shown: do not flush the decoder.",
    ),
    (
        lambda tokens: [token.decode("utf-8", errors="replace") for token in tokens],
        "Each token was decoded by itself; keep bytes of a character that is not whole yet.",
    ),
    (
        lambda tokens: streamed(tokens, errors="ignore"),
        "Bytes that can never become a character were thrown away: they are shown as U+FFFD.",
    ),
    (
        lambda tokens: [token.decode("utf-8", errors="ignore") for token in tokens],
        "What is not whole yet was thrown away; keep it for the next token.",
    ),
    (
        lambda tokens: ["".join(streamed(tokens)[: i + 1]) for i in range(len(tokens))],
        "Return what is new after each token, not all of the text so far.",
    ),
    (_wait_until_whole, "One unfinished or impossible byte holds all the others back."),
    (
        lambda tokens: "".join(streamed(tokens)),
        "Return a list with one text for each token.",
    ),
]


def _windows(ids, size, stride, last=0, shift=1):
    starts = range(0, len(ids) - size + last, stride)
    return [(ids[i : i + size], ids[i + shift : i + shift + size]) for i in starts]


def cut_windows(ids, cut, *rest, **options):
    return _windows(ids[:cut], *rest, **options), _windows(ids[cut:], *rest, **options)


def kept(ids, fraction):
    """How many ids stay for training."""
    return len(ids) - int(len(ids) * fraction)


def _after_the_windows(ids, size, stride, fraction):
    windows = _windows(ids, size, stride)
    cut = len(windows) - int(len(windows) * fraction)
    return windows[:cut], windows[cut:]


def _leaky(ids, size, stride, fraction):
    cut = kept(ids, fraction)
    return _windows(ids[: cut + 1], size, stride), _windows(ids[cut:], size, stride)


WINDOWS = [
    (
        lambda ids, size, stride, f: tuple(
            _windows(part, size, stride)
            for part in (ids[: -int(len(ids) * f)], ids[-int(len(ids) * f) :])
        ),
        "-0 is 0, so ids[:-0] is empty, and ids[-0:] is all of them. Compute where the cut is, "
        "counted from the front.",
    ),
    (
        lambda ids, size, stride, f: cut_windows(ids, len(ids) - round(len(ids) * f), size, stride),
        "int(…) cuts off what comes after the point; round(…) may round up.",
    ),
    (
        lambda ids, size, stride, f: cut_windows(ids, int(len(ids) * (1 - f)), size, stride),
        "The number of ids to cut off is int(len(ids) * validation_fraction). You rounded the "
        "number of those that stay.",
    ),
    (
        _after_the_windows,
        "Windows were cut before the ids were. So the same ids stand on both sides.",
    ),
    (
        lambda ids, size, stride, f: cut_windows(ids, kept(ids, f), size, stride, shift=0),
        "The targets are the inputs one id later.",
    ),
    (
        lambda ids, size, stride, f: cut_windows(ids, kept(ids, f), size, stride, last=1),
        "The last window has no room for its last target.",
    ),
    (
        lambda ids, size, stride, f: cut_windows(ids, kept(ids, f), size, stride, last=-1),
        "One more window fits at the end: its last target is the last id.",
    ),
    (
        _leaky,
        "The last training target is an id behind the cut: that id belongs to validation.",
    ),
    (
        lambda ids, size, stride, f: cut_windows(ids, kept(ids, f), size, size),
        "The next window starts `stride` ids further on, not `context_length`.",
    ),
    (
        lambda ids, size, stride, f: cut_windows(ids, kept(ids, f), size, 1),
        "The next window starts `stride` ids further on, not one.",
    ),
    (
        lambda ids, size, stride, f: cut_windows(ids, int(len(ids) * f), size, stride)[::-1],
        "The last ids are for validation, not the first.",
    ),
    (
        lambda ids, size, stride, f: cut_windows(ids, kept(ids, f), size, stride)[::-1],
        "Return the training windows first, then those for validation.",
    ),
]


def _with_new(make):
    return lambda weight, extra: torch.cat([weight, make(weight, extra)])


GROW = [
    (lambda w, n: w.mean(dim=0).expand(n, -1), "These are the new rows alone."),
    (
        lambda w, n: torch.cat([w.mean(dim=0).expand(n, -1), w]),
        "The old rows must keep their ids, so new rows come after them.",
    ),
    (_with_new(lambda w, n: torch.zeros(n, w.shape[1])), "The new rows are zero, not the mean."),
    (
        _with_new(lambda w, n: w.mean().expand(n, w.shape[1])),
        "This is one mean for all numbers; each column has its own.",
    ),
    (_with_new(lambda w, n: w.mean(dim=0)[None]), "There are `extra` new rows, not one."),
    (_with_new(lambda w, n: w[-1:].expand(n, -1)), "This repeats the last row."),
    (_with_new(lambda w, n: w.sum(dim=0).expand(n, -1)), "This is the sum of the rows."),
    (_with_new(lambda w, n: w[:n]), "This repeats the first rows."),
    (
        lambda w, n: torch.cat([w, w.mean(dim=0)]),
        "w.mean(dim=0) has the shape (D,), and torch.cat wants matrices: make rows of it.",
    ),
    (
        _with_new(lambda w, n: w.mean(dim=1).expand(n, -1)),
        "dim=1 takes the mean within each row; the mean of the rows goes along dim=0.",
    ),
    (
        _with_new(lambda w, n: w.median(dim=0).values.expand(n, -1)),
        "This is the median, not the mean.",
    ),
]
