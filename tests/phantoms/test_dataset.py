from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from custom.data import read_facts
from custom.errors import InputError
from custom.phantoms import ultrasound
from custom.phantoms.dataset import MODALITIES, main, write_phantom_dataset
from custom.phantoms.ultrasound import draw_ultrasound_phantom

FEW = {"labelled": 2, "unlabelled": 3, "validation": 1, "test": 2, "image_size": 32}


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def change_ultrasound(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    monkeypatch.setitem(MODALITIES, "ultrasound", replace(MODALITIES["ultrasound"], **changes))


def all_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_datalist_names_existing_grey_pictures_and_masks_in_three_lists(tmp_path):
    path = write_phantom_dataset(tmp_path / "set", **FEW)
    datalist = json.loads(path.read_text())

    assert path == tmp_path / "set" / "datalist.json"
    assert datalist["num_classes"] == 2
    assert datalist["seed"] == 0
    assert datalist["training"] == [
        {"image": "images/0000.png", "label": "masks/0000.png"},
        {"image": "images/0001.png", "label": "masks/0001.png"},
        {"image": "images/0002.png"},
        {"image": "images/0003.png"},
        {"image": "images/0004.png"},
    ]
    assert datalist["validation"] == [{"image": "images/0005.png", "label": "masks/0005.png"}]
    assert [item["image"] for item in datalist["test"]] == ["images/0006.png", "images/0007.png"]
    for item in datalist["training"] + datalist["validation"] + datalist["test"]:
        for name in item.values():
            picture = Image.open(path.parent / name)
            assert (picture.mode, picture.size) == ("L", (32, 32))


def test_unlabelled_pictures_have_no_mask_file(tmp_path):
    write_phantom_dataset(tmp_path, **FEW)
    assert sorted(file.name for file in (tmp_path / "masks").iterdir()) == [
        f"{number:04d}.png" for number in (0, 1, 5, 6, 7)
    ]
    assert len(list((tmp_path / "images").iterdir())) == 8


def test_masks_belong_to_their_pictures(tmp_path):
    write_phantom_dataset(tmp_path, **FEW, seed=5)
    rng = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(0, 1)))
    image, mask = draw_ultrasound_phantom(32, rng)
    assert np.array_equal(read(tmp_path / "images/0001.png"), image)
    assert np.array_equal(read(tmp_path / "masks/0001.png"), mask)


def test_test_set_does_not_depend_on_the_other_counts(tmp_path):
    few = write_phantom_dataset(tmp_path / "few", **FEW)
    more = write_phantom_dataset(tmp_path / "more", **{**FEW, "labelled": 4, "validation": 3})
    for old, new in zip(*(json.loads(path.read_text())["test"] for path in (few, more)), strict=True):
        assert np.array_equal(read(few.parent / old["image"]), read(more.parent / new["image"]))
        assert np.array_equal(read(few.parent / old["label"]), read(more.parent / new["label"]))


def test_labelling_more_training_pictures_changes_none_of_them(tmp_path):
    few = write_phantom_dataset(tmp_path / "few", **FEW)
    more = write_phantom_dataset(tmp_path / "more", **{**FEW, "labelled": 4, "unlabelled": 1})
    for number in range(5):
        name = f"images/{number:04d}.png"
        assert np.array_equal(read(few.parent / name), read(more.parent / name))


def test_no_two_pictures_of_a_set_are_alike(tmp_path):
    write_phantom_dataset(tmp_path, **FEW)
    assert len({path.read_bytes() for path in (tmp_path / "images").iterdir()}) == 8


def test_seed_changes_the_pictures(tmp_path):
    for seed in (0, 1):
        write_phantom_dataset(tmp_path / str(seed), **FEW, seed=seed)
    assert not np.array_equal(read(tmp_path / "0/images/0000.png"), read(tmp_path / "1/images/0000.png"))


def test_second_call_with_the_same_arguments_draws_nothing(tmp_path, monkeypatch):
    first = write_phantom_dataset(tmp_path, **FEW)
    change_ultrasound(monkeypatch, draw=lambda *_: pytest.fail("drawn again"))
    assert write_phantom_dataset(tmp_path, **FEW) == first


@pytest.mark.parametrize("change", [{"seed": 1}, {"image_size": 40}, {"labelled": 1}])
def test_other_arguments_make_the_set_anew_and_leave_nothing_of_the_old(tmp_path, change):
    write_phantom_dataset(tmp_path / "reused", **FEW)
    write_phantom_dataset(tmp_path / "reused", **{**FEW, **change})
    write_phantom_dataset(tmp_path / "fresh", **{**FEW, **change})
    assert all_files(tmp_path / "reused") == all_files(tmp_path / "fresh")


def test_another_difficulty_makes_the_set_anew(tmp_path, monkeypatch):
    write_phantom_dataset(tmp_path, **FEW)
    before = read(tmp_path / "images/0000.png")
    difficulty = replace(ultrasound.DIFFICULTY, gain_db=(-40.0, -40.0))
    monkeypatch.setattr(ultrasound, "DIFFICULTY", difficulty)
    change_ultrasound(monkeypatch, difficulty=difficulty)
    write_phantom_dataset(tmp_path, **FEW)
    assert read(tmp_path / "images/0000.png").mean() < before.mean() / 2


def test_half_written_set_has_no_datalist_and_is_completed(tmp_path, monkeypatch):
    whole = write_phantom_dataset(tmp_path / "whole", **FEW)
    drawn = []

    def draw_then_stop(size, rng):
        drawn.append(size)
        if len(drawn) == 4:
            raise KeyboardInterrupt
        return draw_ultrasound_phantom(size, rng)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        change_ultrasound(patch, draw=draw_then_stop)
        write_phantom_dataset(tmp_path / "half", **FEW)
    assert not (tmp_path / "half/datalist.json").exists()
    write_phantom_dataset(tmp_path / "half", **FEW)
    assert all_files(tmp_path / "half") == all_files(whole.parent)


def test_missing_picture_is_drawn_again(tmp_path):
    write_phantom_dataset(tmp_path, **FEW)
    before = all_files(tmp_path)
    (tmp_path / "images/0003.png").unlink()
    write_phantom_dataset(tmp_path, **FEW)
    assert all_files(tmp_path) == before


@pytest.mark.parametrize("content", ['{"name": "my patients"}', "[]", "not JSON"])
def test_datalist_of_something_else_is_left_alone(tmp_path, content):
    (tmp_path / "datalist.json").write_text(content)
    with pytest.raises(InputError, match="is not a datalist of phantoms"):
        write_phantom_dataset(tmp_path, **FEW)
    assert all_files(tmp_path) == {"datalist.json": content.encode()}


def test_unwritable_output_names_the_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/set: cannot write"):
        write_phantom_dataset(tmp_path / "file" / "set", **FEW)


@pytest.mark.parametrize(
    ("argument", "value"), [("labelled", 0), ("unlabelled", -1), ("test", -1), ("image_size", 31), ("seed", -1)]
)
def test_argument_out_of_range_is_named_and_nothing_written(tmp_path, argument, value):
    with pytest.raises(InputError, match=f"{argument} is {value}: give at least"):
        write_phantom_dataset(tmp_path / "set", **{**FEW, argument: value})
    assert not (tmp_path / "set").exists()


def test_command_line_passes_its_options_on(tmp_path, capsys):
    main(f"--output {tmp_path} --labelled 1 --unlabelled 0 --validation 0 --test 1 --image-size 40 --seed 7".split())
    datalist = json.loads((tmp_path / "datalist.json").read_text())
    assert capsys.readouterr().out.strip() == str(tmp_path / "datalist.json")
    assert (len(datalist["training"]), len(datalist["validation"]), len(datalist["test"])) == (1, 0, 1)
    assert datalist["seed"] == 7
    assert read(tmp_path / "images/0001.png").shape == (40, 40)


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_datalist_states_the_facts_of_its_modality(tmp_path, modality):
    facts = read_facts(write_phantom_dataset(tmp_path, **FEW, modality=modality))
    assert facts.name == f"{modality.capitalize()} phantoms"
    assert (facts.num_classes, facts.class_names[0]) == (2, "background")
    assert facts.stated_one_connected_component is (modality != "histology")  # tumour lies in many places
