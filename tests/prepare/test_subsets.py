from __future__ import annotations

import pytest

from custom.errors import InputError
from custom.prepare.records import Release
from custom.prepare.subsets import labelled_subsets, labelling_order


def sizes(count, training_size=None, **arguments):
    order = [str(number) for number in range(count)]
    subsets = labelled_subsets(order, training_size or count, **arguments)
    assert all(images == order[: len(images)] for images in subsets.values())
    return {name: len(images) for name, images in subsets.items()}


def test_percentages_are_rounded_up():
    assert sizes(41) == {"1%": 1, "5%": 3, "10%": 5, "20%": 9, "30%": 13, "50%": 21, "100%": 41}


def test_the_release_s_counts_stand_for_its_own_training_set():
    release = Release(60, {"10%": 7})
    assert sizes(60, release=release)["10%"] == 7
    assert sizes(50, training_size=60, release=release)["10%"] == 7


def test_for_another_training_set_they_are_listed_by_count():
    found = sizes(50, release=Release(60, {"10%": 7, "90%": 54}))
    assert found["10%"] == 5
    assert found["7"] == 7
    assert "54" not in found


def test_wanted_counts_and_percentages_are_listed():
    found = sizes(41, wanted=("20", "15%"))
    assert (found["20"], found["15%"]) == (20, 7)


@pytest.mark.parametrize("wanted", ["0", "42", "101%", "many"])
def test_wrong_counts_are_refused(wanted, message_of):
    with pytest.raises(InputError) as caught:
        sizes(41, wanted=(wanted,))
    assert wanted in message_of(caught)


def test_the_order_is_drawn_by_the_seed():
    images = [(str(number), None) for number in range(20)]
    assert labelling_order(images, 1) == labelling_order(images[::-1], 1)
    assert labelling_order(images, 1) != labelling_order(images, 2)
    assert sorted(labelling_order(images, 1)) == sorted(path for path, _ in images)


def test_images_of_a_group_follow_each_other_and_published_groups_come_first():
    images = [(f"{group}{number}", group) for group in "abcd" for number in range(3)]
    order = labelling_order(images, 0, first_groups=("c", "b"))
    assert order[:6] == ["c0", "c1", "c2", "b0", "b1", "b2"]
    assert len({path[0] for path in order[6:9]}) == 1
