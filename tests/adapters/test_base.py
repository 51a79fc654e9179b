"""What all kinds of adapters have in common: shapes, merging, training, bf16."""

import copy

import pytest
import torch
from torch import nn

from gptbook.adapters import (
    LoRALinear,
    adapter_parameters,
    adapters_of,
    adapters_off,
    add_adapters,
    load_adapters,
    merge_adapters,
    save_adapters,
    unmerge_adapters,
)
from gptbook.device import autocast, bf16_works
from gptbook.gpt2 import load_gpt2
from gptbook.training import TrainConfig, train
from tests.adapters.helpers import IDS, KINDS, NAMES, adapted, kinds


@kinds
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 3, 6), (0, 6), (2, 0, 6)])
def test_any_number_of_axes(kind, bias, shape):
    layer, options = KINDS[kind]
    torch.manual_seed(0)
    adapter = layer(nn.Linear(6, 8, bias=bias), **options | {"rank": 2})
    for parameter in adapter.parameters():
        parameter.data.normal_()
    x = torch.randn(shape)
    given = x.clone()
    y = adapter(x)
    adapter.merge()
    assert torch.allclose(y, adapter.base(x), atol=1e-4)
    assert y.shape == (*shape[:-1], 8)
    assert torch.equal(x, given)


@pytest.mark.parametrize("kind", ["lora", "dora", "mora, sharing", "mora, rotation"])
def test_in_the_beginning_nothing_changes(folder, kind):
    model = adapted(folder, kind, filled=False)
    torch.testing.assert_close(model(IDS), load_gpt2(folder).double()(IDS), rtol=1e-12, atol=1e-12)


# -- merging


@kinds
def test_merged_is_as_unmerged_and_comes_back_to_the_last_bit(folder, kind):
    model = adapted(folder, kind).eval()
    wanted, before = model(IDS), copy.deepcopy(model.state_dict())
    other = adapted(folder, kind)
    merge_adapters(model)
    torch.testing.assert_close(model(IDS), wanted, rtol=1e-10, atol=1e-10)
    assert not torch.equal(
        model.blocks[0].attention.qkv.base.weight, before["blocks.0.attention.qkv.base.weight"]
    )
    with pytest.raises(ValueError, match="merging twice would add them twice"):
        merge_adapters(model)
    with pytest.raises(ValueError, match="counted twice"):
        model.state_dict()
    with pytest.raises(ValueError, match="unmerge it first"):
        model.load_state_dict(other.state_dict())
    unmerge_adapters(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(ValueError, match="no adapter is merged"):
        unmerge_adapters(model)


# -- training


@kinds
def test_only_adapters_are_trained(folder, kind):
    model = adapted(folder, kind, filled=False).float()
    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    trained = {n: p.clone() for n, p in model.named_parameters() if p.requires_grad}
    assert {n.rsplit(".", 1)[-1] for n in trained} <= {"lora_A", "lora_B", "magnitude", "matrix"}
    assert set(map(id, adapter_parameters(model))) == {
        id(p) for p in model.parameters() if p.requires_grad
    }
    losses = train(model, [(IDS, IDS.roll(-1, 1))], TrainConfig(30, lr=1e-2))
    assert losses[-1] < losses[0] - 0.1
    now = dict(model.named_parameters())
    assert all(torch.equal(now[name], value) for name, value in frozen.items())
    assert all(not torch.equal(now[name], value) for name, value in trained.items())


def test_a_merged_model_may_change_its_type(folder):
    model = merge_adapters(adapted(folder, "lora").float())
    wanted = adapted(folder, "lora")
    unmerge_adapters(model.double())
    torch.testing.assert_close(model.eval()(IDS), wanted.eval()(IDS), rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not bf16_works("cpu"), reason="this CPU cannot compute in bfloat16")
@kinds
def test_adapters_work_in_bfloat16(folder, kind):
    model = adapted(folder, kind).float()
    wanted = model(IDS)
    with autocast("cpu"):
        found = model(IDS)
        found.float().square().mean().backward()
    assert ((found - wanted).norm() / wanted.norm()) < 0.05
    assert all(p.grad.isfinite().all() for p in adapter_parameters(model))
    if kind == "dora":  # its norms are as exact as ever
        layer = model.blocks[0].attention.qkv
        with autocast("cpu"):
            norms = layer.row_norms()
        torch.testing.assert_close(norms, layer.row_norms(), rtol=1e-6, atol=0)


def test_merging_is_exact_under_autocast_and_inference_mode(folder):
    model = adapted(folder, "lora").float()
    other = copy.deepcopy(model)
    with torch.inference_mode(), autocast("cpu"):
        merge_adapters(model)
    merge_adapters(other)
    for mine, wanted in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, wanted)
    unmerge_adapters(model)
    model(IDS).sum().backward()


def test_a_checkpoint_belongs_to_the_options_of_its_adapters(folder, tmp_path):
    data = [(IDS, IDS.roll(-1, 1))]
    for alpha in (8, 80):
        model = add_adapters(load_gpt2(folder), LoRALinear, "qkv", rank=4, alpha=alpha)
        if alpha == 8:
            train(model, data, TrainConfig(2), checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match=r"alpha=8.*alpha=80"):
        train(model, data, TrainConfig(2), checkpoint=tmp_path / "run")


@kinds
def test_new_adapters_take_the_mode_of_their_layer(folder, tmp_path, kind):
    model = adapted(folder, kind, dropout=0.5)
    assert all(adapter.training for adapter in adapters_of(model.train()).values())
    layer, options = KINDS[kind]
    still = load_gpt2(folder).eval()
    add_adapters(still, layer, "attention.qkv", **options, dropout=0.5)
    save_adapters(model.float(), tmp_path)
    loaded = load_adapters(load_gpt2(folder).eval(), tmp_path)
    for model in (still, loaded):
        assert not any(module.training for module in model.modules())
        assert torch.equal(model(IDS), model(IDS))


@kinds
def test_adapters_can_be_switched_off_for_a_while(folder, kind):
    model, plain = adapted(folder, kind).eval(), load_gpt2(folder).double()
    with adapters_off(model):
        assert torch.equal(model(IDS), plain(IDS))
        with adapters_off(model):  # one inside the other
            pass
        assert torch.equal(model(IDS), plain(IDS))
    assert not torch.allclose(model(IDS), plain(IDS))
    with pytest.raises(KeyError), adapters_off(model):
        raise KeyError
    assert not torch.allclose(model(IDS), plain(IDS))
    merge_adapters(model)
    with pytest.raises(ValueError, match="is merged"), adapters_off(model):
        pass


@kinds
def test_an_adapter_shows_what_its_layer_shows(kind):
    layer, options = KINDS[kind]
    base = nn.Linear(6, 8)
    adapter = layer(base, **options | {"rank": 2})
    assert adapter.weight is base.weight
    assert adapter.bias is base.bias
    assert (adapter.in_features, adapter.out_features) == (6, 8)
    assert {name for name, _ in adapter.named_parameters() if "base" in name} == {
        "base.weight",
        "base.bias",
    }


@kinds
def test_before_training_the_output_is_exactly_that_of_the_base(folder, kind):
    layer, options = KINDS[kind]
    model = add_adapters(load_gpt2(folder), layer, tuple(NAMES), **options).eval()
    with torch.no_grad():
        assert torch.equal(model(IDS), load_gpt2(folder)(IDS))


@kinds
@pytest.mark.parametrize("training", [True, False])
def test_adapters_in_float32_on_a_base_in_bf16(folder, kind, training):
    model = adapted(folder, kind).bfloat16().train(training)
    exact = copy.deepcopy(model).float()
    for parameter in adapter_parameters(model):
        parameter.data = parameter.data.float()
    own = copy.deepcopy(model)
    y, wanted = model(IDS), exact(IDS)
    assert y.dtype == torch.bfloat16
    assert (y - wanted).norm() < 0.05 * wanted.norm()
    y.float().square().mean().backward()
    assert all(p.grad.dtype == torch.float32 for p in adapter_parameters(model))
    merge_adapters(own)
    assert {p.dtype for p in own.parameters() if p not in set(adapter_parameters(own))} == {
        torch.bfloat16
    }
    merged = own.eval()(IDS)
    assert merged.dtype == torch.bfloat16
    assert (merged - wanted).norm() < 0.1 * wanted.norm()
