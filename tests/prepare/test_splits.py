from __future__ import annotations

from collections import Counter

from custom.prepare.splits import Entry, assign_splits, join_groups


def entries(count, group=lambda number: number, split=lambda number: None, labelled=lambda number: True):
    return [Entry(f"{n:03d}", group(n), split(n), labelled(n)) for n in range(count)]


def test_shares_are_met():
    assert Counter(assign_splits(entries(50), 0.1, 0.2, seed=3)) == {"training": 35, "validation": 5, "test": 10}


def test_groups_stay_together():
    items = entries(60, group=lambda number: number // 7)
    sides = {(item.group, split) for item, split in zip(items, assign_splits(items, 0.2, 0.2, 0), strict=True)}
    assert len(sides) == 9
    assert {split for _, split in sides} == {"training", "validation", "test"}


def test_the_seed_decides_and_the_order_does_not():
    items = entries(30)
    drawn = dict(zip(items, assign_splits(items, 0.2, 0.2, 0), strict=True))
    items.reverse()
    assert dict(zip(items, assign_splits(items, 0.2, 0.2, 0), strict=True)) == drawn
    assert dict(zip(items, assign_splits(items, 0.2, 0.2, 1), strict=True)) != drawn


def test_published_test_images_stay_and_no_more_are_drawn():
    items = entries(20, split=lambda number: "test" if number < 5 else None)
    splits = assign_splits(items, 0.2, 0.5, 0)
    assert splits[:5] == ["test"] * 5
    assert Counter(splits[5:]) == {"training": 12, "validation": 3}


def test_published_training_images_are_never_drawn_for_the_test():
    items = entries(20, split=lambda number: "training" if number < 10 else None)
    splits = assign_splits(items, 0, 0.2, 0)
    assert set(splits[:10]) == {"training"}
    assert splits.count("test") == 4


def test_a_complete_published_split_stays():
    names = ["training"] * 6 + ["validation"] * 2 + ["test"] * 2
    assert assign_splits(entries(10, split=lambda number: names[number]), 0.3, 0.3, 0) == names


def test_images_without_a_mask_are_for_training_with_their_whole_group():
    items = entries(40, group=lambda number: number // 2, labelled=lambda number: number % 4 != 0)
    splits = assign_splits(items, 0.2, 0.2, 0)
    unlabelled_groups = {item.group for item in items if not item.labelled}
    assert {s for s, item in zip(splits, items, strict=True) if item.group in unlabelled_groups} == {"training"}


def test_two_labelled_images_are_both_for_training():
    assert assign_splits(entries(2), 0.1, 0.2, 0) == ["training", "training"]


def test_three_labelled_images_serve_all_purposes():
    assert sorted(assign_splits(entries(3), 0.1, 0.2, 0)) == ["test", "training", "validation"]


def test_groups_join_when_any_grouping_joins_them():
    joined = join_groups(["a", None, "a", None, None], [0, 1, 2, 2, 4])
    assert joined[0] == joined[2] == joined[3]
    assert len(set(joined)) == 3
