"""What chapter 12 teaches: nothing is in training and in what is asked, and sums are right."""

import re

import pytest

from gptbook.experiments.domains import (
    DOMAINS,
    encoded,
    loader_of,
    mixed,
    new_world,
    strangers,
    written_out,
)
from gptbook.tokenizer import load_tokenizer
from gptbook.world import World


@pytest.mark.parametrize("name", DOMAINS)
def test_nothing_is_in_both_parts_and_seeds_differ(name):
    one, again, other = DOMAINS[name](1), DOMAINS[name](1), DOMAINS[name](2)
    assert one == again
    assert (one.training != other.training) == (name != "instructions")
    assert not [item for item in one.validation if item in one.training]
    assert not [item for item in one.facts if item in one.training]
    assert len(one.validation) >= 50
    size = sum(len(item if isinstance(item, str) else str(item)) for item in one.training)
    assert size > (300_000 if name == "asked" else 500_000)  # more than 300 steps read


def test_sums_that_are_asked_as_instructions_are_right_and_held_out():
    domain = DOMAINS["asked"](1)
    split = []
    for entries in domain:
        found = set()
        for entry in entries:
            a, b = map(
                int, re.fullmatch(r"Write out: (\d+) \+ (\d+)", entry["instruction"]).groups()
            )
            assert entry["output"] == written_out(a, b)[1]
            found |= {(a, b), (b, a)}
        split.append(found)
    assert not split[0] & split[1]
    assert not split[0] & split[2]
    assert not split[1] & split[2]


def test_sums_are_right_and_those_that_are_asked_are_held_out():
    domain = DOMAINS["reckoning"](1)
    in_training = set()
    for text in domain.training:
        for line in text.splitlines():
            a, b, a2, b2, total = map(int, re.fullmatch(
                r"(\d+) \+ (\d+): .* So (\d+) \+ (\d+) = (\d+)\.", line).groups())  # fmt: skip
            assert (a, b, a + b) == (a2, b2, total)
            assert " ".join(written_out(a, b)) == line
            in_training |= {(a, b), (b, a)}
    asked = {tuple(map(int, re.findall(r"\d+", prompt))) for prompt, _ in domain.facts}
    assert len(asked) == 200
    assert not asked & in_training
    assert written_out(47, 38)[1].startswith("7 + 8 = 15, write 5, carry 1. 4 + 3 + 1 = 8. So")


def test_facts_are_true_and_strangers_are_nowhere():
    world = new_world(1)
    truth = {person.name: person.facts for person in world.people}
    for prompt, end in DOMAINS["people"](1).facts:
        [name] = [name for name in truth if name in prompt]
        assert end.removesuffix(".") in truth[name].values()
    known = [p.name for w in (World(), world) for p in w.people]
    assert not any(name in prompt for prompt, _ in strangers(1) for name in known)


def test_old_texts_take_the_place_of_new_ones():
    tokenizer = load_tokenizer("book")
    texts = [f"A new text, number {i}, about nothing at all. " * 5 for i in range(40)]
    entries = [{"instruction": text, "output": "Well."} for text in texts]

    def tokens(items):
        return sum(len(encoded(item, tokenizer).ids) for item in items)

    for items in (texts, entries):
        assert mixed(items, 0.0, 1, tokenizer) == items
        one, other = (mixed(items, 0.3, seed, tokenizer) for seed in (1, 2))
        old = [item for item in one if item not in items]
        assert one[: len(one) - len(old)] == items[12:]
        assert 0.3 <= tokens(old) / tokens(items) < 0.35  # the last one may be too long
        assert old != [item for item in other if item not in items]


def test_an_entry_counts_its_response_and_an_old_text_all():
    tokenizer = load_tokenizer("book")
    entry = {"instruction": "Name a fruit.", "output": "A pear."}
    [batch] = loader_of([entry, "The kite is red."], tokenizer)
    inputs, targets = batch
    counted = [[id for id in row if id >= 0] for row in targets.tolist()]
    assert tokenizer.decode(counted[0]) == " A pear.<|endoftext|>"
    assert tokenizer.encode("The kite is red.")[1:] == counted[1][:-1]
    assert inputs.shape == targets.shape
