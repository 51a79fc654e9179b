"""Who may import whom in gptbook, how long modules may be, and that public names are documented."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "chapters" / "gptbook"
MODULES = sorted(PACKAGE.rglob("*.py"))

# What each module may import of gptbook. A module that is not listed fails: give it its place.
ALLOWED = {
    "device": [],
    "files": [],
    "bpe": [],
    "tokenizer": ["bpe", "files"],
    "lexicon": ["files"],
    "stories": ["lexicon"],
    "lessons": ["lexicon"],
    "pick": [],
    "tasks": ["lexicon", "pick"],
    "world": ["lexicon", "stories", "lessons", "tasks"],
    "entries": ["lexicon", "tasks", "world"],
    "scoring": [],
    "attention": [],
    "plots": [],
    "data": ["tokenizer"],
    "model": ["attention"],
    "generate": ["model", "data", "device", "attention"],
    "download": ["files"],
    "gpt2": ["model", "files", "download"],
    "checkpoints": ["device", "files"],
    "training": ["model", "data", "device", "files", "checkpoints"],
    "instructions": ["generate", "scoring"],
    "adapter": [],
    "lora": ["adapter"],
    "dora": ["lora"],
    "mora": ["adapter"],
    "peft_config": ["gpt2"],
    "adapters": ["adapter", "lora", "dora", "mora", "files", "peft_config"],
}
TOP = ("exercises", "experiments", "extras")  # may import anything below, and their own package


def imported(tree):
    """The modules of gptbook that a syntax tree imports, wherever in it; '' is the package."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide who imports whom"
            names = [node.module]
            if node.module == "gptbook":
                names = [f"gptbook.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] == "gptbook":
                yield name.removeprefix("gptbook").removeprefix(".").split(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top, *rest = path.relative_to(PACKAGE).with_suffix("").parts
    if rest:
        assert top in TOP
        allowed = {*ALLOWED, top}
    elif top == "__init__":
        allowed = set()
    else:
        allowed = set(ALLOWED[top])
    assert set(imported(tree)) <= allowed


def test_the_table_has_no_circle():
    order = list(ALLOWED)
    below = {name: set(names) for name, names in ALLOWED.items()}
    while below:
        free = [name for name, names in below.items() if not names]
        assert free, f"a circle among {order}"
        for name in free:
            del below[name]
        for names in below.values():
            names.difference_update(free)


def test_the_reader_of_imports_sees_every_form():
    code = (
        "import gptbook.data\nfrom gptbook import model\ndef f():\n    from gptbook.lora import X"
    )
    assert set(imported(ast.parse(code))) == {"data", "model", "lora"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_fit_on_a_few_screens_and_say_what_they_do(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 250
    tree = ast.parse(text)
    if path.name == "__init__.py" and path.parent == PACKAGE:
        assert [type(node) for node in tree.body] == [ast.Assign]  # the version, nothing else
        return
    assert ast.get_docstring(tree)
    if path.parent.name == "exercises" and path.name != "__init__.py":
        return  # a check is documented by its exercise
    for node in tree.body:
        public = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
        assert not public or ast.get_docstring(node), f"{node.name} has no docstring"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_device_is_named_outside_device_py(path):
    if path.name == "device.py":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not re.match(r"(cuda|mps)\b|float64$", node.value)
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("cuda", "mps", "float64", "double")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_runs_code_from_a_file(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert dangerous(tree) == set()


def dangerous(tree):
    """What in a syntax tree could run code from a file: names, imports, and torch.load."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load":
            found.add("torch.load")
    banned = {"pickle", "marshal", "shelve", "dill", "joblib", "exec", "eval", "torch.load"}
    return found & banned


@pytest.mark.parametrize(
    "code",
    [
        "from pickle import load",
        "import marshal as m",
        "eval(open(p).read())",
        "torch.load(p, weights_only=False)",
        "def f():\n    exec(text)",
    ],
)
def test_dangerous_code_is_seen(code):
    assert dangerous(ast.parse(code))
