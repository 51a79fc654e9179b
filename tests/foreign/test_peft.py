"""What peft's tests of LoRA and DoRA look at, asked of this book. Nothing here is theirs.

We differ, on purpose: merging twice is an error and adds nothing (there it is a warning); a layer
has one adapter, switched off by a context, not several with names; NaN is refused at saving, not
by an option of merging; targets that match nothing, or a tied head, are refused.
"""

import copy

import pytest
import torch
from torch import nn

from gptbook.adapters import (
    DoRALinear,
    LoRALinear,
    adapter_parameters,
    adapters_off,
    add_adapters,
    count_parameters,
    detach_adapters,
    drop_adapters,
    load_adapters,
    merge_adapters,
    save_adapters,
    unmerge_adapters,
)
from gptbook.model import GPT, GPTConfig

CONFIG = GPTConfig(vocab_size=31, context_length=8, embed_dim=12, num_layers=2, num_heads=3)
X = torch.randn(5, 10, generator=torch.Generator().manual_seed(0))
kinds = pytest.mark.parametrize("kind", [LoRALinear, DoRALinear])


class MLP(nn.Module):
    """Two layers, as in many of their tests."""

    def __init__(self, bias=True):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(10, 20, bias=bias), nn.Linear(20, 2, bias=bias)

    def forward(self, x):
        return self.second(self.first(x).relu()).log_softmax(dim=-1)


def adapted(kind, targets="first", **options):
    model = MLP(options.pop("bias", True))
    base = copy.deepcopy(model).eval()
    return add_adapters(model, kind, targets, **{"rank": 4, "alpha": 8} | options), base


def train(model, steps=3, lr=0.1):
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        model(X)[:, 0].mean().neg().backward()
        optimizer.step()
    return model.eval()


@kinds
@pytest.mark.parametrize("targets", ["first", "second", ["first", "second"]])
@pytest.mark.parametrize("bias", [True, False])
def test_a_new_adapter_changes_nothing(kind, targets, bias):
    model, base = adapted(kind, targets, bias=bias)
    with torch.no_grad():
        assert torch.equal(model.eval()(X), base(X))


@kinds
def test_only_parameters_of_adapters_are_trained(kind):
    model, _ = adapted(kind)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    own = set(map(id, adapter_parameters(model)))
    train(model)
    for name, parameter in model.named_parameters():
        moved = not torch.equal(parameter, before[name])
        assert moved == (id(parameter) in own) == parameter.requires_grad, name
    trained, _ = count_parameters(model)
    assert trained == 4 * (10 + 20) + 20 * (kind is DoRALinear)


@kinds
def test_an_adapter_switched_off_gives_the_base_back(kind):
    model, base = adapted(kind)
    train(model)
    changed = model(X)
    assert not torch.allclose(changed, base(X))
    with adapters_off(model):
        assert torch.equal(model(X), base(X))
    assert torch.equal(model(X), changed)


@kinds
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_merged_it_gives_the_same_and_unmerged_the_same_bits(kind, dtype):
    model, _ = adapted(kind)
    train(model)
    model, x = model.to(dtype), X.to(dtype)
    unmerged, kept = model(x), {n: p.detach().clone() for n, p in model.named_parameters()}
    merge_adapters(model)
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 0.05}[dtype]
    torch.testing.assert_close(model(x), unmerged, rtol=tolerance, atol=tolerance)
    unmerge_adapters(model)
    assert all(torch.equal(p, kept[name]) for name, p in model.named_parameters())


@kinds
def test_merging_twice_is_an_error_and_adds_nothing(kind):
    model, _ = adapted(kind)
    train(model)
    merged = merge_adapters(model)(X)
    with pytest.raises(ValueError, match="merged already"):
        merge_adapters(model)
    assert torch.equal(model(X), merged)
    unmerge_adapters(model)
    with pytest.raises(ValueError, match="no adapter is merged"):
        unmerge_adapters(model)


@kinds
def test_merged_for_good_the_model_is_plain_again(kind):
    model, base = adapted(kind)
    changed = train(model)(X)
    drop_adapters(model)
    assert type(model.first) is nn.Linear
    assert model.state_dict().keys() == base.state_dict().keys()
    torch.testing.assert_close(model(X), changed)


@kinds
def test_taken_out_without_merging_the_base_is_as_before(kind):
    model, base = adapted(kind)
    train(model)
    assert list(detach_adapters(model)) == ["first"]
    assert torch.equal(model(X), base(X))


@kinds
def test_dropout_is_for_training_only(kind):
    model, _ = adapted(kind, dropout=0.5)
    train(model)
    assert torch.equal(model(X), model(X))
    model.train()
    assert not torch.equal(model(X), model(X))


@pytest.mark.parametrize(("stabilized", "scaling"), [(False, 8 / 4), (True, 8 / 4**0.5)])
def test_scaling_is_alpha_by_rank_or_by_its_root(stabilized, scaling):
    model, base = adapted(LoRALinear, rank_stabilized=stabilized)
    nn.init.normal_(model.first.lora_B)
    wanted = base.first(X) + scaling * X @ (model.first.lora_B @ model.first.lora_A).T
    torch.testing.assert_close(model.first(X), wanted)


def test_dora_is_magnitude_times_direction():
    model, base = adapted(DoRALinear)
    layer = model.first
    nn.init.normal_(layer.lora_B)
    layer.magnitude.data.uniform_(0.5, 2)
    direction = base.first.weight + 2 * layer.lora_B @ layer.lora_A
    weight = layer.magnitude.flatten()[:, None] * direction / direction.norm(dim=1, keepdim=True)
    wanted = X @ weight.T + base.first.bias
    torch.testing.assert_close(layer(X), wanted)


@kinds
def test_what_is_asked_of_a_linear_layer_is_answered(kind):
    model, base = adapted(kind)
    assert model.first.weight is model.first.base.weight
    assert torch.equal(model.first.bias, base.first.bias)
    assert (model.first.in_features, model.first.out_features) == (10, 20)


@kinds
def test_a_saved_adapter_is_the_same_after_loading(kind, tmp_path):
    torch.manual_seed(0)
    model = GPT(CONFIG)
    ids = torch.randint(31, (2, 8))
    add_adapters(model, kind, ["attention.qkv", "feed_forward.up"], rank=2, alpha=4)
    for parameter in adapter_parameters(model):
        parameter.data += 0.3 * torch.randn_like(parameter)
    save_adapters(model, tmp_path)
    again = copy.deepcopy(model)
    detach_adapters(again)
    load_adapters(again, tmp_path)
    assert torch.equal(again.eval()(ids), model.eval()(ids))
    adapter_parameters(model)[0].data[0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        save_adapters(model, tmp_path)
    load_adapters(GPT(CONFIG), tmp_path, any_base=True)  # what was saved before stays


@pytest.mark.parametrize(
    ("targets", "count"),
    [("blocks.0.attention.qkv", 1), ("attention.qkv", 2), ("blocks.1.*", 4), ("*.up", 2)],
)
def test_targets_are_names_ends_or_patterns(targets, count):
    model = add_adapters(GPT(CONFIG), LoRALinear, targets, rank=2, alpha=4)
    assert len(adapter_parameters(model)) == 2 * count


@pytest.mark.parametrize("targets", ["nothing", [], "head"])
def test_targets_that_match_nothing_or_a_tied_head_are_refused(targets):
    with pytest.raises(ValueError, match=r"no linear layer|no targets|one tensor"):
        add_adapters(GPT(CONFIG), LoRALinear, targets, rank=2, alpha=4)


@kinds
@pytest.mark.parametrize("options", [{"rank": 0}, {"rank": -1}, {"dropout": 1.5}])
def test_ranks_and_dropouts_that_make_no_sense_are_refused(kind, options):
    with pytest.raises(ValueError, match=r"rank|dropout"):
        adapted(kind, **options)


@kinds
def test_a_second_adapter_on_a_layer_is_refused(kind):
    model, _ = adapted(kind)
    with pytest.raises(ValueError, match="adapter already"):
        add_adapters(model, kind, "first.base", rank=2, alpha=4)
