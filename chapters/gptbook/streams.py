"""A text that comes in pieces, cut anew where a tokenizer may cut; for what outgrows the memory."""

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import accumulate

import regex

LOOK_AHEAD = 3  # what may still become part of a word that has ended: the 're of they're


def cut_stream(
    chunks: Iterable[str],
    find_words: Callable[[str], list[str]],
    special_tokens: Collection[str] = (),
    size: int = 2**16,
) -> Iterator[str]:
    """Join `chunks` and yield them in pieces of about `size` characters, never within a word.

    The pieces encoded one by one are the text encoded whole, if no more than three characters
    behind a word decide whether it ends, as with the patterns of GPT-2, cl100k and o200k. A piece
    is longer only where a single word, or white space, is.
    """
    held, parts, count, wait = "", [], 0, size
    for chunk in chunks:
        parts.append(chunk)
        count += len(chunk)
        if count >= wait:
            held, parts = "".join([held, *parts]), []
            cut = last_certain_end(held, find_words, special_tokens)
            if cut:
                yield held[:cut]
                held = held[cut:]
            count, wait = len(held), 2 * len(held) + size  # a long word is not looked at too often
    if rest := "".join([held, *parts]):
        yield rest


def last_certain_end(
    text: str, find_words: Callable[[str], list[str]], special_tokens: Collection[str] = ()
) -> int:
    """The end of the last word in `text`, which begins with a word, that is certain to end there.

    >>> last_certain_end("they sa", regex.compile(r" ?\\w+").findall)
    4
    """
    safe = len(text) - max(map(len, special_tokens), default=0)  # what begins later may be special
    begin = 0
    if special_tokens:
        names = "|".join(map(regex.escape, sorted(special_tokens, key=len, reverse=True)))
        for special in regex.finditer(names, text):
            if special.start() <= safe:
                begin = special.end()
    ends = accumulate(map(len, find_words(text[begin:])), initial=begin)
    certain = (end for end in ends if begin < end <= safe - LOOK_AHEAD)
    # Not after white space: at the end of a piece, several words of it could become one.
    return max((end for end in certain if not text[end - 1].isspace()), default=begin)
