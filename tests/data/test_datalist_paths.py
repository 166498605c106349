"""Paths of a datalist, written on one system, find the files of another."""

from __future__ import annotations

import json

import pytest

from custom.data import load_datalist
from custom.data.datalist_paths import DatalistPaths
from custom.errors import InputError

COMPOSED, APART = "l\u00e9sion", "le\u0301sion"


@pytest.fixture
def paths(tmp_path):
    """Function (names of files) -> `DatalistPaths` of a folder that holds them."""

    def make(*names):
        for name in names:
            (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / name).touch()
        return DatalistPaths(tmp_path / "data")

    return make


def found(paths, path):
    return paths.find(path, "entry 0").removeprefix(f"{paths.dataset_dir}/")


@pytest.mark.parametrize("path", ["images\\a.png", ".\\images\\a.png", "./images/a.png", "images/x\\..\\a.png"])
def test_paths_of_windows_are_read(paths, path):
    assert found(paths("images/a.png"), path) == "images/a.png"


def test_a_name_with_a_backslash_in_it_is_left_alone(paths):
    assert found(paths("images\\a.png", "images/a.png"), "images\\a.png") == "images\\a.png"


@pytest.mark.parametrize(("on_disk", "path"), [(COMPOSED, APART), (APART, COMPOSED), (APART, APART)])
def test_accents_may_be_written_either_way(paths, on_disk, path):
    assert found(paths(f"{on_disk}/{on_disk}.png"), f"{path}/{path}.png") == f"{on_disk}/{on_disk}.png"


def test_of_two_files_that_differ_in_their_accents_alone_the_exact_one_is_meant(paths):
    both = paths(f"{COMPOSED}.png", f"{APART}.png")
    assert [found(both, f"{name}.png") for name in (COMPOSED, APART)] == [f"{COMPOSED}.png", f"{APART}.png"]


def test_case_does_not_count_where_one_file_alone_is_meant(paths):
    assert found(paths("Images/A.PNG"), "images/a.png") == "Images/A.PNG"
    with pytest.raises(InputError, match="may be meant; rename one"):
        found(paths("b.PNG", "B.png"), "b.png")


@pytest.mark.parametrize(
    "path", ["$__import__('os').abort().png", "@image.png", "%a.png", "#.png", "-a.png", "~/a.png"]
)
def test_names_are_never_evaluated(paths, path):
    assert found(paths(path), path) == path


def test_a_file_that_is_not_there_keeps_its_path(paths):
    assert found(paths("a.png"), "images/b.png") == "images/b.png"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("C:\\data\\a.png", "on a drive of Windows"),
        ("d:/data\\a.png", "on a drive of Windows"),
        ("..\\a.png", "lies outside dataset_dir"),
        ("images\\..\\..\\a.png", "lies outside dataset_dir"),
        ("\\\\server\\share\\a.png", "lies outside dataset_dir"),
        ("/" + "x" * 5000, "lies outside dataset_dir"),
        ("", "for a path; write a text"),
        ("  ", "for a path; write a text"),
        (True, "holds True for a path"),
        (["a.png"], "for a path; write a text"),
        ("images/..", "name a file"),
        ("a\0.png", "holds a NUL"),
        ("\ud800.png", "holds half a character"),
        ("a.nii.gz", "NIfTI volume.*: cut it into slices with .*prepare folder.*read are .png"),
        ("a.json", "annotation as JSON"),
        ("a.WEBP", "picture in another format"),
    ],
)
def test_what_cannot_be_a_path_is_named_in_one_line(paths, path, message):
    with pytest.raises(InputError, match=f"entry 0.*{message}") as caught:
        found(paths("a.png"), path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_subsets_name_the_same_files_as_the_training_list(paths, tmp_path):
    paths(f"images/{APART}.png", f"masks/{COMPOSED}.png", "images/b.png", "masks/b.png")
    content = {
        "training": [{"image": f"images/{COMPOSED}.png", "label": f"masks\\{APART}.png"}, "images/b.png"],
        "validation": [],
        "labelled_subsets": {"1": [f"images\\{APART}.PNG"]},
    }
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    splits = load_datalist(tmp_path / "datalist.json", tmp_path / "data", "1")
    folder = tmp_path / "data"
    assert splits["labelled"] == [{"image": f"{folder}/images/{APART}.png", "label": f"{folder}/masks/{COMPOSED}.png"}]


@pytest.mark.parametrize("name", [True, 1.5, [], {"a": 1}])
def test_names_of_sets_are_texts(paths, tmp_path, name):
    paths("a.png")
    entry = {"image": "a.png", "label": "a.png"}
    content = {"training": [entry], "validation": [entry], "test": [{"image": "a.png", "set": name}]}
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match='entry 0 of "test" has the "set" .*write a name'):
        load_datalist(tmp_path / "datalist.json", tmp_path / "data")
