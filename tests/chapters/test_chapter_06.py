"""Chapter 6's training beside the package's: losses, gradients, steps and resumed runs."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gptbook.checkpoints import load_checkpoint, save_checkpoint
from gptbook.data import IGNORE_INDEX
from gptbook.model import GPT, GPTConfig
from gptbook.training import accumulate_gradients, make_optimizer, next_token_loss
from tests.chapters.notebook import taught

chapter = taught(
    "06", "device", "token_loss", "adamw_step", "fit", "decay_groups", "clip", "drop",
    "add_gradients", "save", "resume",
)  # fmt: skip


def model_with(dropout=0.0, seed=0):
    """A small model on the chapter's device, its weights scaled up so that every part matters."""
    torch.manual_seed(seed)
    config = GPTConfig(
        vocab_size=23, context_length=6, embed_dim=8, num_layers=2, num_heads=2, dropout=dropout
    )
    model = GPT(config)
    for parameter in model.parameters():
        parameter.data.mul_(3)
    return model.to(chapter.device)


def batches(count, rows=4):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 23, (count, rows, 7), generator=generator).to(chapter.device)
    return [(each[:, :-1], each[:, 1:].clone()) for each in ids]


def gradients(model):
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def test_the_loss_by_hand_is_the_packages():
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(7, 11, dtype=torch.float64, generator=generator)
    targets = torch.randint(0, 11, (7,), generator=generator)
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    mean = sum(map(chapter.token_loss, ours, targets)) / len(targets)
    package = next_token_loss(theirs[None], targets[None])
    mean.backward()
    package.backward()
    torch.testing.assert_close(mean, package)
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1, 2.0])
def test_adamw_is_the_packages_optimizer(weight_decay):
    torch.manual_seed(0)
    layer = nn.Linear(4, 3, bias=False)
    ours, state = layer.weight.detach().clone(), {"t": 0, "m": 0.0, "v": 0.0}
    optimizer = make_optimizer(layer, lr=0.1, weight_decay=weight_decay)
    for size in (1.0, 1e-3, 1e3, 0.0, 10.0):
        layer.weight.grad = size * torch.randn(3, 4)
        ours = chapter.adamw_step(ours, layer.weight.grad, state, lr=0.1, weight_decay=weight_decay)
        optimizer.step()
        torch.testing.assert_close(ours, layer.weight.detach())


def test_the_same_weights_decay_as_in_the_package():
    model = model_with()
    ours, theirs = chapter.decay_groups(model, 0.3), make_optimizer(model, 1e-3, 0.3).param_groups
    for one, two in zip(ours, theirs, strict=True):
        assert one["weight_decay"] == two["weight_decay"]
        assert list(map(id, one["params"])) == list(map(id, two["params"]))


@pytest.mark.parametrize("max_norm", [0.1, 1.0, 1e6])
def test_clipping_is_pytorchs(max_norm):
    model = model_with()
    accumulate_gradients(model, batches(1))
    ours = chapter.clip(list(gradients(model).values()), max_norm)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    torch.testing.assert_close(ours, list(gradients(model).values()))
    assert not chapter.clip([torch.zeros(3)], max_norm)[0].any()


@pytest.mark.parametrize("p", [0.0, 0.1, 0.75])
def test_dropout_keeps_the_mean_and_its_gradient(p):
    torch.manual_seed(0)
    x = torch.ones(40_000, requires_grad=True)
    for dropout in (chapter.drop, F.dropout):
        y = dropout(x, p)
        [gradient] = torch.autograd.grad(y.sum(), x)
        torch.testing.assert_close(gradient, y.detach())
        torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 1 / (1 - p)))
        assert abs((y == 0).float().mean() - p) < 0.02


def test_accumulated_gradients_are_the_packages():
    parts = batches(3)
    parts[0][1][1:, 2:] = IGNORE_INDEX  # parts that count differently
    ours, theirs = model_with(), model_with()
    chapter.add_gradients(ours, parts)
    accumulate_gradients(theirs, parts)
    torch.testing.assert_close(gradients(ours), gradients(theirs), rtol=1e-4, atol=1e-6)
    means = model_with()
    for part in parts:
        accumulate_gradients(means, [part])
    scaled = torch.cat([g.flatten() / 3 for g in gradients(means).values()])
    whole = torch.cat([g.flatten() for g in gradients(theirs).values()])
    assert (scaled - whole).norm() > 0.05 * whole.norm(), "a mean of means would pass"


def test_fit_takes_the_steps_of_the_package():
    ours, theirs = model_with(), model_with()
    optimizer = torch.optim.AdamW(chapter.decay_groups(ours), lr=0.01, betas=(0.9, 0.95))
    losses = chapter.fit(ours, optimizer, batches(6))
    package = make_optimizer(theirs, lr=0.01)
    wanted = []
    for batch in batches(6):
        package.zero_grad()
        wanted.append(accumulate_gradients(theirs, [batch]))
        package.step()
    torch.testing.assert_close(losses, wanted, rtol=1e-4, atol=1e-4)


def test_a_resumed_run_is_that_of_the_package(tmp_path):
    def start():
        model = model_with(dropout=0.5)
        return model, torch.optim.AdamW(chapter.decay_groups(model), lr=0.01)

    model, optimizer = start()
    losses = chapter.fit(model, optimizer, batches(6)[:3])
    chapter.save(tmp_path / "ours.pt", model, optimizer, losses)
    save_checkpoint(tmp_path / "theirs.safetensors", model, optimizer, 3)
    before = copy.deepcopy(model.state_dict())
    wanted = chapter.fit(model, optimizer, batches(6)[3:])

    other, its_optimizer = start()
    assert chapter.resume(tmp_path / "ours.pt", other, its_optimizer) == losses
    torch.testing.assert_close(other.state_dict(), before, rtol=0, atol=0)
    ours = chapter.fit(other, its_optimizer, batches(6)[3:])

    other, its_optimizer = start()
    load_checkpoint(tmp_path / "theirs.safetensors", other, its_optimizer)
    theirs = chapter.fit(other, its_optimizer, batches(6)[3:])
    torch.testing.assert_close(ours, wanted, rtol=0, atol=0 if chapter.device.type == "cpu" else 1)
    assert ours == theirs or chapter.device.type != "cpu"
