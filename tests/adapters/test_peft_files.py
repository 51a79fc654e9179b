"""Folders that peft loads, and that are loaded from peft; others are refused."""

import json
import os
import warnings

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from safetensors.torch import load_file, save_file
from transformers import GPT2LMHeadModel

from gptbook.adapters import (
    LoRALinear,
    MoRALinear,
    adapter_parameters,
    adapters_of,
    add_adapters,
    count_parameters,
    load_adapters,
    merge_adapters,
    save_adapters,
)
from gptbook.gpt2 import load_gpt2
from tests.adapters.helpers import IDS, KINDS, NAMES, adapted, kinds

# -- peft's folders


@kinds
@pytest.mark.parametrize(
    "targets", [tuple(NAMES), ("blocks.1.attention.qkv", "blocks.0.feed_forward.down")]
)
def test_peft_loads_what_is_saved_and_we_load_it_too(folder, tmp_path, kind, targets):
    model = adapted(folder, kind, targets).float().eval()
    save_adapters(model, tmp_path / "adapter")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        theirs = PeftModel.from_pretrained(
            GPT2LMHeadModel.from_pretrained(folder), tmp_path / "adapter"
        )
    assert not [w for w in seen if "missing" in str(w.message).lower()]
    torch.testing.assert_close(theirs(IDS).logits, model(IDS), rtol=1e-5, atol=1e-5)
    again = load_adapters(load_gpt2(folder), tmp_path / "adapter").eval()
    torch.testing.assert_close(again(IDS), model(IDS), rtol=1e-5, atol=1e-5)
    saved, loaded = adapter_parameters(model), adapter_parameters(again)
    assert all(map(torch.equal, saved, loaded))
    assert type(next(iter(adapters_of(again).values()))) is KINDS[kind][0]
    assert count_parameters(again) == count_parameters(model)
    if "mora" in kind:
        assert (
            "MoRA"
            in json.loads((tmp_path / "adapter/adapter_config.json").read_text())["gptbook"][
                "about"
            ]
        )
    else:  # and the other way round
        theirs.save_pretrained(tmp_path / "theirs")
        back = load_adapters(load_gpt2(folder), tmp_path / "theirs").eval()
        assert all(map(torch.equal, saved, adapter_parameters(back)))
        torch.testing.assert_close(back(IDS), model(IDS), rtol=1e-5, atol=1e-5)


def test_merged_or_mixed_adapters_are_not_saved(folder, tmp_path):
    model = merge_adapters(adapted(folder, "lora"))
    with pytest.raises(ValueError, match="call unmerge_adapters first"):
        save_adapters(model, tmp_path)
    with pytest.raises(ValueError, match="the model has no adapters"):
        save_adapters(load_gpt2(folder), tmp_path)


def test_adapters_of_another_base_are_refused(folder, tmp_path):
    model = adapted(folder, "lora").float().eval()
    save_adapters(model, tmp_path)
    other = load_gpt2(folder)
    other.blocks[1].feed_forward.up.weight.data[0, 0] += 0.1
    plain = other(IDS)
    with pytest.raises(
        ValueError, match=r"adapter_model.*for a base with other weights; any_base=True"
    ):
        load_adapters(other, tmp_path)
    torch.testing.assert_close(other(IDS), plain)
    assert len(adapters_of(load_adapters(other, tmp_path, any_base=True))) == 8
    assert len(adapters_of(load_adapters(load_gpt2(folder).double(), tmp_path))) == 8


def test_what_else_is_trained_is_not_lost_silently(folder, tmp_path):
    model = adapted(folder, "lora")
    model.token_embedding.requires_grad_(True)
    with pytest.raises(ValueError, match=r"token_embedding\.weight is trained, too"):
        save_adapters(model, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["lora", "mora, sharing", "mora, rotation"])
def test_a_file_with_less_or_other_tensors_is_refused(folder, tmp_path, kind):
    save_adapters(adapted(folder, kind).float(), tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if "h.1.mlp.c_proj.lora_A" in name)
    model = load_gpt2(folder)
    save_file({key: value for key, value in tensors.items() if key != name}, path)
    with pytest.raises(ValueError, match=r"h\.1\.mlp\.c_proj differ in \['lora_A.weight'\]"):
        load_adapters(model, tmp_path)
    assert not adapters_of(model)
    if "mora" in kind:
        tensors[name] += 0.1
        save_file(tensors, path)
        with pytest.raises(ValueError, match="are not those of MoRA"):
            load_adapters(model, tmp_path)


def test_a_model_that_has_adapters_takes_no_second_folder(folder, tmp_path):
    model = adapted(folder, "lora").float()
    save_adapters(model, tmp_path)
    with pytest.raises(ValueError, match="has adapters already"):
        load_adapters(model, tmp_path)
    assert len(adapters_of(model)) == 8


@pytest.mark.parametrize(
    ("layer", "one", "two"),
    [
        (LoRALinear, {"alpha": 8}, {"alpha": 8, "rank_stabilized": True}),
        (LoRALinear, {"alpha": 8}, {"alpha": 8, "dropout": 0.5}),
        (MoRALinear, {"kind": "sharing"}, {"kind": "rotation"}),
        (MoRALinear, {"rank": 2}, {"rank": 4}),
    ],
)
def test_what_one_folder_cannot_say_is_not_saved(folder, tmp_path, layer, one, two):
    model = load_gpt2(folder)
    add_adapters(model, layer, "qkv", **{"rank": 4} | one)
    add_adapters(model, layer, "up", **{"rank": 4} | two)
    with pytest.raises(ValueError, match="adapters of one kind"):
        save_adapters(model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_ranks_and_scalings_may_differ(folder, tmp_path):
    model = load_gpt2(folder)
    for i, name in enumerate(NAMES):
        add_adapters(model, LoRALinear, name, rank=2 + i, alpha=3 * i + 1)
    for parameter in adapter_parameters(model):
        assert parameter.requires_grad
        parameter.data += 0.1 * torch.randn_like(parameter)
    save_adapters(model.eval(), tmp_path)
    theirs = PeftModel.from_pretrained(GPT2LMHeadModel.from_pretrained(folder), tmp_path)
    torch.testing.assert_close(theirs(IDS).logits, model(IDS), rtol=1e-5, atol=1e-5)
    again = load_adapters(load_gpt2(folder), tmp_path).eval()
    torch.testing.assert_close(again(IDS), model(IDS), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["mora, sharing", "mora, rotation"])
def test_mora_is_read_again_whatever_rounding_it_was_written_with(folder, tmp_path, kind):
    model = adapted(folder, kind)
    for dtype in (torch.float64, torch.bfloat16):
        save_adapters(model.to(dtype), tmp_path)
        again = load_adapters(load_gpt2(folder), tmp_path, any_base=True)
        pairs = zip(adapter_parameters(model), adapter_parameters(again), strict=True)
        assert all(torch.equal(a.float(), b) for a, b in pairs)


def test_spoiled_tensors_are_refused(folder, tmp_path):
    save_adapters(adapted(folder, "lora").float(), tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    name = next(iter(tensors))
    for value in (tensors[name] * torch.nan, tensors[name].int()):
        save_file(tensors | {name: value}, path)
        with pytest.raises(ValueError, match="not of finite floating-point numbers"):
            load_adapters(load_gpt2(folder), tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="other formats are not read"):
        load_adapters(load_gpt2(folder), tmp_path)


class Other(LoRALinear):
    """What a reader may build on one of ours."""


def test_adapters_of_other_classes_are_not_saved_as_what_they_are_not(folder, tmp_path):
    model = add_adapters(load_gpt2(folder), Other, "qkv", rank=2, alpha=2)
    with pytest.raises(ValueError, match=r"\['Other'\] are not classes of gptbook.adapters"):
        save_adapters(model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_tensor_of_another_method_is_named(folder, tmp_path):
    save_adapters(adapted(folder, "lora").float(), tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    name = "base_model.model.transformer.h.0.attn.c_attn.lora_embedding_A"
    save_file(tensors | {name: torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=f"the unknown tensor {name}"):
        load_adapters(load_gpt2(folder), tmp_path)


# -- what other versions of peft write


def renamed(tensors, suffix):
    """The names of older versions: with the adapter's name, or magnitudes as a weight."""
    return {
        key.replace(".weight", f"{suffix}.weight")
        if "lora_magnitude" not in key
        else key + suffix + ".weight": value
        for key, value in tensors.items()
    }


@pytest.mark.parametrize("suffix", ["", ".default"])
@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_names_of_older_versions_are_understood(folder, tmp_path, kind, suffix):
    model = adapted(folder, kind).float().eval()
    save_adapters(model, tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    save_file(renamed(load_file(path), suffix), path)
    again = load_adapters(load_gpt2(folder), tmp_path).eval()
    assert all(map(torch.equal, adapter_parameters(model), adapter_parameters(again)))


def test_an_older_bin_file_is_read_without_running_code(folder, tmp_path):
    model = adapted(folder, "dora").float().eval()
    save_adapters(model, tmp_path)
    path, older = tmp_path / "adapter_model.safetensors", tmp_path / "adapter_model.bin"
    torch.save(load_file(path), older)
    path.unlink()
    again = load_adapters(load_gpt2(folder), tmp_path)
    assert all(map(torch.equal, adapter_parameters(model), adapter_parameters(again)))
    torch.save({"x": Mischief(tmp_path)}, older)
    with pytest.raises(ValueError, match=r"adapter_model\.bin holds more than tensors"):
        load_adapters(load_gpt2(folder), tmp_path)
    assert not (tmp_path / "run").exists()
    older.write_bytes(b"PK\x03\x04 half of it")
    with pytest.raises(ValueError, match="or is not whole"):
        load_adapters(load_gpt2(folder), tmp_path)


class Mischief:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / "run"),)


def test_a_config_with_a_byte_order_mark(folder, tmp_path):
    save_adapters(adapted(folder, "lora").float(), tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert adapters_of(load_adapters(load_gpt2(folder), tmp_path))


def test_peft_finds_the_base_by_its_name(folder, tmp_path):
    model = adapted(folder, "lora").float().eval()
    save_adapters(model, tmp_path, base_name=str(folder))
    theirs = AutoPeftModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(theirs(IDS).logits, model(IDS), rtol=1e-5, atol=1e-5)


def test_nan_is_not_saved_and_the_old_files_stay(folder, tmp_path):
    model = adapted(folder, "lora").float()
    save_adapters(model, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with torch.no_grad():
        adapter_parameters(model)[0][0, 0] = torch.nan
    with pytest.raises(ValueError, match="holds NaN"):
        save_adapters(model, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_adapters_of_a_compiled_model_have_their_own_names(folder, tmp_path):
    model = adapted(folder, "lora").float().eval()
    compiled = torch.compile(model, backend="eager")
    save_adapters(compiled, tmp_path)
    fresh = torch.compile(load_gpt2(folder), backend="eager")
    assert load_adapters(fresh, tmp_path) is fresh
    torch.testing.assert_close(fresh.eval()(IDS), model(IDS))
