"""Chapter 7's small versions against the package and transformers."""

import random
import re

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from gptbook.data import IGNORE_INDEX
from gptbook.gpt2 import load_gpt2, save_gpt2
from gptbook.model import GPT, GPTConfig
from gptbook.scoring import exact_matches
from gptbook.tokenizer import load_tokenizer
from gptbook.training import next_token_loss
from gptbook.world import ATTRIBUTES, World
from tests.chapters.notebook import taught

CONFIG = GPTConfig(97, context_length=24, embed_dim=32, num_layers=3, num_heads=4)


@pytest.fixture
def chapter():
    return taught(
        "07", "CHILDREN", "tiny_story", "device", "tokenizer", "eos", "knows", "knows_at_once",
        "NAMES", "SPOTS", "candidates", "most_common", "loss_behind", "look", "OURS", "our_state",
    )  # fmt: skip


@pytest.fixture
def model(chapter):
    torch.manual_seed(0)
    model = GPT(CONFIG).double().to(chapter.device)
    for parameter in model.parameters():
        parameter.data.mul_(4).add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def test_a_tiny_story_ends_with_its_last_holder(chapter):
    rng, seen = random.Random(1), set()
    for _ in range(100):
        prompt, end = chapter.tiny_story(rng)
        finder, *givers = re.findall(r"(\w+) (?:found|gave)", prompt)
        takers = re.findall(r"to (\w+)\.", prompt)
        assert givers == [finder, *takers[:-1]]  # only who has it gives it
        assert end == f"{takers[-1]}."
        seen.add(end)
    assert len(seen) == len(chapter.CHILDREN)


def test_both_ways_to_ask_agree_with_the_package(chapter):
    model, tokenizer, world = load_gpt2("book").double().eval(), load_tokenizer("book"), World()
    model.to(chapter.device)
    documents = world.documents(60, "validation")
    pairs = [p for d in documents if d.kind in ("things", "numbers") for p in d.probes][:12]
    pairs += [world.completions(person, ATTRIBUTES[0])[0] for person in world.people[:4]]
    wanted = exact_matches(model, tokenizer, pairs)
    assert len(set(wanted)) == 2
    assert [chapter.knows(model, *pair)[0] for pair in pairs] == wanted
    assert [chapter.knows_at_once(model, *pair) for pair in pairs] == wanted


def test_the_truth_is_among_the_candidates(chapter):
    documents = World().documents(150, "validation")
    pairs = [p for d in documents if d.kind == "things" for p in d.probes]
    assert all(end.removesuffix(".") in chapter.candidates(prompt, end) for prompt, end in pairs)
    people = [p for p in pairs if p[1].removesuffix(".") in chapter.NAMES]
    assert {len(chapter.candidates(*pair)) for pair in people} == {2, 3}  # the cast of a story
    assert chapter.most_common(["a", "b", "a", "c"]) == 0.5


def test_the_loss_behind_other_text_is_that_of_the_package(chapter, model):
    torch.manual_seed(1)
    before, document = torch.randint(97, (7,)).tolist(), torch.randint(97, (9,)).tolist()
    row = torch.tensor([before + document], device=chapter.device)
    targets = row[:, 1:].clone()
    targets[:, :7] = IGNORE_INDEX  # what lies before, and the document's first token
    with torch.no_grad():
        wanted = next_token_loss(model(row[:, :-1]), targets).item()
    assert chapter.loss_behind(model, document, before) == pytest.approx(wanted, rel=1e-12)
    assert chapter.loss_behind(model, document) != pytest.approx(wanted, rel=1e-3)


def test_look_computes_what_the_model_does(chapter, model):
    torch.manual_seed(2)
    ids = torch.randint(97, (2, 24), device=chapter.device)
    causal = torch.ones(24, 24, dtype=torch.bool, device=chapter.device).tril()
    logits, seen = chapter.look(model, ids, causal)
    with torch.no_grad():
        torch.testing.assert_close(logits, model(ids))
    assert len(seen) == CONFIG.num_layers
    weights, _ = seen[0]
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones_like(weights[..., 0]))


def test_look_obeys_another_mask(chapter, model, monkeypatch):
    torch.manual_seed(3)
    ids = torch.randint(97, (2, 24), device=chapter.device)
    query, key = torch.arange(24)[:, None], torch.arange(24)
    mask = ((key <= query) & ((query - key < 5) | (key < 2))).to(chapter.device)

    def masked(q, k, v, dropout=0.0):
        return F.scaled_dot_product_attention(q, k, v, mask)

    monkeypatch.setattr("gptbook.attention.causal_attention", masked)
    with torch.no_grad():
        wanted = model(ids)
    torch.testing.assert_close(chapter.look(model, ids, mask)[0], wanted)


def test_our_state_reads_what_transformers_writes(chapter, tmp_path):
    torch.manual_seed(4)
    sizes = {"n_positions": 24, "n_embd": 32, "n_layer": 3, "n_head": 4}
    no_dropout = {f"{where}_pdrop": 0.0 for where in ("resid", "embd", "attn")}
    theirs = GPT2LMHeadModel(GPT2Config(vocab_size=97, **sizes, **no_dropout))
    for parameter in theirs.parameters():
        parameter.data.mul_(4).add_(0.1 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path)
    ours = GPT(CONFIG)
    ours.load_state_dict(chapter.our_state(load_file(tmp_path / "model.safetensors")))
    ids = torch.randint(97, (2, 24))
    ours, theirs = ours.double(), theirs.double()
    one, two = ours(ids), theirs(ids).logits
    torch.testing.assert_close(one, two)
    one.square().mean().backward()
    two.square().mean().backward()
    gradient = theirs.transformer.h[2].attn.c_attn.weight.grad.T
    torch.testing.assert_close(ours.blocks[2].attention.qkv.weight.grad, gradient)
    torch.testing.assert_close(ours.token_embedding.weight.grad, theirs.transformer.wte.weight.grad)


def test_our_state_reads_what_the_package_writes(chapter, model, tmp_path):
    model = model.float().cpu()
    save_gpt2(model, tmp_path)
    state = chapter.our_state(load_file(tmp_path / "model.safetensors"))
    assert state.keys() == model.state_dict().keys()
    again = load_gpt2(tmp_path).state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(state[name], tensor)
        assert torch.equal(again[name], tensor)
