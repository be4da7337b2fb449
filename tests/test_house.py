"""The structure of the package: what imports what, and the size of files and folders."""

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path for path in (ROOT / 'mmela').rglob('*.py') if '.mim' not in path.parts)
TOOLBOXES = ('det', 'seg', 'cls')


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


MODULES = {module_name(path): path for path in FILES}


def imports(path, everywhere=False):
    """Modules that a file imports when it is imported itself, or everywhere in it."""

    def visit(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f'{path}: a relative import'
                for alias in child.names:
                    full = f'{child.module}.{alias.name}'
                    yield full if full in MODULES else child.module
            elif everywhere or not isinstance(
                child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
            ):
                if (
                    not everywhere
                    and isinstance(child, ast.If)
                    and 'TYPE_CHECKING' in ast.unparse(child.test)
                ):
                    continue
                yield from visit(child)

    return set(visit(ast.parse(path.read_text())))


def test_the_package_imports_neither_benchmarks_nor_demo_nor_tools():
    for path in FILES:
        roots = {name.split('.')[0] for name in imports(path, everywhere=True)}
        assert not roots & {'benchmarks', 'demo', 'tools', 'tests'}, path


def test_no_import_circle():
    """At module level. A package counts as its `__init__.py`."""
    graph = {
        name: {other for other in imports(path) if other in MODULES and other != name}
        for name, path in MODULES.items()
    }
    while leaves := [name for name, others in graph.items() if not others & set(graph)]:
        for name in leaves:
            del graph[name]
    circle = {name: sorted(others & set(graph)) for name, others in graph.items()}
    assert not circle, f'these import one another: {circle}'


@pytest.mark.parametrize('toolbox', TOOLBOXES)
def test_a_toolbox_folder_imports_no_other(toolbox):
    others = tuple(f'mmela.{other}' for other in TOOLBOXES if other != toolbox)
    for path in (ROOT / 'mmela' / toolbox).rglob('*.py'):
        assert not [name for name in imports(path, everywhere=True) if name.startswith(others)], (
            path
        )


def test_a_file_can_be_read_in_one_sitting():
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in FILES}
    assert {name: count for name, count in lines.items() if count > 300} == {}


def test_a_folder_holds_at_most_a_dozen_files():
    folders = Counter(str(path.parent.relative_to(ROOT)) for path in FILES)
    assert {name: count for name, count in folders.items() if count > 12} == {}
