"""The small world: what its documents say is true, the same every time, and split for good."""

import random
import re
import zlib
from collections import Counter
from itertools import pairwise

import pytest

from gptbook.lessons import LESSONS, lesson_ages
from gptbook.lexicon import SENTENCES, WORDS, comparative, ing, listed, number, past, plural, third
from gptbook.stories import tell_of_numbers, tell_of_things
from gptbook.tokenizer import load_tokenizer
from gptbook.world import ATTRIBUTES, FACTS, KINDS, World, split_of

WORLD = World()
DOCUMENTS = WORLD.documents(8000)
STORIES = ("things", "numbers", "walk")


def of_kind(kind):
    return [document for document in DOCUMENTS if document.kind == kind]


# -- grammar


@pytest.mark.parametrize(
    ("function", "forms"),
    [
        (plural, "kite kites box boxes cherry cherries key keys leaf leaves sheep sheep"),
        (past, "play played cry cried stop stopped visit visited read read knit knitted"),
        (ing, "sit sitting tie tying travel travelling bake baking agree agreeing play playing"),
        (third, "fix fixes study studies play plays have has go goes watch watches"),
        (comparative, "big bigger shy shyer narrow narrower clever cleverer late later dry drier"),
        (number, [0, "zero", 13, "thirteen", 40, "forty", 99, "ninety-nine"]),
    ],
)  # fmt: skip
def test_forms(function, forms):
    forms = forms.split() if isinstance(forms, str) else forms
    for word, form in zip(forms[::2], forms[1::2], strict=True):
        assert function(word) == form


def test_numbers_out_of_range_are_refused():
    for n in (-1, 100):
        with pytest.raises(ValueError, match="not between 0 and 99"):
            number(n)


def test_the_lexicon_is_consistent():
    for words in WORDS.values():
        assert len(set(words)) == len(words)
    assert set(WORDS["pets"]) <= set(WORDS["animals"])
    assert set(WORDS["actions"]) <= set(WORDS["verbs"])
    assert not set(WORDS["girls"]) & set(WORDS["boys"])
    for word, opposite in WORDS["adjectives"].items():
        assert opposite in WORDS["adjectives"], word
    sizes = [size for size, *_ in WORDS["animals"].values()]
    assert len(set(sizes)) == len(sizes)


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


# -- facts


def names_in(text):
    return {person for person in WORLD.people if person.name in text}


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


# -- stories: read again, sentence by sentence, by other code than wrote them


def pattern(wording):
    """A regular expression for a wording; A is the person who acts."""
    wording = re.escape(wording[0].upper() + wording[1:]).replace(r"\{", "{").replace(r"\}", "}")
    fields = set()

    def group(match):
        field = match[1]
        if field in fields:
            return f"(?i:(?P={field}))"
        fields.add(field)
        kinds = dict.fromkeys("xy", r"(?:[Aa]n?|[Tt]he) (?:\w+ )??\w+")
        kinds |= dict.fromkeys(["A", "B", "C", "holder"], "[A-Z][a-z]+|[Ss]he|[Hh]e")
        return f"(?P<{field}>{kinds.get(field, '[^.!?]+?')})"

    return re.compile(re.sub(r"\{(\w+)\}", group, wording))


EVENTS = {event: list(map(pattern, wordings)) for event, wordings in SENTENCES["story"].items()}
MOVES = {"get", "give", "steal", "put", "lose", "fetch", "swap"}


def read_story(text, names):
    """Who holds what at the end of a story, as its sentences say."""
    holder, subject, at = {}, None, 0
    while at < len(text):
        readings = [
            (match.end(), event in MOVES, "A" in match.groupdict(), event, match)
            for event, wordings in EVENTS.items()
            for wording in wordings
            if (match := wording.match(text, at)) and text[match.end() :][:1] in ("", " ")
        ]
        *_, event, match = max(readings, key=lambda reading: reading[:3])
        words = match.groupdict()
        who = words.get("A") if words.get("A") in names else subject
        x, y = (words.get(field, "").split()[-1:] for field in ("x", "y"))
        if event in ("get", "fetch", "steal"):
            holder[x[0]] = who
        elif event == "give":
            holder[x[0]] = words["B"]
        elif event in ("put", "lose"):
            holder[x[0]] = f"in the {words['where']}"
        elif event == "swap":
            holder[x[0]], holder[y[0]] = words["B"], who
        subject, at = who if "A" in words else subject, match.end() + 1
    return holder


def test_probes_say_what_a_reader_of_the_story_concludes():
    rng, read = random.Random(3), 0
    for _ in range(1600):
        document = tell_of_things(rng)
        names = set(WORDS["girls"] + WORDS["boys"])
        for prompt, end in document.probes:
            lead = re.search(
                r"(?:In the end, the|The one who had the|So the) (\w+) was[ a-z]*$", prompt
            )
            truth = read_story(prompt[: lead.start()].rstrip(), names)[lead[1]]
            assert end == truth.split()[-1] + ".", (prompt, truth)
            read += 1
    assert read > 2000


def test_counts_add_up():
    values = {number(n): n for n in range(100)} | {"one": 1}
    rng = random.Random(1)
    for _ in range(500):
        document = tell_of_numbers(rng)
        now = [values[n] for n in re.findall(r"Now \w+ had ([\w-]+)", document.text)]
        together = re.findall(r"Together they had ([\w-]+)", document.text)
        assert not together or values[together[0]] == sum(now)
        assert len(document.probes) == len(now)
        events = re.sub(r" Now .*", "", document.text)
        gained = [
            values[n]
            for n in re.findall(r"(?:had|picked|bought) ([\w-]+) (?!more)\w+(?: in|\.)", events)
        ]
        more = [values[n] for n in re.findall(r"([\w-]+) more\.", events)]
        less = [values[n] for n in re.findall(r"\b(?:ate|lost) ([\w-]+) \w+\.", events)]
        assert sum(gained) + sum(more) - sum(less) == sum(now), document.text


def test_a_pronoun_stands_only_where_one_person_can_be_meant():
    for document in DOCUMENTS:
        if document.kind not in STORIES:
            continue
        assert not re.search(r"\b(?:from|to|with|when) (?:she|he)\b", document.text)
        sentences = re.split(r"(?<=[.?!]) |(?<=[.?!]\") ", document.text)
        for before, sentence in pairwise(sentences):
            if sentence.startswith(("She ", "He ")):  # the same person began the sentence before
                assert re.match(r"(?:She|He|[A-Z][a-z]+) ", before), (before, sentence)
                assert "gave" not in before, (before, sentence)


def test_no_story_contradicts_itself_about_the_weather():
    for document in DOCUMENTS:
        if document.kind in STORIES:
            found = re.findall(r"(?:It was a?|One) ?(\w+)(?:\.| morning| day)", document.text)
            assert len(set(found) & set(WORDS["weather"])) < 2, document.text


# -- lessons


def test_ages_are_in_years():
    rng = random.Random(0)
    text = " ".join(sentence for _ in range(2000) for sentence in lesson_ages(rng))
    assert " 1 year older" in text
    assert " 2 years older" in text
    assert " 1 years" not in text


def test_nobody_meets_a_namesake():
    for document in of_kind("talk"):
        [(first, second), *_] = re.findall(
            r"(\w+) (?:met|came to see|talked to|told) (\w+)", document.text
        )
        assert first not in (second, "One")


def test_sums_are_right():
    checked = 0
    for document in of_kind("sums"):
        for x, sign, y, z in re.findall(r"(\d+) ([+-]) (\d+) = (\d+)", document.text):
            assert int(x) + (1 if sign == "+" else -1) * int(y) == int(z)
            checked += 1
    assert checked > 100


def test_sizes_follow_one_order():
    size = {animal: facts[0] for animal, facts in WORDS["animals"].items()}
    checked = 0
    for document in of_kind("animals"):
        for one, more, other in re.findall(
            r"The (\w+) is (bigger|smaller) than the (\w+)", document.text
        ):
            assert (size[one] > size[other]) == (more == "bigger")
            checked += 1
        for row in re.findall(r"From small to big: ([^.]*)\.", document.text):
            sizes = [size[animal] for animal in row.split(", ")]
            assert sizes == sorted(sizes)
    assert checked > 50


def test_letters_are_right():
    for document in of_kind("letters"):
        for word, letters in re.findall(r"(\w+) is spelled ([a-z, ]*)\.", document.text):
            assert word.lower() == letters.replace(", ", "")
        for word, capitals in re.findall(r"In capital letters, (\w+) is (\w+)", document.text):
            assert word.upper() == capitals
        for row in re.findall(r"alphabet: ([^.]*)\.", document.text):
            assert row.split(", ") == sorted(row.split(", "))


def test_rows_are_listed():
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"], "or") == "a, b or c"
