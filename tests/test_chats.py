"""Chats as examples: what the system says, several turns, and instructions as before."""

import pytest

from gptbook.chats import encode_dialogue, encode_entry, prompt_of
from gptbook.instructions import HEADERS, PREAMBLE, encode_example, format_prompt, make_labels
from gptbook.tokenizer import load_tokenizer

TOKENIZER = load_tokenizer("book")
CHAT = [
    {"role": "user", "content": "Name a colour."},
    {"role": "assistant", "content": "Red."},
    {"role": "user", "content": "Another."},
    {"role": "assistant", "content": "Blue."},
]
SHORT = {"instruction": "How much is 3 + 4?", "output": "7"}


def test_an_instruction_is_encoded_as_before():
    assert encode_entry(SHORT, TOKENIZER) == encode_example(SHORT, TOKENIZER)
    assert encode_entry(SHORT | {"system": " "}, TOKENIZER) == encode_example(SHORT, TOKENIZER)


@pytest.mark.parametrize("entry", [SHORT, {"messages": CHAT}])
def test_the_system_speaks_in_place_of_the_preamble(entry):
    usual, other = (
        encode_entry(entry, TOKENIZER),
        encode_entry(entry | {"system": "Go."}, TOKENIZER),
    )
    assert TOKENIZER.decode(other.ids).startswith("Go.\n\n### Instruction:")
    for kind in ("instruction", "response", "role"):
        assert other.text_of(TOKENIZER, kind) == usual.text_of(TOKENIZER, kind)
    ours, theirs = (TOKENIZER.decode(e.ids).split("###", 1)[1] for e in (usual, other))
    assert ours == theirs
    counted = [id for id in make_labels(other) if id >= 0]
    assert counted == [id for id in make_labels(usual) if id >= 0]  # the system never counts


def test_a_chat_is_a_dialogue():
    assert encode_entry({"messages": CHAT}, TOKENIZER) == encode_dialogue(CHAT, TOKENIZER)
    assert encode_entry({"messages": CHAT}, TOKENIZER).ids.count(TOKENIZER.eos_id) == 2
    with pytest.raises(ValueError, match="encode_entry"):
        encode_example({"messages": CHAT}, TOKENIZER)


SYSTEM = {"system": " You are a hen. ", "instruction": "Say yes.", "output": "Yes."}


def test_what_the_system_says_stands_first_in_training_and_in_answering():
    example = encode_entry(SYSTEM, TOKENIZER)
    assert example == encode_example(SYSTEM, TOKENIZER)
    prompt = TOKENIZER.decode(prompt_of(example))
    assert prompt == format_prompt(SYSTEM)
    assert prompt.startswith(f"You are a hen.\n\n{HEADERS['instruction']} Say yes.")
    assert format_prompt(SYSTEM | {"system": None}).startswith(PREAMBLE)


def test_the_prompt_of_a_chat_ends_before_its_last_answer():
    example = encode_dialogue(CHAT, TOKENIZER)
    prompt = TOKENIZER.decode(prompt_of(example))
    assert CHAT[1]["content"] in prompt
    assert prompt.endswith(HEADERS["response"])
    assert (
        TOKENIZER.decode(example.ids[len(prompt_of(example)) : -1]).strip() == CHAT[-1]["content"]
    )
