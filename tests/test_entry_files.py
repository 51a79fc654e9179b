"""Files of entries are read as they are written, or refused."""

import json

import pytest

from gptbook.instructions import format_prompt, load_entries

ENTRY = {"instruction": "Name the colour.", "input": "The kite is red.", "output": "Red, I think."}


SHORT = {"instruction": "How much is 3 + 4?", "output": "7"}


# -- files


def test_entries_are_read_as_they_are_written(tmp_path):
    path = tmp_path / "entries.json"
    text = json.dumps([ENTRY, SHORT | {"more": 1, "input": None}])
    path.write_text(text, encoding="utf-8-sig")  # as some editors do
    assert load_entries(path) == json.loads(text)
    assert format_prompt(SHORT | {"input": None}) == format_prompt(SHORT)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"instruction": "a"}]', r"entry 0: has no 'output'; its fields are \['instruction'\]"),
        ('[{"instruction": "a", "output": "b"}, {"output": "b"}]', "entry 1: has no 'instruction'"),
        ('[{"instruction": "a", "output": " "}]', "entry 0: 'output' is empty"),
        ('[{"instruction": "\\n", "output": "b"}]', "entry 0: 'instruction' is empty"),
        ('[{"instruction": "a", "output": 7}]', "entry 0: 'output' must be a string, not int"),
        ('[{"instruction": "a", "input": 3, "output": "b"}]', "'input' must be a string"),
        ('["a"]', "entry 0: must be an object with fields, not str"),
        ('{"instruction": "a", "output": "b"}', "must hold a list of entries, not dict"),
        ("[]", "must hold a list of entries, not an empty one"),
        ('{"instruction": "a"}\n{"instruction": "b"}', "is not one JSON list in UTF-8"),
        ("[", "is not one JSON list in UTF-8"),
    ],
)
def test_files_with_mistakes_are_refused(tmp_path, content, message):
    path = tmp_path / "own.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"own\.json.*{message}"):
        load_entries(path)


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "own.json"
    path.write_bytes('[{"instruction": "é", "output": "b"}]'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"own\.json is not one JSON list in UTF-8"):
        load_entries(path)
