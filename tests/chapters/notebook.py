"""What a chapter defines, taken out of its notebook so that a test can call it."""

import ast
from pathlib import Path
from types import SimpleNamespace

import nbformat

TEXTS = Path(__file__).resolve().parents[2]


def taught(key: str, *names: str) -> SimpleNamespace:
    """Return the functions, classes and constants `names` as chapter (or appendix) `key` has them.

    The notebook is not run: its imports are, and the first definition of each name (and of
    nothing else), in the order in which they stand. So name also what a definition needs.
    """
    folder = TEXTS / ("chapters" if key.isdecimal() else "appendix")
    [path] = folder.glob(f"{key}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    tree = ast.parse("\n".join(cell.source for cell in cells if cell.cell_type == "code"))
    wanted, kept = set(names), []
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found = {node.name}
        elif isinstance(node, ast.Assign):
            found = {target.id for target in node.targets if isinstance(target, ast.Name)}
        else:
            found = set()
        if isinstance(node, (ast.Import, ast.ImportFrom)) or found & wanted:
            kept.append(node)
            wanted -= found
    assert not wanted, f"chapter {key} does not define {sorted(wanted)}"
    namespace: dict = {"__name__": f"chapter_{key}"}
    exec(compile(ast.Module(kept, type_ignores=[]), str(path), "exec"), namespace)
    return SimpleNamespace(**{name: namespace[name] for name in names})
