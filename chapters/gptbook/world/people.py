"""The small world: people and towns with facts, stories and lessons; endless text, known truth.

A `World` is made from a seed and then fixed. It writes documents without end, and every fact in
them can be asked for. Documents belong to training, validation or test by a digest of their text,
so no document is in two of them, however many are drawn and with whatever seed.
"""

import random
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, product
from random import Random

from gptbook.world.draw import Pick
from gptbook.world.lessons import LESSONS
from gptbook.world.lexicon import SENTENCES, WORDS, a, capitalize, listed, say
from gptbook.world.stories import Document, tell_of_a_walk, tell_of_numbers, tell_of_things
from gptbook.world.tasks import TASKS, draw

# For every attribute: statements (in the first four the value comes last, so that a model can be
# asked to complete them), the question, and a reply in the first person.
FACTS = SENTENCES["facts"]
ATTRIBUTES = tuple(FACTS)
NUM_COMPLETIONS = 4

# How often each kind of document is written.
KINDS = {
    "things": 30, "numbers": 8, "walk": 6, "biography": 16, "quiz": 6, "talk": 6, "town": 3,
    "lesson": 36,
}  # fmt: skip


@dataclass(frozen=True)
class Person:
    """Somebody with a full name and, for each attribute, a fact."""

    name: str
    asked: bool  # do quizzes ask about this person?
    facts: dict[str, str] = field(hash=False)


class World:
    """A small world of `num_people` people whose names and facts follow from `seed`.

    Quizzes ask about every second pair of friends; of the others, facts are only stated.
    """

    def __init__(self, seed: int = 0, num_people: int = 240) -> None:
        rng = random.Random(seed)
        names = list(map(" ".join, product(WORDS["girls"] + WORDS["boys"], WORDS["surnames"])))
        if not 4 <= num_people <= len(names) or num_people % 2:
            raise ValueError(f"num_people={num_people} must be even, from 4 to {len(names)}")
        names = rng.sample(names, num_people)
        self.values: dict[str, list[str]] = {
            "town": list(WORDS["towns"]), "job": [a(job) for job in WORDS["jobs"]],
            "born": [str(year) for year in range(1930, 2010)],
            "pet": [a(pet) for pet in WORDS["pets"]], "food": WORDS["foods"],
            "instrument": WORDS["instruments"], "colour": WORDS["colours"],
        }  # fmt: skip
        self.people: list[Person] = []
        for i, name in enumerate(names):
            facts = {attribute: rng.choice(values) for attribute, values in self.values.items()}
            facts["friend"] = names[i ^ 1]  # 0 and 1 are friends, 2 and 3, and so on
            self.people.append(Person(name, asked=i % 4 < 2, facts=facts))
        self.values["friend"] = names
        self.asked = [person for person in self.people if person.asked]

    def documents(self, count: int, split: str = "training", seed: int = 0) -> list[Document]:
        """Return the first `count` documents of a `stream`."""
        return list(islice(self.stream(split, seed), count))

    def stream(
        self, split: str = "training", seed: int = 0, kinds: Mapping[str, int] = KINDS
    ) -> Iterator[Document]:
        """Yield documents of a split without end, the same for the same `seed`.

        `kinds` says how often each kind occurs, of those in `KINDS` and "school". One document in
        ten belongs to "validation", one in ten to "test", the others to "training".
        """
        if split not in ("training", "validation", "test"):
            raise ValueError(f"split={split!r} is not training, validation or test")
        rng = random.Random(f"{split} {seed}")
        while True:
            [kind] = rng.choices(list(kinds), list(kinds.values()))
            document = self.write(kind, rng)
            if split_of(document.text) == split:
                yield document

    def write(self, kind: str, rng: Random) -> Document:
        """Write one document of a kind in `KINDS`, or of the kind "school"."""
        stories = {"things": tell_of_things, "numbers": tell_of_numbers, "walk": tell_of_a_walk}
        if kind in stories:
            return stories[kind](rng)
        if kind == "lesson":
            [lesson] = rng.choices(list(LESSONS), list(LESSONS.values()))
            return Document(lesson.__name__.removeprefix("lesson_"), " ".join(lesson(rng)))
        facts = {
            "biography": self.biography, "quiz": self.quiz, "talk": self.talk,
            "town": self.town, "school": self.school,
        }  # fmt: skip
        return Document(kind, ("\n" if kind == "school" else " ").join(facts[kind](rng)))

    def biography(self, rng: Random) -> Iterator[str]:
        """Some facts of one person, in one of several wordings each."""
        person = rng.choice(self.people)
        for attribute in rng.sample(ATTRIBUTES, rng.randint(3, 6)):
            wordings = FACTS[attribute]["statements"]
            yield say(rng, wordings, N=person.name, v=person.facts[attribute])

    def quiz(self, rng: Random) -> Iterator[str]:
        """Questions about people who are asked about, and their answers."""
        for person in rng.sample(self.asked, rng.randint(2, 4)):
            yield " ".join(self.question(person, rng.choice(ATTRIBUTES)))

    def school(self, rng: Random) -> Iterator[str]:
        """Somebody asks, and pupils answer: the tasks of chapter 8, without what it holds out."""
        wordings = SENTENCES["school"]
        for _ in range(rng.randint(3, 5)):
            task = rng.choice(list(TASKS))
            if item := draw(task, Pick(rng, self, "training", self.asked)):
                fields, given, output = item
                question = rng.choice(wordings["questions"][task]).format(**fields)
                name = rng.choice(WORDS["girls"] + WORDS["boys"])
                form = rng.choice(wordings["with_text" if given else "plain"])
                yield form.format(q=question, given=given, o=output, N=name)

    def talk(self, rng: Random) -> Iterator[str]:
        """Somebody tells facts of themselves."""
        person, names = rng.choice(self.people), WORDS["girls"] + WORDS["boys"]
        other = rng.choice([name for name in names if name != person.name.split()[0]])
        yield say(rng, SENTENCES["talk"]["open"], N=person.name, other=other)
        for attribute in rng.sample(ATTRIBUTES, rng.randint(1, 3)):
            reply = FACTS[attribute]["reply"].format(v=person.facts[attribute])
            mood = rng.choice(WORDS["feelings"])
            wordings = SENTENCES["talk"]["turn"]
            yield say(rng, wordings, N=person.name, other=other, reply=reply, mood=mood)

    def town(self, rng: Random) -> Iterator[str]:
        """Where towns lie, what they are known for, and who lives there."""
        for town in rng.sample(list(WORDS["towns"]), rng.randint(1, 3)):
            land, known_for = WORDS["towns"][town]
            for wording in rng.sample(SENTENCES["towns"]["about"], 2):
                yield say(rng, [wording], town=town, land=land, product=known_for)
            people = [person.name for person in self.people if person.facts["town"] == town]
            if len(people) > 1:
                names = listed(rng.sample(people, 2))
                yield say(rng, SENTENCES["towns"]["people"], town=town, names=names)

    def completions(self, person: Person, attribute: str) -> list[tuple[str, str]]:
        """Return (prompt, end) for each wording that ends in the value: the test of recall."""
        wordings = FACTS[attribute]["statements"][:NUM_COMPLETIONS]
        prompts = [wording.removesuffix(" {v}.").format(N=person.name) for wording in wordings]
        return [(capitalize(prompt), f"{person.facts[attribute]}.") for prompt in prompts]

    def question(self, person: Person, attribute: str) -> tuple[str, str]:
        """Return (question, answer): what quizzes ask, and the full sentence that answers it."""
        statement = FACTS[attribute]["statements"][0]
        answer = statement.format(N=person.name, v=person.facts[attribute])
        return FACTS[attribute]["question"].format(N=person.name), answer


def split_of(text: str) -> str:
    """The split that a document belongs to, by a digest of its text.

    >>> split_of("One box, two boxes.")
    'training'
    """
    return {0: "validation", 1: "test"}.get(zlib.crc32(text.encode("utf-8")) % 10, "training")
