from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import custom
from custom.errors import InputError

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _bundle(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text("{}")


def bundle_with(tmp_path, text):
    (tmp_path / "custom").mkdir()
    (tmp_path / "custom" / "version.py").write_text(text)
    return tmp_path


def test_a_bundle_with_this_version_or_without_code_passes(tmp_path):
    custom.check_version(tmp_path)
    custom.check_version(bundle_with(tmp_path, f'import os\n\n__version__ = "{custom.__version__}"\n'))


@pytest.mark.parametrize(
    ("text", "version"), [('__version__ = "0.0.9"\n', "0.0.9"), ('not_the__version__ = "0.1.0"\n', "unknown")]
)
def test_a_bundle_with_another_version_is_refused_in_one_line(text, version, tmp_path, message_of):
    with pytest.raises(InputError) as error:
        custom.check_version(bundle_with(tmp_path, text))
    message = message_of(error)
    assert f"{tmp_path / 'custom'} has version {version}" in message
    assert f"version {custom.__version__} is running" in message


@pytest.mark.parametrize("bundle_root", [".", "bundles/other", "/nowhere"])
def test_a_folder_without_a_bundle_is_refused_with_the_option_to_give(bundle_root, tmp_path, message_of, monkeypatch):
    monkeypatch.chdir(tmp_path / "configs")
    with pytest.raises(InputError) as error:
        custom.check_version(bundle_root)
    assert message_of(error).startswith(f"bundle_root {bundle_root}: no bundle there")
    assert "give --bundle_root DIR" in message_of(error)


def test_the_project_states_the_same_version():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == custom.__version__


def test_submodules_are_there_without_an_import_of_their_own():
    assert custom.networks.SemiGDA.__name__ == "SemiGDA"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        custom.nothing  # noqa: B018
