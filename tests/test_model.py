"""The GPT against transformers: logits, loss, gradients; and what a causal model must not see."""

import pytest
import torch

from gptbook.attention import CausalSelfAttention, KVCache
from gptbook.model import GPT, GPTConfig
from gptbook.training import next_token_loss
from tests.helpers import CONFIG, assert_same_gradients


def test_logits_loss_and_gradients_equal_transformers(pair):
    model, reference = pair
    ids = torch.randint(97, (5, 24), generator=torch.Generator().manual_seed(1))
    logits, theirs = model(ids), reference(ids, labels=ids)
    torch.testing.assert_close(logits, theirs.logits, rtol=1e-10, atol=1e-10)
    assert logits.abs().max() > 5  # the weights are large enough to tell

    loss = next_token_loss(logits[:, :-1], ids[:, 1:])
    # transformers rounds logits to float32 before its loss; the same formula in float64 beside it.
    torch.testing.assert_close(loss.float(), theirs.loss, rtol=1e-6, atol=0)
    exact = torch.nn.functional.cross_entropy(theirs.logits[:, :-1].transpose(1, 2), ids[:, 1:])
    torch.testing.assert_close(loss, exact, rtol=1e-10, atol=1e-10)
    loss.backward()
    exact.backward()
    assert_same_gradients(model, reference, rtol=1e-9)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda m: setattr(m.final_norm, "eps", 1e-6),
        lambda m: setattr(m.blocks[1].norm1, "eps", 1e-6),
        lambda m: m.position_embedding.weight.data.copy_(
            m.position_embedding.weight.data.roll(1, 0)
        ),
        lambda m: setattr(m.blocks[0].attention, "num_heads", 2),
    ],
)
def test_the_comparison_would_see_a_wrong_detail(pair, break_it):
    model, reference = pair
    break_it(model)
    ids = torch.randint(97, (2, 24), generator=torch.Generator().manual_seed(1))
    assert (model(ids) - reference(ids).logits).abs().max() > 1e-8


def test_the_comparison_would_see_the_exact_gelu(pair, monkeypatch):
    model, reference = pair
    gelu = torch.nn.functional.gelu
    monkeypatch.setattr("gptbook.model.F.gelu", lambda x, approximate: gelu(x))
    ids = torch.randint(97, (2, 24), generator=torch.Generator().manual_seed(1))
    assert (model(ids) - reference(ids).logits).abs().max() > 1e-4


def test_changing_a_token_changes_no_logit_before_it(pair):
    model, _ = pair
    ids = torch.randint(97, (1, 24), generator=torch.Generator().manual_seed(2))
    before = model(ids)
    for t in range(24):
        poked = ids.clone()
        poked[0, t] = (poked[0, t] + 1) % 97
        after = model(poked)
        torch.testing.assert_close(after[:, :t], before[:, :t], rtol=0, atol=1e-12)
        assert (
            (after - before)[0, t:].abs().amax(dim=-1) > 1e-6
        ).all()  # and all later ones see it


def test_with_a_cache_too_changing_a_token_changes_no_logit_before_it(pair):
    model, _ = pair
    ids = torch.randint(97, (1, 24), generator=torch.Generator().manual_seed(2))

    def run(ids):
        caches = [KVCache(24) for _ in model.blocks]
        return torch.cat([model(part, caches) for part in ids.split([7, 1, 1, 10, 5], 1)], dim=1)

    before = run(ids)
    for t in range(24):
        poked = ids.clone()
        poked[0, t] = (poked[0, t] + 1) % 97
        changed = (run(poked) - before)[0].abs().amax(dim=-1)
        assert (changed[:t] < 1e-12).all()
        assert (changed[t:] > 1e-6).all()


@pytest.mark.parametrize("pieces", [[24], [1] * 24, [7, 1, 1, 10, 5], [1, 23]])
def test_the_cache_changes_nothing(pair, pieces):
    model, _ = pair
    ids = torch.randint(97, (3, 24), generator=torch.Generator().manual_seed(3))
    caches = [KVCache(24) for _ in model.blocks]
    logits = torch.cat([model(part, caches) for part in ids.split(pieces, dim=1)], dim=1)
    torch.testing.assert_close(logits, model(ids), rtol=1e-10, atol=1e-10)


def test_gpt2_small_has_its_published_size():
    with torch.device("meta"):
        model = GPT(GPTConfig())
    assert sum(p.numel() for p in model.parameters()) == 124_439_808


def test_initialisation():
    torch.manual_seed(0)
    model = GPT(
        GPTConfig(vocab_size=500, context_length=64, embed_dim=128, num_layers=8, num_heads=4)
    )
    assert model.head.weight is model.token_embedding.weight
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all()
        elif "norm" in name:
            assert (parameter == 1).all()
        else:
            scaled = name.endswith(("attention.out.weight", "feed_forward.down.weight"))
            assert parameter.std().item() == pytest.approx(0.02 / (4 if scaled else 1), rel=0.05)


def test_dropout_works_in_training_only():
    torch.manual_seed(0)
    model = GPT(GPTConfig(50, 8, 16, 1, 2, dropout=0.5))
    ids = torch.arange(8)[None]
    assert not torch.equal(model(ids), model(ids))
    model.eval()
    assert torch.equal(model(ids), model(ids))


def test_without_qkv_bias():
    model = GPT(GPTConfig(50, 8, 16, 1, 2, qkv_bias=False))
    assert model.blocks[0].attention.qkv.bias is None
    assert model(torch.arange(8)[None]).shape == (1, 8, 50)


def test_bad_shapes_are_refused():
    with pytest.raises(ValueError, match="embed_dim=10 is not divisible by num_heads=3"):
        CausalSelfAttention(10, 3)
    with pytest.raises(ValueError, match="embed_dim=10 is not divisible by num_heads=0"):
        CausalSelfAttention(10, 0)
    with pytest.raises(ValueError, match="25 tokens are more than context_length=24"):
        GPT(CONFIG)(torch.zeros(1, 25, dtype=torch.long))


def test_ids_of_another_shape_and_too_few_caches_are_refused(pair):
    model, _ = pair
    ids = torch.zeros(1, 2, dtype=torch.long)
    for caches in ([KVCache(24)], []):
        with pytest.raises(IndexError):
            model(ids, caches)
    with pytest.raises(ValueError, match=r"must have the shape \(B, T\), not \(2,\)"):
        model(ids[0])


def test_a_refused_append_leaves_the_cache_as_it_was():
    cache = KVCache(3)
    k = torch.zeros(1, 1, 2, 4)
    cache.append(k, k)
    with pytest.raises(ValueError, match="4 tokens do not fit into a cache for 3"):
        cache.append(k, k)
    assert cache.append(k[:, :, :1], k[:, :, :1])[0].shape[2] == 3
