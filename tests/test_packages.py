"""Packages import their modules when a name is first used."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from types import ModuleType

import pytest

from tests.bundles.conftest import ROOT

PACKAGES = sorted(
    ".".join(file.relative_to(ROOT).parent.parts)
    for file in (ROOT / "custom").rglob("__init__.py")
    if "lazy_loader.attach" in file.read_text()
)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_is_there_even_after_a_module_of_that_name_was_imported(package):
    module = importlib.import_module(package)
    assert module.__all__
    for file in (ROOT / package.replace(".", "/")).glob("[a-z]*.py"):
        if file.stem in module.__all__:
            importlib.import_module(f"{package}.{file.stem}")
    assert [name for name in module.__all__ if isinstance(getattr(module, name), ModuleType)] == []


def test_importing_the_packages_imports_neither_torch_nor_monai():
    code = f"import sys, {', '.join(PACKAGES)}; print(sorted({{'torch', 'monai'}} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert process.stdout == "[]\n", process.stderr


def test_an_unknown_name_is_an_error_that_names_it():
    with pytest.raises(AttributeError, match=re.escape("no_such_name")):
        importlib.import_module("custom.data").no_such_name  # noqa: B018
