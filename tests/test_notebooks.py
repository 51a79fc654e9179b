"""The notebooks as a reader finds them: complete, in order, tidy, and true to the modules."""

import ast
import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from gptbook.exercises import exercise_numbers
from tests.tidy_notebooks import tidy

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "chapters" / "gptbook"
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
APPENDIX = sorted((ROOT / "appendix").glob("*.ipynb"))
SOLUTIONS = sorted((ROOT / "appendix" / "solutions").glob("*.ipynb"))
TEXTS = [*CHAPTERS, *APPENDIX]  # what is read from the first line to the last
NOTEBOOKS = [*TEXTS, *SOLUTIONS]
MODULES = sorted(PACKAGE.rglob("*.py"))

SECTIONS = ["What you will build", "What you need", "Summary", "Exercises", "Where to read on"]
# What each text must show whole, as it stands in a module: {text: {module: names}}.
TAUGHT = {
    "01": {},
    "02": {},
    "03": {},
    "04": {"model": ["FeedForward", "GPTConfig"]},
    "05": {},
    "06": {"training": ["learning_rate"]},
    "07": {},
    "08": {},
    "09": {},
    "10": {},
    "11": {"adapters.mora": ["square_size"]},
    "12": {},
    "A": {},
}  # fmt: skip
# What a text may leave out of a class: how it is kept in files, which the text says in words.
FOR_FILES = {
    "tokenizer": {"save", "load", "to_tiktoken", "from_tiktoken"},
    "adapters": {
        *("peft_config", "peft_tensors", "from_peft", "load_peft"),
        *("weight", "bias", "in_features", "out_features"),  # which other tools look at
    },
}


def key_of(path):
    """The number or letter of a notebook: 02, or B."""
    return path.stem.split("_")[0]


def dotted(path):
    """The name of a module below gptbook: adapters/lora.py is adapters.lora."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def by_name(path):
    return f"solutions {path.stem}" if path in SOLUTIONS else path.stem


texts = pytest.mark.parametrize("path", TEXTS, ids=by_name)
notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def prose(path):
    """All markdown of a notebook, without code spans and code blocks."""
    text = "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def trees(path):
    return [ast.parse(cell.source) for cell in code_cells(path)]


def test_there_are_notebooks():
    numbers = [f"{i:02d}" for i in range(1, len(CHAPTERS) + 1)]
    assert [key_of(path) for path in CHAPTERS] == numbers
    assert len(CHAPTERS) >= 12
    assert [path.stem for path in SOLUTIONS] == [key_of(path) for path in TEXTS]
    assert set(TAUGHT) >= set(numbers)


# -- what every chapter has


@texts
def test_one_title_and_the_sections(path):
    headings = re.findall(r"^(#+) (.*)$", prose(path), flags=re.MULTILINE)
    titles = [title for level, title in headings if level == "#"]
    assert len(titles) == 1
    assert titles[0].startswith(f"{key_of(path).lstrip('0')} · ")
    sections = [title for level, title in headings if level == "##"]
    assert [title for title in sections if title in SECTIONS] == SECTIONS
    levels = [len(level) for level, _ in headings]
    assert all(after <= before + 1 for before, after in pairwise(levels))


@notebooks
def test_links_and_pictures_lead_somewhere(path):
    source = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    assert not re.search(r"<a\b|^\[[^\]]+\]:", source, flags=re.MULTILINE), "use [text](target)"
    for target in re.findall(r"\]\(([^)\s]+)[^)]*\)", source):
        if not target.startswith("https://"):
            assert not target.startswith(("/", "#")), target
            assert (path.parent / target).exists(), target


@notebooks
def test_every_picture_and_figure_has_alt_text(path):
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            assert "<img" not in cell.source.lower()
            assert not re.search(r"!\[[^\]]*\]\[", cell.source), "use ![words](file)"
            for alt in re.findall(r"!\[([^\]]*)\]\(", cell.source):
                assert len(alt.split()) > 8, f"a picture needs words: {alt!r}"
            continue
        drawn = any(
            kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {})
        )
        assert drawn == ("plt.show()" in cell.source), f"a figure is missing:\n{cell.source}"
        assert drawn == (len(cell.metadata.get("alt", "").split()) > 8), f"alt of:\n{cell.source}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "chapters" / "figures").glob("*.svg")), ids=lambda p: p.stem
)
def test_diagrams_are_titled_and_bring_their_own_ground(path):
    svg = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    title, definitions, ground, *drawing = [child.tag.split("}")[1] for child in svg]
    assert (title, definitions, ground) == ("title", "defs", "rect")
    assert svg[0].text.strip()
    assert svg[2].get("fill") == "#ffffff"
    assert [svg[2].get("width"), svg[2].get("height")] == [svg.get("width"), svg.get("height")]
    assert len(drawing) > 10
    assert any(path.name in prose(notebook) for notebook in NOTEBOOKS), "a diagram nobody shows"


def visible_cells(path):
    """The source of each code cell that a reader sees unfolded, as a list of lines."""
    cells = [cell for cell in code_cells(path) if "hide-input" not in cell.metadata.get("tags", [])]
    return [cell.source.splitlines() for cell in cells]


@texts
def test_a_chapter_is_one_sitting(path):
    markdown = [cell.source for cell in read(path).cells if cell.cell_type == "markdown"]
    lengths = [len(lines) for lines in visible_cells(path)]
    assert sum(len(source.split()) for source in markdown) <= 4600
    assert len(lengths) <= 60
    assert max(lengths) <= 40
    assert sum(length > 20 for length in lengths) <= 6


# -- outputs


@notebooks
def test_outputs_are_committed_in_order_from_one_run(path):
    cells = [cell for cell in code_cells(path) if cell.source.strip()]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        if re.search(r"^(print|check|plt.show)\(", cell.source, flags=re.MULTILINE):
            assert cell.outputs, f"the output is missing of:\n{cell.source}"
        for output in cell.outputs:
            assert output.get("execution_count", cell.execution_count) == cell.execution_count


@notebooks
def test_outputs_are_clean(path):
    assert path.stat().st_size < 1_000_000
    for cell in code_cells(path):
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.get("text")
            text = json.dumps(output)
            paths = r"/(home|root|tmp|work|Users|usr|opt|var|content|private)/|[A-Z]:\\\\"
            assert not re.search(paths, text), text[:300]
            assert not re.search(r" at 0x[0-9a-f]{6,}", text), "an address differs in every run"
            assert "widget-view" not in text, "a widget is not there in a committed notebook"


@notebooks
def test_metadata_is_lean(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags", "alt", "jupyter"}
        assert set(cell.metadata.get("tags", [])) <= {"nbval-check-output", "hide-input"}
        folded = cell.metadata.get("jupyter") == {"source_hidden": True}
        assert (
            folded
            == ("jupyter" in cell.metadata)
            == ("hide-input" in cell.metadata.get("tags", []))
        )
    text = path.read_text(encoding="utf-8")
    assert json.dumps(tidy(json.loads(text)), indent=1, ensure_ascii=False) + "\n" == text


def evasions(source):
    """What in a code cell would keep an error, a warning or an assertion from being seen."""
    found = set(re.findall(r"NBVAL_\w+|PYTEST_VALIDATE\w*|nbval-skip", source))
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return found | {"magic or shell command"}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.Name):
            names = [node.id]
        else:
            names = []
            if isinstance(node, (ast.If, ast.While)) and isinstance(node.test, ast.Constant):
                found |= set() if node.test.value else {"if False"}
            if isinstance(node, ast.ExceptHandler) and "AssertionError" in ast.dump(node):
                found.add("except AssertionError")
        silent = {"filterwarnings", "simplefilter", "get_ipython", "stderr", "subprocess", "system"}
        found |= silent & set(names)
    return found


@notebooks
def test_no_cell_is_skipped_or_silenced(path):
    for cell in code_cells(path):
        assert evasions(cell.source) == set(), cell.source


@pytest.mark.parametrize(
    "source",
    [
        "# NBVAL_SKIP\n1 / 0",
        "# NBVAL_RAISES_EXCEPTION\nassert False",
        "from warnings import simplefilter",
        "import warnings as w; w.filterwarnings('ignore')",
        "!ls",
        "%time f()",
        "get_ipython().system('ls')",
        "if False:\n    f()",
        "try:\n    assert x\nexcept AssertionError:\n    pass",
        "import sys, io; sys.stderr = io.StringIO()",
    ],
)
def test_evasions_are_seen(source):
    assert evasions(source)


# -- numbers in prose


def asserted_numbers(tree):
    """The numbers that the `assert` statements of a cell, at its top level, compare with."""
    return {
        node.value
        for statement in tree.body
        if isinstance(statement, ast.Assert)
        for comparison in ast.walk(statement.test)
        if isinstance(comparison, ast.Compare)
        for node in ast.walk(comparison)
        if isinstance(node, ast.Constant) and type(node.value) in (int, float)
    }


def unasserted(cells, reach=3):
    """The numbers marked in prose that no assertion within `reach` code cells around compares."""
    code = [(i, ast.parse(cell.source)) for i, cell in enumerate(cells) if cell.cell_type == "code"]
    missing = []
    for i, cell in enumerate(cells):
        if cell.cell_type == "markdown":
            marked = re.findall(r"([−-]?[\d,.]*\d)<!--asserted-->", cell.source)
            missing += ["<!--"] * (cell.source.count("<!--") - len(marked))
            before = [tree for j, tree in code if j < i][-reach:]
            near = before + [tree for j, tree in code if j > i][:reach]
            asserted = set().union(*map(asserted_numbers, near)) if near else set()
            missing += [
                n for n in marked if float(n.replace(",", "").replace("−", "-")) not in asserted
            ]
    return missing


@notebooks
def test_numbers_marked_in_prose_are_asserted_nearby(path):
    assert unasserted(read(path).cells) == []


@pytest.mark.parametrize(
    ("prose", "code"),
    [
        ("7.62<!--asserted-->", "assert x, 7.62"),
        ("7.62<!--asserted-->", "def f():\n    assert x == 7.62"),
        ("7.62<!--asserted-->", "x = 7.62"),
        ("-7.62<!--asserted-->", "assert x == 7.62"),
        ("2,048<!--asserted-->", "assert x == 2049"),
        ("7.62 <!--asserted-->", "assert x == 7.62"),
    ],
)
def test_numbers_that_are_not_asserted_are_seen(prose, code):
    cells = [nbformat.v4.new_markdown_cell(prose), nbformat.v4.new_code_cell(code)]
    assert unasserted(cells)
    cells[1].source = "assert x == 7.62 and y == 2048 and z == -7.62"
    assert unasserted(cells[:2]) == [] or prose.startswith("-") or " <" in prose


@texts
def test_large_numbers_in_prose_are_marked_or_stand_in_the_code(path):
    in_code = {
        node.value
        for tree in trees(path)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
    }
    large = r"(?<![\d,])(\d{1,3}(?:,\d{3})+)(<!--asserted-->)?"
    for number, mark in re.findall(large, prose(path)):
        assert mark or int(number.replace(",", "")) in in_code, f"{number} is asserted nowhere"


# -- what is taught is what runs


class PlainAssignments(ast.NodeTransformer):
    """Turns x: int = 3 into x = 3, but for the fields of dataclasses."""

    def visit_ClassDef(self, node):
        if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
            node.body = [n if isinstance(n, ast.AnnAssign) else self.visit(n) for n in node.body]
            return node
        return self.generic_visit(node)

    def visit_AnnAssign(self, node):
        return ast.Assign([node.target], node.value) if node.value else node


def strip(node, left_out=()):
    """A definition without docstrings, annotations and some methods, as text, for comparison."""
    node = ast.parse(ast.unparse(node)).body[0]
    node.body = [part for part in node.body if getattr(part, "name", None) not in left_out]
    node = ast.fix_missing_locations(PlainAssignments().visit(node))
    for part in ast.walk(node):
        if isinstance(part, (ast.FunctionDef, ast.ClassDef)):
            if ast.get_docstring(part) is not None:
                part.body = part.body[1:] or [ast.Pass()]
            part.returns = None if isinstance(part, ast.FunctionDef) else ...
        if isinstance(part, ast.arg):
            part.annotation = None
        if isinstance(part, ast.AnnAssign) and part.value is not None:
            part.annotation = ast.Constant(None)
    return ast.unparse(node)


def definitions(tree):
    """The functions and classes at the top level, one by one."""
    return [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]


def module_definitions():
    """{(module, name): definition} of all modules but those of checks and of commands."""
    others = ("exercises", "experiments", "commands", "finetune", "pretrain")
    teaching = [m for m in MODULES if not dotted(m).startswith(others)]
    return {
        (dotted(path), node.name): node
        for path in teaching
        for node in definitions(ast.parse(path.read_text(encoding="utf-8")))
    }


def methods(node):
    return {part.name for part in node.body if isinstance(part, ast.FunctionDef)}


def same(shown, module, own):
    """True if a text shows the definition `own` of a module, or all of it but what is for files."""
    left_out = set()
    if isinstance(shown, ast.ClassDef) and isinstance(own, ast.ClassDef):
        left_out = FOR_FILES.get(module.split(".")[0], set()) & (methods(own) - methods(shown))
    return strip(shown) == strip(own, left_out)


@texts
def test_taught_definitions_equal_the_modules(path):
    in_modules, shown = module_definitions(), set()
    names = {name for _, name in in_modules}
    for tree in trees(path):
        for node in definitions(tree):
            theirs = {module: own for (module, n), own in in_modules.items() if n == node.name}
            equal = {module for module, own in theirs.items() if same(node, module, own)}
            assert equal or not theirs, f"{node.name} differs from that of {list(theirs)}"
            shown |= {(module, node.name) for module in equal}
        for node in tree.body:
            if isinstance(node, ast.Assign):
                assigned = {
                    n.id
                    for target in node.targets
                    for n in ast.walk(target)
                    if isinstance(n, ast.Name)
                }
                assert assigned.isdisjoint(names), "a name of a module's function is reused"
    taught = TAUGHT.get(key_of(path), {})
    assert {(module, name) for module, each in taught.items() for name in each} <= shown


def test_the_comparison_knows_modules_apart_and_what_may_be_left_out():
    shown = ast.parse("class Block:\n    def forward(self, x):\n        return x").body[0]
    own = "class Block:\n    def forward(self, x: int) -> int:\n        'Doc.'\n        return x\n"
    for_files = "    def from_peft(cls):\n        return 3\n"
    other = "    def backward(self):\n        return 3\n"
    assert same(shown, "model", ast.parse(own).body[0])
    assert same(shown, "adapters.lora", ast.parse(own + for_files).body[0])
    assert not same(shown, "model", ast.parse(own + for_files).body[0])
    assert not same(shown, "adapters.lora", ast.parse(own + other).body[0])
    both = ast.parse(own + for_files.replace("3", "4")).body[0]
    assert not same(both, "adapters.lora", ast.parse(own + for_files).body[0])


def test_the_comparison_sees_a_changed_line():
    a, b, c = (
        strip(ast.parse(code).body[0])
        for code in [
            'def f(x: int) -> int:\n    "Doc."\n    return x',
            "def f(x):\n    return x",
            "def f(x):\n    return -x",
        ]
    )
    assert a == b != c


# -- exercises


@texts
def test_every_exercise_has_prompt_stub_check_hint_and_solution(path):
    key = key_of(path).lstrip("0")
    cells = read(path).cells
    heading = r"^### Exercise ([\dA-Z]+\.\d+) · .+\n\*(\d+) minutes, (easy|medium|hard)\.\* .+"
    found = {}
    for i, cell in enumerate(cells):
        if cell.cell_type != "markdown" or "### Exercise" not in cell.source:
            continue
        match = re.match(heading, cell.source)
        assert match, cell.source[:100]
        assert re.search(r"<details><summary>Hint</summary>.+</details>", cell.source, re.DOTALL)
        stub, check = cells[i + 1], cells[i + 2]
        [function] = ast.parse(stub.source).body
        assert [ast.unparse(line) for line in function.body] == ["return ..."]
        call = f"{function.name}({ast.unparse(function.args)})"
        assert f"`{call}`" in cell.source, "the prompt names the function as the stub does"
        assert check.source == f'check("{match[1]}", {function.name})'
        assert "not attempted" in check.outputs[0].text
        found[match[1]] = call
    assert list(found) == exercise_numbers(key)
    assert len(found) >= 5

    solutions = ROOT / "appendix" / "solutions" / f"{key_of(path)}.ipynb"
    statements = [node for tree in trees(solutions) for node in tree.body]
    functions = {
        f"{node.name}({ast.unparse(node.args)})": node.name
        for node in statements
        if isinstance(node, ast.FunctionDef)
    }
    asserts = {ast.unparse(node.test) for node in statements if isinstance(node, ast.Assert)}
    outputs = json.dumps([cell.outputs for cell in code_cells(solutions)])
    for number, call in found.items():
        assert f"check('{number}', {functions[call]}).correct" in asserts
        assert f"Exercise {number}: correct." in outputs


# -- offline


def run_offline(source):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    return notebook.cells[0].outputs


def test_kernels_of_the_tests_refuse_other_hosts_but_not_this_one():
    """The notebooks run in kernels like this one, so a chapter that needs the network fails."""
    tries = [
        'import socket; socket.create_connection(("192.0.2.1", 80), timeout=1)',
        'import urllib.request; urllib.request.urlopen("https://example.org", timeout=1)',
        'import tiktoken; tiktoken.get_encoding("gpt2")',
        'import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 9))',
    ]
    for source in tries:
        with pytest.raises(CellExecutionError, match="run offline"):
            run_offline(source)
    local = "import socket; s = socket.create_server(('127.0.0.1', 0)); print('listening')\n"
    local += "socket.create_connection(s.getsockname()); print('connected')"
    assert "connected" in run_offline(local)[0].text


# -- the README


def test_the_readme_begins_with_the_two_commands():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python -m pip .*$", readme, flags=re.MULTILINE)
    assert commands == [
        "python -m pip install -r requirements.txt && jupyter lab chapters/01_tour.ipynb",
        "python -m pip install -r requirements.txt -r tests/requirements.txt && python -m pytest",
    ]
    for path in TEXTS:
        assert path.relative_to(ROOT).as_posix() in readme


def test_every_module_is_on_the_map():
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    modules = [path for path in MODULES if path.name != "__init__.py"]
    for path in modules:
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith("exercises/"):  # one for each chapter
            assert f"| `{name}` |" in guide, f"{name} is not on the map"
    for name in re.findall(r"^\| `([\w/]+\.py)` \|", guide, flags=re.MULTILINE):
        assert (PACKAGE / name).exists(), f"{name} is on the map and nowhere else"


def test_requirements_are_pinned():
    for path in (ROOT / "requirements.txt", ROOT / "tests" / "requirements.txt"):
        for line in path.read_text().splitlines():
            assert line.startswith(("#", "-e .")) or re.fullmatch(r"[\w-]+==[\w.]+", line), line


def test_modules_import_in_a_bare_interpreter(tmp_path):
    names = ", ".join(f"gptbook.{dotted(path)}" for path in MODULES).replace(".__init__", "")
    fresh = ["-X", f"pycache_prefix={tmp_path}", "-W", "error::SyntaxWarning"]
    subprocess.run([sys.executable, *fresh, "-c", f"import {names}"], check=True)


def test_the_glossary_is_in_order_and_names_where_a_term_is_explained():
    text = (ROOT / "appendix" / "glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| (\d+) \|$", text, flags=re.MULTILINE)
    terms = [term.lower() for term, _, _ in rows]
    assert len(terms) > 90
    assert terms == sorted(set(terms))
    chapters = {key_of(path): prose(path).replace("*", "").lower() for path in CHAPTERS}
    for term, _, number in rows:
        for name in term.lower().split(", "):
            assert name in chapters[f"{int(number):02d}"], f"chapter {number} has no {name}"
