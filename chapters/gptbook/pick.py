"""Drawing words, numbers and facts for a task, known ones or new ones."""

import zlib


def is_new(word):
    """True for the sixth of all words and names that are held out from training."""
    return zlib.crc32(word.encode("utf-8")) % 6 == 0


def part_of(key):
    """The split of an item by its key: of ten, seven are for training and one for validation."""
    part = zlib.crc32(repr(key).encode("utf-8")) % 10
    return {0: "new combinations", 1: "new combinations", 2: "validation"}.get(part, "training")


class Pick:
    """Draws for a task: new words if `new`, else known ones, and other things from all there are.

    Facts are about `people`, by default about anybody. Keeps in mind whether a word was drawn that
    could have been new.
    """

    def __init__(self, rng, world, split, people=None):
        self.rng, self.split, self.new = rng, split, split == "new words"
        self.people, self.question = people or world.people, world.question
        self.drew_word = False

    def words(self, words, count=1):
        """Different words of a list."""
        self.drew_word = True
        return self.rng.sample([word for word in words if is_new(word) == self.new], count)

    def word(self, words):
        return self.words(words)[0]

    def allows(self, word):
        """True for a word that may stand in an answer: a new one only in "new words"."""
        return self.new or not is_new(word)

    def any(self, things):
        """One of several things that are never held out, such as colours."""
        return self.rng.choice(things)

    def two(self, things):
        """Two different ones."""
        return self.rng.sample(things, 2)

    def below(self, limit):
        return self.rng.randrange(limit)

    def facts(self, count=1):
        """A person and attributes of theirs that may be asked for in this split."""
        self.drew_word = True
        while True:
            person = self.any(self.people)
            allowed = [name for name in person.facts if self._may_ask(person, name)]
            if len(allowed) >= count:
                return person, *self.rng.sample(allowed, count)

    def _may_ask(self, person, attribute):
        if attribute == "friend":  # it goes both ways: a side held out is told by the other
            return False
        first_name = person.name.split()[0]
        if self.new:
            return is_new(first_name)
        words = [first_name, *person.facts[attribute].split()]
        return not any(map(is_new, words)) and part_of((person.name, attribute)) == self.split
