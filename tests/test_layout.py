"""Weights laid out in another order: faster on some processors, and the same in all else."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file

import gptbook.layout
from gptbook.generate import generate
from gptbook.layout import by_columns_is_faster, lay_out_for_generation
from gptbook.model import GPT
from gptbook.training import make_optimizer, next_token_loss
from tests.helpers import CONFIG, assert_same_weights


@pytest.fixture
def prompts():
    return torch.randint(97, (2, 6), generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def faster(request, monkeypatch):
    """Another order is faster here, whatever the processor, unless a test asks the clock."""
    if "clock" not in request.fixturenames:
        monkeypatch.setattr("gptbook.layout.by_columns_is_faster", lambda *_: True)


def train_a_little(model, ids):
    optimizer = make_optimizer(model, lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        next_token_loss(model(ids[:, :-1]), ids[:, 1:]).backward()
        optimizer.step()


def test_the_layout_changes_strides_and_nothing_else(pair, prompts):
    model, _ = pair
    laid_out = copy.deepcopy(model)
    lay_out_for_generation(laid_out)
    for layer in laid_out.modules():
        if isinstance(layer, torch.nn.Linear):
            height, width = layer.weight.shape
            assert layer.weight.stride() == ((1, height) if height > width else (width, 1))
    assert laid_out.head.weight is laid_out.token_embedding.weight
    assert len(list(laid_out.parameters())) == len(list(model.parameters()))
    for name, value in model.state_dict().items():
        assert torch.equal(laid_out.state_dict()[name], value)
    assert torch.equal(generate(laid_out, prompts, 18), generate(model, prompts, 18))


def test_a_model_that_is_laid_out_trains_copies_saves_and_loads(pair, prompts, tmp_path):
    model, _ = pair
    laid_out = copy.deepcopy(model)
    lay_out_for_generation(laid_out)
    train_a_little(model, prompts)
    twin = copy.deepcopy(laid_out)
    for trained in (laid_out, twin):
        train_a_little(trained, prompts)
        assert_same_weights(trained, model, rtol=1e-9, atol=1e-11, keys=1e-7)
    assert twin.blocks[0].attention.qkv.weight.stride() == (1, 96)

    tensors = {name: value.contiguous() for name, value in laid_out.state_dict().items()}
    del tensors["head.weight"]  # the tied table is kept once
    save_file(tensors, tmp_path / "model.safetensors")
    loaded = load_file(tmp_path / "model.safetensors")
    loaded["head.weight"] = loaded["token_embedding.weight"]
    other = GPT(model.config).double()
    lay_out_for_generation(other)
    for target in (other, GPT(model.config).double()):
        target.load_state_dict(loaded)
        torch.testing.assert_close(target(prompts), laid_out(prompts), rtol=1e-10, atol=1e-10)


def test_a_layer_can_be_replaced_after_the_layout(pair, prompts):
    model, _ = pair
    wanted = generate(model, prompts, 5)
    lay_out_for_generation(model)
    for block in model.blocks:  # as an adapter does: it keeps the layer and adds to its result
        block.attention.qkv = torch.nn.Sequential(block.attention.qkv, torch.nn.Identity())
    lay_out_for_generation(model)
    assert torch.equal(generate(model, prompts, 5), wanted)


@pytest.fixture
def clock(monkeypatch):
    """A clock that is moved by hand, and by products with weights: by 1, or by `ratio`."""
    time = {"now": 0.0, "ratio": 1.0}

    def product(token, weight):
        time["now"] += 1.0 if weight.is_contiguous() else time["ratio"]

    monkeypatch.setattr("gptbook.layout.F.linear", product)
    monkeypatch.setattr("gptbook.layout.time.perf_counter", lambda: time["now"])
    return time


@pytest.mark.parametrize(
    ("ratio", "wanted"), [(0.5, True), (0.85, True), (0.95, False), (2, False)]
)
def test_it_is_done_where_it_is_faster_and_only_there(clock, ratio, wanted):
    clock["ratio"] = ratio
    weights = [torch.ones(8, 4), torch.ones(8, 4)]
    assert by_columns_is_faster(weights, [w.t().contiguous().t() for w in weights]) is wanted
    model = GPT(CONFIG)
    tall = 2 * CONFIG.num_layers + 1  # q, k, v; up; and the head
    assert lay_out_for_generation(model) == wanted * tall
    assert model.head.weight.is_contiguous() is not wanted
    assert model.blocks[0].feed_forward.down.weight.is_contiguous()


def test_this_processor_decides_without_an_error(monkeypatch):
    monkeypatch.undo()
    assert gptbook.layout.lay_out_for_generation(GPT(CONFIG)) in range(8)
