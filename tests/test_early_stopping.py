"""Training ends where the validation loss has its lowest value, broken off and resumed or not."""

import pytest
import torch

from gptbook.early_stopping import EarlyStopping
from gptbook.model import GPT, GPTConfig
from gptbook.training import TrainConfig, evaluate, train

CONFIG = GPTConfig(vocab_size=29, context_length=8, embed_dim=16, num_layers=1, num_heads=2)
RANDOM = torch.Generator().manual_seed(0)
TRAINING = [torch.randint(29, (2, 4, 8), generator=RANDOM) for _ in range(2)]
VALIDATION = [torch.randint(29, (2, 16, 8), generator=RANDOM)]
STEPS = TrainConfig(steps=60, lr=3e-2, save_every=4)  # learns a few rows by heart, and overfits


class Killed(Exception):
    pass


def run(folder, kill_at=None, every=4, patience=3, config=STEPS):
    torch.manual_seed(0)
    model = GPT(CONFIG)
    loaders = [[tuple(batch) for batch in part] for part in (TRAINING, VALIDATION)]
    stopping = EarlyStopping(model, loaders[1], folder / "best.safetensors", every, patience)

    def after_step(done):
        answer = stopping(done)
        if done == kill_at:
            raise Killed
        return answer

    losses = train(model, loaders[0], config, checkpoint=folder / "run", after_step=after_step)
    stopping.restore()
    return model, stopping, losses, loaders[1]


def test_the_best_weights_are_kept_and_no_more_steps_taken(tmp_path):
    model, stopping, losses, validation = run(tmp_path)
    step, loss = stopping.best
    assert loss == min(stopping.losses.values()) == stopping.losses[step]
    assert evaluate(model, validation) == loss
    assert len(losses) == step + 3 * 4 < STEPS.steps
    assert stopping.losses[len(losses)] > loss + 0.05  # it was worth stopping


@pytest.mark.parametrize("kill_at", [1, 4, 5, 8, 11, 12])
def test_a_run_broken_off_ends_as_if_it_had_not_been(tmp_path, kill_at):
    wanted, stopping, losses, _ = run(tmp_path / "whole")
    with pytest.raises(Killed):
        run(tmp_path / "broken", kill_at)
    model, again, resumed, _ = run(tmp_path / "broken")
    assert again.best == stopping.best
    assert resumed[: len(losses)] == losses
    assert len(resumed) <= len(losses) + 4 * (kill_at == 12)  # the answer was yes, and is lost
    assert again.losses[0] == stopping.losses[0]
    for ours, theirs in zip(model.parameters(), wanted.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_where_nothing_gets_better_the_weights_stay_those_of_before(tmp_path):
    torch.manual_seed(0)
    before = GPT(CONFIG)
    config = TrainConfig(steps=60, lr=3.0, save_every=4, max_norm=1e3)
    model, stopping, losses, _ = run(tmp_path, every=2, patience=2, config=config)
    assert (stopping.best[0], len(losses)) == (0, 4)
    for ours, theirs in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_frozen_parameters_are_not_kept(tmp_path):
    model = GPT(CONFIG)
    model.token_embedding.requires_grad_(False)
    stopping = EarlyStopping(model, [tuple(VALIDATION[0])], tmp_path / "best", 1)
    model.token_embedding.weight.data.zero_()
    model.final_norm.weight.data.zero_()
    stopping.restore()
    assert not model.token_embedding.weight.any()
    assert model.final_norm.weight.all()


def test_a_file_of_another_training_is_refused(tmp_path):
    run(tmp_path)
    model = GPT(CONFIG)
    model.token_embedding.requires_grad_(False)
    with pytest.raises(ValueError, match=r"best\.safetensors does not hold the best weights"):
        EarlyStopping(model, [tuple(VALIDATION[0])], tmp_path / "best.safetensors", 4)
    with pytest.raises(ValueError, match="at least 1"):
        EarlyStopping(model, [], tmp_path / "other", 0)
