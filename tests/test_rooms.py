"""The rooms of `custom`, read from its sources: who imports whom, also inside of functions."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import networkx
import pytest

PACKAGE = Path(__file__).parents[1] / "custom"
GROUND = {
    "checkpoints",
    "command_line",
    "drawing",
    "error_causes",
    "error_hook",
    "errors",
    "files",
    "json_files",
    "labels",
    "pixels",
    "plain_names",
    "precision",
    "processes",
    "tables",
    "version",
    "wording",
}


def name_of(file):
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module):
    return module.split(".")[1] if "." in module else module


def imported_names(tree, module):
    """Full names that a module imports, among them those that a room names for `lazy_loader`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.keyword) and node.arg == "submod_attrs":
            yield from (f"{module}.{key.value}" for key in node.value.keys)


@cache
def modules():
    """The graph of modules: an edge leads to what is imported."""
    files = {name_of(file): file for file in PACKAGE.rglob("*.py")}

    def existing(name):
        while name and name not in files:
            name = name.rpartition(".")[0]
        return name

    graph = networkx.DiGraph()
    graph.add_nodes_from(files)
    for module, file in files.items():
        targets = {existing(name) for name in imported_names(ast.parse(file.read_text("utf-8")), module)}
        graph.add_edges_from((module, target) for target in targets - {"", module})
    return graph


def circles(graph):
    return [sorted(part) for part in networkx.strongly_connected_components(graph) if len(part) > 1]


def rooms():
    edges = {(room_of(one), room_of(other)) for one, other in modules().edges}
    return networkx.DiGraph((one, other) for one, other in edges if one != other)


def test_the_imports_are_found():
    assert modules().has_edge("custom.labels.codec", "custom.labels.ignored")
    assert modules().has_edge("custom.labels", "custom.labels.codec")  # by lazy_loader
    assert modules().has_edge("custom.drawing.panels", "custom.labels.values")


def test_modules_do_not_import_each_other_in_a_circle():
    assert circles(modules()) == []


def test_rooms_do_not_import_each_other_in_a_circle():
    assert circles(rooms()) == []


@pytest.mark.parametrize("room", sorted(GROUND))
def test_rooms_on_the_ground_import_nothing_above_them(room):
    assert room in {room_of(module) for module in modules()}
    above = [pair for pair in modules().edges if room_of(pair[0]) == room and room_of(pair[1]) not in GROUND]
    assert above == []
