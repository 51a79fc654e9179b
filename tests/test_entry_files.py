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
        ('{"instruction": "a"}', "must hold a list of entries, not dict"),
        ("[]", "must hold a list of entries, not an empty one"),
        ('{"instruction": "a"}\n{"instruction": "b"}', "2 bad entries of 2"),
        ('{"instruction": "a", "output": "b"}\n{"instruction": "b"', "line 2, is not JSON"),
        ("[", "is not JSON, nor JSON lines"),
        ("hello", "is not JSON, nor JSON lines"),
        ('[{"messages": 3}]', "entry 0: a chat must be a list of turns"),
        ('[{"messages": []}]', "must take turns"),
        ('[{"messages": [{"role": "user", "content": "a"}]}]', r"assistant end; got \['user'\]"),
        ('[{"messages": [{"role": "tool", "content": "a"}, {"role": "assistant"}]}]', "'tool'"),
        (
            '[{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": 3}]}]',
            "'output' must be a string, not int",
        ),
        ('[{"instruction": "a", "output": "b", "system": 1}]', "'system' must be a string"),
    ],
)
def test_files_with_mistakes_are_refused(tmp_path, content, message):
    path = tmp_path / "own.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"(?s)own\.json.*{message}"):
        load_entries(path)


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "own.json"
    path.write_bytes('[{"instruction": "é", "output": "b"}]'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"own\.json is not UTF-8"):
        load_entries(path)


CHAT = [
    {"role": "user", "content": "Name a colour."},
    {"role": "assistant", "content": "Red."},
    {"role": "user", "content": "Another."},
    {"role": "assistant", "content": "Blue."},
]
SHARED = [
    {"from": "system", "value": "Be short."},
    {"from": "human", "value": "How much is 3 + 4?"},
    {"from": "gpt", "value": "7"},
]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", ""])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_json_lines_are_read(tmp_path, end, encoding):
    path, entries = tmp_path / "own.jsonl", [ENTRY, SHORT] if end else [SHORT]
    text = (end or "\n").join(map(json.dumps, entries)) + end
    path.write_bytes(text.encode(encoding))
    assert load_entries(path) == entries


def test_chats_become_entries(tmp_path):
    path = tmp_path / "chats.jsonl"
    chats = [{"messages": CHAT}, {"messages": CHAT[:2], "id": 5}, {"conversations": SHARED}]
    path.write_text("\n".join(map(json.dumps, chats)))
    assert load_entries(path) == [
        {"messages": CHAT},
        {"instruction": "Name a colour.", "output": "Red."},
        {"system": "Be short.", "instruction": "How much is 3 + 4?", "output": "7"},
    ]


def test_bad_entries_are_all_listed_and_can_be_left_out(tmp_path, capsys):
    path = tmp_path / "own.json"
    path.write_text(json.dumps([SHORT, {"instruction": "a", "output": ""}, ENTRY, 7]))
    with pytest.raises(ValueError, match=r"(?s)2 bad entries of 4.*entry 1: .*entry 3: ") as caught:
        load_entries(path)
    assert load_entries(path, skip_bad=True) == [SHORT, ENTRY]
    assert "2 entries left out" in (printed := capsys.readouterr().out)
    assert printed.count("entry") == str(caught.value).count("entry")
    path.write_text(json.dumps([7]))
    with pytest.raises(ValueError, match="no entry that can be used"):
        load_entries(path, skip_bad=True)
