"""Spans, labels and batches equal those of trl; dialogues; answers."""

import base64
import math
from itertools import pairwise

import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import TikTokenConverter
from trl import SFTConfig, SFTTrainer

from gptbook.chats import encode_dialogue
from gptbook.generate import generate
from gptbook.gpt2 import load_gpt2
from gptbook.instructions import (
    HEADERS,
    IGNORE_INDEX,
    MASKS,
    PREAMBLE,
    Example,
    Span,
    collate,
    encode_example,
    encode_pair,
    format_prompt,
    make_instruction_loader,
    make_labels,
    respond,
    right_answers,
)
from gptbook.model import GPT, GPTConfig
from gptbook.tokenizer import END_OF_TEXT, BPETokenizer, load_tokenizer
from gptbook.training import accumulate_gradients, next_token_loss

TOKENIZER = load_tokenizer("book")


EOS = TOKENIZER.eos_id


ENTRY = {"instruction": "Name the colour.", "input": "The kite is red.", "output": "Red, I think."}


SHORT = {"instruction": "How much is 3 + 4?", "output": "7"}


# Where prompt and completion meet: clean, merging, digits, line breaks, spaces, nothing at all.
PAIRS = [
    ("Where does Ada live?", " In Rome."), ("one two", "three"), ("The kit", "e and a hat"),
    ("The end\n", "\nis near"), ("a ", "b"), ("1", "2"), ("So", "<b>"), ("It is so.", ""),
    ("Say <|endoftext|>", " <|endoftext"),
]  # fmt: skip


# -- against the libraries


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """Our tokenizer as one of transformers', with end-of-text as padding."""
    path = tmp_path_factory.mktemp("tokenizer") / "ranks.tiktoken"
    ranks = TOKENIZER.ranks.items()
    path.write_text("".join(f"{base64.b64encode(t).decode()} {rank}\n" for t, rank in ranks))
    converter = TikTokenConverter(str(path), TOKENIZER.pattern, extra_special_tokens=[END_OF_TEXT])
    return PreTrainedTokenizerFast(
        tokenizer_object=converter.converted(), eos_token=END_OF_TEXT, pad_token=END_OF_TEXT
    )


def new_reference():
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=2048, n_positions=64, n_embd=32, n_layer=2, n_head=2, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=None, eos_token_id=EOS,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def trainer_of(pairs, theirs, folder, max_length, **options):
    arguments = SFTConfig(
        output_dir=folder, max_length=max_length, report_to="none", use_cpu=True, bf16=False,
        disable_tqdm=True, completion_only_loss=True, **options,
    )  # fmt: skip
    data = Dataset.from_list([{"prompt": p, "completion": c} for p, c in pairs])
    return SFTTrainer(new_reference(), args=arguments, train_dataset=data, processing_class=theirs)


@pytest.mark.parametrize("max_length", [64, 5, 2])
def test_labels_and_batches_equal_those_of_trl(theirs, tmp_path, max_length):
    pairs = PAIRS[:-1]  # transformers reads <|endoftext|> in a text as the special token
    trainer = trainer_of(pairs, theirs, tmp_path, max_length)
    rows = list(trainer.train_dataset)
    examples = [encode_pair(prompt, completion, TOKENIZER) for prompt, completion in pairs]
    examples = [  # trl drops what has nothing left to learn; we keep it, and it costs nothing
        example
        for example in examples
        if any(label != IGNORE_INDEX for label in make_labels(example)[:max_length])
    ]
    assert [row["input_ids"] for row in rows] == [e.ids[:max_length] for e in examples]
    assert [row["labels"] for row in rows] == [make_labels(e)[:max_length] for e in examples]
    batch = trainer.data_collator(rows)
    inputs, targets = collate(examples, "instruction", EOS, max_length)
    assert torch.equal(batch["input_ids"][:, :-1], inputs)
    assert torch.equal(batch["labels"][:, 1:], targets)


def as_gpt(reference):
    def load(folder):  # through the files, as a reader would
        reference.save_pretrained(folder)
        return load_gpt2(folder, dropout=0.0)

    return load


def test_loss_and_gradients_equal_those_of_transformers_and_trl(theirs, tmp_path):
    trainer = trainer_of(PAIRS[:6], theirs, tmp_path, 64)
    batch = trainer.data_collator(list(trainer.train_dataset))
    reference = new_reference()
    model = as_gpt(reference)(tmp_path / "model")
    inputs, targets = collate([encode_pair(*p, TOKENIZER) for p in PAIRS[:6]], pad_id=EOS)
    loss = next_token_loss(model(inputs), targets)
    assert reference(**batch).loss.item() == pytest.approx(loss.item(), abs=1e-6)
    trainer.model.load_state_dict(reference.state_dict())
    assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(loss.item(), abs=1e-6)


def test_accumulated_gradients_equal_those_of_trl(theirs, tmp_path):
    options = {
        "per_device_train_batch_size": 2, "gradient_accumulation_steps": 3, "max_steps": 1,
        "learning_rate": 1.0, "optim": "sgd", "max_grad_norm": 0.0, "lr_scheduler_type": "constant",
        "weight_decay": 0.0, "seed": 0, "save_strategy": "no", "gradient_checkpointing": False,
    }  # fmt: skip
    trainer = trainer_of(PAIRS[:6], theirs, tmp_path, 64, **options)
    model = as_gpt(trainer.model)(tmp_path / "model")
    before = trainer.model.transformer.h[0].mlp.c_fc.weight.detach().clone()
    result = trainer.train()
    step = before - trainer.model.transformer.h[0].mlp.c_fc.weight.detach()  # lr 1: the gradient
    examples = [encode_pair(*pair, TOKENIZER) for pair in PAIRS[:6]]
    batches = [collate(examples[i : i + 2], pad_id=EOS) for i in (0, 2, 4)]
    loss = accumulate_gradients(model, batches)
    assert result.training_loss == pytest.approx(loss, abs=1e-6)
    torch.testing.assert_close(
        model.blocks[0].feed_forward.up.weight.grad.T, step, rtol=1e-4, atol=1e-6
    )


# -- spans and labels


def supervised(example, mask):
    labels = make_labels(example, mask)
    assert len(labels) == len(example.ids)
    assert all(label in (IGNORE_INDEX, id) for label, id in zip(labels, example.ids, strict=True))
    return {i for i, label in enumerate(labels) if label != IGNORE_INDEX}


def text(example, places):
    return TOKENIZER.decode([example.ids[i] for i in sorted(places)])


def test_the_text_that_counts_is_what_each_mask_promises():
    example = encode_example(ENTRY, TOKENIZER)
    whole = format_prompt(ENTRY) + " " + ENTRY["output"] + END_OF_TEXT
    assert text(example, supervised(example, "none")) == whole
    assert text(example, supervised(example, "instruction")) == " " + ENTRY["output"] + END_OF_TEXT
    assert text(example, supervised(example, "boilerplate")) == (
        f" {ENTRY['instruction']} {ENTRY['input']} {ENTRY['output']}{END_OF_TEXT}"
    )
    without_roles = whole
    for header in HEADERS.values():
        without_roles = without_roles.replace(header, "")
    assert text(example, supervised(example, "role")) == without_roles
    assert "### Response:" in whole
    assert "### Response:" not in text(example, supervised(example, "boilerplate"))


entries = st.fixed_dictionaries(
    {"instruction": st.text(min_size=1), "output": st.text(min_size=1)},
    optional={"input": st.text()},
).filter(lambda e: e["instruction"].strip() and e["output"].strip())


SEPARATE = BPETokenizer({bytes([i]): i for i in range(256)}, {END_OF_TEXT: 256})


def encodable(entry):
    try:
        "".join(entry.values()).encode()
    except UnicodeEncodeError:
        return False
    return True


@settings(max_examples=200, deadline=None)
@given(entries.filter(encodable))
def test_masks_nest_whatever_the_texts(entry):
    for tokenizer in (TOKENIZER, SEPARATE):
        example = encode_example(entry, tokenizer)
        sets = [supervised(example, mask) for mask in MASKS]
        assert all(later <= earlier for earlier, later in pairwise(sets))
        end = len(example.ids) - 1
        assert all(end in places for places in sets)  # the end of text always counts
        assert example.ids[end] == tokenizer.eos_id
        assert tokenizer.eos_id not in example.ids[:end]  # even if an entry spells it
        covered = [i for span in example.spans for i in range(span.start, span.stop)]
        assert covered == list(range(len(example.ids)))
        wanted = " " + entry["output"].strip() + END_OF_TEXT
        assert example.text_of(tokenizer, "response") == wanted
        assert example.text_of(tokenizer, "instruction") == " " + entry["instruction"].strip()
        prompt = tokenizer.encode(format_prompt(entry))
        assert example.ids[: example.spans[-1].start] == prompt  # as it will be given to the model


def test_labels_depend_on_places_not_on_ids():
    """The same words in instruction, input and output, and a header in the output."""
    same = {"instruction": "red kite", "input": "red kite", "output": "red kite\n\n### Response:\n"}
    example = encode_example(same, TOKENIZER)
    assert (
        text(example, supervised(example, "instruction"))
        == " red kite\n\n### Response:" + END_OF_TEXT
    )
    boilerplate = text(example, supervised(example, "boilerplate"))
    assert boilerplate == " red kite red kite red kite\n\n### Response:" + END_OF_TEXT


def test_kinds_that_no_mask_knows_are_refused():
    with pytest.raises(ValueError, match="user"):
        make_labels(Example([5, 6, 7, 0], [Span("user", 0, 2), Span("assistant", 2, 4)]))


def test_answers_are_judged_where_there_is_one_response_behind_a_prompt():
    turns = [{"role": r, "content": "Yes."} for r in ("user", "assistant")] * 2
    for example in (encode_dialogue(turns, TOKENIZER), encode_pair("", "Yes.", TOKENIZER)):
        with pytest.raises(ValueError, match="example 0 must have one response behind a prompt"):
            right_answers(load_gpt2("book"), [example])
    assert respond(load_gpt2("book"), TOKENIZER, []) == []


@pytest.mark.parametrize(
    "turns",
    [
        [{"role": "system", "content": "Be kind."}],
        [{"role": "user", "content": "Hi."}, {"role": "user", "content": "You?"}],
        [{"role": "assistant", "content": "Hi."}],
        [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": " "}],
        [{"content": "Hi."}],
        [{"role": "user", "content": None}],
    ],
)
def test_dialogues_without_turns_are_refused(turns):
    with pytest.raises(ValueError, match=r"turn [01] must have the role"):
        encode_dialogue(turns, TOKENIZER)


def test_a_limit_that_leaves_no_target_is_refused():
    example = encode_example(SHORT, TOKENIZER)
    for limit in (1, 0, -1):
        with pytest.raises(ValueError, match=f"max_length={limit}"):
            collate([example], max_length=limit)


def test_a_token_over_the_border_belongs_to_what_comes_after():
    example = encode_pair("The kit", "e and a hat", TOKENIZER)
    assert example.ids == [*TOKENIZER.encode("The kite and a hat"), EOS]
    assert text(example, supervised(example, "instruction")) == " kite and a hat" + END_OF_TEXT


def test_unknown_masks_are_refused():
    with pytest.raises(ValueError, match="mask='prompt' is not one of"):
        make_labels(encode_example(SHORT, TOKENIZER), "prompt")


def test_only_the_assistant_counts_in_a_dialogue():
    turns = [
        {"role": "user", "content": "Where does Ada live?"},
        {"role": "assistant", "content": "In Rome."},
        {"role": "user", "content": "And what is her job?"},
        {"role": "assistant", "content": "She is a baker."},
    ]
    example = encode_dialogue(turns, TOKENIZER)
    answers = f" In Rome.{END_OF_TEXT} She is a baker.{END_OF_TEXT}"
    assert text(example, supervised(example, "instruction")) == answers
    assert TOKENIZER.decode(example.ids).startswith(PREAMBLE + HEADERS["instruction"] + " Wh")
    single = encode_example({"instruction": turns[0]["content"], "output": "In Rome."}, TOKENIZER)
    assert example.ids[: len(single.ids)] == single.ids  # a dialogue of one turn is an entry
    with pytest.raises(ValueError, match="must end with a turn of the assistant"):
        encode_dialogue(turns[:3], TOKENIZER)


# -- batches


def test_a_batch_is_shifted_by_one_and_padded_by_place():
    examples = [encode_example(entry, TOKENIZER) for entry in (ENTRY, SHORT)]
    for pad_id in (EOS, 0, examples[0].ids[3]):  # padding may look like any token
        inputs, targets = collate(examples, "none", pad_id)
        assert inputs.shape == targets.shape == (2, len(examples[0].ids) - 1)
        for example, row, goal in zip(examples, inputs, targets, strict=True):
            n = len(example.ids) - 1
            assert row[:n].tolist() == example.ids[:-1]
            assert goal[:n].tolist() == example.ids[1:]  # the last one is the end of text
            assert (row[n:] == pad_id).all()
            assert (goal[n:] == IGNORE_INDEX).all()


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("max_length", [2, 3, 20, 1000])
def test_truncation_never_gives_nan(mask, max_length):
    examples = [encode_example(entry, TOKENIZER) for entry in (ENTRY, SHORT)]
    inputs, targets = collate(examples, mask, EOS, max_length)
    assert inputs.shape[1] == min(max_length, len(examples[0].ids)) - 1
    model = GPT(GPTConfig(2048, 128, 32, 1, 2))
    loss = next_token_loss(model(inputs), targets)
    loss.backward()
    assert math.isfinite(loss.item())
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_padding_changes_no_loss():
    torch.manual_seed(0)
    model = GPT(GPTConfig(2048, 128, 32, 2, 2)).double().eval()
    examples = [encode_example(entry, TOKENIZER) for entry in (ENTRY, SHORT)]
    total = count = 0
    for example in examples:
        inputs, targets = collate([example], "instruction", EOS)
        n = (targets != IGNORE_INDEX).sum().item()
        total, count = total + n * next_token_loss(model(inputs), targets).item(), count + n
    inputs, targets = collate(examples, "instruction", EOS)
    assert next_token_loss(model(inputs), targets).item() == pytest.approx(total / count, abs=1e-12)


def test_a_loader_shuffles_by_its_seed():
    examples = [encode_example(SHORT | {"output": str(i)}, TOKENIZER) for i in range(10)]

    def rows(seed):
        loader = make_instruction_loader(examples, 4, "instruction", EOS, shuffle=True, seed=seed)
        return [row.tolist() for inputs, _ in loader for row in inputs]

    assert rows(0) == rows(0) != rows(1)
    assert len(rows(0)) == 10


# -- answers


def test_right_answers_are_those_that_the_model_would_write():
    torch.manual_seed(0)
    model = GPT(GPTConfig(2048, 128, 32, 2, 2))
    entries = [SHORT | {"instruction": f"How much is {i} + 4?"} for i in range(6)]
    written = respond(model, TOKENIZER, entries, max_new_tokens=5)
    for entry, response in zip(entries, written, strict=True):
        ids = [TOKENIZER.encode(format_prompt(entry))]
        alone = generate(model, ids, 5, eos_id=EOS)[0][len(ids[0]) :].tolist()
        assert response == TOKENIZER.decode([i for i in alone if i != EOS])
    assert right_answers(model, [encode_example(e, TOKENIZER) for e in entries]) == [False] * 6
    with torch.no_grad():  # a model that always writes the end of text, after whatever
        model.final_norm.weight.zero_()
        model.final_norm.bias.copy_(100 * model.token_embedding.weight[EOS])
    assert right_answers(model, [encode_pair("So", "", TOKENIZER)]) == [True]
    assert right_answers(model, [encode_pair("So", "it is", TOKENIZER)]) == [False]


def test_examples_without_a_target_are_refused_by_number():
    long = {"instruction": "word " * 100, "output": "yes"}
    examples = [encode_example(entry, TOKENIZER) for entry in (ENTRY, long, ENTRY, long)]
    make_instruction_loader(examples, 2)
    with pytest.raises(ValueError, match=r"2 of 4 examples, 1, 3, have no target within max_len"):
        make_instruction_loader(examples, 2, max_length=80)
    make_instruction_loader(examples, 2, mask="none", max_length=80)


def test_ids_without_a_token_are_never_chosen():
    torch.manual_seed(0)
    rows = TOKENIZER.vocab_size + 47  # a padded vocabulary, whose last row is the likeliest
    model = GPT(GPTConfig(rows, context_length=64, embed_dim=32, num_layers=1, num_heads=2))
    model.token_embedding.weight.data[-1] = 9 * torch.ones(32)
    model.final_norm.bias.data.fill_(1.0)
    entries = [{"instruction": "Say yes."}]
    prompt = TOKENIZER.encode(format_prompt(entries[0]))
    assert generate(model, [prompt], 3)[0][-3:].tolist() == [rows - 1] * 3
    assert respond(model, TOKENIZER, entries, 3)[0]
    assert not model.head._forward_hooks


def test_responses_do_not_depend_on_the_batches():
    base = load_gpt2("book").double()
    entries = [{"instruction": f"Say {word}."} for word in ("red", "a word", "two", "no", "yes")]
    wanted = respond(base, TOKENIZER, entries, 8)
    assert respond(base, TOKENIZER, entries, 8, batch_size=2) == wanted
