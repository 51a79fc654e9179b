"""What chapter 12 teaches the base model, at three distances from what it has read.

Three are texts to go on reading. "people" is near: biographies of new people, in the wordings that
the base model knows. "reckoning" lies in the middle: sums written out digit by digit, in known
letters and digits, but in a form and with numbers that it has not read. "code" is far: the source
of Python's standard library. Two are instructions: "instructions" are chapter 8's, whose content
the base model mostly knows, and "asked" asks for the sums of "reckoning". Then, how both come into
batches, and how old texts are mixed in.
"""

import random
import sysconfig
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, cast

from torch.utils.data import DataLoader

from gptbook.data import encode_documents, make_loader
from gptbook.entry_files import Entry, load_entries
from gptbook.files import ASSETS
from gptbook.instructions import Example, Span, encode_example, make_instruction_loader
from gptbook.tokenizer import BPETokenizer
from gptbook.world import ATTRIBUTES, World
from gptbook.world.people import split_of

PEOPLE, CHUNK = 60, 800
BATCH, CONTEXT = 4, 128
Pair = tuple[str, str]
Terms = tuple[int, int]


class Domain(NamedTuple):
    """For training and validation, texts or entries; and what the model should then answer:
    pairs (prompt, end), or entries."""

    training: list[str] | list[Entry]
    validation: list[str] | list[Entry]
    facts: list[Pair] | list[Entry]


def new_world(seed: int) -> World:
    """A world of other people; names may be shared with the base model's by chance."""
    return World(seed=1 + seed, num_people=PEOPLE)


def people(seed: int, count: int = 4000) -> Domain:
    """Biographies of new people; their facts in the wordings of chapter 7's recall."""
    world = new_world(seed)

    def texts(split: str, number: int) -> list[str]:
        documents = world.stream(split, seed, kinds={"biography": 1})
        return [document.text for document in islice(documents, number)]

    facts = [
        world.completions(person, a)[i % 4]
        for i, person in enumerate(world.people)
        for a in ATTRIBUTES
    ]
    return Domain(texts("training", count), texts("validation", 200), facts)


def written_out(a: int, b: int) -> Pair:
    """A sum of two numbers of two digits, as (prompt, end).

    >>> " ".join(written_out(47, 38))
    '47 + 38: 7 + 8 = 15, write 5, carry 1. 4 + 3 + 1 = 8. So 47 + 38 = 85.'
    """
    ones = a % 10 + b % 10
    tens = a // 10 + b // 10 + ones // 10
    steps = f"{a % 10} + {b % 10} = {ones}, write {ones % 10}, carry {ones // 10}."
    steps += f" {a // 10} + {b // 10} + {ones // 10} = {tens}."
    return f"{a} + {b}:", f"{steps} So {a} + {b} = {a + b}."


def all_sums(seed: int) -> tuple[random.Random, list[Terms], list[Terms]]:
    """A generator, and the pairs of numbers from 10 to 99: known ones, and one in five held out."""
    rng = random.Random(f"reckoning {seed}")
    pairs = [(a, b) for a in range(10, 100) for b in range(a, 100)]
    rng.shuffle(pairs)
    return rng, pairs[len(pairs) // 5 :], pairs[: len(pairs) // 5]


def either_order(pair: Terms, rng: random.Random) -> Terms:
    """A pair, or the same the other way round."""
    return pair if rng.random() < 0.5 else (pair[1], pair[0])


def reckoning(seed: int, count: int = 3000) -> Domain:
    """Sums of two numbers, four to a text; those held out are in no text, in neither order."""
    rng, known, held = all_sums(seed)

    def text() -> str:
        sums = [either_order(rng.choice(known), rng) for _ in range(4)]
        return "\n".join(" ".join(written_out(*each)) for each in sums)

    facts = [written_out(*pair) for pair in held]
    validation = [" ".join(pair) for pair in facts[:200]]
    return Domain([text() for _ in range(count)], validation, facts[200:400])


def asked(seed: int, count: int = 3000) -> Domain:
    """The sums of `reckoning` as instructions with responses."""
    rng, known, held = all_sums(seed)

    def entry(pair: Terms) -> Entry:
        prompt, end = written_out(*either_order(pair, rng))
        return {"instruction": f"Write out: {prompt.removesuffix(':')}", "output": end}

    training = [entry(rng.choice(known)) for _ in range(count)]
    return Domain(training, list(map(entry, held[:200])), list(map(entry, held[200:400])))


def instructions(seed: int) -> Domain:
    """Chapter 8's training entries, for every seed; asked are some of the new combinations."""
    training, validation, combinations = (
        load_entries(ASSETS / "instructions" / f"{split}.json")
        for split in ("training", "validation", "new_combinations")
    )
    return Domain(training, validation[::3], combinations[::9])


def code(seed: int, count: int = 1000) -> Domain:
    """Pieces of the public modules of Python's standard library; one file in ten is held out."""
    rng = random.Random(f"code {seed}")
    pieces: dict[bool, list[str]] = {True: [], False: []}
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("[a-z]*.py")):  # none of a build
        source = path.read_text(encoding="utf-8", errors="ignore")
        held = split_of(path.name) == "validation"
        pieces[held] += [source[i : i + CHUNK] for i in range(0, len(source), CHUNK)]
    for each in pieces.values():
        rng.shuffle(each)
    return Domain(pieces[False][:count], pieces[True][:50], [])


def strangers(seed: int) -> list[Pair]:
    """What one could ask about people of whom neither the base model nor anything new has told."""
    known = {p.name for world in (World(), new_world(seed)) for p in world.people}
    world = World(seed=1001 + seed, num_people=PEOPLE)
    others = [person for person in world.people if person.name not in known]
    return [world.completions(person, a)[0] for person in others for a in ATTRIBUTES]


def encoded(item: str | Entry, tokenizer: BPETokenizer) -> Example:
    """An entry, of which the response counts, or the beginning of a text, of which all counts."""
    if isinstance(item, dict):
        return encode_example(item, tokenizer)
    ids = encode_documents([item], tokenizer)[:CONTEXT].tolist()
    return Example(ids, [Span("response", 0, len(ids))])


def loader_of(
    items: Sequence[str | Entry], tokenizer: BPETokenizer, shuffle: bool = False, seed: int = 0
) -> DataLoader:
    """Batches of texts, one after the other; of entries, twice as many side by side."""
    if any(isinstance(item, dict) for item in items):
        examples = [encoded(item, tokenizer) for item in items]
        return make_instruction_loader(
            examples, 2 * BATCH, pad_id=tokenizer.eos_id or 0, shuffle=shuffle, seed=seed
        )
    ids = encode_documents(cast(Sequence[str], items), tokenizer)
    return make_loader(ids, CONTEXT, BATCH, shuffle=shuffle, seed=seed)


def home_texts(split: str, count: int) -> list[str]:
    """What the base model has read, or for validation, could have read."""
    return [document.text for document in World().documents(count, split)]


def mixed(
    items: Sequence[str | Entry], old: float, seed: int, tokenizer: BPETokenizer
) -> list[str | Entry]:
    """Texts or entries, of which the fraction `old` of the tokens makes room for old texts."""

    def tokens(item: str | Entry) -> int:
        whole = tokenizer.encode(item) if isinstance(item, str) else encoded(item, tokenizer).ids
        return len(whole)

    if not old:
        return list(items)
    made = list(items[int(old * len(items)) :])
    room = old * sum(map(tokens, items))
    for text in home_texts("training", 1000 * (seed + 1))[1000 * seed :]:
        if room <= 0:
            break
        made.append(text)
        room -= tokens(text)
    return made


DOMAINS: dict[str, Callable[[int], Domain]] = {
    "people": people,
    "reckoning": reckoning,
    "code": code,
    "instructions": instructions,
    "asked": asked,
}
