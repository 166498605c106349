"""However a picture is stored, `prepare` writes it and the loader loads it as it was meant, or refuses it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from custom.checks import check_dataset
from custom.data import DataFacts, load_datalist, read_facts
from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.pixels import read_class_indices, read_image
from custom.prepare import PrepareOptions, prepare_dataset
from custom.transforms import LoadImageAndLabeld
from tests.pixels import encoders

HEIGHT, WIDTH = 21, 34  # no multiples of 8 or of a tile
SEEDS = range(3)


def blobs(random, classes=2):
    """Class indices [H, W]: a few rectangles, often none of a class."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for _ in range(random.randint(1, 4)):
        top, left = random.randint(0, HEIGHT - 4), random.randint(1, WIDTH - 4)
        labels[top : top + random.randint(1, 9), left : left + random.randint(1, 9)] = random.randint(1, classes)
    return labels


def noise(random, *channels):
    return random.randint(0, 256, (HEIGHT, WIDTH, *channels), dtype=np.uint8)


def only_file(folder, stem):
    (path,) = (path for path in folder.iterdir() if path.stem == stem)
    return path


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("make", "channels"), [(encoders.grey_encoders, ()), (encoders.colour_encoders, (3,))], ids=["grey", "colours"]
)
def test_images_come_back(tmp_path, make, channels, seed):
    random = np.random.RandomState(seed)
    pixels = noise(random, *channels)
    for number, (name, write) in enumerate(make(random, tmp_path / "0", pixels).items()):
        for path in tmp_path.iterdir():
            path.unlink()
        write()
        seen = np.asarray(read_image(only_file(tmp_path, "0")))
        expected = pixels if channels else np.dstack([pixels] * 3)
        assert np.array_equal(seen, expected), f"{number}: {name}"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("make", "classes"),
    [(encoders.two_class_encoders, 2), (encoders.index_encoders, 5)],
    ids=["two classes", "indices"],
)
def test_masks_come_back(tmp_path, make, classes, seed):
    random = np.random.RandomState(seed)
    labels = blobs(random, classes)
    truth = labels > 0 if classes == 2 else labels
    for name, write in make(random, tmp_path / "0", truth).items():
        for path in tmp_path.iterdir():
            path.unlink()
        write()
        assert np.array_equal(np.asarray(read_class_indices(only_file(tmp_path, "0"), classes)), truth), name


def write_source(folder, random, make, truths):
    """A folder of images and masks, each stored in a way of its own; returns how each mask was stored."""
    names = []
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number, truth in enumerate(truths):
        images = encoders.grey_encoders(random, folder / "images" / f"{number:02}", noise(random))
        list(images.values())[random.randint(len(images))]()
        masks = make(random, folder / "masks" / f"{number:02}", truth)
        names.append(list(masks)[random.randint(len(masks))])
        masks[names[-1]]()
    return names


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("make", "classes"),
    [(encoders.two_class_encoders, 2), (encoders.index_encoders, 5)],
    ids=["two classes", "indices"],
)
def test_prepare_and_training_on_originals_see_the_same(tmp_path, make, classes, seed):
    random = np.random.RandomState(seed)
    truths = [blobs(random, classes) for _ in range(12)]
    truths[0][0, :classes] = range(classes)  # every class occurs
    truths = [truth > 0 for truth in truths] if classes == 2 else truths
    names = write_source(tmp_path / "own", random, make, truths)
    options = PrepareOptions(audit=False)
    prepared = prepare_dataset("folder", [tmp_path / "own"], tmp_path / "prepared", options, show_progress=False).folder
    assert read_facts(prepared / "datalist.json").num_classes == classes, names

    content = json.loads((prepared / "datalist.json").read_text())
    depth = content.get("bit_depth")
    assert "kept without label: none" in (prepared / "report.md").read_text(), names
    for split in ("training", "validation", "test"):
        for entry in content[split]:
            stem = entry["image"].removeprefix("images/").split(".")[0]
            original = {
                "image": str(only_file(tmp_path / "own" / "images", stem)),
                "label": str(only_file(tmp_path / "own" / "masks", stem)),
            }
            written = {key: str(prepared / entry[key]) for key in ("image", "label")}
            load = LoadImageAndLabeld(["image", "label"], num_classes=classes, bit_depth=depth)
            first, second = load(written), load(original)
            assert np.array_equal(first["label"][0].T, truths[int(stem)]), names[int(stem)]
            assert np.array_equal(second["label"][0].T, truths[int(stem)]), names[int(stem)]
            assert np.array_equal(first["image"], second["image"])


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_the_bit_depth_of_a_set_makes_original_and_prepared_images_equally_bright(tmp_path, bits):
    random = np.random.RandomState(bits)
    (tmp_path / "own" / "images").mkdir(parents=True)
    (tmp_path / "own" / "masks").mkdir()
    for number in range(6):
        deep = random.randint(0, 2 ** (bits - number % 2), (HEIGHT, WIDTH)).astype(np.uint16)
        encoders.write_tiff(tmp_path / "own" / "images" / str(number), deep, random)
        encoders.write_pillow(tmp_path / "own" / "masks" / str(number), blobs(random), ".png")
    prepared = prepare_dataset(
        "folder", [tmp_path / "own"], tmp_path / "prepared", PrepareOptions(audit=False), show_progress=False
    ).folder
    splits = load_datalist(prepared / "datalist.json", prepared)
    assert read_facts(prepared / "datalist.json", splits).bit_depth == bits
    own = {"labelled": [{"image": str(path)} for path in (tmp_path / "own" / "images").iterdir()]}
    assert DataFacts(data=own).bit_depth == bits
    for item in splits["labelled"]:
        stem = item["image"].rsplit("/")[-1].split(".")[0]
        original = read_image(only_file(tmp_path / "own" / "images", stem), bits)
        assert np.array_equal(np.asarray(original), np.asarray(read_image(item["image"], bits)))


def test_undecided_pixels_stay_undecided(tmp_path):
    random = np.random.RandomState(0)
    truths = [np.where(random.rand(HEIGHT, WIDTH) < 0.1, 255, blobs(random, 3)).astype(np.uint8) for _ in range(8)]
    write_source(
        tmp_path / "own",
        random,
        lambda _, path, truth: {"": lambda: encoders.write_pillow(path, truth, ".png")},
        truths,
    )
    options = PrepareOptions(audit=False, ignore_value=255)
    prepared = prepare_dataset("folder", [tmp_path / "own"], tmp_path / "prepared", options, show_progress=False).folder
    datalist = prepared / "datalist.json"
    facts = read_facts(datalist)
    assert (facts.num_classes, facts.ignore_value) == (3, IGNORED_LABEL)
    splits = load_datalist(datalist, prepared)
    check_dataset(splits, 3, IGNORED_LABEL)
    for item in splits["labelled"]:
        label = LoadImageAndLabeld(["image", "label"], 3, ignore_value=IGNORED_LABEL)(item)["label"]
        stem = item["label"].rsplit("/")[-1].split(".")[0]
        assert np.array_equal(label[0].T, truths[int(stem)])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", sorted(encoders.doubtful_encoders(None, Path(), np.zeros((1, 1), bool))))
def test_doubtful_masks_are_right_or_refused(tmp_path, name, seed):
    """Some masks are stored in a way that may be misread, the others plainly: all come out right, or none does."""
    random = np.random.RandomState(seed)
    truths = [blobs(random) > 0 for _ in range(8)]
    truths[1][:] = False

    def make(random, path, truth):
        plain, doubtful = (
            make(random, path, truth) for make in (encoders.two_class_encoders, encoders.doubtful_encoders)
        )
        number = int(path.stem)
        plainly = seed and number % (seed + 1) == seed
        return {"PNG": plain["PNG, 0 and 255"]} if plainly else {name: doubtful[name]}

    write_source(tmp_path / "own", random, make, truths)
    undecided = name == "PNG, undecided"
    try:
        folder = prepare_dataset(
            "folder", [tmp_path / "own"], tmp_path / "prepared", PrepareOptions(audit=False), show_progress=False
        ).folder
    except InputError as error:
        assert "\n" not in str(error)
        assert str(tmp_path / "own" / "masks") in str(error)
    else:
        assert not undecided
        assert read_facts(folder / "datalist.json").num_classes == 2
        for number, truth in enumerate(truths):
            written = np.asarray(read_class_indices(folder / "masks" / f"{number:02}.png", 2))
            assert np.array_equal(written, truth)

    names = [f"{number:02}" for number in range(8)]
    items = [
        {"image": str(only_file(tmp_path / "own/images", stem)), "label": str(only_file(tmp_path / "own/masks", stem))}
        for stem in names
    ]
    splits = {"labelled": items[:6], "unlabelled": [], "validation": items[6:], "test": []}
    try:
        check_dataset(splits, 2, bit_depth=16)
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert not undecided
    for item, truth in zip(items, truths, strict=True):
        assert np.array_equal(LoadImageAndLabeld(["image", "label"])(item)["label"][0].T, truth)
