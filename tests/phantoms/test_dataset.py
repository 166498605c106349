from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation, label

from custom.data import read_facts
from custom.errors import InputError
from custom.phantoms import dataset as phantom
from custom.phantoms.dataset import DIFFICULTY, MODALITIES, draw_ultrasound_phantom, main, write_phantom_dataset

FEW = {"labelled": 2, "unlabelled": 3, "validation": 1, "test": 2, "image_size": 32}


@pytest.fixture(scope="module")
def phantoms() -> list[tuple[np.ndarray, np.ndarray]]:
    return [draw_ultrasound_phantom(64, np.random.default_rng(number)) for number in range(150)]


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def all_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("size", [32, 48, 65])
def test_picture_and_mask_have_the_size_asked_for(size):
    image, mask = draw_ultrasound_phantom(size, np.random.default_rng(0))
    assert image.shape == mask.shape == (size, size)
    assert image.dtype == mask.dtype == np.uint8


def test_masks_hold_only_0_and_255(phantoms):
    assert all(set(np.unique(mask)) == {0, 255} for _, mask in phantoms)


def test_every_picture_has_one_or_two_lesions_and_about_a_tenth_have_two(phantoms):
    counts = [label(mask, structure=np.ones((3, 3)))[1] for _, mask in phantoms]
    assert set(counts) == {1, 2}
    assert 0.03 < np.mean(np.array(counts) == 2) < 0.2


def test_lesion_areas_spread_over_the_range_asked_for(phantoms):
    areas = np.array([(mask > 0).mean() for _, mask in phantoms])
    assert areas.min() > 0.03
    assert areas.max() < 0.26
    assert (areas < 0.055).any()
    assert (areas > 0.18).any()


def test_drawn_outline_encloses_the_area_of_the_unit_circle():
    for seed, malignant in [(0, False), (1, True), (2, True)]:
        radius = phantom._draw_outline(malignant, np.random.default_rng(seed))
        assert np.pi * np.mean(radius**2) == pytest.approx(np.pi)


def test_lesions_are_darker_than_their_surroundings(phantoms):
    darker = []
    for image, mask in phantoms:
        inside = mask > 0
        ring = binary_dilation(inside, iterations=5) & ~binary_dilation(inside, iterations=1)
        darker.append(image[inside].mean() < image[ring].mean() - 5)
    assert np.mean(darker) > 0.95


def test_no_grey_threshold_finds_the_lesions(phantoms):
    """Distractors are as dark as lesions: the best threshold in hindsight stays far from what a network reaches."""

    def mean_dice(threshold: int) -> float:
        pairs = [(image < threshold, mask > 0) for image, mask in phantoms]
        return float(np.mean([2 * (dark & truth).sum() / (dark.sum() + truth.sum()) for dark, truth in pairs]))

    assert max(mean_dice(threshold) for threshold in range(10, 200, 10)) < 0.4


def test_speckle_is_rayleigh_before_log_compression(monkeypatch):
    monkeypatch.setattr(phantom, "DIFFICULTY", replace(DIFFICULTY, speckle_looks=(1, 1)))
    decibels = phantom._speckle(np.zeros((256, 256)), np.random.default_rng(0))
    amplitude = 10 ** (decibels / 20)
    # A Rayleigh-distributed amplitude has mean / standard deviation = sqrt(pi / (4 - pi)) = 1.913.
    assert amplitude.mean() / amplitude.std() == pytest.approx(1.913, abs=0.04)


def test_speckle_is_wider_across_the_beam_than_along_it():
    decibels = phantom._speckle(np.zeros((256, 256)), np.random.default_rng(0))
    centred = decibels - decibels.mean()
    along, across = (np.mean(centred * np.roll(centred, 3, axis)) / centred.var() for axis in (0, 1))
    assert across > along + 0.1


def test_speckle_strength_follows_the_echo_strength():
    echo = np.zeros((128, 128))
    echo[:, 64:] = 20
    decibels = phantom._speckle(echo, np.random.default_rng(0))
    assert decibels[:, 80:].mean() - decibels[:, :48].mean() == pytest.approx(20, abs=0.5)


def test_same_generator_state_gives_the_same_phantom():
    first, second = (draw_ultrasound_phantom(48, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_too_small_a_picture_is_refused():
    with pytest.raises(InputError, match="image_size is 31"):
        draw_ultrasound_phantom(31, np.random.default_rng(0))


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
    monkeypatch.setattr(phantom, "draw_ultrasound_phantom", lambda *_: pytest.fail("drawn again"))
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
    monkeypatch.setattr(phantom, "DIFFICULTY", replace(DIFFICULTY, gain_db=(-40.0, -40.0)))
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
        patch.setattr(phantom, "draw_ultrasound_phantom", draw_then_stop)
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
