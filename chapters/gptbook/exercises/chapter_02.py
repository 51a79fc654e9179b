"""Checks of chapter 2's exercises."""

import random
from collections import Counter

import torch

from gptbook.bpe import learn_merges, merge_pair
from gptbook.data import WindowDataset
from gptbook.exercises import NotYet, close, exercise, show


@exercise("2.1")
def count_pairs(answer):
    hint = "Iterate over the bytes: a pair is a tuple of two integers."
    answer.expect({(108, 111): 1, (111, 119): 1}, {b"low": 1}, hint=hint)
    answer.expect({}, {b"a": 3}, hint="A word of one byte has no pair.")
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
    hint = "The pair is a tuple; a list never equals a tuple, so compare ids with ids."
    answer.expect([9], [1, 2], (1, 2), 9, hint=hint)
    answer.expect([], [], (1, 2), 9)
    answer.expect([1, 2], [1, 2], (2, 1), 9, hint="The order within a pair matters.")
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
    answer.expect([11, 2, 1, 22], [11, 2, 1, 22], (1, 2), 9, hint="Ids are numbers, not digits.")
    answer.expect([7, 302], [7, 300, 301], (300, 301), 302, hint="Ids may be above 255.")
    rng = random.Random(0)
    for _ in range(50):
        ids = rng.choices((1, 2, 3), k=12)
        answer.expect(merge_pair(ids, (1, 2), 9), ids, (1, 2), 9)
        answer.expect(merge_pair(ids, (1, 1), 9), ids, (1, 1), 9)


@exercise("2.3")
def encode_word(answer):
    a, b, c = b"abc"
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
    answer.expect([256, 256, a], b"aaaaa", [(a, a)])
    rng = random.Random(0)
    for _ in range(30):
        words = [bytes(rng.choices(b"abc", k=rng.randint(2, 7))) for _ in range(12)]
        merges = learn_merges(Counter(words), 8)
        word = bytes(rng.choices(b"abc", k=10))
        wanted = list(word)
        for i, pair in enumerate(merges):
            wanted = merge_pair(wanted, pair, 256 + i)
        hint = "The longest token is not always reachable: merge in the order of learning."
        answer.expect(wanted, word, merges, hint=hint)


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
    cases = [
        (20, 4, 4, 0.25),
        (50, 5, 2, 0.2),
        (31, 3, 1, 0.3),
        (40, 4, 7, 0.5),
        (15, 4, 3, 0.0),
        (19, 2, 1, 0.3),
    ]
    for size, context, stride, share in cases:
        ids = rng.sample(range(1000), size)
        arguments = (ids, context, stride, share)
        try:
            value = [[(list(x), list(y)) for x, y in part] for part in answer(*arguments)]
            training, validation = value
        except (TypeError, ValueError):
            raise NotYet(
                f"{answer.called(*arguments)} should return (training, validation), each a list of "
                f"(inputs, targets); it returned {show(answer(*arguments))}."
            ) from None
        seen = {id for x, y in training for id in x + y}
        leaked = sorted({id for x, y in validation for id in x + y if id in seen})
        if leaked:
            raise NotYet(
                f"{answer.called(*arguments)}: {show(leaked)} stand in training and in "
                "validation windows. Cut the ids in two first, then make windows of each."
            )
        cut = size - int(size * share)
        for name, got, piece in [
            ("training", training, ids[:cut]),
            ("validation", validation, ids[cut:]),
        ]:
            windows = (
                WindowDataset(torch.tensor(piece), context, stride) if len(piece) > context else []
            )
            wanted = [(x.tolist(), y.tolist()) for x, y in windows]
            if got == wanted:
                continue
            place = next(
                (i for i, (x, y) in enumerate(zip(got, wanted, strict=False)) if x != y), None
            )
            if place is None:
                differs = f"there are {len(got)} {name} windows; expected {len(wanted)}"
            else:
                differs = f"{name} window {place} is {got[place]}; expected {wanted[place]}"
            raise NotYet(
                f"{answer.called(*arguments)}: {differs}. A window starts every `stride` ids; "
                "targets are the inputs one id later; what fills no window is dropped."
            )


@exercise("2.6")
def compression_ratio(answer):
    answer.expect(3.0, "abcdef", [1, 2], same=close, hint="Bytes divided by tokens.")
    answer.expect(1.0, "abc", [1, 2, 3], same=close)
    answer.expect(
        2.0, "éé", [1, 2], same=close, hint="Count bytes, not characters: é takes two in UTF-8."
    )
    answer.expect(4.0, "👍", [7], same=close, hint="Count bytes, not characters.")
    answer.expect(2.5, "abcd ", [1, 1], same=close, hint="The ratio need not be a whole number.")


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
        ([b"\xf0", b"ab"], ["", "\ufffdab"], "What cannot be completed any more is U+FFFD."),
        ([b"\xff\xf0\x9f", b"\x91\x8d"], ["\ufffd", "👍"], "Hold back only what is unfinished."),
        ([b"a\xe2\x82"], ["a"], "What is still unfinished at the end is not shown."),
        ([], [], "No token, no text."),
    ]
    for tokens, wanted, hint in cases:
        answer.expect(wanted, tokens, hint=hint)
