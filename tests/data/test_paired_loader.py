from __future__ import annotations

import itertools
import json
import logging

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import Dataset
from monai.transforms import Compose, MapTransform, RandFlipd, Randomizable, Resized
from PIL import Image

from custom.checks import check_dataset
from custom.data import PairedLoader, load_datalist
from custom.errors import InputError
from custom.transforms import LoadImageAndLabeld, RandShiftScaleRotated

DRAWS = 1_000_000


class Drawd(Randomizable, MapTransform):
    """Turns a number into the tensor (number, a random draw)."""

    def randomize(self, data=None):
        self.draw = self.R.randint(DRAWS)

    def __call__(self, data):
        self.randomize()
        return {key: torch.tensor([value, self.draw]) for key, value in data.items()}


def dataset(size, *keys):
    return Dataset([dict.fromkeys(keys, number) for number in range(size)], Drawd(keys))


def loader(labelled=5, unlabelled=7, labelled_batch_size=2, unlabelled_batch_size=3, **arguments):
    return PairedLoader(
        dataset(labelled, "image", "label"),
        dataset(unlabelled, "image"),
        labelled_batch_size,
        unlabelled_batch_size,
        **arguments,
    )


def contents(batches):
    """Everything in `batches` as plain lists."""
    return [
        {stream: {key: tensor.tolist() for key, tensor in part.items()} for stream, part in batch.items()}
        for batch in batches
    ]


def numbers(batches, stream):
    return [number for batch in batches for number in batch[stream]["image"][:, 0].tolist()]


def test_batches_hold_plain_tensors_of_both_streams():
    batch = next(iter(loader()))
    assert {stream: set(part) for stream, part in batch.items()} == {
        "labelled": {"image", "label"},
        "unlabelled": {"image"},
    }
    assert batch["labelled"]["image"].shape == (2, 2)
    assert batch["unlabelled"]["image"].shape == (3, 2)
    assert type(batch["labelled"]["label"]) is torch.Tensor


def views_loader(image_keys, num_workers=0):
    """Images of three views each; labelled ones have a label too."""
    views = ("image", "strong_image", "other")
    data = (dataset(4, *views, "label"), dataset(6, *views))
    return PairedLoader(*data, 2, 3, num_workers=num_workers, image_keys=image_keys)


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize(
    "image_keys", [("image", "strong_image"), ["strong_image"], ["other", "image", "strong_image"]]
)
def test_batches_hold_the_views_of_an_image_that_are_asked_for(image_keys, num_workers):
    batches = list(views_loader(image_keys, num_workers))
    assert len(batches) == 2
    for batch in batches:
        assert set(batch["labelled"]) == {*image_keys, "label"}
        assert set(batch["unlabelled"]) == set(image_keys)
        for part, size in (("labelled", 2), ("unlabelled", 3)):
            views = [batch[part][key] for key in image_keys]
            assert all(type(view) is torch.Tensor and view.shape == (size, 2) for view in views)
            assert all(torch.equal(view[:, 0], views[0][:, 0]) for view in views)  # of the same images, in order


def test_more_views_change_neither_order_nor_draws():
    one, two = (contents(views_loader(keys)) for keys in (("image",), ("image", "strong_image")))
    for batch in two:
        for part in batch.values():
            del part["strong_image"]
    assert one == two


def test_keys_of_unlabelled_items_alone_are_kept_beside_the_others_and_change_no_draw():
    data = (dataset(4, "image", "label"), dataset(6, "image", "taught"))
    with_key, without = (PairedLoader(*data, 2, 3, unlabelled_keys=keys) for keys in (("taught",), ()))
    for one, two in zip(contents(with_key), contents(without), strict=True):
        assert (set(one["labelled"]), set(one["unlabelled"])) == ({"image", "label"}, {"image", "taught"})
        del one["unlabelled"]["taught"]
        assert one == two


def test_a_view_that_the_images_lack_is_an_error():
    with pytest.raises(KeyError, match="strong_image"):
        next(iter(loader(image_keys=("image", "strong_image"))))


def test_an_epoch_takes_labelled_images_once_and_drops_an_incomplete_batch():
    paired = loader(labelled=5, labelled_batch_size=2)
    seen = numbers(paired, "labelled")
    assert len(paired) == 2
    assert len(seen) == len(set(seen)) == 4


def test_unlabelled_images_come_in_one_full_order_after_another():
    seen = numbers(loader(labelled=12, labelled_batch_size=2, unlabelled=4, unlabelled_batch_size=2), "unlabelled")
    assert [sorted(seen[start : start + 4]) for start in (0, 4, 8)] == [[0, 1, 2, 3]] * 3
    assert seen[:4] != seen[4:8] or seen[4:8] != seen[8:]


def test_an_unlabelled_batch_may_span_two_orders():
    seen = numbers(loader(labelled=4, labelled_batch_size=1, unlabelled=4, unlabelled_batch_size=3), "unlabelled")
    assert [sorted(seen[start : start + 4]) for start in (0, 4, 8)] == [[0, 1, 2, 3]] * 3


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_epoch_depends_on_seed_and_epoch_only(num_workers):
    paired, resumed = loader(num_workers=num_workers, seed=3), loader(num_workers=num_workers, seed=3)
    epochs = []
    for epoch in (1, 2):
        paired.set_epoch(epoch)
        epochs.append(contents(paired))
    torch.manual_seed(99)
    np.random.seed(99)
    resumed.set_epoch(2)
    assert contents(resumed) == epochs[1]
    assert epochs[0] != epochs[1]


def test_the_number_of_workers_changes_nothing():
    expected = contents(loader(num_workers=0, seed=3))
    assert [contents(loader(num_workers=workers, seed=3)) == expected for workers in (1, 2)] == [True, True]


def test_processes_get_the_transforms_of_one_process_with_larger_batches():
    arguments = {"labelled": 8, "unlabelled": 12, "seed": 1}
    whole = loader(labelled_batch_size=4, unlabelled_batch_size=6, **arguments)
    parts = [loader(rank=rank, world_size=2, **arguments) for rank in range(2)]
    for batch, *shares in zip(whole, *parts, strict=True):
        for stream, part in batch.items():
            dealt = [share[stream]["image"].tolist() for share in shares]
            assert sorted(dealt[0] + dealt[1]) == sorted(part["image"].tolist())


def test_seeds_differ_in_order_and_in_random_transforms():
    one, other = loader(labelled=50, seed=0), loader(labelled=50, seed=1)
    other.set_epoch(0)
    one.set_epoch(1)
    assert numbers(one, "labelled") != numbers(other, "labelled")
    draws = [[batch["labelled"]["image"][:, 1].tolist() for batch in paired] for paired in (one, other)]
    assert draws[0] != draws[1]


def test_the_two_streams_draw_differently():
    batch = next(iter(loader(labelled=4, labelled_batch_size=4, unlabelled=4, unlabelled_batch_size=4)))
    assert batch["labelled"]["image"][:, 1].tolist() != batch["unlabelled"]["image"][:, 1].tolist()


def test_iterating_leaves_the_global_random_state_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(loader())
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_is_drawn_before_the_first_batch():
    paired, reference = loader(), loader()
    iterator = iter(paired)
    paired.set_epoch(5)
    reference.set_epoch(5)
    assert contents(iterator) == contents(reference)


def test_an_ignite_engine_resumed_at_an_epoch_sees_the_same_batches():
    def run(start, end):
        paired, seen = loader(seed=1), {}
        engine = Engine(lambda engine, batch: seen.setdefault(engine.state.epoch, []).append(batch))
        engine.add_event_handler(Events.EPOCH_STARTED, lambda engine: paired.set_epoch(engine.state.epoch))
        if start:
            engine.load_state_dict({"epoch": start, "epoch_length": len(paired), "max_epochs": end})
        engine.run(paired, max_epochs=end, epoch_length=len(paired))
        return {epoch: contents(batches) for epoch, batches in seen.items()}

    whole, resumed = run(0, 3), run(2, 3)
    assert list(resumed) == [3]
    assert resumed[3] == whole[3]
    assert whole[2] != whole[3]


def test_batch_sizes_shrink_to_the_number_of_images_with_one_warning(caplog):
    with caplog.at_level(logging.WARNING):
        paired = loader(labelled=3, labelled_batch_size=12, unlabelled=2, unlabelled_batch_size=12)
    assert (paired.labelled_batch_size, paired.unlabelled_batch_size, len(paired)) == (3, 2, 1)
    assert [record.getMessage() for record in caplog.records] == [
        "Too few images for batches of 12 labelled and 12 unlabelled: using 3 and 2"
    ]


@pytest.mark.parametrize("unlabelled", [None, Dataset([])])
def test_without_unlabelled_images_batches_are_labelled_only(unlabelled, caplog):
    with caplog.at_level(logging.WARNING):
        paired = PairedLoader(dataset(4, "image", "label"), unlabelled, 2, 2)
    assert [set(batch) for batch in paired] == [{"labelled"}, {"labelled"}]
    assert paired.unlabelled_batch_size == 0
    assert not caplog.records


def test_an_unlabelled_batch_size_of_zero_leaves_unlabelled_images_out():
    assert set(next(iter(loader(unlabelled_batch_size=0)))) == {"labelled"}


@pytest.mark.parametrize("sizes", [{"labelled": 0}, {"labelled_batch_size": 0}, {"unlabelled_batch_size": -1}])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(InputError):
        loader(**sizes)


@pytest.mark.parametrize("ruin", ["garbage", "folder", "missing"])
def test_an_epoch_never_reads_the_masks_of_unlabelled_images(tmp_path, ruin):
    data = tmp_path / "data"
    for folder in ("images", "masks"):
        (data / folder).mkdir(parents=True)
    random = np.random.RandomState(0)
    pairs = [{"image": f"images/{number}.png", "label": f"masks/{number}.png"} for number in range(7)]
    for entry, classes in itertools.product(pairs, (256, 2)):
        path = data / entry["image" if classes == 256 else "label"]
        Image.fromarray(random.randint(0, classes, (9, 11), dtype=np.uint8)).save(path)
    for entry in pairs[2:6]:
        mask = data / entry["label"]
        mask.write_bytes(b"garbage") if ruin == "garbage" else mask.unlink()
        if ruin == "folder":
            mask.mkdir()
    (tmp_path / "datalist.json").write_text(json.dumps({"training": pairs[:6], "validation": pairs[6:]}))

    splits = load_datalist(tmp_path / "datalist.json", data, labelled=2)
    check_dataset(splits, num_classes=2)
    keys = ["image", "label"]
    transforms = Compose(
        [
            LoadImageAndLabeld(keys),
            RandFlipd(keys, prob=0.5, spatial_axis=0, allow_missing_keys=True),
            RandShiftScaleRotated(keys, prob=0.5, allow_missing_keys=True),
            Resized(keys, spatial_size=(8, 8), mode=("bilinear", "nearest"), allow_missing_keys=True),
        ]
    )
    paired = PairedLoader(Dataset(splits["labelled"], transforms), Dataset(splits["unlabelled"], transforms), 1, 2)
    shapes = [(*(batch["labelled"][key].shape for key in keys), batch["unlabelled"]["image"].shape) for batch in paired]
    assert shapes == [((1, 3, 8, 8), (1, 1, 8, 8), (2, 3, 8, 8))] * 2


@pytest.mark.parametrize("stream", ["labelled", "unlabelled"])
def test_processes_share_out_the_batches_of_one_process_with_larger_ones(stream):
    whole = loader(labelled=13, unlabelled=7, labelled_batch_size=4, unlabelled_batch_size=6, seed=3)
    parts = [loader(labelled=13, unlabelled=7, seed=3, rank=rank, world_size=2) for rank in range(2)]
    for paired in (whole, *parts):
        paired.set_epoch(2)
    assert [len(paired) for paired in parts] == [len(whole)] * 2 == [3, 3]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert len(numbers([first], stream)) == len(numbers([second], stream)) == (2 if stream == "labelled" else 3)
        assert sorted(numbers([first, second], stream)) == sorted(numbers([batch], stream))
    labelled = [set(numbers(paired, "labelled")) for paired in parts]
    assert not labelled[0] & labelled[1]


def test_processes_draw_differently_and_the_first_as_if_it_were_alone():
    draws = [
        [batch["labelled"]["image"][:, 1].tolist() for batch in loader(labelled=8, rank=rank, world_size=2, seed=1)]
        for rank in range(2)
    ]
    assert draws[0] != draws[1]
    assert contents(loader(seed=1, rank=0, world_size=1)) == contents(loader(seed=1))


def test_sizes_count_for_one_process_and_shrink_to_its_share(caplog):
    with caplog.at_level(logging.WARNING):
        parts = [
            loader(5, 7, labelled_batch_size=4, unlabelled_batch_size=3, rank=rank, world_size=2) for rank in range(2)
        ]
    assert [(paired.labelled_batch_size, paired.unlabelled_batch_size, len(paired)) for paired in parts] == [
        (2, 3, 1)
    ] * 2
    assert [record.getMessage() for record in caplog.records] == [
        "Too few images for batches of 4 labelled and 3 unlabelled: using 2 and 3"
    ]


def test_one_label_goes_to_both_processes_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        parts = [loader(labelled=1, labelled_batch_size=1, rank=rank, world_size=2) for rank in range(2)]
    assert [numbers(paired, "labelled") for paired in parts] == [[0], [0]]
    assert [len(paired) for paired in parts] == [1, 1]
    assert [record.getMessage() for record in caplog.records] == [
        "Fewer labelled images (1) than processes (2): some processes take the same image at once"
    ]
