"""Stories of the small world: people find, give, swap, lose and hide things, and it all adds up.

A `Story` keeps track of who holds what while it is told, so the truth at its end is known. Every
sentence is drawn from several wordings, every plot from several turns.
"""

from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

from gptbook.world.lexicon import (
    SENTENCES,
    WORDS,
    a,
    capitalize,
    count,
    ing,
    listed,
    number,
    past,
    say,
)

WORDINGS = SENTENCES["story"]
ANIMALS = list(WORDS["animals"])


class Document(NamedTuple):
    """A text, its kind, and probes: (text up to a point, the only true end of its sentence)."""

    kind: str
    text: str
    probes: tuple[tuple[str, str], ...] = ()


class Story:
    """A story being told: its cast, the place, who holds what, and the sentences so far."""

    def __init__(self, rng: Random, cast: int) -> None:
        self.rng = rng
        self.sentences: list[str] = []
        self.pronouns: dict[str, str] = {}  # person -> she or he
        # thing -> who holds it, or "in the box"; None: not yet told of
        self.holder: dict[str, Any] = {}
        self.looks: dict[str, str] = {}  # thing -> its adjective
        while len(self.pronouns) < cast:
            girl = rng.random() < 0.5
            self.pronouns[self.pick("girls" if girl else "boys")] = "she" if girl else "he"
        self.cast, self.place = list(self.pronouns), self.pick("places")
        self.weather = self.pick("weather")
        # whom the last sentence was about, if she or he can only mean them
        self.subject: str | None = None
        one, two = self.cast[:2]
        trait = self.pick(["brave", "clever", "kind", "shy", "little", "tall", "young"])
        kind = "girl" if self.pronouns[one] == "she" else "boy"
        self.tell(one, "open", x=a(f"{trait} {kind}"), day=self.pick("days"))
        kin = self.pick(
            ["friend", "cousin", "sister" if self.pronouns[two] == "she" else "brother"]
        )
        self.tell(one, "meet", B=two, kin=kin)
        if len(self.cast) > 2:
            self.tell(one, "join", C=self.cast[2])
        self.subject = None

    def pick(self, words: str | Sequence[Any]) -> Any:
        """One of several words, or of a list of the lexicon."""
        return self.rng.choice(WORDS[words] if isinstance(words, str) else words)

    def maybe(self, chance: float = 0.5) -> bool:
        """True with this probability."""
        return self.rng.random() < chance

    def tell(self, who: str, event: str, **fields: Any) -> None:
        """Add a sentence. {A} is `who`: the name, or now and then she or he where that is clear.

        It is clear at the beginning of a sentence, after one that began with the same person.
        """
        she, wording = self.pronouns[who], self.pick(WORDINGS[event])
        begins = wording.startswith("{A}")
        fields |= {
            "A": she if begins and who == self.subject and self.maybe() else who, "she": she,
            "her": "her" if she == "she" else "his", "place": self.place,
            "mood": self.pick("feelings"), "weather": self.weather,
        }  # fmt: skip
        self.sentences.append(capitalize(wording.format(**fields)))
        self.subject = who if begins else None

    def actions(self) -> dict[str, str]:
        """Fields for two different things that people do."""
        do, do2 = self.rng.sample(WORDS["actions"], 2)
        return {"do": do, "did": past(do), "doing": ing(do), "do2": do2, "did2": past(do2)}

    def new_thing(self, who: str) -> None:
        """A person comes to have a thing that is new in the story."""
        thing = self.pick([t for t in WORDS["things"] if t not in self.holder])
        self.looks[thing], self.holder[thing] = self.pick(WORDS["looks"] + WORDS["colours"]), None
        self.move(who, "get", thing, who, kin=self.pick(WORDS["people"][:10]))

    def the(self, thing: str) -> str:
        """How the thing is called: a red kite at first, then the kite or the red kite."""
        if self.holder[thing] is None:
            return a(f"{self.looks[thing]} {thing}")
        return f"the {self.looks[thing]} {thing}" if self.maybe(0.25) else f"the {thing}"

    def move(self, who: str, event: str, thing: str, holder: str, **fields: Any) -> None:
        """Tell of an event with a thing, and note who holds it then."""
        self.tell(who, event, x=self.the(thing), **fields)
        self.holder[thing] = holder
        if who != holder:
            self.subject = None  # after an exchange, she could be either

    def give(self, who: str, other: str, thing: str) -> None:
        """The thing goes from one person to another."""
        self.move(who, "give", thing, other, B=other, n=number(self.rng.randint(2, 12)))
        if self.maybe(0.4):
            self.tell(other, "thank", B=who, glad=self.pick(["happy", "glad", "proud"]))

    def ask(self, who: str, other: str, thing: str) -> None:
        """The other asks for the thing; now and then the answer is no, and nothing moves."""
        self.tell(other, "ask", B=who, x=self.the(thing))
        if self.maybe(0.3):
            self.tell(who, "refuse")
        else:
            self.give(who, other, thing)

    def steal(self, who: str, other: str, thing: str) -> None:
        """The other takes the thing without asking."""
        self.move(other, "steal", thing, other, B=who)
        self.tell(who, "robbed")

    def put(self, who: str, thing: str) -> None:
        """The thing goes into a container, or is lost somewhere."""
        event, wheres = self.pick(
            [("put", "containers"), ("put", "containers"), ("lose", "places")]
        )
        where = self.pick(wheres)
        self.move(who, event, thing, f"in the {where}", where=where)

    def fetch(self, who: str, thing: str) -> None:
        """Someone looks for a thing that was put away or lost, and finds it."""
        where = self.holder[thing]
        if self.maybe(0.6):
            other = self.pick([w for w in WORDS["containers"] + WORDS["places"] if w not in where])
            self.tell(who, "seek", x=self.the(thing), other=other)
        self.move(who, "fetch", thing, who, where=where)

    def swap(self, first: str, second: str) -> None:
        """Two people exchange the things they hold."""
        one, two = self.holder[first], self.holder[second]
        self.tell(one, "swap", B=two, x=self.the(first), y=self.the(second))
        self.holder[first], self.holder[second], self.subject = two, one, None

    def pause(self) -> None:
        """Something happens that changes nothing."""
        self.tell(self.pick(self.cast), "pause", animal=a(self.pick(ANIMALS)), **self.actions())

    def end(self, kind: str) -> Document:
        """Say where a thing is in the end, and make the document with its probes."""
        before, probes, endings = " ".join(self.sentences), [], []
        for thing, holder in self.holder.items():
            lead, told = ("with", "had") if holder in self.pronouns else ("lay", "was")
            answer = holder.split()[-1] + "."
            lead = say(self.rng, WORDINGS[lead], thing=thing)
            probes.append((f"{before} {lead}", answer))
            endings += [f"{lead} {answer}"] * 2
            endings += [capitalize(w.format(thing=thing, holder=holder)) for w in WORDINGS[told]]
        last = self.pick(endings if self.maybe(0.8) else WORDINGS["close"])
        return Document(kind, f"{before} {last}", tuple(probes))


def tell_of_things(rng: Random) -> Document:
    """A story in which things change hands in two to five turns."""
    story = Story(rng, cast=rng.choice([2, 2, 3]))
    for _ in range(rng.choice([1, 1, 2])):
        story.new_thing(story.pick(story.cast))
    things = list(story.holder)
    for _ in range(rng.randint(2, 5)):
        thing = story.pick(things)
        who = story.holder[thing]
        holders = {story.holder[t] for t in things}
        if who not in story.pronouns:
            story.fetch(story.pick(story.cast), thing)
        elif story.maybe(0.2):
            story.put(who, thing)
        elif len(holders) == 2 and holders <= set(story.cast) and story.maybe():
            story.swap(*things)
        else:
            other = story.pick([name for name in story.cast if name != who])
            story.pick([story.give, story.give, story.ask, story.steal])(who, other, thing)
        if story.maybe(0.4):
            story.pause()
    return story.end("things")


def tell_of_numbers(rng: Random) -> Document:
    """A story in which people gain and lose fruits and count what is left."""
    story = Story(rng, cast=2)
    one, two = story.cast
    fruit = story.pick("fruits")
    has = {one: rng.randint(2, 12), two: rng.randint(0, 6)}
    story.tell(one, "have", n=count(has[one], fruit))
    story.tell(two, "have" if has[two] else "none", n=count(has[two] or 1, fruit))
    for _ in range(rng.randint(1, 3)):
        who, other = rng.sample(story.cast, 2)
        event = story.pick(["hand", "hand", "more", "eat"])
        n = rng.randint(1, 5)
        if event == "more" and has[who] + n < 20:
            story.tell(who, event, n=number(n))
            has[who] += n
        elif event != "more" and has[who] > n:
            story.tell(who, event, B=other, n=count(n, fruit))
            story.subject = None if event == "hand" else story.subject
            has[who] -= n
            has[other] += n if event == "hand" else 0
    probes = []
    for who, n in has.items():
        if n:
            probes.append((f"{' '.join(story.sentences)} Now {who} had", f"{count(n, fruit)}."))
            story.sentences.append(f"Now {who} had {count(n, fruit)}.")
    if min(has.values()) > 0 and story.maybe():
        story.sentences.append(f"Together they had {count(sum(has.values()), fruit)}.")
    return Document("numbers", " ".join(story.sentences), tuple(probes))


def tell_of_a_walk(rng: Random) -> Document:
    """A story without things: people go somewhere, meet an animal and do what they like."""
    story = Story(rng, cast=rng.choice([2, 3]))
    one, two = story.cast[:2]
    goal = story.pick([place for place in WORDS["places"] if place != story.place])
    animal = story.pick(ANIMALS)
    size = story.pick(["big", "small", "old", "hungry", "lonely", "friendly"])
    story.tell(one, "propose", goal=goal, **story.actions())
    story.tell(two, "agree", goal=goal)
    story.tell(two, "encounter", x=a(f"{size} {animal}"))
    story.tell(one, "react", x=animal, food=story.pick(["bread", "milk", "cheese", "soup"]))
    for who in story.cast:
        story.tell(who, "act", goal=goal, **story.actions())
    story.tell(one, "home", names=listed(story.cast))
    return Document("walk", " ".join(story.sentences))
