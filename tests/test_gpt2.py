"""GPT-2's files: read as transformers reads them, written as it wants them, never changed."""

import json
import logging
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn as nn
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, pipeline

import gptbook.gpt2
from gptbook.data import make_loader
from gptbook.files import read_tensors
from gptbook.generate import generate
from gptbook.gpt2 import RELEASED, load_gpt2, save_gpt2
from gptbook.model import GPT, GPTConfig
from gptbook.tokenizer import load_tokenizer
from gptbook.training import TrainConfig, next_token_loss, train
from tests.helpers import assert_same_gradients, assert_same_weights

SHAPE = {"vocab_size": 97, "n_positions": 24, "n_embd": 128, "n_layer": 3, "n_head": 2}
CONFIG = GPTConfig(97, 24, 128, 3, 2)
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
IDS = torch.randint(97, (5, 24), generator=torch.Generator().manual_seed(1))


def reference_model(**changes):
    """A GPT-2 of transformers, with weights so large that wrong details show."""
    torch.manual_seed(0)
    reference = GPT2LMHeadModel(GPT2Config(**SHAPE, **NO_DROPOUT, **changes))
    for parameter in reference.parameters():
        parameter.data.mul_(3).add_(0.1 * torch.randn_like(parameter))
    return reference


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """(folder, the model that transformers saved there); read it only."""
    folder = tmp_path_factory.mktemp("gpt2")
    reference = reference_model()
    reference.save_pretrained(folder)
    return folder, reference


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of the folder that a test may damage."""
    for path in saved[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def change_config(folder, **changes):
    path = folder / "config.json"
    told = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in told.items() if value != "gone"}))


def change_tensors(folder, change):
    path = folder / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    save_file(change(tensors) or tensors, path, metadata={"format": "pt"})


def assert_equal_weights(model, other):
    ours, theirs = model.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


# -- loading


def test_logits_loss_and_gradients_equal_transformers(saved):
    folder, reference = saved
    model, reference = load_gpt2(folder).double(), GPT2LMHeadModel.from_pretrained(folder).double()
    logits, theirs = model(IDS), reference(IDS).logits
    torch.testing.assert_close(logits, theirs, rtol=1e-10, atol=1e-10)
    assert logits.abs().max() > 5
    loss = next_token_loss(logits[:, :-1], IDS[:, 1:])
    exact = nn.functional.cross_entropy(theirs[:, :-1].transpose(1, 2), IDS[:, 1:])
    torch.testing.assert_close(loss, exact, rtol=1e-10, atol=1e-10)
    loss.backward()
    exact.backward()
    assert_same_gradients(model, reference, rtol=1e-10)


def test_what_is_loaded_is_a_whole_model(saved):
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    model = load_gpt2(saved[0])
    assert torch.equal(torch.rand(2), wanted)  # loading draws no random numbers
    assert type(model) is GPT
    assert model.config == CONFIG
    assert model.head.weight is model.token_embedding.weight
    plain = GPT(CONFIG)
    assert str(model) == str(plain)
    assert model.training is plain.training
    for (name, tensor), (other, like) in zip(
        [*model.named_parameters(), *model.named_buffers()],
        [*plain.named_parameters(), *plain.named_buffers()],
        strict=True,
    ):
        assert (name, tensor.shape, tensor.dtype) == (other, like.shape, like.dtype)
        assert (tensor.device.type, tensor.requires_grad) == ("cpu", like.requires_grad)
        assert tensor.is_leaf
    qkv = model.blocks[0].attention.qkv.weight
    assert qkv.stride() == (1, 384)  # as it lies in the file, (in, out)


def test_no_memory_is_filled_before_the_file_is_there(monkeypatch):
    def filled(*_, **__):
        raise AssertionError("a weight was initialised")

    for name in ("normal_", "uniform_"):
        monkeypatch.setattr(torch.Tensor, name, filled)
    assert all(p.is_meta for p in gptbook.gpt2._without_memory(CONFIG).parameters())


@pytest.mark.parametrize("prefix", ["transformer.", ""])
@pytest.mark.parametrize("extras", [False, True])
def test_names_of_older_files(folder, saved, prefix, extras):
    def change(tensors):
        if extras:
            tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
            for i in range(3):
                mask = torch.ones(24, 24).tril()[None, None]
                tensors[f"transformer.h.{i}.attn.bias"] = mask.clone()
                tensors[f"transformer.h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
        return {name.replace("transformer.", prefix): t for name, t in tensors.items()}

    change_tensors(folder, change)
    assert_equal_weights(load_gpt2(folder), load_gpt2(saved[0]))


def test_a_file_alone(saved):
    folder, _ = saved
    model = load_gpt2(folder / "model.safetensors")
    assert model.config == CONFIG
    assert_equal_weights(model, load_gpt2(str(folder)))
    assert load_gpt2(folder / "model.safetensors", num_heads=8).config.num_heads == 8
    assert load_gpt2(folder, num_heads=2, dropout=0.3).config == replace(CONFIG, dropout=0.3)
    with pytest.raises(ValueError, match=r"num_heads=4, but .* says 2"):
        load_gpt2(folder, num_heads=4)


def test_a_file_alone_of_another_width(tmp_path):
    model = GPT(GPTConfig(20, 8, 24, 1, 3))
    save_gpt2(model, tmp_path)
    with pytest.raises(ValueError, match=r"safetensors has the width 24, no multiple of 64: give"):
        load_gpt2(tmp_path / "model.safetensors")
    assert load_gpt2(tmp_path / "model.safetensors", num_heads=3).config == model.config


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_float32(folder, saved, dtype):
    change_tensors(folder, lambda tensors: {n: t.to(dtype) for n, t in tensors.items()})
    model = load_gpt2(folder)
    rounded = load_gpt2(saved[0]).to(dtype).float()
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert_equal_weights(model, rounded)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("activation_function", "gelu"),
        ("activation_function", "relu"),
        ("layer_norm_epsilon", 1e-6),
        ("tie_word_embeddings", False),
        ("scale_attn_weights", False),
        ("scale_attn_by_inverse_layer_idx", True),
        ("reorder_and_upcast_attn", True),
        ("add_cross_attention", True),
        ("n_inner", 100),
        ("model_type", "gpt_neo"),
    ],
)
def test_other_architectures_are_refused(folder, option, value):
    change_config(folder, **{option: value})
    with pytest.raises(ValueError, match=rf"config\.json has {option}={value!r}; this GPT does"):
        load_gpt2(folder)


@pytest.mark.parametrize(
    ("option", "value"), [("n_inner", 512), ("activation_function", "gelu_pytorch_tanh")]
)
def test_other_words_for_the_same_architecture_are_good(folder, saved, option, value):
    change_config(folder, **{option: value})
    assert_equal_weights(load_gpt2(folder), load_gpt2(saved[0]))
    theirs = GPT2LMHeadModel.from_pretrained(folder).double()
    torch.testing.assert_close(load_gpt2(folder).double()(IDS), theirs(IDS).logits)


def test_what_a_configuration_leaves_out_is_as_in_transformers(folder):
    for option, values in gptbook.gpt2_format.SUPPORTED.items():
        assert getattr(GPT2Config(), option) in values
        change_config(folder, **{option: "gone"})
    assert load_gpt2(folder).config == CONFIG


@pytest.mark.parametrize("heads", [0, "4", 3])
def test_heads_that_cannot_be_are_refused(folder, heads):
    change_config(folder, n_head=heads)
    with pytest.raises(ValueError, match=r"config\.json.*n_head"):
        load_gpt2(folder)


def test_no_configuration(folder):
    change_config(folder, n_layer="gone", n_head="gone")
    with pytest.raises(ValueError, match=r"config\.json .* lacks \['n_layer', 'n_head'\]"):
        load_gpt2(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        load_gpt2(folder)


def without(name):
    return lambda tensors: {n: t for n, t in tensors.items() if name not in n}


def with_(name, tensor):
    return lambda tensors: tensors | {name: tensor}


QKV = "transformer.h.1.attn.c_attn.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("h.1.ln_2.bias"), r"lacks h\.1\.ln_2\.bias"),
        (without("wpe"), r"not a GPT-2: it lacks \['wpe.weight'\]"),
        (without("h.2."), r"lacks h\.2\.attn\.c_attn\.bias"),
        (with_("transformer.h.3.ln_1.weight", torch.ones(128)), r"unknown h\.3\.ln_1\.weight"),
        (with_("score.weight", torch.ones(2, 128)), r"has the unknown score\.weight"),
        (with_("lm_head.weight", torch.ones(97, 128)), r"lm_head.weight is not wte.weight"),
        (with_(QKV, torch.ones(384, 128)), r"h\.1\.attn.* \(384, 128\); .* shape \(128, 384\)"),
        (with_(QKV, torch.ones(128, 384).int()), r"h\.1\.attn.*is torch\.int32 .* are floats"),
        (with_("wte.weight", torch.ones(97, 128)), r"both with and without the prefix"),
        (with_("transformer.wte.weight", torch.ones(96, 128)), r"wte.weight in .* \(96, 128\)"),
    ],
)
def test_wrong_tensors_are_refused(folder, change, message):
    change_tensors(folder, change)
    with pytest.raises(ValueError, match=message) as caught:
        load_gpt2(folder)
    assert str(folder / "model.safetensors") in str(caught.value)


def test_a_file_without_layers_is_read_as_it_is(folder):
    change_tensors(folder, without(".h."))
    model = load_gpt2(folder / "model.safetensors")
    assert model.config == replace(CONFIG, num_layers=0)


@pytest.mark.parametrize("size", [0, 5, 1000, 100_000])
def test_a_broken_file_is_refused(folder, size):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"model\.safetensors is not a whole safetensors file"):
        load_gpt2(folder)


def test_what_is_not_there(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match="nowhere is not there; load_gpt2 takes"):
        load_gpt2(tmp_path / "nowhere")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors is not there; .*in one piece"):
        load_gpt2(folder)


# -- the file is mapped


LIVES_ON = """
import shutil, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from transformers import GPT2LMHeadModel
from gptbook.gpt2 import load_gpt2, save_gpt2
from gptbook.model import GPT
source = Path(sys.argv[1])
for how in ("deleted", "replaced", "saved", "by transformers"):
    folder = source / how
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(source / name, folder)
    model = load_gpt2(folder)
    if how == "deleted":
        (folder / "model.safetensors").unlink()
    elif how == "replaced":
        save_gpt2(GPT(model.config), folder)
    elif how == "saved":
        save_gpt2(model, folder)
    else:
        GPT2LMHeadModel.from_pretrained(folder).save_pretrained(folder)
    save_file({"logits": model(torch.arange(20)[None])}, folder / "logits")
"""


def test_the_file_may_go_while_the_model_is_used(folder, saved):
    """In a process of its own, which a missing page of the file would kill."""
    run = subprocess.run([sys.executable, "-c", LIVES_ON, folder], capture_output=True)
    assert run.returncode == 0, run.stderr.decode()[-2000:]
    wanted = load_gpt2(saved[0])(torch.arange(20)[None])
    for how in ("deleted", "replaced", "saved", "by transformers"):
        assert torch.equal(load_file(folder / how / "logits")["logits"], wanted)
    for how in ("saved", "by transformers"):
        assert_equal_weights(load_gpt2(folder / how), load_gpt2(saved[0]))


def odd_header(path):
    """Begin the tensors of a file at an odd address, as the released GPT-2's do."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + size].rstrip() + b" "
    header += b" " * (len(header) % 2 == 0)
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + size :])


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
def test_training_changes_the_model_as_any_other_and_not_the_file(folder, odd, mixed):
    path = folder / "model.safetensors"
    if odd:
        odd_header(path)
        assert load_gpt2(folder).final_norm.weight.data_ptr() % 2 == 1
    before = path.read_bytes()
    model, copy = load_gpt2(folder), GPT(CONFIG)
    copy.load_state_dict(model.state_dict())
    ids = torch.arange(400) * 7 % 97
    losses = [
        train(m, make_loader(ids, 24, 4), TrainConfig(6, lr=1e-3, accumulate=2, mixed=mixed))
        for m in (model, copy)
    ]
    if mixed:  # after a step, bf16's rounding, which differs with the layout, has gone its own way
        assert losses[0][0] == pytest.approx(losses[1][0], rel=2e-2)
    else:
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert all(each[-1] < each[0] for each in losses)
    changed = load_gpt2(folder).state_dict()
    for name, value in model.state_dict().items():
        assert not torch.equal(value, changed[name]), name
    if not mixed:
        assert_same_weights(model, copy, rtol=1e-3, atol=1e-4, keys=2 * 6 * 1e-3)
    assert path.read_bytes() == before


# -- saving


@pytest.fixture
def log():
    """What transformers says aloud."""
    lines = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger("transformers").addHandler(handler)
    yield lines
    logging.getLogger("transformers").removeHandler(handler)


@pytest.mark.parametrize("changes", [{}, {"qkv_bias": False}, {"dropout": 0.1}, {"num_layers": 1}])
def test_transformers_loads_what_is_saved(tmp_path, changes, log):
    torch.manual_seed(0)
    model = GPT(replace(CONFIG, **changes))
    for parameter in model.parameters():
        parameter.data.mul_(4).add_(0.1 * torch.randn_like(parameter))
    save_gpt2(model, tmp_path / "new" / "folder", eos_id=96)
    folder = tmp_path / "new" / "folder"
    assert sorted(os.listdir(folder)) == ["config.json", "model.safetensors"]
    metadata, tensors = read_tensors(folder / "model.safetensors")
    assert metadata == {"format": "pt"}
    assert "lm_head.weight" not in tensors
    theirs, told = GPT2LMHeadModel.from_pretrained(folder, output_loading_info=True)
    assert not any(told.values()), told
    assert log == []
    assert theirs.dtype == torch.float32
    assert theirs.lm_head.weight is theirs.transformer.wte.weight
    assert theirs.config.eos_token_id == 96
    assert theirs.config.resid_pdrop == theirs.config.attn_pdrop == model.config.dropout
    torch.testing.assert_close(
        model.double().eval()(IDS), theirs.double().eval()(IDS).logits, rtol=1e-10, atol=1e-10
    )
    model.float()
    again = load_gpt2(folder, dropout=model.config.dropout)
    if model.config.qkv_bias:
        assert again.config == model.config
        assert_equal_weights(again, model)
    else:
        assert again.config == replace(model.config, qkv_bias=True)
        assert not any(block.attention.qkv.bias.any() for block in again.blocks)
        torch.testing.assert_close(again(IDS), model(IDS))


def test_what_transformers_says_aloud_is_heard(tmp_path, log):
    save_gpt2(GPT(CONFIG), tmp_path)
    change_tensors(tmp_path, without("ln_f.bias"))
    GPT2LMHeadModel.from_pretrained(tmp_path)
    assert "ln_f.bias" in "".join(log)


def test_transformers_writes_as_the_model_does(tmp_path, saved):
    folder, _ = saved
    model = load_gpt2(folder)
    prompt = IDS[:1, :6]
    save_gpt2(model, tmp_path)
    theirs = GPT2LMHeadModel.from_pretrained(tmp_path)
    ids = theirs.generate(prompt, max_new_tokens=10, do_sample=False, pad_token_id=0)
    assert torch.equal(generate(model, prompt, 10), ids)
    assert_equal_weights(load_gpt2(tmp_path), load_gpt2(folder))


class Adapted(nn.Linear):
    pass


def untie(model):
    model.head.weight = nn.Parameter(model.head.weight.detach().clone())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: setattr(m.blocks[1].attention, "out", Adapted(128, 128)),
            r"blocks\.1\.att.*Adapted",
        ),
        (
            lambda m: m.blocks[0].add_module("extra", nn.Identity()),
            r"blocks\.0\.extra is a Identity",
        ),
        (lambda m: setattr(m.final_norm, "eps", 1e-6), r"final_norm was changed to .*eps=1e-06"),
        (
            lambda m: setattr(m.blocks[2].feed_forward, "up", nn.Linear(128, 512, bias=False)),
            r"blocks\.2\.feed_forward\.up was changed",
        ),
        (lambda m: m.blocks.__delitem__(2), r"the model lacks blocks\.2"),
        (lambda m: nn.utils.parametrizations.weight_norm(m.head), "head is a Parametrized"),
        (untie, "no longer that of token_embedding"),
    ],
)
def test_models_that_are_no_gpt2_are_not_saved(tmp_path, change, message):
    model = GPT(CONFIG)
    change(model)
    with pytest.raises(ValueError, match=message):
        save_gpt2(model, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_models_of_other_classes_are_not_saved(tmp_path, saved):
    class Other(GPT):
        pass

    for model in (Other(CONFIG), saved[1], nn.Linear(2, 2)):
        with pytest.raises(ValueError, match="is not a GPT"):
            save_gpt2(model, tmp_path)


def test_if_saving_fails_the_old_files_stay(folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def broken(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(OSError, match="disk is full"):
        save_gpt2(GPT(CONFIG), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


# -- the released models


SIZES = {  # name: (layers, width, heads, parameters)
    "gpt2": (12, 768, 12, 124_439_808),
    "gpt2-medium": (24, 1024, 16, 354_823_168),
    "gpt2-large": (36, 1280, 20, 774_030_080),
    "gpt2-xl": (48, 1600, 25, 1_557_611_200),
}


@pytest.mark.parametrize("name", SIZES)
def test_the_shapes_of_the_released_models(name):
    layers, width, heads, parameters = SIZES[name]
    with torch.device("meta"):
        reference = GPT2LMHeadModel(GPT2Config(n_layer=layers, n_embd=width, n_head=heads))
    tensors = reference.state_dict()
    del tensors["lm_head.weight"]  # its comparison wants numbers
    model = gptbook.gpt2._assemble(Path(name), tensors)
    assert model.config == GPTConfig(50257, 1024, width, layers, heads)
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_released_models_are_downloaded_with_their_digest(saved, monkeypatch, tmp_path):
    asked = []

    def download(url, sha256, folder):
        asked.append((url, sha256, folder))
        return saved[0] / "model.safetensors"

    monkeypatch.setattr("gptbook.gpt2.download", download)
    monkeypatch.setenv("GPTBOOK_CACHE", str(tmp_path))
    assert list(RELEASED) == list(SIZES)
    for name, (revision, sha256) in RELEASED.items():
        assert load_gpt2(name).config == CONFIG
        url = f"https://huggingface.co/openai-community/{name}/resolve/{revision}/model.safetensors"
        assert asked[-1] == (url, sha256, tmp_path / name)
        assert re.fullmatch("[0-9a-f]{40}", revision)
        assert re.fullmatch("[0-9a-f]{64}", sha256)
    assert len({value for pair in RELEASED.values() for value in pair}) == 8


@pytest.mark.parametrize("name", ["gpt2", "./gpt2"])
def test_a_folder_with_the_name_of_a_model(saved, monkeypatch, tmp_path, name):
    (tmp_path / "gpt2").symlink_to(saved[0])
    monkeypatch.chdir(tmp_path)

    def download(*_):
        raise OSError("could not be downloaded")

    monkeypatch.setattr("gptbook.gpt2.download", download)
    if name == "gpt2":
        with pytest.raises(OSError, match="could not be downloaded"):
            load_gpt2(name)
    else:
        assert load_gpt2(name).config == CONFIG


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_from_and_to_cuda(saved, tmp_path):
    model = load_gpt2(saved[0]).to("cuda")
    assert model.head.weight is model.token_embedding.weight
    save_gpt2(model, tmp_path)
    assert_equal_weights(load_gpt2(tmp_path), load_gpt2(saved[0]))


def test_a_folder_with_its_tokenizer_is_all_that_a_pipeline_needs(tmp_path):
    model, tokenizer = load_gpt2("book").double(), load_tokenizer("book")
    save_gpt2(model, tmp_path, tokenizer=tokenizer)
    write = pipeline("text-generation", str(tmp_path), dtype=torch.float64)
    for prompt in ("Mila found a red kite in the park.", "Otto had three plums. Mila", "The"):
        ids = tokenizer.encode(prompt)
        wanted = generate(model, [ids], 40, eos_id=tokenizer.eos_id)[0].tolist()
        text = tokenizer.decode([id for id in wanted if id != tokenizer.eos_id])
        [found] = write(prompt, max_new_tokens=40, do_sample=False)
        assert found["generated_text"] == text
    small = GPT(GPTConfig(300, 8, 8, 1, 2))
    with pytest.raises(ValueError, match="the tokenizer has 2048 ids, the model 300"):
        save_gpt2(small, tmp_path, tokenizer=tokenizer)
