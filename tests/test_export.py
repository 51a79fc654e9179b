"""The model leaves PyTorch's eager mode: exported, traced, compiled, and as ONNX elsewhere."""

import warnings

import numpy as np
import onnxruntime
import pytest
import torch

from gptbook.adapters import adapter_parameters, add_adapters
from gptbook.generate import generate
from gptbook.model import GPT, GPTConfig
from gptbook.training import next_token_loss
from tests.adapters.helpers import KINDS

CONFIG = GPTConfig(vocab_size=97, context_length=32, embed_dim=48, num_layers=2, num_heads=4)
LENGTHS = (3, 8, 21, 32)
TARGETS = ("attention.*", "feed_forward.*")
LENGTH = torch.export.Dim("length", min=2, max=32)


def new_model():
    """A GPT with weights so large that a mask that is missing shows."""
    torch.manual_seed(0)
    model = GPT(CONFIG).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def ids_of(length):
    return torch.randint(97, (2, length), generator=torch.Generator().manual_seed(length))


def test_an_exported_model_takes_any_length():
    model = new_model()
    exported = torch.export.export(model, (ids_of(8),), dynamic_shapes={"ids": {1: LENGTH}})
    for length in LENGTHS:
        ids = ids_of(length)
        torch.testing.assert_close(exported.module()(ids), model(ids), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_a_traced_model_takes_any_length():
    model = new_model()
    traced = torch.jit.trace(model, (ids_of(8),))
    for length in LENGTHS:
        torch.testing.assert_close(traced(ids_of(length)), model(ids_of(length)))


@pytest.mark.parametrize("dynamo", [True, False])
def test_onnx_gives_the_same_logits_in_another_runtime(tmp_path, dynamo):
    model, path = new_model(), tmp_path / "gpt.onnx"
    if dynamo:
        shapes = {"dynamic_shapes": {"ids": {1: LENGTH}}}
    else:
        shapes = {"dynamic_axes": {"ids": {1: "length"}, "logits": {1: "length"}}}
    names = {"input_names": ["ids"], "output_names": ["logits"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters, about themselves
        torch.onnx.export(model, (ids_of(8),), path, dynamo=dynamo, **names, **shapes)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for length in LENGTHS:
        [logits] = session.run(None, {"ids": ids_of(length).numpy()})
        np.testing.assert_allclose(logits, model(ids_of(length)).detach(), rtol=1e-4, atol=1e-4)


@pytest.fixture
def compiled():
    """Compile without a break anywhere, and forget it afterwards."""
    torch._dynamo.reset()
    yield lambda model: torch.compile(model, fullgraph=True, backend="aot_eager")
    torch._dynamo.reset()


def loss_and_gradients(model, called, length):
    ids = ids_of(length)
    model.zero_grad()
    loss = next_token_loss(called(ids)[:, :-1], ids[:, 1:])
    loss.backward()
    return [loss, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("kind", [None, *KINDS])
@pytest.mark.parametrize("training", [False, True])
def test_a_model_compiles_as_one_graph_at_several_lengths(compiled, kind, training):
    model = new_model()
    if kind is not None:
        layer, options = KINDS[kind]
        add_adapters(model, layer, TARGETS, **options)
        for parameter in adapter_parameters(model):
            parameter.data += 0.05 * torch.randn_like(parameter)
    fast = compiled(model.train(training))
    for length in LENGTHS[:3]:
        found = loss_and_gradients(model, fast, length)
        wanted = loss_and_gradients(model, model, length)
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_a_compiled_model_generates_the_same(compiled):
    model = new_model().double()
    prompts = [[1, 2, 3], [4]]
    for found, wanted in zip(
        generate(torch.compile(model, backend="aot_eager"), prompts, 12),
        generate(model, prompts, 12),
        strict=True,
    ):
        assert torch.equal(found, wanted)
