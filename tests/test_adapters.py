"""LoRA, DoRA and MoRA: against peft and against index maps; merged, saved, loaded, refused."""

import copy
import json
import math
import warnings

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from gptbook.adapters import (
    adapter_parameters,
    adapters_of,
    add_adapters,
    attach_adapters,
    count_parameters,
    detach_adapters,
    drop_adapters,
    load_adapters,
    merge_adapters,
    save_adapters,
    unmerge_adapters,
)
from gptbook.device import autocast, bf16_works
from gptbook.dora import DoRALinear, ScaleAndShift
from gptbook.gpt2 import load_gpt2, save_gpt2
from gptbook.lora import LoRALinear
from gptbook.mora import MoRALinear, square_size
from gptbook.training import make_optimizer, next_token_loss, train

NAMES = {
    "attention.qkv": "attn.c_attn", "attention.out": "attn.c_proj", "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
}  # fmt: skip
IDS = torch.randint(97, (3, 20), generator=torch.Generator().manual_seed(1))
KINDS = {
    "lora": (LoRALinear, {"rank": 4, "alpha": 12}),
    "lora, rank-stabilized": (LoRALinear, {"rank": 4, "alpha": 12, "rank_stabilized": True}),
    "dora": (DoRALinear, {"rank": 4, "alpha": 12}),
    "mora, sharing": (MoRALinear, {"rank": 4, "kind": "sharing"}),
    "mora, rotation": (MoRALinear, {"rank": 4, "kind": "rotation"}),
}
kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A GPT-2 with large random weights and biases, in transformers' format."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=97, n_positions=32, n_embd=48, n_layer=2, n_head=4, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    for parameter in model.parameters():
        parameter.data = 0.3 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return folder


def adapted(folder, kind, targets=tuple(NAMES), filled=True, **changes):
    """Our model with adapters whose numbers are random, in float64."""
    layer, options = KINDS[kind]
    model = add_adapters(load_gpt2(folder).double(), layer, targets, **options | changes)
    if filled:
        torch.manual_seed(2)
        for parameter in adapter_parameters(model):
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model


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


def theirs_name(name):
    _, index, ours = name.split(".", 2)
    return f"transformer.h.{index}.{NAMES[ours]}"


def peft_pair(folder, kind, dropout=0.0):
    """(name, our adapter, peft's layer) of two models with the same numbers, and both models."""
    options = KINDS[kind][1]
    ours = adapted(folder, kind, dropout=dropout)
    config = LoraConfig(
        r=options["rank"], lora_alpha=options["alpha"], lora_dropout=dropout, fan_in_fan_out=True,
        target_modules=list(NAMES.values()), use_dora=kind == "dora",
        use_rslora="rank_stabilized" in options,
    )  # fmt: skip
    theirs = get_peft_model(GPT2LMHeadModel.from_pretrained(folder).double(), config)
    layers = []
    for name, adapter in adapters_of(ours).items():
        layer = theirs.base_model.model.get_submodule(theirs_name(name))
        pairs = [
            (adapter.lora_A, layer.lora_A["default"].weight),
            (adapter.lora_B, layer.lora_B["default"].weight),
        ]
        if kind == "dora":
            pairs.append((adapter.magnitude, layer.lora_magnitude_vector["default"].weight))
        for mine, other in pairs:
            other.data.copy_(mine.data)
        layers += pairs
    return ours, theirs, layers


peft_kinds = pytest.mark.parametrize("kind", [kind for kind in KINDS if "mora" not in kind])


@peft_kinds
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_logits_and_gradients_equal_those_of_peft(folder, kind, dropout):
    ours, theirs, pairs = peft_pair(folder, kind, dropout)
    logits = []
    for model in (ours, theirs):
        model.train()
        torch.manual_seed(3)
        found = model(IDS)
        logits.append(found if torch.is_tensor(found) else found.logits)
        weights = torch.randn(logits[-1].shape, generator=torch.Generator().manual_seed(4))
        (logits[-1] * weights).sum().backward()
    torch.testing.assert_close(*logits, rtol=1e-10, atol=1e-10)
    for mine, other in pairs:
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-10, atol=1e-10)
    assert count_parameters(ours)[0] == theirs.get_nb_trainable_parameters()[0]


@peft_kinds
def test_a_step_of_adamw_equals_that_of_peft(folder, kind):
    ours, theirs, pairs = peft_pair(folder, kind)
    targets = IDS.roll(-1, 1)
    for model in (ours, theirs):
        optimizer = make_optimizer(model, 1e-2)
        found = model(IDS)
        next_token_loss(found if torch.is_tensor(found) else found.logits, targets).backward()
        optimizer.step()
    for mine, other in pairs:
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["lora", "dora", "mora, sharing", "mora, rotation"])
def test_in_the_beginning_nothing_changes(folder, kind):
    model = adapted(folder, kind, filled=False)
    torch.testing.assert_close(model(IDS), load_gpt2(folder).double()(IDS), rtol=1e-12, atol=1e-12)


# -- MoRA, entry by entry


def dense_sharing(inputs, outputs, matrix):
    """The change as a table, from what the indices say."""
    k = len(matrix)
    table = torch.zeros(outputs, inputs, dtype=torch.float64)
    for i in range(outputs):
        for p in range(math.ceil(inputs / k) * k):
            table[i, p % inputs] += matrix[i % k, p % k]
    return table


def dense_rotation(inputs, outputs, matrix):
    k = len(matrix)
    groups = math.ceil(inputs / k)
    table = torch.zeros(outputs, inputs, dtype=torch.float64)
    for i in range(outputs):
        group, row = divmod(i % (groups * k), k)
        for j in range(k // 2):
            angle = torch.tensor(float(group)) * 10000.0 ** (-torch.tensor(2 * j) / k)
            cos, sin = angle.cos().double(), angle.sin().double()
            for column, value in (
                (j, matrix[row, j] * cos + matrix[row, j + k // 2] * sin),
                (j + k // 2, matrix[row, j + k // 2] * cos - matrix[row, j] * sin),
            ):
                table[i, (group * k + column) % inputs] += value
    return table


@pytest.mark.parametrize("shape", [(48, 48), (48, 144), (144, 48), (50, 70), (70, 50), (64, 64)])
@pytest.mark.parametrize("kind", ["sharing", "rotation"])
def test_mora_equals_its_index_maps(shape, kind):
    torch.manual_seed(0)
    adapter = MoRALinear(nn.Linear(*shape).double(), 4, kind)
    adapter.matrix.data.normal_()
    dense = {"sharing": dense_sharing, "rotation": dense_rotation}[kind]
    table = dense(*shape, adapter.matrix.data)
    x = torch.randn(2, 5, shape[0], dtype=torch.float64)
    close = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(adapter(x), adapter.base(x) + x @ table.T, **close)
    torch.testing.assert_close(adapter.merged_weight() - adapter.base.weight, table, **close)
    wanted = torch.zeros_like(adapter.matrix)
    unit = torch.zeros_like(adapter.matrix)
    weights = torch.randn(2, 5, shape[1], dtype=torch.float64)
    for i, j in [(0, 0), (1, 3), (adapter.k - 1, 2), (2, adapter.k - 1)]:
        unit.zero_()[i, j] = 1
        wanted[i, j] = (x @ dense(*shape, unit).T * weights).sum()
    (adapter(x) * weights).sum().backward()
    seen = wanted != 0
    torch.testing.assert_close(adapter.matrix.grad[seen], wanted[seen], **close)


@pytest.mark.parametrize(
    ("inputs", "outputs", "rank", "kind", "k"),
    [
        (4096, 4096, 8, "sharing", 256), (768, 768, 8, "sharing", 111),
        (768, 768, 8, "rotation", 110), (768, 2304, 8, "sharing", 157),
        (768, 2304, 8, "rotation", 156),
    ],
)  # fmt: skip
def test_the_size_of_the_square_is_that_of_the_authors_code(inputs, outputs, rank, kind, k):
    assert square_size(inputs, outputs, rank, kind) == k
    assert math.isclose(k * k, (inputs + outputs) * rank, rel_tol=0.02)


def test_the_rank_of_what_mora_changes():
    torch.manual_seed(0)
    ranks = {}
    for kind in ("sharing", "rotation"):
        adapter = MoRALinear(nn.Linear(96, 96).double(), 4, kind)
        adapter.matrix.data.normal_()
        ranks[kind] = torch.linalg.matrix_rank(adapter.dense_change()).item()
    assert ranks == {"sharing": 28, "rotation": 96}


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


@kinds
def test_dropped_adapters_leave_a_plain_model(folder, kind, tmp_path):
    model = adapted(folder, kind).eval()
    wanted = model(IDS)
    drop_adapters(model)
    assert not adapters_of(model)
    torch.testing.assert_close(model(IDS), wanted, rtol=1e-10, atol=1e-10)
    save_gpt2(model.float(), tmp_path)
    theirs = GPT2LMHeadModel.from_pretrained(tmp_path)
    torch.testing.assert_close(theirs(IDS).logits, wanted.float(), rtol=1e-4, atol=1e-4)


def test_adapters_can_be_exchanged(folder):
    plain = load_gpt2(folder).double()
    model = adapted(folder, "lora")
    one = model(IDS)
    first = detach_adapters(model)
    torch.testing.assert_close(model(IDS), plain(IDS))
    add_adapters(model, DoRALinear, "attention.qkv", rank=2, alpha=2)
    detach_adapters(model)
    attach_adapters(model, first)
    torch.testing.assert_close(model(IDS), one)
    with pytest.raises(ValueError, match="not the layer that this adapter was made for"):
        attach_adapters(load_gpt2(folder).double(), first)


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
    losses = train(model, [(IDS, IDS.roll(-1, 1))], steps=30, lr=1e-2)
    assert losses[-1] < losses[0] - 0.1
    now = dict(model.named_parameters())
    assert all(torch.equal(now[name], value) for name, value in frozen.items())
    assert all(not torch.equal(now[name], value) for name, value in trained.items())


def test_lora_saves_numbers():
    adapter = LoRALinear(nn.Linear(4096, 4096, bias=False), rank=8, alpha=16)
    assert count_parameters(adapter) == (65_536, 65_536 + 16_777_216)


# -- what is refused


def test_targets_are_names_ends_or_patterns(folder):
    def found(targets):
        model = load_gpt2(folder)
        return list(adapters_of(add_adapters(model, LoRALinear, targets, rank=2, alpha=2)))

    assert found("attention.qkv") == ["blocks.0.attention.qkv", "blocks.1.attention.qkv"]
    assert found("blocks.1.attention.qkv") == ["blocks.1.attention.qkv"]
    assert len(found("blocks.0.*")) == 4
    assert len(found(["attention.*", "up"])) == 6
    assert len(found("*.[ud]*")) == 4
    with pytest.raises(
        ValueError, match=r"no linear layer is called 'qvk'.*blocks\.\*\.attention\.qkv"
    ):
        found(["attention.out", "qvk"])
    with pytest.raises(ValueError, match="are one tensor"):
        found("head")


@pytest.mark.parametrize(
    ("layer", "options", "message"),
    [
        (LoRALinear, {"rank": 0, "alpha": 1}, "rank=0 must be at least 1"),
        (DoRALinear, {"rank": -1, "alpha": 1}, "rank=-1"),
        (MoRALinear, {"rank": 0}, "rank=0 must be"),
        (MoRALinear, {"rank": 4, "kind": "type 1"}, "kind='type 1'"),
        (MoRALinear, {"rank": 48}, "k=68, more than the 48 inputs"),
    ],
)
def test_impossible_options_are_refused(folder, layer, options, message):
    model = load_gpt2(folder)
    with pytest.raises(ValueError, match=message):
        add_adapters(model, layer, "attention.out", **options)
    assert all(parameter.requires_grad for parameter in model.parameters())  # untouched


def test_a_second_adapter_is_refused(folder):
    model = adapted(folder, "lora")
    with pytest.raises(ValueError, match="has an adapter already"):
        add_adapters(model, LoRALinear, "attention.qkv.base", rank=2, alpha=2)
    with pytest.raises(ValueError, match="no linear layer is called"):
        add_adapters(model, LoRALinear, "attention.qkv", rank=2, alpha=2)


def test_models_with_adapters_are_not_saved_as_gpt2(folder, tmp_path):
    with pytest.raises(ValueError, match="merge adapters before saving"):
        save_gpt2(adapted(folder, "lora"), tmp_path)


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type='IA3'; known: lora"),
        ({"modules_to_save": ["wte"]}, r"uses \['modules_to_save'\]"),
        ({"bias": "all"}, "bias='all'"),
        ({"r": 3}, r"lora_A.weight of .* is \(4, 48\); wanted is \(3, 48\)"),
        ({"use_dora": True}, r"differ in \['lora_magnitude_vector'\]"),
        ({"use_dora": True, "use_rslora": True}, "use_dora and use_rslora"),
        ({"exclude_modules": ["c_fc"]}, "exclude_modules"),
        ({"target_modules": ["c_attn"]}, "unknown .*h.0.attn.c_proj"),
        ({"target_modules": "transformer.h.0.*"}, "unknown .*h.1.attn"),
    ],
)
def test_other_adapters_are_refused(folder, tmp_path, change, message):
    save_adapters(adapted(folder, "lora").float(), tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        load_adapters(load_gpt2(folder), tmp_path)


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


def test_a_merged_model_may_change_its_type(folder):
    model = merge_adapters(adapted(folder, "lora").float())
    wanted = adapted(folder, "lora")
    unmerge_adapters(model.double())
    torch.testing.assert_close(model.eval()(IDS), wanted.eval()(IDS), rtol=1e-4, atol=1e-4)


def test_dora_follows_its_base(folder):
    """Nothing of the base is remembered that could be out of date."""
    model, other = adapted(folder, "dora"), adapted(folder, "dora")
    for parameter in other.parameters():
        parameter.data *= 1.5
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.eval()(IDS), model.eval()(IDS), rtol=1e-12, atol=1e-12)
    layer = model.blocks[0].attention.qkv
    layer.base.weight.data += torch.randn(layer.base.weight.shape)
    x = torch.randn(5, 48, dtype=torch.float64)
    wanted = x @ layer.merged_weight().T + layer.base.bias
    torch.testing.assert_close(layer(x), wanted, rtol=1e-10, atol=1e-10)


def test_dora_bears_rows_of_zeros_and_short_numbers():
    base = nn.Linear(6, 4)
    base.weight.data[1] = 0
    layer = DoRALinear(base, rank=2, alpha=2)
    x = torch.randn(3, 6)
    torch.testing.assert_close(layer(x), base(x))
    layer(x).sum().backward()
    assert all(p.grad.isfinite().all() for p in (layer.lora_A, layer.lora_B, layer.magnitude))
    for dtype, scale in ((torch.bfloat16, 1.0), (torch.float16, 400.0), (torch.float16, 1e-4)):
        base = nn.Linear(6, 4, bias=False)
        base.weight.data *= scale
        base.weight.data[1] = 0
        layer = DoRALinear(base.to(dtype), rank=2, alpha=2)
        torch.testing.assert_close(layer(x.to(dtype)), base(x.to(dtype)), rtol=0.01, atol=0.01)


def kept_for_backward(module, x):
    """Bytes of all tensors that the forward pass of a module keeps, parameters left out."""
    own = {p.untyped_storage().data_ptr() for p in module.parameters()}
    found = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that none is reused
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        module(x)
    return sum(size for size, _ in found.values())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("frozen", [(), ("lora_A", "lora_B"), ("magnitude",)])
def test_dora_keeps_one_table_and_shares_it_with_gelu(bias, training, frozen):
    """What comes out, and only if the magnitudes are trained; GELU keeps its input anyway."""
    layer = DoRALinear(nn.Linear(32, 96, bias=bias), rank=4, alpha=12).train(training)
    layer.magnitude.data *= -0.3
    for name in frozen:
        getattr(layer, name).requires_grad_(False)
    x, table, rest = torch.randn(64, 32), 4 * 64 * 96, 4 * (8 * 96 + 64 * (32 + 4))
    with_gelu = kept_for_backward(nn.Sequential(layer, nn.GELU()), x)
    assert table <= with_gelu <= table + rest
    by_itself = kept_for_backward(layer, x)
    assert (by_itself < table) == ("magnitude" in frozen)
    assert by_itself <= table + rest


@pytest.mark.parametrize("bias", [0.0, 1.0, 10.0])
@pytest.mark.parametrize("magnitude", [1.0, -1.0, 0.2, 1e-3, 1e-9, 0.0])
def test_the_gradient_of_a_magnitude_near_zero(magnitude, bias):
    """The first output has it, others are as they were; single precision, against double."""
    torch.manual_seed(0)
    layer = DoRALinear(nn.Linear(32, 8, bias=bias > 0), rank=4, alpha=12)
    layer.lora_B.data.normal_(std=0.05)
    layer.magnitude.data[0] *= magnitude
    own = [layer.lora_A, layer.lora_B, layer.magnitude]
    if bias:
        layer.base.bias.data.normal_(std=bias)
        own.append(layer.base.bias.requires_grad_())  # adapters freeze it
    x, g = torch.randn(64, 32), torch.randn(64, 8)
    layer(x).backward(g)
    W = layer.base.weight.double()
    A, B, m, *b = double = [p.detach().double().requires_grad_() for p in own]
    V = W + layer.scaling * B @ A
    weight = m[:, None] * V / V.detach().norm(dim=1, keepdim=True)
    nn.functional.linear(x.double(), weight, *b).backward(g.double())
    for p, wanted in zip(own, double, strict=True):
        assert (p.grad - wanted.grad).abs().max() < 3e-5 * wanted.grad.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, "autocast"])
def test_the_gradient_of_magnitudes_bears_short_numbers_and_large_biases(dtype):
    torch.manual_seed(0)
    layer = DoRALinear(nn.Linear(32, 8), rank=4, alpha=4)
    layer.base.bias.data.normal_(std=100)
    x, g = torch.randn(512, 32), torch.randn(512, 8)
    layer(x).backward(g)
    wanted, layer.magnitude.grad = layer.magnitude.grad, None
    if dtype == "autocast":
        with autocast("cpu"):
            z = layer(x)
    else:
        z = layer.to(dtype)(x.to(dtype))
    z.backward(g.to(z.dtype))
    error = layer.magnitude.grad.float() - wanted
    assert error.norm() < 0.02 * wanted.norm()


@pytest.mark.parametrize("bias", [3.0, 3e5, -math.inf])
@pytest.mark.parametrize("size", [1.0, 0.0])
def test_the_gradient_of_a_magnitude_beside_a_bias_that_drowns_or_masks(bias, size):
    torch.manual_seed(0)
    base = nn.Linear(32, 8)
    base.weight.data[0] *= size
    x, g = torch.randn(64, 32), torch.randn(64, 8)
    layer = DoRALinear(base, rank=4, alpha=4)
    layer(x).backward(g)
    wanted, layer.magnitude.grad = layer.magnitude.grad, None
    base.bias.data[0] = bias
    layer(x).backward(g)
    torch.testing.assert_close(layer.magnitude.grad, wanted, rtol=1e-4, atol=1e-4)
    layer.zero_grad()
    layer(0 * x).backward(g)
    assert layer.magnitude.grad.eq(0).all()


@pytest.mark.parametrize("frozen", [(), ("lora_A", "lora_B"), ("magnitude",)])
@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_of_dora_in_part_and_compiled(frozen, compiled):
    """What is frozen changes no gradient of the rest, nor does torch.compile."""
    torch.manual_seed(0)
    layer = DoRALinear(nn.Linear(32, 8), rank=4, alpha=4)
    layer.lora_B.data.normal_()
    wanted, found = copy.deepcopy(layer), copy.deepcopy(layer)
    x, g = torch.randn(16, 32), torch.randn(16, 8)
    wanted(x).backward(g)
    for name in frozen:
        getattr(found, name).requires_grad_(False)
    (torch.compile(found, backend="aot_eager") if compiled else found)(x).backward(g)
    for name in ("lora_A", "lora_B", "magnitude"):
        gradient = getattr(found, name).grad
        if name in frozen:
            assert gradient is None
        else:
            torch.testing.assert_close(gradient, getattr(wanted, name).grad, rtol=1e-4, atol=1e-4)


def test_dora_bears_gradients_of_gradients():
    torch.manual_seed(0)
    y, scale, bias = (torch.randn(*shape, dtype=torch.float64) for shape in ((5, 3), (3,), (3,)))
    inputs = [t.requires_grad_() for t in (y, scale.abs() + 0.2, bias)]

    def compute(y, scale, bias):
        return ScaleAndShift.apply(y.clone(), scale, bias)

    assert torch.autograd.gradcheck(compute, inputs)
    assert torch.autograd.gradgradcheck(compute, inputs)


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


def test_patterns_of_peft_are_understood(folder, tmp_path):
    """Ranks and scalings that differ from layer to layer, given as peft gives them."""
    config = LoraConfig(
        r=4, lora_alpha=8, fan_in_fan_out=True, target_modules=r".*\.(c_attn|c_fc|mlp\.c_proj)",
        rank_pattern={"c_fc": 2}, alpha_pattern={r"h\.1\.mlp\.c_(fc|proj)": 40},
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = get_peft_model(GPT2LMHeadModel.from_pretrained(folder), config)
    for name, parameter in theirs.named_parameters():
        if "lora_" in name:
            parameter.data = 0.1 * torch.randn_like(parameter)
    theirs.save_pretrained(tmp_path)
    ours = load_adapters(load_gpt2(folder), tmp_path)
    torch.testing.assert_close(ours.eval()(IDS), theirs.eval()(IDS).logits, rtol=1e-5, atol=1e-5)
    found = {name: (adapter.rank, adapter.alpha) for name, adapter in adapters_of(ours).items()}
    assert found["blocks.0.feed_forward.up"] == (2, 8)
    assert found["blocks.1.feed_forward.up"] == (2, 40)
    assert found["blocks.1.feed_forward.down"] == (4, 40)
    assert "blocks.0.attention.out" not in found


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


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_adapters_that_change_the_base_are_refused(folder, tmp_path, init):
    config = LoraConfig(r=4, init_lora_weights=init, fan_in_fan_out=True, target_modules=["c_attn"])
    get_peft_model(GPT2LMHeadModel.from_pretrained(folder), config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"init_lora_weights='{init}'"):
        load_adapters(load_gpt2(folder), tmp_path)


@pytest.mark.parametrize("kind", ["mora, sharing", "mora, rotation"])
def test_mora_is_read_again_whatever_rounding_it_was_written_with(folder, tmp_path, kind):
    model = adapted(folder, kind)
    for dtype in (torch.float64, torch.bfloat16):
        save_adapters(model.to(dtype), tmp_path)
        again = load_adapters(load_gpt2(folder), tmp_path, any_base=True)
        pairs = zip(adapter_parameters(model), adapter_parameters(again), strict=True)
        assert all(torch.equal(a.float(), b) for a, b in pairs)


def test_a_model_is_as_it_was_when_adapters_fail(folder, tmp_path):
    model = load_gpt2(folder)
    names = [name for name, _ in model.named_modules()]
    with pytest.raises(ValueError, match="k=62, more than the 48 inputs"):
        add_adapters(model, MoRALinear, ["attention.out", "up"], rank=16)
    save_adapters(adapted(folder, "lora").float(), tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"alpha_pattern": {"h.1.*": "2"}}))
    with pytest.raises(ValueError, match=r"adapter_model\.safetensors"):
        load_adapters(model, tmp_path)
    assert names == [name for name, _ in model.named_modules()]
    assert all(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(ValueError, match="no targets"):
        add_adapters(model, LoRALinear, [], rank=2, alpha=2)


def test_merged_and_unmerged_do_not_mix(folder):
    model = merge_adapters(adapted(folder, "lora", ["qkv"]))
    with pytest.raises(ValueError, match=r"qkv is merged; call unmerge_adapters"):
        add_adapters(model, LoRALinear, "up", rank=2, alpha=2)
    with pytest.raises(ValueError, match="nothing to train: all parameters are frozen"):
        make_optimizer(drop_adapters(model), 1e-3)


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
            train(model, data, 2, 1e-3, checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match=r"alpha=8.*alpha=80"):
        train(model, data, 2, 1e-3, checkpoint=tmp_path / "run")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[1]", "an object, not list"),
        ('{"peft_type": "LORA", "r": "4"}', "r='4'"),
        ('{"peft_type": "LORA", "r": 4.0}', r"r=4\.0"),
        ('{"peft_type": "LORA", "lora_alpha": NaN}', "lora_alpha=nan"),
        ('{"peft_type": "LORA", "gptbook": true}', "gptbook=True"),
        ('{"peft_type": "LORA", "layers_to_transform": 0}', "layers_to_transform"),
        ('{"peft_type": "LORA", "target_modules": []}', "unknown tensor"),
        ('{"peft_type": "LORA", "target_modules": "("}', "unterminated subpattern"),
        ('{"peft_type": "LORA", "use_dora": true, "use_rslora": true}', "use_dora and use_rslora"),
    ],
)
def test_spoiled_configs_are_refused_by_name(folder, tmp_path, text, message):
    save_adapters(adapted(folder, "lora").float(), tmp_path)
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(ValueError, match=rf"adapter_(config|model).*{message}"):
        load_adapters(load_gpt2(folder), tmp_path)


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
