"""The tasks that instructions are about: every right response follows from the small world.

Each task is a function that draws with a `Pick` and returns (fields of the instruction, input,
output). A field "key" says what makes it the same item if it is put in another way.
"""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice, pairwise
from typing import Any

from gptbook.world.draw import Pick, part_of
from gptbook.world.lexicon import (
    WORDS,
    a,
    capitalize,
    comparative,
    listed,
    number,
    past,
    plural,
    third,
)

Item = tuple[dict[str, Any], str, str]  # fields of the instruction, input, output
NAMES = WORDS["girls"] + WORDS["boys"]
NOUNS = [*WORDS["things"], *WORDS["fruits"]]
GROUPS = {"animal": list(WORDS["animals"]), "fruit": WORDS["fruits"][:14], "job": WORDS["jobs"]}


def _fact(pick: Pick) -> Item:
    person, attribute = pick.facts()
    question, answer = pick.question(person, attribute)
    return {"question": question}, "", answer


def _short_fact(pick: Pick) -> Item:
    person, attribute = pick.facts()
    return {"question": pick.question(person, attribute)[0]}, "", person.facts[attribute]


ATTRIBUTE_NAMES = {
    "town": "home town", "born": "year of birth", "food": "favourite food",
    "colour": "favourite colour",
}  # fmt: skip


def _profile(pick: Pick) -> Item:
    person, *attributes = pick.facts(2)
    sentences = [pick.question(person, attribute)[1] for attribute in attributes]
    one, two = (ATTRIBUTE_NAMES.get(attribute, attribute) for attribute in attributes)
    return {"name": person.name, "one": one, "two": two}, "", " ".join(sentences)


def _little_story(pick: Pick) -> tuple[str, str, str]:
    """A person gets a thing and gives it away, once or twice: (text, thing, its last holder)."""
    names, thing = pick.words(NAMES, 3), pick.word(WORDS["things"])
    text = [pick.any(["{A} had {x}.", "{A} found {x} in the {p}.", "{A} bought {x} in a shop."])]
    text[0] = text[0].format(A=names[0], x=a(thing), p=pick.any(WORDS["places"]))
    turns = pick.any([1, 1, 2])
    forms = ["{A} gave the {x} to {B}.", "{A} gave {B} the {x}.", "{A} handed the {x} to {B}."]
    for giver, taker in islice(pairwise(names), turns):
        text.append(pick.any(forms).format(A=giver, B=taker, x=thing))
    return " ".join(text), thing, names[turns]


def _holder(pick: Pick) -> Item:
    text, thing, name = _little_story(pick)
    return {"thing": thing}, text, f"{name}."


def _ending(pick: Pick) -> Item:
    text, thing, name = _little_story(pick)
    return {}, text, f"In the end, {name} had the {thing}."


def _place(pick: Pick) -> Item:
    name, here, verb = pick.word(NAMES), pick.any(WORDS["places"]), pick.word(WORDS["actions"])
    forms = ["{n} {d} in the {p}.", "{n} went to the {p}.", "In the {p}, {n} {d}."]
    return {}, pick.any(forms).format(n=name, d=past(verb), p=here), f"The {here}."


def _name(pick: Pick) -> Item:
    who, noun = pick.word(NAMES), pick.word(NOUNS)
    forms = ["{n} has {x}.", "Here comes {n} with {x}.", "{x} lies before {n}.", "{n} found {x}."]
    return {}, capitalize(pick.any(forms).format(n=who, x=a(noun))), f"{who}."


def _plurals(pick: Pick) -> Item:
    colour, noun, n = pick.any(WORDS["colours"]), pick.word(NOUNS), 2 + pick.below(11)
    return {"n": number(n)}, a(f"{colour} {noun}"), f"{number(n)} {colour} {plural(noun)}"


def _to_tense(tense: str, pick: Pick) -> Item:
    who, verb, here = pick.word(NAMES), pick.word(WORDS["actions"]), pick.any(WORDS["places"])
    form = past(verb) if tense == "past" else f"will {verb}"
    return {}, f"{who} {third(verb)} in the {here}.", f"{who} {form} in the {here}."


def _negation(pick: Pick) -> Item:
    noun, who = pick.word(NOUNS), pick.word(NAMES)
    verb, colour = pick.word(WORDS["actions"]), pick.any(WORDS["colours"])
    mood = pick.any(WORDS["feelings"])
    sentence, negated = pick.any(
        [
            (f"The {noun} is {colour}.", f"The {noun} is not {colour}."),
            (f"{who} is {mood}.", f"{who} is not {mood}."),
            (f"{who} can {verb}.", f"{who} cannot {verb}."),
            (f"{who} {past(verb)}.", f"{who} did not {verb}."),
        ]
    )
    return {}, sentence, negated


def _questions(pick: Pick) -> Item:
    noun, who = pick.word(NOUNS), pick.word(NAMES)
    verb, colour = pick.word(WORDS["actions"]), pick.any(WORDS["colours"])
    sentence, question = pick.any(
        [
            (f"The {noun} is {colour}.", f"Is the {noun} {colour}?"),
            (f"{who} can {verb}.", f"Can {who} {verb}?"),
            (f"{who} has {a(noun)}.", f"Does {who} have {a(noun)}?"),
        ]
    )
    return {}, sentence, question


def _joined(pick: Pick) -> Item:
    one, two = pick.words(NAMES, 2)
    verb, mood = pick.word(WORDS["actions"]), pick.any(WORDS["feelings"])
    text, both = pick.any(
        [
            (f"{one} can {verb}. {two} can {verb}.", f"{one} and {two} can {verb}."),
            (f"{one} is {mood}. {two} is {mood}.", f"{one} and {two} are {mood}."),
            (f"{one} {past(verb)}. {two} {past(verb)}.", f"{one} and {two} {past(verb)}."),
        ]
    )
    return {}, text, both


def _replaced(pick: Pick) -> Item:
    (old, new), noun = pick.two(WORDS["colours"]), pick.word(NOUNS)
    who, where = pick.word(NAMES), pick.any(WORDS["containers"])
    forms = ["{n} has the {c} {x}.", "The {x} in the {w} is {c}."]
    form = pick.any([*forms, "{n} put the {c} {x} into the {w}."])
    before, after = (form.format(n=who, c=colour, x=noun, w=where) for colour in (old, new))
    return {"old": old, "new": new}, before, after


def _opposites(pick: Pick) -> Item:
    opposite, colour, noun = WORDS["adjectives"], pick.any(WORDS["colours"]), pick.word(NOUNS)
    adjective = pick.word([one for one in WORDS["of_things"] if pick.allows(opposite[one])])
    sentence = f"The {colour} {noun} is {{}}."
    return {}, sentence.format(adjective), sentence.format(opposite[adjective])


def _comparison(pick: Pick) -> Item:
    (one, two), adjective = pick.words(NAMES, 2), pick.word(WORDS["of_people"])
    return {}, f"{one}, {two}: {adjective}", f"{one} is {comparative(adjective)} than {two}."


def _older(pick: Pick) -> Item:
    (one, two), (x, y) = pick.words(NAMES, 2), pick.rng.sample(range(3, 90), 2)
    return {}, f"{one} is {x} years old, and {two} is {y}.", f"{one if x > y else two}."


def _sorting(pick: Pick) -> Item:
    row = pick.rng.sample(range(21), 3)
    return {"key": sorted(row)}, ", ".join(map(str, row)), ", ".join(map(str, sorted(row)))


def _counting(pick: Pick) -> Item:
    row = pick.words(NOUNS, 2 + pick.below(5))
    return {}, ", ".join(row), number(len(row))


def _sums(pick: Pick) -> Item:
    (x, y), sign = (pick.below(21), pick.below(21)), pick.any("+-")
    small, big = sorted([x, y])
    if sign == "-":
        x, y = big, small
    key = (sign, small, big)
    return {"task": f"{x} {sign} {y}", "key": key}, "", str(x + y if sign == "+" else x - y)


def _capitals(pick: Pick) -> Item:
    words = f"{pick.any(WORDS['colours'])} {pick.word(NOUNS)}"
    return {}, words, words.upper()


def _initials(pick: Pick) -> Item:
    row = pick.words(NOUNS, 3)
    return {}, ", ".join(row), ", ".join(word[0] for word in row)


def _kinds(pick: Pick) -> Item:
    kind, other = pick.two(list(GROUPS))
    right, wrong = pick.word(GROUPS[kind]), pick.word(GROUPS[other])
    row = pick.rng.sample([right, wrong], 2)
    return {"kind": a(kind), "key": (kind, right, wrong)}, ", ".join(row), right


def _yes_or_no(pick: Pick) -> Item:
    who, noun, (colour, other) = pick.word(NAMES), pick.word(NOUNS), pick.two(WORDS["colours"])
    yes = pick.any([True, False])
    asked = colour if yes else other
    sentence, question = pick.any(
        [
            (f"{who} has {a(f'{colour} {noun}')}.", f"Does {who} have {a(f'{asked} {noun}')}?"),
            (f"{who} has a new {noun}. It is {colour}.", f"Is the {noun} {asked}?"),
        ]
    )
    return {"question": question}, sentence, "Yes." if yes else "No."


def _bullets(pick: Pick) -> Item:
    row = pick.words(NOUNS, 2 + pick.below(3))
    return {}, listed([a(noun) for noun in row]), "\n".join(f"- {a(noun)}" for noun in row)


def _last_word(pick: Pick) -> Item:
    row = pick.words(NOUNS, 3 + pick.below(3))
    return {}, ", ".join(row), row[-1]


def _backwards(pick: Pick) -> Item:
    row = pick.words(NOUNS, 3)
    return {}, ", ".join(row), ", ".join(reversed(row))


TASKS: Mapping[str, Callable[[Pick], Item]] = {
    function.__name__.removeprefix("_"): function
    for function in (
        _fact, _short_fact, _profile, _holder, _ending, _place, _name, _plurals, _negation,
        _questions, _joined, _replaced, _opposites, _comparison, _older, _sorting, _counting,
        _sums, _capitals, _initials, _kinds, _yes_or_no, _bullets, _last_word, _backwards,
    )
} | {"past": partial(_to_tense, "past"), "future": partial(_to_tense, "future")}  # fmt: skip
ABOUT_FACTS = ("fact", "short_fact", "profile")


def draw(task: str, pick: Pick) -> Item | None:
    """Draw (fields, input, output) of a task; None if it came out as an item of another split."""
    pick.drew_word = False
    item = fields, given, _ = TASKS[task](pick)
    key = fields.pop("key", None) or (sorted(fields.items()), given)
    if pick.new:
        return item if pick.drew_word else None
    own = task in ABOUT_FACTS or part_of((task, key)) == pick.split  # Pick.facts parts facts
    return item if own else None
