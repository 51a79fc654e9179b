"""The documents of the small world and the facts in them."""

import random
import re
import zlib
from collections import Counter

import pytest

from gptbook.tokenizer import load_tokenizer
from gptbook.world import ATTRIBUTES, FACTS, KINDS, World, split_of
from gptbook.world.lessons import LESSONS
from tests.world.helpers import DOCUMENTS, WORLD

# -- documents


def test_documents_are_those_the_released_model_was_trained_on():
    text = "\n".join(document.text for document in DOCUMENTS[:500])
    assert zlib.crc32(text.encode("utf-8")) == 2720917418


def test_the_seed_decides_the_documents():
    assert World().documents(50) == DOCUMENTS[:50]
    assert WORLD.documents(50, seed=1) != DOCUMENTS[:50]
    assert not {p.name for p in World(seed=1).people} >= {p.name for p in WORLD.people[:20]}


def test_no_document_is_in_two_splits():
    texts = {
        split: {d.text for seed in (0, 1) for d in WORLD.documents(400, split, seed)}
        for split in ("training", "validation", "test")
    }
    assert not texts["training"] & texts["validation"]
    assert not texts["training"] & texts["test"]
    assert not texts["validation"] & texts["test"]
    for split, members in texts.items():
        assert {split_of(text) for text in members} == {split}
    drawn = random.Random(0)
    splits = Counter(split_of(WORLD.write("things", drawn).text) for _ in range(4000))
    assert splits["validation"] == pytest.approx(400, abs=80)
    assert splits["test"] == pytest.approx(400, abs=80)


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="'train' is not training"):
        WORLD.documents(1, "train")


@pytest.mark.parametrize("num_people", [2, 7, 10_000])
def test_a_world_of_the_wrong_size_is_refused(num_people):
    with pytest.raises(ValueError, match="must be even"):
        World(num_people=num_people)


def test_documents_are_rich():
    assert set(KINDS) - {"lesson"} | {
        lesson.__name__.removeprefix("lesson_") for lesson in LESSONS
    } == {document.kind for document in DOCUMENTS}
    assert len({document.text for document in DOCUMENTS}) > 0.999 * len(DOCUMENTS)
    words = set(re.findall(r"\w+", " ".join(document.text for document in DOCUMENTS)))
    assert len(words) > 1500
    for document in DOCUMENTS:
        assert re.fullmatch(r"[\"A-Z0-9].*[.?!\"]", document.text), document.text
        assert "{" not in document.text
        assert not re.search(r"[.?!] [a-z]", document.text), document.text


def test_the_tokenizer_of_the_book():
    tokenizer = load_tokenizer("book")
    assert tokenizer.vocab_size == 2048
    tokens = [tokenizer.decode([id]) for id in tokenizer.encode("In KITE 120 - 7? Yes, Ada.")]
    assert tokens == [
        "In", " K", "I", "T", "E", " ", "1", "2", "0", " -", " ", "7", "?", " Yes", ",", " Ada",
        ".",
    ]  # fmt: skip
    text = "\n".join(document.text for document in DOCUMENTS[:2000])
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(text.encode("utf-8")) / len(tokenizer.encode(text)) > 3.5


def test_friends_are_friends_of_each_other():
    by_name = {person.name: person for person in WORLD.people}
    for person in WORLD.people:
        friend = by_name[person.facts["friend"]]
        assert friend is not person
        assert friend.facts["friend"] == person.name
        assert friend.asked == person.asked
    assert sum(person.asked for person in WORLD.people) == len(WORLD.people) / 2


def test_what_biographies_say_is_true_and_complete():
    said = set()
    truths = {
        (wording.format(N=person.name, v=value)[1:]): (person.name, attribute)
        for person in WORLD.people
        for attribute, value in person.facts.items()
        for wording in FACTS[attribute]["statements"]
    }
    for document in WORLD.documents(30_000, seed=5):
        if document.kind == "biography":
            for sentence in re.split(r"(?<=\.) ", document.text):
                said.add(truths[sentence[1:]])
    assert len(said) == len(WORLD.people) * len(ATTRIBUTES)


def test_only_some_people_are_asked_about():
    questions = {
        WORLD.question(person, attribute)[0]: person
        for person in WORLD.people
        for attribute in ATTRIBUTES
    }
    asked = set()
    for document in DOCUMENTS:
        for question in re.findall(r"(?:Wh\w+)[^.?]*\?", document.text):
            if question in questions:
                asked.add(questions[question].name)
    assert asked == {person.name for person in WORLD.people if person.asked}


def test_completions_and_questions_hold_the_truth():
    person = WORLD.people[7]
    for attribute in ATTRIBUTES:
        pairs = WORLD.completions(person, attribute)
        assert len(pairs) == 4
        statements = [" ".join(pair) for pair in pairs]
        for statement in statements:
            assert person.name in statement
            assert statement.endswith(f" {person.facts[attribute]}.")
        question, answer = WORLD.question(person, attribute)
        assert question.endswith("?")
        assert answer == statements[0]
