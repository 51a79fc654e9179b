"""Drawing words, numbers and facts for a task, known ones or new ones."""

import zlib
from collections.abc import Sequence
from random import Random
from typing import Any

# What items are for: to learn from, to choose settings by, and two kinds that are held out.
SPLITS = ("training", "validation", "new_combinations", "new_words")


def is_new(word: str) -> bool:
    """True for the sixth of all words and names that are held out from training."""
    return zlib.crc32(word.encode("utf-8")) % 6 == 0


def part_of(key: Any) -> str:
    """The split of an item by its key: of ten, seven are for training and one for validation."""
    part = zlib.crc32(repr(key).encode("utf-8")) % 10
    return {0: "new_combinations", 1: "new_combinations", 2: "validation"}.get(part, "training")


class Pick:
    """Draws for a task: new words if `new`, else known ones, and other things from all there are.

    `world` is a `World`; facts are about `people`, by default about all of its people. Keeps in
    mind whether a word was drawn that could have been new.
    """

    def __init__(
        self,
        rng: Random,
        world: Any,
        split: str,
        people: Sequence[Any] | None = None,
    ) -> None:
        self.rng, self.split, self.new = rng, split, split == "new_words"
        self.people, self.question = people or world.people, world.question
        self.drew_word = False

    def words(self, words: Sequence[str], count: int = 1) -> list[str]:
        """Different words of a list."""
        self.drew_word = True
        return self.rng.sample([word for word in words if is_new(word) == self.new], count)

    def word(self, words: Sequence[str]) -> str:
        """One word of a list."""
        return self.words(words)[0]

    def allows(self, word: str) -> bool:
        """True for a word that may stand in an answer: a new one only in "new_words"."""
        return self.new or not is_new(word)

    def any(self, things: Sequence[Any]) -> Any:
        """One of several things that are never held out, such as colours."""
        return self.rng.choice(things)

    def two(self, things: Sequence[Any]) -> list[Any]:
        """Two different ones."""
        return self.rng.sample(things, 2)

    def below(self, limit: int) -> int:
        """A number from 0 up to, and without, a limit."""
        return self.rng.randrange(limit)

    def facts(self, count: int = 1) -> tuple[Any, ...]:
        """A person and attributes of theirs that may be asked for in this split."""
        self.drew_word = True
        while True:
            person = self.any(self.people)
            allowed = [name for name in person.facts if self._may_ask(person, name)]
            if len(allowed) >= count:
                return person, *self.rng.sample(allowed, count)

    def _may_ask(self, person: Any, attribute: str) -> bool:
        if attribute == "friend":  # it goes both ways: a side held out is told by the other
            return False
        first_name = person.name.split()[0]
        if self.new:
            return is_new(first_name)
        words = [first_name, *person.facts[attribute].split()]
        return not any(map(is_new, words)) and part_of((person.name, attribute)) == self.split
