"""Byte-pair encoding: counting words, learning merges, applying them; chapter 2 builds it.

Gage 1994; for words: Sennrich et al., arXiv 1508.07909; for bytes: GPT-2 (Radford et al. 2019).
A vocabulary is a dict of *ranks*: token bytes -> id. The rank is also the order in which tokens
were learned, and encoding always applies the earliest learned merge first, as tiktoken does.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

import regex

# GPT-2 cuts text into words before it looks for pairs, so that no token spans two words: English
# contractions, then letters, digits or punctuation, each with at most one space before it, then
# what is left of the white space.
GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""


def count_words(text: str, pattern: str = GPT2_PATTERN) -> dict[bytes, int]:
    """Cut `text` with `pattern` and count each distinct word, as UTF-8 bytes.

    >>> count_words("low lower low")
    {b'low': 1, b' lower': 1, b' low': 1}
    """
    words = regex.findall(pattern, text)
    refuse_lost_text(words, text, pattern)
    return {word.encode("utf-8"): count for word, count in Counter(words).items()}


def refuse_lost_text(words: Sequence[str], text: str, pattern: str) -> None:
    """Raise ValueError if `words`, which `pattern` has found in `text`, are not all of the text."""
    whole = not words or isinstance(words[0], str)  # several groups give tuples
    if not whole or sum(map(len, words)) != len(text):
        raise ValueError(
            f"the pattern {pattern[:80]!r} loses some of the text; "
            "end it with |(?s:.) and write groups as (?:…)"
        )


def merge_pair(ids: Sequence[int], pair: tuple[int, int], new_id: int) -> list[int]:
    """Return `ids` with every occurrence of `pair`, from left to right, replaced by `new_id`.

    >>> merge_pair([1, 1, 1, 2], (1, 1), 9)
    [9, 1, 2]
    """
    merged, i = [], 0
    while i < len(ids):
        if ids[i] == pair[0] and i + 1 < len(ids) and ids[i + 1] == pair[1]:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


def learn_merges(word_counts: Mapping[bytes, int], num_merges: int) -> list[tuple[int, int]]:
    """Learn up to `num_merges` merges from {word bytes: count}; number i makes the id 256 + i.

    Returns a list of (left id, right id), shorter than asked if all words become single tokens.
    The most frequent pair is merged first; between equals, the one with the smaller ids.

    >>> learn_merges({b"aab": 2, b"ab": 1}, 2)
    [(97, 98), (97, 256)]
    """
    words, counts = [list(word) for word in word_counts], list(word_counts.values())
    pair_counts: dict[tuple[int, int], int] = defaultdict(int)
    # pair -> the words it has been seen in
    where: dict[tuple[int, int], set[int]] = defaultdict(set)
    for i, word in enumerate(words):
        for pair in pairwise(word):
            pair_counts[pair] += counts[i]
            where[pair].add(i)
    heap = [(-count, pair) for pair, count in pair_counts.items()]
    heapify(heap)

    merges: list[tuple[int, int]] = []
    while heap and len(merges) < num_merges:
        count, pair = heappop(heap)
        if -count != pair_counts[pair]:  # out of date: other merges have used up some of them
            if pair_counts[pair] > 0:
                heappush(heap, (-pair_counts[pair], pair))
            continue
        new_id, created = 256 + len(merges), set()
        merges.append(pair)
        for i in where.pop(pair):  # only the words that hold the pair are touched
            for old in pairwise(words[i]):
                pair_counts[old] -= counts[i]
            words[i] = merge_pair(words[i], pair, new_id)
            for new in pairwise(words[i]):
                pair_counts[new] += counts[i]
                if new_id in new:
                    where[new].add(i)
                    created.add(new)
        for new in created:
            heappush(heap, (-pair_counts[new], new))
    return merges


def merge_word(word: bytes, ranks: Mapping[bytes, int]) -> list[int]:
    """Encode one word (bytes): join the neighbours of lowest joint rank, until none has one.

    A heap holds the possible joins and `end`, `before` link the parts, so n bytes cost O(n log n),
    not O(n²).

    >>> merge_word(b"aab", {b"a": 0, b"b": 1, b"ab": 2, b"aab": 3})
    [3]
    """
    if word in ranks:
        return [ranks[word]]
    size = len(word)
    end = [*range(1, size + 1), -1]  # the part that starts at i ends before end[i]
    before = list(range(-1, size))  # the part that starts at i follows the one that starts here
    joins = [
        (rank, i, i + 2)
        for i in range(size - 1)
        if (rank := ranks.get(word[i : i + 2])) is not None
    ]
    heapify(joins)
    while joins:
        _, start, stop = heappop(joins)
        middle = end[start]
        if end[middle] != stop:
            continue  # one of the two parts has been joined to another since
        end[start], end[middle] = stop, size  # size: no part starts at middle any more
        if stop < size:
            before[stop] = start
            if (rank := ranks.get(word[start : end[stop]])) is not None:
                heappush(joins, (rank, start, end[stop]))
        if start > 0:
            left = before[start]
            if (rank := ranks.get(word[left:stop])) is not None:
                heappush(joins, (rank, left, stop))
    ids, i = [], 0
    while i < size:
        ids.append(ranks[word[i : end[i]]])
        i = end[i]
    return ids


class WordCache(dict):
    """word -> its ids, worked out at the first look-up; emptied when `limit` words are in it."""

    def __init__(self, ranks: Mapping[bytes, int], limit: int = 2**17) -> None:
        self.ranks, self.limit = ranks, limit

    def __missing__(self, word: str) -> list[int]:
        if len(self) >= self.limit:
            self.clear()
        ids = merge_word(word.encode("utf-8"), self.ranks)
        if len(word) <= 100:  # long words hardly ever come again, and fill the memory
            self[word] = ids
        return ids
