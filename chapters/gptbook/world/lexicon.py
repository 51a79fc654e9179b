"""The words and sentences of the small world, and the grammar that bends and joins them.

`WORDS` holds the lists of assets/lexicon.json, `SENTENCES` the wordings of assets/sentences.json.
The rules are those of school grammar, and right for these words; a word outside the lists is
treated as regular.
"""

import json
import re
from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import Any

from gptbook.files import ASSETS

WORDS = json.loads((ASSETS / "lexicon.json").read_text(encoding="utf-8"))
SENTENCES = json.loads((ASSETS / "sentences.json").read_text(encoding="utf-8"))
VOWELS = "aeiou"
ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def plural(noun: str) -> str:
    """The plural of a noun.

    >>> plural("box"), plural("cherry"), plural("knife")
    ('boxes', 'cherries', 'knives')
    """
    return WORDS["irregular_plurals"].get(noun) or add_s(noun)


def third(verb: str) -> str:
    """The form of a verb after he or she.

    >>> third("catch"), third("fly"), third("have")
    ('catches', 'flies', 'has')
    """
    return {"be": "is", "have": "has", "go": "goes"}.get(verb) or add_s(verb)


def add_s(word: str) -> str:
    """Add -s, or -es after a hissing sound, and turn y after a consonant into ie."""
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    return word[:-1] + "ies" if ends_in_y(word) else word + "s"


def past(verb: str) -> str:
    """The past tense of a verb.

    >>> past("walk"), past("bake"), past("cry"), past("stop"), past("sing")
    ('walked', 'baked', 'cried', 'stopped', 'sang')
    """
    return WORDS["irregular_verbs"].get(verb, [None])[0] or add_ending(verb, "ed")


def ing(verb: str) -> str:
    """The present participle of a verb.

    >>> ing("walk"), ing("bake"), ing("run"), ing("lie")
    ('walking', 'baking', 'running', 'lying')
    """
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith(("ee", "be")):
        return verb[:-1] + "ing"
    return double(verb) + "ing"


def comparative(adjective: str) -> str:
    """The comparative of an adjective.

    >>> comparative("tall"), comparative("big"), comparative("happy"), comparative("curious")
    ('taller', 'bigger', 'happier', 'more curious')
    """
    return compare(adjective, 0, "er", "more")


def superlative(adjective: str) -> str:
    """The superlative of an adjective: tallest, most curious."""
    return compare(adjective, 1, "est", "most")


def compare(adjective: str, degree: int, ending: str, word: str) -> str:
    """Bend an adjective by its ending, or put a word before it where it is long."""
    if adjective in WORDS["irregular_adjectives"]:
        return WORDS["irregular_adjectives"][adjective][degree]
    vowels = sum(a in VOWELS and b not in VOWELS for a, b in pairwise(adjective + " "))
    silent = adjective.endswith("e")
    if vowels - silent > 1 and not adjective.endswith(("y", "ow", "le", "er")):
        return f"{word} {adjective}"
    return add_ending(adjective, ending)


def add_ending(word: str, ending: str) -> str:
    """Add -ed, -er or -est: bake-d, cri-ed, stopp-ed, walk-ed."""
    if word.endswith("e"):
        return word + ending[1:]
    return (word[:-1] + "i" if ends_in_y(word) else double(word)) + ending


def ends_in_y(word: str) -> bool:
    """True for cherry and cry, False for key and play."""
    return word.endswith("y") and word[-2] not in VOWELS


def double(word: str) -> str:
    """Double the last letter of the words that do so before an ending: run, runn-ing."""
    return word + word[-1] if word in WORDS["doubling"] else word


def a(phrase: str) -> str:
    """Put a or an before a phrase.

    >>> a("red apple"), a("apple")
    ('a red apple', 'an apple')
    """
    return f"an {phrase}" if phrase[0] in VOWELS else f"a {phrase}"


def number(n: int) -> str:
    """A number below 100 in words.

    >>> number(7), number(21)
    ('seven', 'twenty-one')
    """
    if not 0 <= n < 100:
        raise ValueError(f"number({n}) is not between 0 and 99")
    if n < 20:
        return ONES[n]
    return TENS[n // 10 - 2] + (f"-{ONES[n % 10]}" if n % 10 else "")


def count(n: int, noun: str) -> str:
    """A number in words and its noun in the right form.

    >>> count(1, "box"), count(3, "box")
    ('one box', 'three boxes')
    """
    return f"{number(n)} {noun if n == 1 else plural(noun)}"


def listed(phrases: Sequence[str], last: str = "and") -> str:
    """Phrases in a row.

    >>> listed(["a cup", "a key", "a hat"])
    'a cup, a key and a hat'
    """
    *most, end = phrases
    return f"{', '.join(most)} {last} {end}" if most else end


def capitalize(text: str) -> str:
    """Begin every sentence with a capital.

    >>> capitalize("a fox is an animal. can it fly? no.")
    'A fox is an animal. Can it fly? No.'
    """
    return re.sub(r"(?:^|(?<=[.?!] ))[a-z]", lambda match: match[0].upper(), text)


def say(rng: Random, wordings: Sequence[str], **fields: Any) -> str:
    """Draw one of several wordings and fill in its fields."""
    return capitalize(rng.choice(wordings).format(**fields))
