"""Files that an earlier version of gptbook wrote are read as ever, and written in the same way.

tests/fixtures/earlier holds a tokenizer, a base model, adapters of every kind on it, training runs
broken off after four of eight steps, and what that version made of them.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gptbook.adapters import (
    DoRALinear,
    LoRALinear,
    MoRALinear,
    add_adapters,
    load_adapters,
    save_adapters,
)
from gptbook.files import read_tensors
from gptbook.generate import generate
from gptbook.gpt2 import load_gpt2, save_gpt2
from gptbook.tokenizer import BPETokenizer
from gptbook.training import TrainConfig, train

EARLIER = Path(__file__).parent / "fixtures" / "earlier"
OUTPUTS = load_file(EARLIER / "outputs.safetensors")
TOLD = json.loads((EARLIER / "outputs.json").read_text(encoding="utf-8"))
KINDS = {
    "lora": (LoRALinear, {"rank": 2, "alpha": 6}),
    "lora_rank_stabilized": (
        LoRALinear,
        {"rank": 2, "alpha": 6, "rank_stabilized": True, "dropout": 0.1},
    ),
    "dora": (DoRALinear, {"rank": 2, "alpha": 6}),
    "mora_sharing": (MoRALinear, {"rank": 2, "kind": "sharing"}),
    "mora_rotation": (MoRALinear, {"rank": 2, "kind": "rotation"}),
}
kinds = pytest.mark.parametrize("name", KINDS)


def base():
    return load_gpt2(EARLIER / "base")


def test_the_tokenizer(tmp_path):
    tokenizer = BPETokenizer.load(EARLIER / "tokenizer.json")
    assert tokenizer.encode(TOLD["sample"]) == TOLD["ids"]
    assert tokenizer.encode(TOLD["sample"], "all") == TOLD["special_ids"]
    tokenizer.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (EARLIER / "tokenizer.json").read_bytes()


def assert_same_file(path, wanted, atol=0.0):
    """Two safetensors files hold the same; the order of their metadata is left to chance."""
    (metadata, tensors), (their_metadata, theirs) = read_tensors(path), read_tensors(wanted)
    assert metadata == their_metadata
    assert tensors.keys() == theirs.keys()
    torch.testing.assert_close(tensors, theirs, rtol=0, atol=atol)


def test_the_base_model(tmp_path):
    model = base().eval()
    torch.testing.assert_close(model(OUTPUTS["ids"]), OUTPUTS["base.logits"])
    assert torch.equal(generate(model, OUTPUTS["ids"][:, :4], 8), OUTPUTS["base.greedy"])
    save_gpt2(model, tmp_path, eos_id=7)
    theirs = EARLIER / "base"
    assert json.loads((tmp_path / "config.json").read_text()) == json.loads(
        (theirs / "config.json").read_text()
    )
    assert_same_file(tmp_path / "model.safetensors", theirs / "model.safetensors")


@kinds
def test_adapters(name, tmp_path):
    model = load_adapters(base(), EARLIER / name).eval()
    torch.testing.assert_close(model(OUTPUTS["ids"]), OUTPUTS[f"{name}.logits"])
    save_adapters(model, tmp_path)
    config = "adapter_config.json"
    assert (tmp_path / config).read_bytes() == (EARLIER / name / config).read_bytes()
    tensors = "adapter_model.safetensors"
    # A rotation is saved as a product with cosines and sines, whose last bit is the processor's.
    last_bit = 1e-7 if name == "mora_rotation" else 0.0
    assert_same_file(tmp_path / tensors, EARLIER / name / tensors, atol=last_bit)


@pytest.mark.parametrize("name", ["full", *KINDS])
def test_a_run_that_was_broken_off_goes_on(name, tmp_path):
    def draw(seed):
        return torch.randint(60, (4, 12), generator=torch.Generator().manual_seed(seed))

    batches, model = [(draw(10 + i), draw(20 + i)) for i in range(3)], base()
    if name in KINDS:
        layer, options = KINDS[name]
        add_adapters(model, layer, ["attention.*", "up"], **options)
    path = shutil.copy(EARLIER / f"run_{name}.safetensors", tmp_path)
    seen, config = [], TrainConfig(8, lr=1e-2, accumulate=2, save_every=2)
    losses = train(model, batches, config, checkpoint=path, after_step=seen.append)
    assert seen == [5, 6, 7, 8]
    assert losses[:4] == TOLD["losses"][name][:4]
    assert losses == pytest.approx(TOLD["losses"][name], abs=1e-3)
