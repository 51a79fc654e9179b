"""Lessons of the small world: words and their forms, animals, numbers, order, letters.

Each function draws what it is about with `rng` and returns a few true sentences. They show a model
in plain text what instructions will ask for later.
"""

from collections.abc import Callable, Iterator
from random import Random

from gptbook.world.lexicon import (
    SENTENCES,
    WORDS,
    a,
    comparative,
    count,
    ing,
    listed,
    number,
    past,
    plural,
    say,
    superlative,
    third,
)  # fmt: skip

WORDINGS = SENTENCES["lessons"]
KINDS = ("things", "fruits", "animals", "containers")
NOUNS = list(dict.fromkeys(noun for kind in KINDS for noun in WORDS[kind]))


def someone(rng: Random) -> tuple[str, str]:
    """A first name and its pronoun."""
    girl = rng.random() < 0.5
    return rng.choice(WORDS["girls" if girl else "boys"]), "she" if girl else "he"


def lesson_plurals(rng: Random) -> Iterator[str]:
    """One box, two boxes."""
    for noun in rng.sample(NOUNS, rng.randint(2, 4)):
        n = number(rng.randint(2, 12))
        yield say(rng, WORDINGS["plurals"], noun=noun, nouns=plural(noun), a_noun=a(noun), n=n)


def lesson_tenses(rng: Random) -> Iterator[str]:
    """Today she walks, yesterday she walked, tomorrow she will walk."""
    who, she = someone(rng)
    for do in rng.sample(WORDS["verbs"], rng.randint(2, 3)):
        forms = {"do": do, "does": third(do), "did": past(do), "doing": ing(do)}
        yield say(
            rng, WORDINGS["tenses"], who=who, she=she, place=rng.choice(WORDS["places"]), **forms
        )


def lesson_negation(rng: Random) -> Iterator[str]:
    """What is so, and what is not."""
    for _ in range(rng.randint(2, 3)):
        who, she = someone(rng)
        (do, do2), noun = rng.sample(WORDS["actions"], 2), rng.choice(NOUNS)
        colour, colour2 = rng.sample(WORDS["colours"], 2)
        mood, mood2 = rng.sample(WORDS["feelings"], 2)
        place, place2 = rng.sample(WORDS["places"], 2)
        yield say(
            rng, WORDINGS["negation"], who=who, she=she, do=do, does=third(do), did=past(do),
            do2=do2,
            noun=noun, a_noun=a(noun), colour=colour, colour2=colour2, mood=mood, mood2=mood2,
            place=place, place2=place2,
        )  # fmt: skip


def lesson_opposites(rng: Random) -> Iterator[str]:
    """Hot and cold, hotter and hottest."""
    for adjective in rng.sample(list(WORDS["adjectives"]), rng.randint(2, 3)):
        who, who2 = rng.sample(WORDS["girls"] + WORDS["boys"], 2)
        yield say(
            rng, WORDINGS["opposites"], adjective=adjective,
            opposite=WORDS["adjectives"][adjective],
            more=comparative(adjective), most=superlative(adjective), noun=rng.choice(NOUNS),
            who=who, who2=who2,
        )  # fmt: skip


def lesson_animals(rng: Random) -> Iterator[str]:
    """How big they are, where they live, what they can do."""
    chosen = rng.sample(list(WORDS["animals"]), 3)
    for animal in chosen[:2]:
        _, legs, home, flies, swims = WORDS["animals"][animal]
        for wording in rng.sample(WORDINGS["animals"], 2):
            yield say(
                rng, [wording], animal=a(animal), animals=plural(animal), home=home,
                legs=count(legs, "leg") if legs else "no legs",
                can_fly="can" if flies else "cannot",
                can_swim="can" if swims else "cannot",
                yes_fly="yes, it can" if flies else "no, it cannot",
            )  # fmt: skip
    small, middle, big = sorted(chosen, key=lambda animal: WORDS["animals"][animal][0])
    for wording in rng.sample(WORDINGS["sizes"], rng.randint(1, 2)):
        yield say(rng, [wording], small=small, middle=middle, big=big)


def lesson_kinds(rng: Random) -> Iterator[str]:
    """What is an animal, what is a colour, which word does not belong."""
    members = {"animal": list(WORDS["animals"]), "colour": WORDS["colours"],
        "month": WORDS["months"],
               "instrument": WORDS["instruments"], "town": list(WORDS["towns"]),
               "day": WORDS["days"]}  # fmt: skip
    for _ in range(rng.randint(2, 3)):
        kind, kind2 = rng.sample(list(members), 2)
        words, odd = rng.sample(members[kind], 3), rng.choice(members[kind2])
        yield say(
            rng, WORDINGS["kinds"], words=listed(words), word=words[0], kind=kind, a_kind=a(kind),
            a_kind2=a(kind2), odd=odd, choice=listed(rng.sample([words[0], odd], 2), "or"),
            row=", ".join(rng.sample([*words, odd], 4)),
        )  # fmt: skip


def lesson_sums(rng: Random) -> Iterator[str]:
    """Adding and taking away, in digits and in words; larger and smaller numbers."""
    top = rng.choice([10, 20])
    for _ in range(rng.randint(3, 6)):
        x, y = rng.randint(0, top), rng.randint(0, top)
        small, big = sorted([x, y])
        yield say(
            rng, WORDINGS["sums"], x=x, y=y, sum=x + y, small=small, big=big,
            difference=big - small,
            x_word=number(x), y_word=number(y), sum_word=number(x + y), small_word=number(small),
            big_word=number(big), difference_word=number(big - small), over=big + 1,
            x1=x + 1, x2=x + 2, x3=x + 3,
            sorted=", ".join(map(str, sorted([x, y, rng.randint(0, top)]))),
        )  # fmt: skip


def lesson_counting(rng: Random) -> Iterator[str]:
    """How many there are of each, and in all."""
    m, n = rng.randint(1, 9), rng.randint(1, 9)
    one, other = rng.sample(WORDS["things"] + WORDS["fruits"], 2)
    colour, colour2 = rng.sample(WORDS["colours"], 2)
    row = rng.sample(NOUNS, rng.randint(2, 6))
    for wording in rng.sample(WORDINGS["counting"], 2):
        yield say(
            rng, [wording], is_are="is" if m == 1 else "are", m_one=count(m, one),
            n_other=count(n, other), m_n_things=count(m + n, "thing"), m_n_one=count(m + n, one),
            m_coloured=count(m, f"{colour} {one}"), n_coloured=count(n, f"{colour2} {one}"),
            place=rng.choice(WORDS["places"]), a_row=listed([a(noun) for noun in row]),
            row_things=count(len(row), "thing"), row=", ".join(row), row_number=number(len(row)),
            counted=", ".join(number(i) for i in range(1, m + 1)),
        )  # fmt: skip


def lesson_letters(rng: Random) -> Iterator[str]:
    """How words are spelled, how they begin and end, in capitals, in the order of the alphabet."""
    for word in rng.sample(NOUNS + WORDS["verbs"], rng.randint(2, 5)):
        yield say(rng, WORDINGS["letters"], word=word, letters=", ".join(word), first=word[0],
                  last=word[-1], n=number(len(word)), capitals=word.upper())  # fmt: skip
    row = rng.sample(NOUNS, rng.randint(2, 4))
    yield say(rng, WORDINGS["rows"], row=", ".join(row), sorted=", ".join(sorted(row)),
        first=row[0],
              last=row[-1], backwards=", ".join(row[::-1]), least=min(row),
              most=max(row))  # fmt: skip


def lesson_ages(rng: Random) -> Iterator[str]:
    """How old people are, and who is older."""
    one, two = rng.sample(WORDS["girls"] + WORDS["boys"], 2)
    x, y = rng.sample(range(3, 90), 2)
    old, young = (one, two) if x > y else (two, one)
    gap = f"{abs(x - y)} year{'s' * (abs(x - y) > 1)}"
    fields = {"one": one, "two": two, "x": x, "y": y, "old": old, "young": young, "gap": gap,
              "x_word": number(x), "y_word": number(y), "next": x + 1}  # fmt: skip
    yield say(rng, WORDINGS["ages"], **fields)
    for wording in rng.sample(WORDINGS["older"], 2):
        yield say(rng, [wording], **fields)


# How often each lesson is given.
LESSONS: dict[Callable[[Random], Iterator[str]], int] = {
    lesson_plurals: 3, lesson_tenses: 4, lesson_negation: 3, lesson_opposites: 2, lesson_animals: 4,
    lesson_kinds: 2, lesson_sums: 8, lesson_counting: 5, lesson_letters: 9, lesson_ages: 2,
}  # fmt: skip
