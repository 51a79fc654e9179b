"""The answers of the entries are right."""

import re
from collections import Counter

import pytest

from gptbook.world import ATTRIBUTES
from gptbook.world.entries import SPLITS
from gptbook.world.lexicon import WORDS
from gptbook.world.tasks import NAMES
from tests.world.entries import ENTRIES, WORLD

FRUITS = "apple pear plum peach lemon melon banana cherry orange fig berry coconut mango grape"


KIND_OF = dict.fromkeys(FRUITS.split(), "fruit") | dict.fromkeys(WORDS["jobs"], "job")


KIND_OF |= dict.fromkeys(WORDS["animals"], "animal")


@pytest.mark.parametrize("split", SPLITS)
def test_answers_are_right(split):
    """The tasks whose answers can be worked out again, by other code than wrote them."""
    checked = Counter()
    for entry in ENTRIES[split]:
        task, given, output = entry["task"], entry["input"], entry["output"]
        if task == "sums":
            x, sign, y = re.search(r"(\d+) ([+-]) (\d+)", entry["instruction"]).groups()
            assert int(output) == (int(x) + int(y) if sign == "+" else int(x) - int(y))
        elif task == "older":
            (one, x), (two, y) = re.findall(r"(\w+) is (\d+)", given)
            assert output == (one if int(x) > int(y) else two) + "."
        elif task == "sorting":
            assert list(map(int, output.split(", "))) == sorted(map(int, given.split(", ")))
        elif task == "counting":
            numbers = ["zero", "one", "two", "three", "four", "five", "six"]
            assert numbers.index(output) == len(given.split(", "))
        elif task in ("holder", "ending"):
            names = re.findall("[A-Z][a-z]+", given)
            last = [n for n in names if n in NAMES][-1]
            assert last in output
            if "gave" in given.split(". ")[-1] and " to " not in given.split(". ")[-1]:
                assert re.search(rf"gave {last} the", given)
        elif task == "initials":
            assert output.split(", ") == [word[0] for word in given.split(", ")]
        elif task == "backwards":
            assert output.split(", ")[::-1] == given.split(", ")
        elif task == "last_word":
            assert given.endswith(f", {output}")
        elif task == "capitals":
            assert output.lower() == given
            assert output.isupper()
        elif task == "replaced":
            new, old = (
                re.search(r"Write (\w+) in place of (\w+)", entry["instruction"])
                and [*re.search(r"Write (\w+) in place of (\w+)", entry["instruction"]).groups()]
            ) or (None, None)
            assert old is None or given.replace(old, new, 1) == output
        elif task == "bullets":
            assert [line.removeprefix("- ") for line in output.split("\n")] == re.split(
                ", | and ", given
            )
        elif task == "yes_or_no":
            asked, told = (  # an orange is no colour, and stands in both
                sorted(word for word in re.findall(r"\w+", text) if word in WORDS["colours"])
                for text in (entry["instruction"], given)
            )
            assert output == ("Yes." if asked == told else "No.")
        elif task == "kinds":
            kind = re.search(r"(animal|fruit|job)", entry["instruction"]).group()
            assert [word for word in given.split(", ") if KIND_OF[word] == kind] == [output]
        elif task == "fact":
            answers = {WORLD.question(p, a)[1] for p in WORLD.people for a in ATTRIBUTES}
            assert output in answers
        else:
            continue
        checked[task] += 1
    assert len(checked) >= 12
