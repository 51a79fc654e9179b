"""Checks of chapter 2's exercises."""

import random
from collections import Counter

import torch

from gptbook.bpe import merge_pair
from gptbook.data import WindowDataset
from gptbook.exercises import NotYet, close, exercise, show


@exercise("2.1")
def count_pairs(answer):
    answer.expect({}, {b"a": 3}, hint="A word of one byte has no pair.")
    answer.expect({(108, 111): 1, (111, 119): 1}, {b"low": 1})
    answer.expect(
        {(97, 98): 7},
        {b"ab": 7},
        hint="A word that occurs 7 times brings each of its pairs 7 times.",
    )
    answer.expect(
        {(97, 97): 2},
        {b"aaa": 1},
        hint="Every place counts: aaa has the pair (a, a) at 0 and at 1.",
    )
    answer.expect(
        {(97, 98): 5, (98, 99): 2}, {b"ab": 3, b"abc": 2}, hint="Pairs of different words add up."
    )
    answer.expect(
        {(97, 98): 4, (98, 97): 2}, {b"abab": 2}, hint="A pair can occur more than once in a word."
    )
    rng = random.Random(0)
    words = {bytes(rng.choices(b"abcd", k=rng.randint(1, 6))): rng.randint(1, 9) for _ in range(20)}
    wanted = Counter()
    for word, count in words.items():
        for i in range(len(word) - 1):
            wanted[word[i], word[i + 1]] += count
    answer.expect(dict(wanted), words)


@exercise("2.2")
def merge(answer):
    answer.expect([], [], (1, 2), 9)
    answer.expect([1, 2], [1, 2], (2, 1), 9, hint="The order within a pair matters.")
    answer.expect([9], [1, 2], (1, 2), 9)
    answer.expect(
        [9, 3, 9],
        [1, 2, 3, 1, 2],
        (1, 2),
        9,
        hint="Every occurrence is replaced, not just the first.",
    )
    answer.expect(
        [9, 1], [1, 1, 1], (1, 1), 9, hint="From left to right, and no token is used twice."
    )
    answer.expect(
        [9, 9], [1, 1, 1, 1], (1, 1), 9, hint="From left to right, and no token is used twice."
    )
    answer.expect([1, 9, 9], [1, 1, 2, 1, 2], (1, 2), 9)
    answer.expect(
        [9, 2], [1, 1, 2], (1, 1), 9, hint="A token that has just been made is not merged again."
    )
    ids = [1, 1, 2]
    answer.expect([1, 1, 2], ids, (3, 3), 9)
    rng = random.Random(0)
    for _ in range(50):
        ids = rng.choices((1, 2, 3), k=12)
        answer.expect(merge_pair(ids, (1, 2), 9), ids, (1, 2), 9)
        answer.expect(merge_pair(ids, (1, 1), 9), ids, (1, 1), 9)


@exercise("2.3")
def encode_word(answer):
    a, b, c, d = b"abcd"
    answer.expect([], b"", [])
    answer.expect([a, b], b"ab", [], hint="Without merges, a word is its bytes.")
    answer.expect([256], b"ab", [(a, b)])
    answer.expect([256, 256], b"abab", [(a, b)], hint="A merge is applied everywhere.")
    answer.expect(
        [257],
        b"abc",
        [(a, b), (256, c)],
        hint="A merge may join tokens that earlier merges have made.",
    )
    answer.expect(
        [a, 256],
        b"abc",
        [(b, c), (a, b)],
        hint="The merge that was learned first goes first, wherever in the word it applies.",
    )
    answer.expect(
        [256, 257],
        b"abcd",
        [(a, b), (c, d), (b, c), (258, d), (a, 259)],
        hint="The longest token is not always reachable: merge in the order of learning.",
    )
    answer.expect([256, 256, a], b"aaaaa", [(a, a)])
    rng = random.Random(0)
    for _ in range(30):
        tokens, merges = [bytes([i]) for i in range(256)], []
        while len(merges) < 8:
            left, right = rng.choices([a, b, c, *range(256, len(tokens))], k=2)
            if tokens[left] + tokens[right] not in tokens:
                merges.append((left, right))
                tokens.append(tokens[left] + tokens[right])
        word = bytes(rng.choices(b"abc", k=10))
        answer.expect(_apply(word, merges), word, merges)


def _apply(word, merges):
    """The definition: every merge once, in the order of learning, everywhere it applies."""
    ids = list(word)
    for rank, pair in enumerate(merges):
        ids = merge_pair(ids, pair, 256 + rank)
    return ids


@exercise("2.4")
def decode(answer):
    answer.expect("", [])
    answer.expect("low", [b"l", b"ow"])
    answer.expect(
        "é",
        [b"\xc3", b"\xa9"],
        hint="A character may be cut in two: join all bytes before you decode.",
    )
    answer.expect("👍", [b"\xf0\x9f", b"\x91", b"\x8d"], hint="Join all bytes before you decode.")
    answer.expect(
        "a\ufffdb",
        [b"a", b"\xff", b"b"],
        hint="Bytes that are not UTF-8 must neither stop you nor vanish: U+FFFD stands for them.",
    )
    answer.expect("\ufffd", [b"\xc3"], hint="Half a character becomes U+FFFD.")
    answer.expect("naïve \ufffd", [b"na\xc3", b"\xafve ", b"\xf0\x9f"])


@exercise("2.5")
def split_windows(answer):
    rng = random.Random(0)
    for size, context, stride, share in [
        (20, 4, 4, 0.25),
        (50, 5, 2, 0.2),
        (31, 3, 1, 0.3),
        (40, 4, 7, 0.5),
    ]:
        arguments = (rng.sample(range(1000), size), context, stride, share)
        value = answer(*arguments)
        try:
            parts = [[(list(x), list(y)) for x, y in part] for part in value]
            training, validation = parts
        except (TypeError, ValueError):
            raise NotYet(
                f"{answer.called(*arguments)} should return (training, validation), each a list of "
                f"(inputs, targets); it returned {show(value)}."
            ) from None
        cut = size - int(size * share)
        ids = arguments[0]
        seen = {id for x, y in training for id in x + y}
        leaked = [id for x, y in validation for id in x + y if id in seen]
        if leaked:
            raise NotYet(
                f"{answer.called(*arguments)}: {show(sorted(set(leaked)))} stand in training and "
                "in validation windows. Cut the ids in two first, then make windows of each."
            )
        for name, part, piece in [
            ("training", training, ids[:cut]),
            ("validation", validation, ids[cut:]),
        ]:
            wanted = [
                (x.tolist(), y.tolist())
                for x, y in WindowDataset(torch.tensor(piece), context, stride)
            ]
            if part != wanted:
                raise NotYet(
                    f"{answer.called(*arguments)}: the {name} windows are {show(part)}; "
                    f"expected {show(wanted)}. A window starts every `stride` ids; targets are the "
                    "inputs one id later; what fills no window is dropped."
                )


@exercise("2.6")
def compression_ratio(answer):
    answer.expect(3.0, "abcdef", [1, 2], same=close, hint="Bytes divided by tokens.")
    answer.expect(1.0, "abc", [1, 2, 3], same=close)
    answer.expect(
        2.0, "éé", [1, 2], same=close, hint="Count bytes, not characters: é takes two in UTF-8."
    )
    answer.expect(4.0, "👍", [7], same=close, hint="Count bytes, not characters.")


@exercise("2.7")
def stream(answer):
    cases = [
        ([b"lo", b"w"], ["lo", "w"], "Text that is complete goes out at once."),
        (
            [b"\xc3", b"\xa9!"],
            ["", "é!"],
            "Hold half a character back until the rest of it has arrived.",
        ),
        ([b"a\xf0\x9f", b"\x91", b"\x8db"], ["a", "", "👍b"], "Hold an unfinished character back."),
        (
            [b"\xff", b"a"],
            ["\ufffd", "a"],
            "Bytes that can never become a character are U+FFFD at once.",
        ),
        ([], [], "No token, no text."),
    ]
    for tokens, wanted, hint in cases:
        answer.expect(wanted, tokens, hint=hint)
