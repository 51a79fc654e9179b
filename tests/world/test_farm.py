"""The toy language: what it draws is right, as often as its rules say; a wrong word is noticed."""

import math
import random
from collections import Counter

import pytest

from gptbook.world.farm import (
    ADJECTIVES,
    NOUNS,
    SEEING,
    SLEEPING,
    VOCABULARY,
    Farm,
    farm_ids,
    farm_text,
    is_right,
)


def sentences(number, seed=0):
    farm = Farm(seed)
    return [farm.sentence() for _ in range(number)]


def test_all_that_is_drawn_is_right_and_the_same_for_the_same_seed():
    drawn = sentences(3000)
    assert all(map(is_right, drawn))
    assert drawn == sentences(3000)
    assert drawn != sentences(3000, seed=1)
    assert len(set(drawn)) > 1500


@pytest.mark.parametrize(
    "wrong",
    [
        "the hen that sees two cats sleep .",  # the verb follows the nearer noun
        "the hens that see a cat sleeps .",
        "the hens that sees a cat sleep .",
        "a hens run .",
        "two hen runs .",
        "every big small cat runs .",
        "big cats run .",
        "the cat sees .",  # an object is missing
        "the cat sleeps the dog .",
        "the cat that sleeps runs .",
        "the cat sleeps",
        "the cat sleeps . .",
        "the cat sleeps . the cat sleeps .",
        "the cat",
        "that cat sleeps .",
        ".",
        "",
    ],
)
def test_what_is_wrong(wrong):
    assert is_right(wrong) is False


def test_a_word_that_is_exchanged_for_one_of_another_kind_makes_a_sentence_wrong():
    """Against a second description of the rules: kinds of words in order, as one grammar."""
    choice = random.Random(0)
    kinds = {word: word for word in VOCABULARY} | {"a": "1", "every": "1", "two": "2", "some": "2"}
    kinds |= dict.fromkeys(ADJECTIVES, "big")
    kinds |= dict.fromkeys(NOUNS, "hen") | {noun + "s": "hens" for noun in NOUNS}
    kinds |= dict.fromkeys(SEEING, "see") | {verb + "s": "sees" for verb in SEEING}
    kinds |= dict.fromkeys(SLEEPING, "run") | {verb + "s": "runs" for verb in SLEEPING}
    grammar = {"hens": {"see", "run"}, "hen": {"sees", "runs"}}
    for sentence in sentences(300):
        words = sentence.split()
        nouns = [i for i, word in enumerate(words) if kinds[word] in grammar]
        subject = words[nouns[0]]
        verb = next(i for i in range(len(words) - 1, -1, -1) if kinds[words[i]] in
                    {"see", "sees", "run", "runs"})  # fmt: skip
        if nouns[-1] < verb:  # the main verb is the last verb, if no noun follows
            assert kinds[words[verb]] in grammar[kinds[subject]]
            main = words[verb]
            other = main.removesuffix("s") if main.endswith("s") else main + "s"
            assert not is_right(" ".join([*words[:verb], other, *words[verb + 1 :]]))
        i = choice.randrange(len(words))
        new = choice.choice([w for w in VOCABULARY if kinds[w] != kinds[words[i]]])
        if "the" not in (new, words[i]):
            assert not is_right(" ".join([*words[:i], new, *words[i + 1 :]])), (sentence, i, new)


def test_choices_are_drawn_as_often_as_the_rules_say():
    words = " ".join(drawn := sentences(20_000)).split()
    nouns = [i for i, word in enumerate(words) if word.removesuffix("s") in NOUNS]
    assert abs(sum(words[i - 1] in ADJECTIVES for i in nouns) / len(nouns) - 0.3) < 0.01
    counts = Counter(words[i] for i in nouns)
    assert len(counts) == 8
    assert max(counts.values()) < 1.1 * min(counts.values())
    with_clause = sum("that" in s.split()[:4] for s in drawn)  # directly after the subject
    assert abs(with_clause / len(drawn) - 0.4) < 0.01
    without_object = sum(s.split()[-2].removesuffix("s") in SLEEPING for s in drawn)
    assert abs(without_object / len(drawn) - 0.5) < 0.01


def test_log_p_is_that_of_the_sentence():
    """Short sentences are drawn as often as their probability says."""
    farm, p = Farm(0), {}
    counts = Counter()
    for _ in range(100_000):
        before = farm.log_p
        sentence = farm.sentence()
        counts[sentence] += 1
        p[sentence] = math.exp(farm.log_p - before)
    assert p["a hen runs ."] == pytest.approx(0.5 / 3 * 0.7 / 4 * 0.6 * 0.5 / 3)
    for sentence, number in counts.most_common(20):
        assert abs(number - 100_000 * p[sentence]) < 5 * math.sqrt(100_000 * p[sentence])


def test_ids_and_words():
    assert len(VOCABULARY) == len(set(VOCABULARY)) == 29
    assert VOCABULARY[0] == "."
    assert {word for s in sentences(2000) for word in s.split()} == set(VOCABULARY)
    for sentence in sentences(50):
        assert farm_text(farm_ids(sentence)) == sentence
    with pytest.raises(ValueError, match=r"not in the toy language: \['cow'\]"):
        farm_ids("the cow sleeps .")
