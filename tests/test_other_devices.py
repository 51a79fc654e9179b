"""Everything on CUDA and MPS, tried without either: a tensor left behind on the CPU is seen.

Pretended devices take whole runs, with the CPU's numbers. (In a build for CPUs, PyTorch's own
fake tensors get no further than the first cache or gradient.) Tests that need a device are marked.
"""

import pytest
import torch
from torch import nn

from gptbook.adapters import (
    add_adapters,
    drop_adapters,
    load_adapters,
    merge_adapters,
    save_adapters,
)
from gptbook.generate import generate, make_caches
from gptbook.gpt2 import load_gpt2, save_gpt2
from gptbook.instructions import (
    encode_example,
    make_instruction_loader,
    respond,
    right_answers,
)
from gptbook.model import GPT, GPTConfig
from gptbook.tokenizer import BPETokenizer
from gptbook.training import TrainConfig, evaluate, train
from tests.adapters.helpers import KINDS
from tests.pretend import NoFloat64, PretendedDevices, where

CONFIG = GPTConfig(vocab_size=300, context_length=96, embed_dim=48, num_layers=2, num_heads=4)
TARGETS = ("attention.*", "feed_forward.*")
ENTRIES = [{"instruction": f"Say {word}.", "output": word} for word in ("hen", "cow", "pig", "ox")]


@pytest.fixture(params=["cuda", "mps"])
def device(request, monkeypatch):
    """The name of a device, whose random numbers are the CPU's."""
    for kind in ("cuda", "mps"):
        monkeypatch.setattr(f"torch.{kind}.get_rng_state", lambda *_: torch.get_rng_state())
        monkeypatch.setattr(f"torch.{kind}.set_rng_state", lambda *_: None)
    monkeypatch.setattr("gptbook.device.bf16_works", lambda device: False)
    return request.param


@pytest.fixture
def there():
    """What is inside runs on pretended devices, and without float64."""
    with PretendedDevices(), NoFloat64():
        yield


def new_model():
    torch.manual_seed(0)
    return GPT(CONFIG).eval()


def new_tokenizer():
    return BPETokenizer.train("Say hen, say cow, say pig and ox. " * 3, 260, ["<|endoftext|>"])


def on_device(model, device):
    """Whether each parameter and each buffer is there."""
    return {where(t).type for t in (*model.parameters(), *model.buffers())} == {device}


def run(device, folder, kind=None):
    """Train with checkpoints, break off, go on, evaluate, write: all results as plain numbers."""
    model, tokenizer = new_model(), new_tokenizer()
    model.to(device)
    if kind is not None:
        layer, options = KINDS[kind]
        add_adapters(model, layer, TARGETS, dropout=0.1, **options)
    assert on_device(model, device)
    examples = [encode_example(entry, tokenizer) for entry in ENTRIES]
    loader = make_instruction_loader(examples, batch_size=2)
    config = TrainConfig(steps=8, lr=1e-2, accumulate=2, save_every=4)

    def break_off(done):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(model, loader, config, checkpoint=folder / "run", after_step=break_off)
    losses = train(model, loader, config, checkpoint=folder / "run")
    results = [*losses, evaluate(model, loader), *right_answers(model, examples)]
    results += respond(model, tokenizer, ENTRIES, 8)
    prompts, generator = [[1, 2, 3], [4]], torch.Generator().manual_seed(0)
    for options in ({}, {"use_cache": False}, {"temperature": 1.0, "top_k": 9, "top_p": 0.9}):
        options = options | {"generator": generator if "top_k" in options else None}
        results += [row.tolist() for row in generate(model, prompts, 6, **options)]
    if kind is not None:
        save_adapters(model, folder / "adapter")
        again = new_model().to(device)
        load_adapters(again, folder / "adapter")
        assert on_device(again, device)
        results.append(evaluate(again, loader))
        merge_adapters(model)
        drop_adapters(model)
    save_gpt2(model, folder / "whole")
    whole = load_gpt2(folder / "whole").to(device)
    return [*results, evaluate(model, loader), evaluate(whole, loader)]


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_all_runs_on_another_device_with_the_same_results(device, there, tmp_path, kind):
    found = run(device, tmp_path / device, kind)
    assert found == run("cpu", tmp_path / "cpu", kind)


# Each of these is a mistake that readers make, and must be seen.


class OnTheCPU(nn.Module):
    """Adds a mask that is always made on the CPU."""

    def forward(self, x):
        return x + torch.zeros(x.shape[-1])


class InFloat64(nn.Module):
    def forward(self, x):
        return (x.double() * 2).float()


@pytest.mark.parametrize(("layer", "error"), [(OnTheCPU(), RuntimeError), (InFloat64(), TypeError)])
def test_what_would_fail_on_another_device_fails_here(device, there, layer, error):
    model = new_model()
    model.blocks[1].feed_forward.down = nn.Sequential(model.blocks[1].feed_forward.down, layer)
    ids = torch.zeros(1, 4, dtype=torch.long)
    if error is RuntimeError:
        model(ids)  # nothing is wrong on a CPU
    with pytest.raises(error, match=r"different devices|float64"):
        model.to(device)(ids.to(device))


def test_several_tokens_behind_a_cache(device, there):
    model, ids = new_model(), torch.arange(8)[None]
    wanted = model(ids)
    model, ids = model.to(device), ids.to(device)
    caches = make_caches(model, 8)
    found = torch.cat([model(part, caches) for part in ids.split([2, 3, 3], dim=1)], dim=1)
    torch.testing.assert_close(found.cpu(), wanted)


def test_batches_left_on_the_cpu_are_seen(device, there):
    with pytest.raises(RuntimeError, match="different devices"):
        new_model().to(device)(torch.zeros(1, 4, dtype=torch.long))
    with pytest.raises(TypeError, match="NumPy"):
        torch.zeros(3, device=device).numpy()
    with pytest.raises(RuntimeError, match="generator"):
        torch.rand(3, device=device, generator=torch.Generator())
