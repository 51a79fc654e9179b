"""The structure of gptbook: who may import whom, how long modules may be, what is documented,
annotated and tested."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "chapters" / "gptbook"
TESTS = Path(__file__).resolve().parent
MODULES = sorted(PACKAGE.rglob("*.py"))


def dotted(path):
    """The name of a module below gptbook: adapters/lora.py is adapters.lora; "" is the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


NAMES = {dotted(path): path for path in MODULES}
every_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: dotted(path) or "gptbook")

# What each module imports of gptbook. A module that is not listed fails: give it its place. So
# does an import that is listed and not there.
IMPORTS = {
    "": "",
    # the ground
    "bf16": "",
    "device": "bf16",
    "modes": "",
    "files": "",
    "download": "files",
    "plots": "",
    "results": "files",
    # chapters 2 to 8
    "bpe": "",
    "tokenizer_files": "files",
    "tokenizer_formats": "bpe files tokenizer_files",
    "streams": "",
    "tokenizer": "bpe files streams tokenizer_files tokenizer_formats",
    "data": "tokenizer",
    "attention": "",
    "model": "attention",
    "layout": "",
    "generate": "attention layout model modes",
    "scoring": "modes tokenizer",
    "gpt2_format": "files model",
    "gpt2": "download files gpt2_format model modes tokenizer",
    "checkpoints": "device files modes",
    "training": "checkpoints data device modes",
    "entry_files": "",
    "instructions": "data entry_files generate model modes scoring tokenizer",
    "chats": "entry_files instructions tokenizer",
    "early_stopping": "checkpoints files modes training",
    "commands": "files",
    "pretrain": "commands data device early_stopping generate gpt2 model tokenizer training",
    "finetune": "adapters chats commands data device early_stopping entry_files gpt2 instructions"
    " model scoring tokenizer training",
    # the small world
    "world.farm": "",
    "world.lexicon": "files",
    "world.stories": "world.lexicon",
    "world.lessons": "world.lexicon",
    "world.draw": "",
    "world.tasks": "world.draw world.lexicon",
    "world.people": "world.draw world.lessons world.lexicon world.stories world.tasks",
    "world.entries": "files instructions tokenizer world.draw world.lexicon world.people"
    " world.tasks",
    "world": "world.draw world.entries world.lexicon world.people world.stories world.tasks",
    # chapters 9 to 11
    "adapters.base": "",
    "adapters.inject": "adapters.base",
    "adapters.lora": "adapters.base",
    "adapters.in_place": "",
    "adapters.dora": "adapters.base adapters.in_place adapters.lora",
    "adapters.mora": "adapters.base",
    "adapters.peft_format": "gpt2_format",
    "adapters.peft_files": "adapters.base adapters.dora adapters.inject adapters.lora"
    " adapters.mora adapters.peft_format files modes",
    "adapters": "adapters.base adapters.dora adapters.inject adapters.lora adapters.mora"
    " adapters.peft_files",
}
TOP = ("exercises", "experiments", "extras")  # may import anything below, and their own package


def imported(tree):
    """The modules of gptbook that a syntax tree imports, wherever in it."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide who imports whom"
            # from gptbook.world import people is an import of gptbook.world.people
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name.removeprefix("gptbook.") in NAMES for name in inner]
            names = [n for n, is_module in zip(inner, found, strict=True) if is_module]
            names += [node.module] * (not all(found))
        for name in names:
            if name.split(".")[0] == "gptbook":
                yield name.removeprefix("gptbook").removeprefix(".")


@every_module
def test_every_import_is_in_the_table(path):
    found, name = set(imported(ast.parse(path.read_text(encoding="utf-8")))), dotted(path)
    if name.split(".")[0] in TOP:
        below = [module for module in found if module.split(".")[0] not in TOP]
        assert set(below) <= set(IMPORTS)
        assert {module.split(".")[0] for module in found - set(below)} <= {name.split(".")[0]}
    else:
        assert found == set(IMPORTS[name].split())


def test_the_table_names_modules_and_has_no_circle():
    below = {name: set(names.split()) for name, names in IMPORTS.items()}
    top = {name for name in NAMES if name.split(".")[0] in TOP}
    assert set(below) == set(NAMES) - top
    while below:
        free = [name for name, names in below.items() if not names]
        assert free, f"a circle among {below}"
        for name in free:
            del below[name]
        for names in below.values():
            names.difference_update(free)


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("import gptbook.data", {"data"}),
        ("import gptbook.adapters.lora as l", {"adapters.lora"}),
        ("from gptbook import model, plots", {"model", "plots"}),
        ("def f():\n    from gptbook.world import World", {"world"}),
        ("from gptbook.world import people, World", {"world.people", "world"}),
        ("from gptbook.adapters.dora import DoRALinear", {"adapters.dora"}),
        ("from gptbook import nothing", {""}),
        ("import torch\nfrom gptbooks import x", set()),
    ],
)
def test_the_reader_of_imports_sees_every_form(code, wanted):
    assert set(imported(ast.parse(code))) == wanted


def test_the_model_needs_torch_and_nothing_else():
    code = """
import sys
import torch
before = set(sys.modules)
import gptbook.model
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["gptbook"]


@every_module
def test_modules_fit_on_a_few_screens_and_say_what_they_do(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 250
    tree = ast.parse(text)
    if not dotted(path):
        assert [type(node) for node in tree.body] == [ast.Assign]  # the version, nothing else
        return
    assert ast.get_docstring(tree)
    if path.name == "__init__.py" and path.parent.name in ("adapters", "world"):
        kinds = {type(node) for node in tree.body}
        assert kinds == {ast.Expr, ast.ImportFrom, ast.Assign}  # __all__ names what is public


def public(body):
    """The functions and classes without an underscore, and the methods of these classes."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body)


@every_module
def test_public_names_are_documented_and_annotated(path):
    if path.parent.name == "exercises" and path.name != "__init__.py":
        return  # a check is documented by its exercise
    for node in public(ast.parse(path.read_text(encoding="utf-8")).body):
        inherited = {"forward", "backward", "extra_repr", "redirect_request"}
        assert node.name in inherited or ast.get_docstring(node), f"{node.name} has no docstring"
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            arguments += filter(None, (node.args.vararg, node.args.kwarg))
            bare = [a.arg for a in arguments if a.annotation is None]
            assert set(bare) <= {"self", "cls"}, f"{node.name} does not say what {bare} are"
            assert node.returns is not None, f"{node.name} does not say what it returns"


@every_module
def test_every_module_has_its_tests(path):
    name = dotted(path)
    *folders, last = name.split(".")
    if path.name == "__init__.py" or last in ("plots", "book_tokenizer", "instruction_data"):
        return  # shown by every chapter; or written once, and tested by what they have written
    assert TESTS.joinpath(*folders, f"test_{last}.py").exists()


def test_no_two_modules_differ_by_a_letter():
    for folder in {path.parent for path in MODULES}:
        stems = sorted(path.stem for path in folder.glob("*.py") if "chapter_" not in path.name)
        stems += [path.name for path in folder.iterdir() if (path / "__init__.py").exists()]
        for one in stems:
            shorter = {one[:i] + one[i + 1 :] for i in range(len(one))}
            assert not shorter & (set(stems) - {one}), f"{one} is too like another"


@every_module
def test_no_device_is_named_outside_device_py(path):
    if path.name == "device.py":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not re.match(r"(cuda|mps)\b|float64$", node.value)
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("cuda", "mps", "float64", "double")


@every_module
def test_nothing_runs_code_from_a_file(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert dangerous(tree) == set()


def dangerous(tree):
    """What in a syntax tree could run code from a file: names, imports, and torch.load.

    torch.load may stand where it is called with weights_only=True: it then builds tensors only.
    """
    found = set()
    safe = {
        id(node.func)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load":
            found |= set() if id(node) in safe else {"torch.load"}
    banned = {"pickle", "marshal", "shelve", "dill", "joblib", "exec", "eval", "torch.load"}
    return found & banned


@pytest.mark.parametrize(
    "code",
    [
        "from pickle import load",
        "import marshal as m",
        "eval(open(p).read())",
        "torch.load(p, weights_only=False)",
        "torch.load(p)",
        "torch.load(p, weights_only=True) or torch.load(p, weights_only=safe)",
        "load = torch.load",
        "def f():\n    exec(text)",
    ],
)
def test_dangerous_code_is_seen(code):
    assert dangerous(ast.parse(code))
