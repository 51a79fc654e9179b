"""Checkpoints: a run that is killed goes on with the same bits; broken files are refused."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader

from gptbook.checkpoints import CountedBatches, load_checkpoint, read_notes, save_checkpoint
from gptbook.data import WindowDataset, make_loader
from gptbook.device import pick_device, seed_everything
from gptbook.model import GPT, GPTConfig
from gptbook.training import TrainConfig, make_optimizer, next_token_loss, train

CONFIG = GPTConfig(
    vocab_size=60, context_length=16, embed_dim=32, num_layers=2, num_heads=2, dropout=0.2
)
IDS = torch.randint(60, (900,), generator=torch.Generator().manual_seed(0))
STEPS = 14  # of three batches; an epoch has 14 batches, so the run reads the data three times


def new_model(**changes):
    seed_everything(5)
    return GPT(replace(CONFIG, **changes))


def new_loader(seed=1, batch_size=4):
    return make_loader(IDS, 16, batch_size, shuffle=True, seed=seed)


def run(checkpoint=None, model=None, loader=None, **changes):
    """Train a model; return the losses and the model."""
    model = new_model() if model is None else model
    other = {name: changes.pop(name) for name in ("loss_fn", "after_step") if name in changes}
    config = TrainConfig(**{"steps": STEPS, "lr": 1e-2, "accumulate": 3, "save_every": 4} | changes)
    return train(model, loader or new_loader(), config, checkpoint=checkpoint, **other), model


def assert_same(ours, theirs):
    (losses, model), (wanted, other) = ours, theirs
    assert losses == wanted
    for name, value in other.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


class Stop(Exception):
    """Breaks off a training."""


def stop_at(step, done):
    if done == step:
        raise Stop


def broken_off(path, step, **options):
    """Leave in `path` the last checkpoint of a run that is broken off after `step` steps."""
    with pytest.raises(Stop):
        run(path, after_step=partial(stop_at, step), **options)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


KILLED = """
import os, signal, sys
sys.path.insert(0, {folder!r})
from tests.test_checkpoints import run

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[2] == "training":
    run(sys.argv[1], after_step=lambda done: kill() if done == 11 else None)
replace, saves = os.replace, []
def os_replace(*names):  # the second checkpoint is written, but has not got its name
    saves.append(names)
    kill() if len(saves) == 2 else replace(*names)
os.replace = os_replace
run(sys.argv[1])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize(("where", "step"), [("training", 8), ("saving", 4)])
def test_a_killed_run_goes_on_with_the_same_bits(path, where, step):
    code = KILLED.format(folder=str(Path(__file__).parents[1]))
    killed = subprocess.run(
        [sys.executable, "-c", code, path, where], capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert read_notes(path)[0] == step
    assert len(os.listdir(path.parent)) == (2 if where == "saving" else 1)
    seen = []
    assert_same(run(path, after_step=seen.append), run())
    assert seen == list(range(step + 1, STEPS + 1))
    assert os.listdir(path.parent) == [path.name]  # nothing is left of the kill


@pytest.mark.parametrize("stop", [4, 8, 13])
@pytest.mark.parametrize("accumulate", [1, 7])  # 7: two steps an epoch, saved at its very end
def test_a_run_that_was_broken_off_goes_on_with_the_same_bits(path, stop, accumulate):
    broken_off(path, stop, accumulate=accumulate)
    torch.rand(100)  # the state of the generator is the checkpoint's affair
    assert_same(run(path, accumulate=accumulate), run(accumulate=accumulate))


def test_the_comparison_would_see_a_part_that_was_not_restored(path, monkeypatch):
    """Leave out one part of the state at a time: the bits must differ."""
    broken_off(path, 8)
    wanted, _ = run()
    whole = path.read_bytes()
    names = list(load_file(path))
    parts = ("model.blocks.1.norm2.bias", "random.cpu", "exp_avg", "exp_avg_sq", "step")
    for part in parts:
        path.write_bytes(whole)
        damage(path, [name for name in names if name.endswith(part)])
        losses, _ = run(path)
        assert losses[:8] == wanted[:8], part
        assert losses[8:] != wanted[8:], part


def damage(path, names):
    """Change these tensors in a checkpoint."""
    assert names
    tensors = load_file(path)
    for name in names:
        value = tensors[name]
        changed = torch.Generator().manual_seed(9).get_state()
        tensors[name] = changed if name == "random.cpu" else value * 2 + 0.1
    save_file(tensors, path, metadata=metadata(path))


def metadata(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def test_a_finished_run_is_not_repeated(path):
    wanted = run(path)
    calls = []
    assert_same(run(path, after_step=calls.append), wanted)
    assert calls == []


def test_a_checkpoint_changes_nothing_in_the_run(path):
    assert_same(run(path), run())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"steps": 20}, r"'steps': 14.*not \{'steps': 20"),
        ({"lr": 2e-2}, r"\{'lr': 0.01\}, not \{'lr': 0.02\}"),
        ({"accumulate": 1}, "'accumulate': 3"),
        ({"warmup": 3}, "'warmup': 1"),
        ({"weight_decay": 0.0}, "'weight_decay': 0.1"),
        ({"max_norm": 2.0}, "'max_norm': 1.0"),
        ({"mixed": True}, "'mixed': False"),
        ({"loss_fn": lambda *a: next_token_loss(*a)}, "'loss_fn': 'next_token_loss'"),
        ({"lr": 2e-2, "mixed": True}, r"\{'lr': 0.01, 'mixed': False\}"),
        ({"loader": new_loader(seed=2)}, "other batches"),
        ({"loader": new_loader(batch_size=3)}, "other batches"),
        ({"model": new_model(embed_dim=16)}, "'config': .*embed_dim=32.*embed_dim=16"),
        ({"model": new_model().double()}, "float32 there, .*float64 here"),
    ],
)
def test_another_run_is_refused_and_the_model_left_alone(path, change, named):
    broken_off(path, 8)
    change = {"model": new_model()} | change
    before = {name: value.clone() for name, value in change["model"].state_dict().items()}
    file = path.read_bytes()
    with pytest.raises(ValueError, match=rf"run\.safetensors is of .*{named}"):
        run(path, **change)
    for name, value in change["model"].state_dict().items():
        assert torch.equal(value, before[name])
    assert path.read_bytes() == file


@pytest.mark.parametrize("stop", [4, 8])
def test_a_loader_without_a_generator_goes_on_exactly_or_is_refused(path, stop):
    """Such a loader shuffles with torch's own generator, as dropout has left it."""

    def loader():
        return DataLoader(WindowDataset(IDS, 16), batch_size=4, shuffle=True)

    torch.manual_seed(5)
    wanted = run(loader=loader(), model=new_model())
    broken_off(path, stop, loader=loader(), model=new_model())
    if stop == 4:  # in the first epoch
        assert_same(run(path, loader=loader(), model=new_model()), wanted)
    else:
        with pytest.raises(ValueError, match="a generator of its own, as make_loader"):
            run(path, loader=loader(), model=new_model())


def test_mixed_precision_goes_on_with_the_same_bits(path):
    broken_off(path, 8, mixed=True)
    assert_same(run(path, mixed=True), run(mixed=True))


# -- the file


def test_a_folder_that_is_not_there_is_made_before_the_first_step(tmp_path):
    path = tmp_path / "not" / "yet" / "run.safetensors"
    run(path, steps=1, after_step=lambda done: None)
    assert path.exists()


def test_a_compiled_model_is_saved_under_its_own_names(path):
    plain, compiled = new_model(), torch.compile(new_model(), backend="eager")
    optimizer = make_optimizer(compiled, 1e-2)
    save_checkpoint(path, compiled, optimizer, 3)
    assert not any("_orig_mod" in name for name in load_file(path))
    with torch.no_grad():
        plain.final_norm.weight.zero_()
    assert load_checkpoint(path, plain, make_optimizer(plain, 1e-2)) == 3
    assert torch.equal(plain.final_norm.weight, compiled.final_norm.weight)
    assert load_checkpoint(path, compiled, optimizer) == 3


def test_tied_weights_are_stored_once(path):
    run(path)
    tensors = load_file(path)
    assert "model.token_embedding.weight" in tensors
    assert not any("head" in name for name in tensors)
    size = sum(parameter.numel() for parameter in new_model().parameters())
    stored = [sum(t.numel() for n, t in tensors.items() if n.startswith(p)) for p in ("model", "o")]
    moments = 2 * size + len(list(new_model().parameters()))  # and each parameter's step
    assert stored == [size, moments]
    assert path.stat().st_size < 4 * (size + moments) + 20_000


@pytest.mark.parametrize("share", [0, 0.0001, 0.001, 0.1, 0.5, 0.9, 0.9999])
def test_a_truncated_file_is_refused(path, share):
    broken_off(path, 4)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    model = new_model()
    for attempt in (
        partial(run, path, model=model),
        partial(read_notes, path),
        partial(load_checkpoint, path, model, make_optimizer(model, 1.0)),
    ):
        with pytest.raises(ValueError, match=r"run\.safetensors is not a whole safetensors file"):
            attempt()


@pytest.mark.parametrize("notes", [None, {"format": "pt"}])
def test_a_foreign_file_is_refused(path, notes):
    save_file({"model.a": torch.zeros(3)}, path, metadata=notes)
    with pytest.raises(ValueError, match=r"run\.safetensors is not a checkpoint of the format"):
        run(path)
    path.write_text("once upon a time there was a text")
    with pytest.raises(ValueError, match=r"run\.safetensors is not a whole safetensors file"):
        run(path)


@pytest.mark.parametrize("notes", [None, [1], {"losses": [2.5]}])
def test_train_refuses_the_checkpoint_of_another_loop(path, notes):
    model = new_model()
    save_checkpoint(path, model, make_optimizer(model, 1.0), 3, notes)
    assert read_notes(path) == (3, notes)
    with pytest.raises(ValueError, match=r"run\.safetensors was not written by train"):
        run(path)


def test_a_checkpoint_that_is_not_there_is_an_error_when_asked_for(path):
    with pytest.raises(FileNotFoundError):
        load_checkpoint(path, new_model(), make_optimizer(new_model(), 1.0))


@pytest.mark.parametrize("transposed", [False, True])
def test_a_loop_of_ones_own(path, transposed):
    """save_checkpoint and load_checkpoint alone, also where weights lie transposed in memory."""

    def new():
        model = new_model()
        model.register_buffer("seen", torch.zeros(()))
        if transposed:
            for block in model.blocks:
                weight = block.feed_forward.up.weight
                weight.data = weight.data.T.contiguous().T
        return model, make_optimizer(model, 1e-2)

    def steps(model, optimizer, batches):
        losses = []
        for x, y in batches:
            optimizer.zero_grad()
            loss = next_token_loss(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.param_groups[0]["lr"] *= 0.9
            model.seen += 1
            losses.append(loss.item())
        return losses

    batches = list(new_loader())
    model, optimizer = new()
    steps(model, optimizer, batches[:5])
    save_checkpoint(path, model, optimizer, 5, notes={"any": ["thing", 1.5]})
    wanted = steps(model, optimizer, batches[5:])
    other, again = new()
    strides = [parameter.stride() for parameter in other.parameters()]
    assert load_checkpoint(path, other, again) == 5
    assert read_notes(path) == (5, {"any": ["thing", 1.5]})
    assert [parameter.stride() for parameter in other.parameters()] == strides
    assert_same((steps(other, again, batches[5:]), other), (wanted, model))
    assert other.seen == len(batches)
    assert again.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]


def test_only_some_parameters_are_trained(path):
    def new():
        model = new_model()
        model.requires_grad_(False)
        model.blocks[1].requires_grad_(True)
        return model

    broken_off(path, 8, model=new())
    assert_same(run(path, model=new()), run(model=new()))
    frozen = new()
    frozen.blocks[1].norm1.requires_grad_(False)
    optimizer = make_optimizer(frozen, 1.0)
    with pytest.raises(ValueError, match=r"run\.safetensors is of an optimizer that trains blocks"):
        load_checkpoint(path, frozen, optimizer)


def test_an_optimizer_of_another_model_is_refused(path):
    model, other = new_model(), new_model()
    optimizer = make_optimizer(other, 1.0)
    next_token_loss(other(IDS[None, :8]), IDS[None, 1:9]).backward()
    optimizer.step()
    with pytest.raises(ValueError, match="trains a parameter that is not the model's"):
        save_checkpoint(path, model, optimizer, 1)
    save_checkpoint(path, other, optimizer, 1)
    with pytest.raises(ValueError, match="other groups of parameters"):
        load_checkpoint(path, model, torch.optim.AdamW(model.parameters(), lr=1.0))


def test_counted_batches():
    def sums(batches, skipped):
        counted = CountedBatches(batches)
        counted.skip(skipped)
        sums = [counted.checksum]
        for _ in counted:
            sums.append(counted.checksum)
        return sums

    batches = list(new_loader())
    wanted = sums(batches, 0)
    assert len(set(wanted)) == len(batches) + 1
    assert sums(batches, 6) == wanted[6:]
    assert sums(batches[::-1], 0)[-1] != wanted[-1]
    changed = [(x, y.clone()) for x, y in batches]
    changed[3][1][0, 0] += 1
    assert [a == b for a, b in zip(wanted, sums(changed, 0), strict=True)] == [True] * 4 + [
        False
    ] * (len(batches) - 3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_going_on_with_cuda(path):
    device = pick_device("cuda")
    broken_off(path, 8, model=new_model().to(device))
    losses, _ = run(path, model=new_model().to(device))
    assert losses == pytest.approx(run(model=new_model().to(device))[0], rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"embed_dim": 16}, r"token_embedding.weight is \(60, 32\).*\(60, 16\)"),
        ({"num_layers": 1}, "only one of the two has"),
        ({"qkv_bias": False}, "blocks.0.attention.qkv.bias"),
    ],
)
def test_the_weights_of_another_model_are_not_loaded(path, changes, named):
    broken_off(path, 6)
    model = new_model(**changes)
    with pytest.raises(ValueError, match=rf"run\.safetensors is of .*{named}"):
        load_checkpoint(path, model, make_optimizer(model, 1e-3))


def freeze(model):
    model.position_embedding.requires_grad_(False)
    return model


@pytest.mark.parametrize(
    "other",
    [lambda: new_model(num_heads=4), lambda: new_model(dropout=0.0), lambda: freeze(new_model())],
)
def test_another_model_does_not_go_on(path, other):
    broken_off(path, 6)
    with pytest.raises(ValueError, match="is of a run with"):
        run(path, other())
