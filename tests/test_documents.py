"""The documents: their links lead somewhere, and what a user can choose is in them."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from custom.data.facts import DataFacts
from custom.options import COMMANDS

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("bundles/*/docs/*.md")]
OVERLAYS = ROOT / "custom" / "configs"
OF_OTHERS = {"backend", "starting_model"}  # of several processes, of MONAI Label


def without_code(document):
    return re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def headings(document):
    """The anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", without_code(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def first_cells(name):
    """What stands as code in the first cells of a document's tables."""
    cells = re.findall(r"^\|(.+?)\|", (ROOT / "docs" / name).read_text(), re.MULTILINE)
    return {code for cell in cells for code in re.findall(r"`(\S+?)`", cell)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file_and_a_heading(document):
    for link in re.findall(r'\]\(([^)\s]+)\)|src="([^"]+)"', without_code(document)):
        file, _, heading = "".join(link).partition("#")
        if file.startswith("https://"):
            continue
        target = document.parent / file if file else document
        assert target.exists(), link
        assert not heading or heading in headings(target), link


def test_every_overlay_is_documented_and_no_other():
    there = {path.relative_to(OVERLAYS).as_posix() for path in OVERLAYS.rglob("*.yaml")}
    there = {name for name in there if not name.startswith("monai_label/")}  # merged by the export, not to be listed
    methods = {f"methods/{name}" for name in first_cells("methods.md") if name.endswith(".yaml")}
    others = {name for name in first_cells("configuration.md") if name.endswith(".yaml")} - {"methods/NAME.yaml"}
    assert methods | others == there


def test_every_option_of_training_is_documented():
    options = {key for key in COMMANDS["train"] if "#" not in key} - OF_OTHERS
    assert options <= first_cells("configuration.md")


def test_every_fact_about_data_is_documented():
    facts = {field.name.removeprefix("stated_") for field in fields(DataFacts)} - {"data"} | {"num_classes"}
    assert facts <= first_cells("data.md")


def test_the_readme_stays_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130
