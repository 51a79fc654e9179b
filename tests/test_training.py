"""The training loop: the loss, the schedule, which weights decay, and that runs repeat."""

import json
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from gptbook.checkpoints import read_notes
from gptbook.data import make_loader
from gptbook.device import bf16_works, pick_device, seed_everything
from gptbook.generate import generate
from gptbook.model import GPT, GPTConfig
from gptbook.training import (
    TrainConfig,
    evaluate,
    learning_rate,
    make_optimizer,
    next_token_loss,
    train,
)
from tests.helpers import assert_same_weights

CONFIG = GPTConfig(vocab_size=60, context_length=16, embed_dim=32, num_layers=2, num_heads=2)
CONFIG_150 = TrainConfig(150, lr=1e-2, warmup=10)


def new_model(seed=0, **changes):
    seed_everything(seed)
    return GPT(replace(CONFIG, **changes))


@pytest.fixture
def ids():
    """A text with a rule: each token follows from the two before it."""
    row = [1, 2]
    while len(row) < 3000:
        row.append((3 * row[-1] + row[-2] + 1) % 59)
    return torch.tensor(row)


def test_the_loss_is_the_mean_over_targets_that_count():
    torch.manual_seed(0)
    logits, targets = torch.randn(3, 5, 60), torch.randint(60, (3, 5))
    targets[0, :4] = -100
    rows = logits.log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    wanted = -rows[targets != -100].mean()
    torch.testing.assert_close(next_token_loss(logits, targets), wanted)


def test_the_schedule():
    rates = [learning_rate(step, 200, 1.0, warmup=20) for step in range(200)]
    assert rates[0] == pytest.approx(1 / 20)
    assert rates[19] == rates[20] == max(rates) == 1.0
    assert rates[-1] == pytest.approx(0.1)
    assert rates[:20] == sorted(rates[:20])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert learning_rate(0, 1, 1.0, warmup=0) == pytest.approx(1.0)


def test_only_matrices_decay():
    model = new_model()
    model.head.weight.requires_grad_(True)
    decayed, plain = (
        set(map(id, group["params"])) for group in make_optimizer(model, 1.0).param_groups
    )
    for name, parameter in model.named_parameters():
        assert (id(parameter) in decayed) == (parameter.dim() == 2), name
        assert (id(parameter) in plain) == (parameter.dim() == 1), name
    model.requires_grad_(False)
    model.blocks[0].attention.out.requires_grad_(True)
    groups = make_optimizer(model, 1.0, weight_decay=0.3).param_groups
    assert [len(group["params"]) for group in groups] == [1, 1]
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0]


def test_a_rule_is_learned(ids):
    model = new_model()
    losses = train(model, make_loader(ids, 16, 8, shuffle=True), CONFIG_150)
    assert len(losses) == 150
    assert losses[0] == pytest.approx(torch.tensor(60.0).log().item(), abs=0.2)
    assert evaluate(model, make_loader(ids, 16, 8)) < 0.5
    new = generate(model, ids[None, :4], 12)
    assert torch.equal(new[0], ids[:16])


def test_the_same_seed_gives_the_same_losses(ids):
    def run(seed):
        return train(
            new_model(seed), make_loader(ids, 16, 8, shuffle=True, seed=seed), TrainConfig(8)
        )

    assert run(0) == run(0)
    assert run(0) != run(1)


def test_a_step_equals_the_plain_recipe(ids):
    model, other = new_model(), new_model()
    loader = make_loader(ids, 16, 8)
    config = TrainConfig(3, lr=1e-2, warmup=2, weight_decay=0.2, max_norm=0.05)
    losses = train(model, loader, config)
    decayed = [p for p in other.parameters() if p.dim() == 2]
    plain = [p for p in other.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.2}, {"params": plain, "weight_decay": 0.0}],
        betas=(0.9, 0.95),
    )
    for step, (inputs, targets) in zip(range(3), loader, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = [5e-3, 1e-2, 1e-2][step]
        loss = cross_entropy(other(inputs).flatten(0, 1), targets.flatten())
        assert loss.item() == pytest.approx(losses[step], rel=1e-5)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.cat([p.grad.flatten() for p in other.parameters()]).norm()
        for p in other.parameters():
            p.grad *= min(1.0, 0.05 / (norm.item() + 1e-6))
        optimizer.step()
    assert_same_weights(model, other, rtol=1.3e-6, atol=1e-5, keys=2 * 3 * 1e-2)


@pytest.mark.parametrize("transposed", [False, True])
def test_the_fused_optimizer_computes_what_the_plain_one_does(ids, transposed):
    model, other = (new_model().double() for _ in range(2))
    if transposed:  # GPT-2's files hold these matrices the other way round
        for block in model.blocks:
            weight = block.feed_forward.up.weight
            weight.data = weight.data.T.contiguous().T
    ours = make_optimizer(model, lr=1e-2, weight_decay=0.3)
    assert ours.defaults["fused"]
    groups = make_optimizer(other, lr=1e-2, weight_decay=0.3).param_groups
    groups = [{key: group[key] for key in ("params", "weight_decay")} for group in groups]
    plain = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95), fused=False, foreach=False)
    loader = make_loader(ids, 16, 4)
    for _, (x, y) in zip(range(20), loader, strict=False):
        for m, optimizer in ((model, ours), (other, plain)):
            optimizer.zero_grad()
            next_token_loss(m(x), y).backward()
            optimizer.step()
    assert_same_weights(model, other, rtol=1e-9, atol=1e-9, keys=1e-7)


def holes(ids, seed=0):
    """Batches of four rows, in which ever more targets do not count, in some of them none."""
    torch.manual_seed(seed)
    batches = []
    for number, (x, y) in enumerate(make_loader(ids, 16, 4)):
        y = y.masked_fill(torch.rand(y.shape) < number % 4 / 3, -100)
        batches.append((x, y))
    assert len({(y != -100).sum().item() for _, y in batches[:4]}) == 4
    assert (batches[3][1] == -100).all()
    return batches[:20]


@pytest.mark.parametrize("accumulate", [2, 4, 5])
def test_accumulated_batches_count_as_one(ids, accumulate):
    small = holes(ids)
    large = [
        tuple(map(torch.cat, zip(*small[i : i + accumulate], strict=True)))
        for i in range(0, len(small), accumulate)
    ]
    model, other = (new_model().double() for _ in range(2))
    options = {"steps": len(large), "lr": 1e-2, "max_norm": 0.2}
    losses = train(model, small, TrainConfig(accumulate=accumulate, **options))
    assert losses == pytest.approx(train(other, large, TrainConfig(**options)), rel=1e-9)
    assert_same_weights(model, other, rtol=1e-7, atol=1e-7, keys=1e-6)


def test_a_step_without_a_target_is_refused(ids):
    nothing = [(x, torch.full_like(y, -100)) for x, y in holes(ids)[:2]]
    model, before = new_model(), new_model()
    with pytest.raises(ValueError, match="no target counts in this step"):
        train(model, nothing, TrainConfig(2, accumulate=2))
    assert_same_weights(model, before, rtol=0, atol=0, keys=0)
    some = [holes(ids)[0], nothing[0]]
    assert train(new_model(), some, TrainConfig(1, accumulate=2))[0] > 1  # one of two is enough


def test_the_loss_function_is_an_argument(ids):
    def seen(logits, targets):
        shapes.append((tuple(logits.shape), tuple(targets.shape)))
        return 3 * next_token_loss(logits, targets)

    shapes, loader = [], make_loader(ids, 16, 4)
    config = TrainConfig(2, lr=1e-9, accumulate=3)
    losses = train(new_model(), loader, config, loss_fn=seen)
    assert shapes == [((4, 16, 60), (4, 16))] * 6
    wanted = train(new_model(), loader, config)
    assert losses == pytest.approx([3 * loss for loss in wanted], rel=1e-5)


def test_mixed_precision(ids):
    seen = []

    def loss_fn(logits, targets):
        seen.append(logits.dtype)
        return next_token_loss(logits, targets)

    loader = make_loader(ids, 16, 8, shuffle=True)
    run = partial(train, loader=loader, loss_fn=loss_fn)
    model = new_model()
    inside = []
    model.blocks[0].feed_forward.up.register_forward_hook(lambda *a: inside.append(a[2].dtype))
    losses = run(model, config=replace(CONFIG_150, mixed=True))
    assert set(seen) == {torch.float32}
    assert set(inside) == {torch.bfloat16 if bf16_works("cpu") else torch.float32}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert evaluate(model, loader) < 0.5
    assert losses[0] == pytest.approx(run(new_model(), config=CONFIG_150)[0], abs=0.02)
    assert set(inside) == {inside[0], torch.float32}  # evaluation, outside of the training


def test_after_step_sees_every_step_and_changes_nothing(ids):
    seen = []

    def nosy(done):
        seen.append((done, model.training, evaluate(model, make_loader(ids[:100], 16, 2))))
        torch.rand(7)
        model.eval()
        next_token_loss(model(ids[None, :8]), ids[None, 1:9]).backward()

    def run(**options):
        loader = make_loader(ids, 16, 8, shuffle=True)
        return train(model, loader, TrainConfig(6, lr=1e-2), **options)

    model = new_model(dropout=0.3)
    wanted, weights = run(), model.state_dict()
    model = new_model(dropout=0.3)
    assert run(after_step=nosy) == wanted
    assert [s[:2] for s in seen] == [(done, True) for done in range(1, 7)]
    assert len({s[2] for s in seen}) == 6
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_evaluate_weighs_every_token_alike(ids):
    model = new_model()
    model.head.weight.data *= 30
    batches = list(make_loader(ids, 16, 8))
    batches[-1] = (batches[-1][0][:1], batches[-1][1][:1].clone())
    batches[-1][1][0, :10] = -100
    total = sum(
        cross_entropy(
            model(x).flatten(0, 1), y.flatten(), ignore_index=-100, reduction="sum"
        ).item()
        for x, y in batches
    )
    wanted = total / sum((y != -100).sum().item() for _, y in batches)
    assert evaluate(model, batches) == pytest.approx(wanted, rel=1e-5)
    assert model.training


def test_the_loader_starts_over(ids):
    loader = make_loader(ids[:40], 16, 2)
    assert len(loader) == 1
    assert len(train(new_model(), loader, TrainConfig(5))) == 5


@pytest.mark.parametrize("loader", [[], iter([]), ((torch.zeros(1, 1), 0) for _ in ())])
def test_a_loader_without_batches_is_refused(loader):
    with pytest.raises(ValueError, match="gave no batch"):
        train(new_model(), loader, TrainConfig(1))


def test_a_loader_that_is_used_up_is_refused(ids):
    with pytest.raises(ValueError, match="gave no batch"):
        train(new_model(), iter(make_loader(ids[:100], 16, 2)), TrainConfig(50))


def test_a_batch_in_which_nothing_counts_costs_nothing(ids):
    model = new_model()
    x, y = next(iter(make_loader(ids, 16, 2)))
    nothing = torch.full_like(y, -100)
    assert next_token_loss(model(x), nothing).item() == 0
    assert evaluate(model, [(x, y), (x, nothing)]) == evaluate(model, [(x, y)])
    with pytest.raises(ValueError, match="no target that counts"):
        evaluate(model, [(x, nothing)])


@pytest.mark.parametrize(
    "options", [{"warmup": 5}, {"warmup": -1}, {"max_norm": 0}, {"max_norm": -1}]
)
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match="0 <= warmup < steps and max_norm > 0"):
        TrainConfig(5, **options)


def test_the_schedule_stays_at_its_end():
    rates = [learning_rate(step, 10, peak=1.0, warmup=2) for step in (9, 10, 11, 25)]
    assert rates == pytest.approx([0.1] * 4)


def test_numbers_of_numpy_are_pythons_in_a_config():
    config = TrainConfig(np.int64(5), lr=np.float32(0.5), warmup=np.int32(1), accumulate=2)
    assert config == TrainConfig(5, lr=0.5, warmup=1, accumulate=2)
    json.dumps(asdict(config))


class Exploding(torch.nn.Module):
    """A GPT whose logits are NaN, or whose gradient is, from its third forward pass on."""

    def __init__(self, backward):
        super().__init__()
        self.inner, self.backward, self.calls = new_model(), backward, 0

    def forward(self, ids):
        self.calls += 1
        y = self.inner(ids)
        if self.calls < 3:
            return y
        # The root of 0 is 0, and its slope infinite; times 0 it is NaN.
        return y + 0 * (y - y.detach()).clamp(min=0).sqrt() if self.backward else y * torch.nan


@pytest.mark.parametrize("backward", [False, True])
def test_nan_stops_before_the_weights_change_and_leaves_the_checkpoint(ids, tmp_path, backward):
    loader, path = make_loader(ids, 16, 4), tmp_path / "run.safetensors"
    seen = {}

    def keep(done):
        seen[done] = {name: w.clone() for name, w in model.state_dict().items()}

    model = Exploding(backward)
    with pytest.raises(FloatingPointError, match="step 3: the loss is"):
        train(model, loader, TrainConfig(6, save_every=2), checkpoint=path, after_step=keep)
    assert list(seen) == [1, 2]
    assert all(torch.equal(w, seen[2][name]) for name, w in model.state_dict().items())
    assert read_notes(path)[0] == 2
    assert all(w.isfinite().all() for w in load_file(path).values() if w.is_floating_point())


def test_evaluation_gives_each_part_its_own_mode_back(ids):
    model = new_model(dropout=0.5)
    model.blocks[0].eval()
    evaluate(model, make_loader(ids, 16, 8))
    modes = [model.training, model.blocks[0].training, model.blocks[1].feed_forward.training]
    assert modes == [True, False, True]


@pytest.mark.parametrize("options", [{"accumulate": 0}, {"save_every": 0}])
def test_options_below_one_are_refused(options):
    with pytest.raises(ValueError, match="need accumulate >= 1 and save_every >= 1; got"):
        TrainConfig(5, **options)


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 3, 60\) and targets \(3, 2\) differ"):
        next_token_loss(torch.zeros(2, 3, 60), torch.zeros(3, 2, dtype=torch.long))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_training_on_cuda(ids):
    model = new_model().to(pick_device("cuda"))
    losses = train(model, make_loader(ids, 16, 8, shuffle=True), CONFIG_150)
    assert losses[-1] < 0.5
    assert (
        generate(model, ids[None, :4].to(pick_device("cuda")), 12)[0].tolist() == ids[:16].tolist()
    )


def test_the_warm_up_follows_the_steps_of_a_changed_config():
    assert replace(TrainConfig(300), steps=3000).warmup_steps == 300
    assert replace(TrainConfig(300), steps=20).warmup_steps == 2
    assert TrainConfig(300, warmup=7).warmup_steps == 7


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.int16])
def test_ids_of_other_types_are_converted(ids, dtype):
    wanted = train(new_model(), make_loader(ids, 16, 4), TrainConfig(3))
    assert train(new_model(), make_loader(ids.to(dtype), 16, 4), TrainConfig(3)) == wanted
    model = new_model()
    same = evaluate(model, make_loader(ids, 16, 4))
    assert evaluate(model, make_loader(ids.to(dtype), 16, 4)) == same


def test_ids_of_a_file_mapped_as_uint16_are_converted(ids, tmp_path):
    path = tmp_path / "ids.bin"
    ids.numpy().astype(np.uint16).tofile(path)
    loader = make_loader(np.memmap(path, dtype=np.uint16, mode="r+"), 16, 4)
    wanted = train(new_model(), make_loader(ids, 16, 4), TrainConfig(3))
    assert train(new_model(), loader, TrainConfig(3)) == wanted


@pytest.mark.parametrize("which", ["inputs", "targets"])
@pytest.mark.parametrize("id", [60, -1])
def test_ids_beyond_the_vocabulary_are_named(ids, which, id):
    inputs, targets = (part.clone() for part in next(iter(make_loader(ids, 16, 4))))
    (inputs if which == "inputs" else targets)[1, 3] = id
    for use in (evaluate, lambda *a: train(*a, TrainConfig(1))):
        with pytest.raises(ValueError, match=f"the {which} hold ids .*from 0 to 59: were they"):
            use(new_model(), [(inputs, targets)])
