"""Stories, read again sentence by sentence, by other code than wrote them."""

import random
import re
from itertools import pairwise

from gptbook.world.lexicon import (
    SENTENCES,
    WORDS,
    number,
)
from gptbook.world.stories import tell_of_numbers, tell_of_things
from tests.world.helpers import DOCUMENTS

STORIES = ("things", "numbers", "walk")


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
