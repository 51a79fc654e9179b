"""Chapter 9's LoRA beside the package's: outputs, gradients, and where it is put into a model.

And the code in its text that needs peft.
"""

import math
import re

import nbformat
import pytest
import torch
from torch import nn

from gptbook.adapters import (
    LoRALinear,
    adapter_parameters,
    adapters_of,
    add_adapters,
    save_adapters,
)
from gptbook.gpt2 import load_gpt2
from gptbook.model import GPT, GPTConfig
from gptbook.tokenizer import load_tokenizer
from gptbook.training import TrainConfig, train
from gptbook.world import load_examples
from tests.chapters.notebook import TEXTS, taught

chapter = taught("09", "SmallLoRA", "put_lora")
CONFIG = GPTConfig(vocab_size=31, context_length=8, embed_dim=12, num_layers=2, num_heads=3)


def filled(layer):
    """The same random numbers in the matrices of an adapter, whatever its kind."""
    torch.manual_seed(1)
    for name in ("lora_A", "lora_B"):
        nn.init.normal_(layer.get_parameter(name))
    return layer


@pytest.mark.parametrize(("rank", "alpha"), [(1, 2), (3, 1), (5, 16)])
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients_are_the_packages(rank, alpha, bias):
    torch.manual_seed(0)
    base, x = nn.Linear(7, 5, bias=bias).double(), torch.randn(2, 4, 7, dtype=torch.float64)
    ours = filled(chapter.SmallLoRA(base, rank, alpha).double())
    theirs = filled(LoRALinear(base, rank, alpha).double())
    torch.testing.assert_close(ours(x), theirs(x))
    for layer in (ours, theirs):
        layer(x).square().sum().backward()
    for name in ("lora_A", "lora_B"):
        torch.testing.assert_close(ours.get_parameter(name).grad, theirs.get_parameter(name).grad)
    assert base.weight.grad is None


def test_it_begins_at_the_base_and_with_numbers_of_the_packages_size():
    base = nn.Linear(400, 50)
    ours, theirs = chapter.SmallLoRA(base, 8, 16), LoRALinear(base, 8, 16)
    x = torch.randn(3, 400)
    assert torch.equal(ours(x), base(x))
    for layer in (ours, theirs):  # both uniform between ± 1 / √in
        assert layer.lora_A.abs().max() <= 1 / math.sqrt(400)
        assert layer.lora_A.std().item() == pytest.approx(1 / math.sqrt(3 * 400), rel=0.05)


@pytest.mark.parametrize("ending", ["attention.qkv", "feed_forward.down", "blocks.1.attention.out"])
def test_it_is_put_where_the_package_puts_it(ending):
    models = []
    for put in (
        lambda model: chapter.put_lora(model, ending, rank=2, alpha=6),
        lambda model: add_adapters(model, LoRALinear, ending, rank=2, alpha=6),
    ):
        torch.manual_seed(0)
        models.append(GPT(CONFIG))
        put(models[-1])
        for layer in models[-1].modules():
            if hasattr(layer, "lora_B"):
                filled(layer)
    trained = [{n for n, p in m.named_parameters() if p.requires_grad} for m in models]
    assert trained[0] == trained[1]
    assert len(trained[1]) == len(adapter_parameters(models[1])) > 0
    ids = torch.randint(31, (2, 8))
    torch.testing.assert_close(models[0](ids), models[1](ids))


def snippets():
    """The pieces of code in the text that use peft, in order."""
    [path] = (TEXTS / "chapters").glob("09_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture
def in_chapters(monkeypatch):
    """The text's paths are seen from chapters/, where its notebook runs."""
    monkeypatch.chdir(TEXTS / "chapters")
    monkeypatch.setenv("GPTBOOK_DEVICE", "cpu")


def test_peft_opens_the_folder_as_the_text_says(in_chapters, tmp_path):
    [opened, _] = snippets()
    torch.manual_seed(0)
    ours = add_adapters(load_gpt2("book"), LoRALinear, ["attention.*"], rank=8, alpha=16).eval()
    for adapter in adapters_of(ours).values():
        nn.init.normal_(adapter.get_parameter("lora_B"))
    save_adapters(ours, tmp_path / "mine", base_name="gptbook/assets/base")
    namespace = {}
    exec(opened.replace('"mine"', repr(str(tmp_path / "mine"))), namespace)
    ids = torch.randint(1000, (2, 9))
    with torch.no_grad():
        logits = namespace["model"].eval()(ids).logits
        torch.testing.assert_close(logits, ours(ids), rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_training_with_peft_gives_the_loss_curve_that_the_text_says(in_chapters, tmp_path):
    [_, trained] = snippets()
    tokenizer = load_tokenizer("book")
    _, examples = load_examples(["training"], tokenizer)
    namespace = vars(taught("09", "ALL", "with_lora", "loader", "tokenizer", "device"))
    namespace |= {"nn": nn, "examples": examples, "save_adapters": save_adapters}
    namespace |= {"train": train, "TrainConfig": TrainConfig}
    exec(trained.replace('"start"', repr(str(tmp_path / "start"))), namespace)
    ours, theirs = namespace["curves"]
    assert len(ours) == len(theirs) == 20
    assert ours[-1] < 0.7 * ours[0]
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < 5e-5
