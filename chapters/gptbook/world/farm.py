"""A toy language about animals in which every sentence is right or wrong; chapter 5 writes in it.

A sentence is a noun phrase, a verb, often a second noun phrase, and a full stop. A verb agrees in
number with its subject, however far away that is: "the hen that sees two cats sleeps .", but "the
hens that see a cat sleep .". Every choice is drawn with a known probability.
"""

import math
from collections.abc import Iterable
from random import Random

DETERMINERS = {"one": ["the", "a", "every"], "many": ["the", "two", "some"]}
ADJECTIVES = ["big", "small"]
NOUNS = ["hen", "cat", "dog", "duck"]
SEEING = ["see", "hear", "like"]  # verbs with an object
SLEEPING = ["sleep", "sing", "run"]  # verbs without one
_FORMS = [word + s for word in NOUNS + SEEING + SLEEPING for s in ("", "s")]
_DETERMINERS = {word for words in DETERMINERS.values() for word in words}
VOCABULARY = [".", *sorted({*_DETERMINERS, *ADJECTIVES, *_FORMS, "that"})]  # the end has the id 0
_IDS = {word: id for id, word in enumerate(VOCABULARY)}


def farm_ids(text: str) -> list[int]:
    """The ids of the words of a text, in which spaces separate them.

    >>> farm_ids("a hen sleeps .")
    [1, 12, 23, 0]
    """
    words = text.split()
    if unknown := [word for word in words if word not in _IDS]:
        raise ValueError(f"not in the toy language: {unknown}")
    return [_IDS[word] for word in words]


def farm_text(ids: Iterable[int]) -> str:
    """The words with these ids.

    >>> farm_text([1, 12, 23, 0])
    'a hen sleeps .'
    """
    return " ".join(VOCABULARY[id] for id in ids)


class Farm:
    """Draws sentences, the same ones for the same seed.

    `log_p` adds up the natural logarithm of the probability of every choice so far. Divided by the
    number of words, it says how well the next word can be predicted at best.

    >>> Farm(seed=0).sentence()
    'two small ducks hear some cats .'
    """

    def __init__(self, seed: int) -> None:
        self.random, self.log_p = Random(seed), 0.0

    def sentence(self) -> str:
        """The next sentence."""
        number = self._pick(["one", "many"])
        words = self._noun_phrase(number, clause=0.4)
        if self._maybe(0.5):
            words += [self._verb(number, SLEEPING)]
        else:
            words += [self._verb(number, SEEING)]
            words += self._noun_phrase(self._pick(["one", "many"]), clause=0.2)
        return " ".join([*words, "."])

    def _pick(self, options: list[str]) -> str:
        self.log_p -= math.log(len(options))
        return self.random.choice(options)

    def _maybe(self, p: float) -> bool:
        yes = self.random.random() < p
        self.log_p += math.log(p if yes else 1 - p)
        return yes

    def _verb(self, number: str, verbs: list[str]) -> str:
        return self._pick(verbs) + ("s" if number == "one" else "")

    def _noun_phrase(self, number: str, clause: float) -> list[str]:
        words = [self._pick(DETERMINERS[number])]
        words += [self._pick(ADJECTIVES)] if self._maybe(0.3) else []
        words += [self._pick(NOUNS) + ("s" if number == "many" else "")]
        if self._maybe(clause):  # clauses in clauses become rarer and rarer
            words += ["that", self._verb(number, SEEING)]
            words += self._noun_phrase(self._pick(["one", "many"]), clause / 2)
        return words


def is_right(sentence: str) -> bool:
    """True for one whole sentence that follows the rules, with its full stop.

    >>> is_right("the hen that sees two cats sleeps .")
    True
    >>> is_right("the hen that sees two cats sleep .")
    False
    """
    words = sentence.split()
    try:
        right, number = _read_noun_phrase(words)
        verb = _read_verb(words, number)
        right &= verb in SLEEPING or (verb in SEEING and _read_noun_phrase(words)[0])
        return right and words == ["."]
    except IndexError:  # the words came to an end too early
        return False


def _read_noun_phrase(words: list[str]) -> tuple[bool, str]:
    """Take a noun with all that belongs to it off the front; say if it is right, and its number."""
    determiner = words.pop(0)
    if words[0] in ADJECTIVES:
        words.pop(0)
    noun = words.pop(0)
    number = "many" if noun.endswith("s") else "one"
    right = determiner in DETERMINERS[number] and noun.removesuffix("s") in NOUNS
    if words[0] == "that":
        words.pop(0)
        right &= _read_verb(words, number) in SEEING and _read_noun_phrase(words)[0]
    return right, number


def _read_verb(words: list[str], number: str) -> str | None:
    """Take a verb off the front; return it without its s, or None if the number is wrong."""
    verb = words.pop(0)
    return verb.removesuffix("s") if verb.endswith("s") == (number == "one") else None
