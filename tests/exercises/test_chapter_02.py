"""Wrong answers to the exercises of chapter 2, each rejected with a hint, and other right ones."""

import codecs
from itertools import pairwise

import torch

from gptbook.bpe import merge_pair
from gptbook.exercises import check
from gptbook.exercises.mistakes_02 import GROW, RECOVER, STREAM, WINDOWS, cut_windows, kept
from tests.exercises.helpers import assert_rejected, wrong_answers


def wrong_stream_trusts_the_first_byte(tokens):
    """Waits until a character has as many bytes as its first byte promises, whatever they are."""
    shown, left = [], b""
    for token in tokens:
        left += token
        text = ""
        while left:
            size = 1 + sum(left[0] >= first for first in (0xC0, 0xE0, 0xF0))
            if len(left) < size:
                break
            text += left[:size].decode("utf-8", errors="replace")
            left = left[size:]
        shown.append(text)
    return shown


leftover = codecs.getincrementaldecoder("utf-8")(errors="replace")


def wrong_windows_one_target(ids, size, stride, fraction):
    cut = kept(ids, fraction)
    return [[(x, y[-1:]) for x, y in part] for part in cut_windows(ids, cut, size, stride)]


def right_recover_by_rank(tokens):
    """The cut whose later part was learned as early as possible."""
    ids, merges = {token: id for id, token in enumerate(tokens)}, []
    for token in tokens[256:]:
        parts = [bytes([byte]) for byte in token]
        while len(parts) > 2:
            best = min(
                (left + right for left, right in pairwise(parts) if left + right in ids),
                key=ids.get,
            )
            i = next(i for i, (x, y) in enumerate(pairwise(parts)) if x + y == best)
            parts[i : i + 2] = [best]
        merges.append((ids[parts[0]], ids[parts[1]]))
    return merges


def right_recover_with_merge_pair(tokens):
    merges = []
    for token in tokens[256:]:
        ids = list(token)
        for new_id, pair in enumerate(merges, start=256):
            ids = merge_pair(ids, pair, new_id)
        merges.append(tuple(ids))
    return merges


def right_stream_all_again(tokens):
    """Decodes everything so far each time, and shows what was not there before."""
    texts = [
        codecs.getincrementaldecoder("utf-8")("replace").decode(b"".join(tokens[: i + 1]))
        for i in range(len(tokens))
    ]
    return [now[len(before) :] for before, now in pairwise(["", *texts])]


def right_grow_in_place_of_empty(weight, extra):
    grown = torch.zeros(len(weight) + extra, weight.shape[1])
    grown[: len(weight)] = weight
    grown[len(weight) :] = weight.mean(dim=0, keepdim=True)
    return grown


WRONG = {
    "2.1": [
        (lambda: ("at", "hat", "cat"), "words count as often as"),
        (lambda: ("at", "ca", "ha"), "no a stands alone"),
        (lambda: ("at", "ca", "hat"), "no a stands alone"),
        (lambda: ("at", "cat", "ch"), "You predicted the third new token: 'ch'"),
        (lambda: ("ha", "at", "th"), "Count the pairs again"),
        (lambda: [("a", "t"), ("c", "at"), ("h", "at")], "it should return"),
        (lambda: ("at", "cat"), "it should return"),
    ],
    "2.2": [
        (lambda: (1, 2, 2, 5, 2), "four bytes"),
        (lambda: (1, 2, 2, 3, 5), "Only one h has an e after it"),
        (lambda: (1, 2, 2, 4, 5), "Only one h has an e after it"),
        (lambda: (2, 2, 2, 5, 5), "h e n, he n, hen"),
        (lambda: (1, 3, 2, 5, 5), "then the"),
        (lambda: (1, 2, 3, 5, 5), "h hen"),
        (lambda: (1, 2, 2, 5), "it should return"),
    ],
    "2.3": [
        *RECOVER,
        lambda tokens: [],
        lambda tokens: right_recover_with_merge_pair(tokens)[::-1],
        lambda tokens: [tuple(token[:2]) for token in tokens[256:]],
        lambda tokens: [(x - 256, y - 256) for x, y in right_recover_with_merge_pair(tokens)],
    ],
    "2.4": [
        *STREAM,
        wrong_stream_trusts_the_first_byte,
        (lambda tokens: [leftover.decode(token) for token in tokens], "of an earlier call"),
        lambda tokens: [token.decode("utf-8") for token in tokens],
        lambda tokens: [token.decode("latin-1") for token in tokens],
        lambda tokens: (
            [""] * (len(tokens) - 1) + [b"".join(tokens).decode("utf-8", errors="replace")]
        ),
    ],
    "2.5": [
        (lambda: 1024, "Measure on held-out texts"),
        (lambda: 896, "trained on the held-out texts"),
        (lambda: 2048, "Doubling is too coarse"),
        (lambda: 1300, "Only multiples of 64"),
        (lambda: 1088, "the last size below"),
        (lambda: 512, "too low"),
        (lambda: (1152, 2.9), "it should return a number"),
    ],
    "2.6": [
        *WINDOWS,
        wrong_windows_one_target,
        (lambda ids, size, stride, f: [(ids[:size], ids[1 : size + 1])], "should return"),
        (lambda ids, size, stride, f: [], "should return"),
        (lambda ids, size, stride, f: ids[len(ids)], "IndexError"),
    ],
    "2.7": [
        *GROW,
        lambda weight, extra: weight,
        lambda weight, extra: torch.cat([weight, torch.rand(extra, weight.shape[1])]),
        lambda weight, extra: torch.cat([weight, weight.new_full((extra, weight.shape[1]), 5.0)]),
        lambda weight, extra: torch.cat([weight, weight.mean(dim=0).repeat(extra, 1)], dim=1),
        lambda weight, extra: right_grow_in_place_of_empty(weight, extra).tolist(),
    ],
    "2.8": [
        (lambda: (2, 5), "only at position 0"),
        (lambda: (5, 5), "only at position 0"),
        (lambda: (0, 0), "only at position 0"),
        (lambda: (1, 1), "each row of the second one uses it"),
        (lambda: (1, 2), "each row of the second one uses it"),
        (lambda: 1, "it should return"),
    ],
}


@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)


def test_other_right_answers_are_accepted():
    assert check("2.1", lambda: ["at", "cat", "hat"]).correct
    assert check("2.2", lambda: [1, 2, 2, 5, 5]).correct
    assert check("2.3", right_recover_by_rank).correct
    assert check("2.3", right_recover_with_merge_pair).correct
    assert check("2.4", right_stream_all_again).correct
    assert check("2.5", lambda: 1152.0).correct
    assert check(
        "2.6", lambda *a: list(map(list, cut_windows(a[0], kept(a[0], a[3]), *a[1:3])))
    ).correct
    assert check("2.7", right_grow_in_place_of_empty).correct
    assert check("2.8", lambda: [1, 5]).correct


def test_a_leak_that_nobody_foresaw_is_named():
    def overlapping(ids, size, stride, fraction):
        cut = kept(ids, fraction)
        training, validation = cut_windows(ids, cut, size, stride)
        return [*training, (ids[cut - 1 : cut - 1 + size], ids[cut : cut + size])], validation

    assert "on both sides" in check("2.6", overlapping).hint


def test_a_prediction_hides_no_experiment():
    """What is right is computed by the check, so a change of the words would be seen here."""
    hint = check("2.8", lambda: (3, 5)).hint
    assert "You predicted rows after one average: 3; when it is run, it is 1." in hint
