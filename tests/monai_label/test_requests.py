from __future__ import annotations

import pytest

from custom.errors import InputError
from custom.monai_label import requested_data


def labelled(*names):
    return [{"image": f"/studies/{name}.png", "label": f"/studies/labels/final/{name}.png"} for name in names]


def test_labelled_images_come_from_the_request_and_unlabelled_ones_from_the_datastore(serve):
    serve({"c": "/studies/c.png", "d": "/studies/d.png"})
    assert requested_data(labelled("b"), labelled("a")) == {
        "labelled": labelled("b"),
        "unlabelled": [{"image": "/studies/c.png"}, {"image": "/studies/d.png"}],
        "validation": labelled("a"),
        "test": [],
    }


def test_unlabelled_images_are_in_the_order_of_their_names(serve):
    serve({name: f"/studies/{name}.png" for name in "dbc"})
    images = [item["image"] for item in requested_data(labelled("a"), [])["unlabelled"]]
    assert images == ["/studies/b.png", "/studies/c.png", "/studies/d.png"]


def test_only_image_and_label_are_taken_from_the_request(serve):
    serve({})
    data = requested_data([{**labelled("a")[0], "user": "b"}], [{**labelled("c")[0], "user": "b"}])
    assert (data["labelled"], data["validation"]) == (labelled("a"), labelled("c"))


@pytest.mark.usefixtures("no_server")
def test_the_datastore_is_not_asked_where_labels_alone_are_wanted():
    data = requested_data(labelled("a"), labelled("b"), use_unlabelled=False)
    assert (data["labelled"], data["unlabelled"]) == (labelled("a"), [])


def test_there_may_be_no_validation_image(serve, caplog):
    serve({"b": "/studies/b.png"})
    assert requested_data(labelled("a"), [])["validation"] == []
    assert "the weights of the last epoch are used" in caplog.text


def test_a_datastore_whose_images_all_have_labels_is_reported(serve, caplog):
    serve({})
    assert requested_data(labelled("a"), labelled("b"))["unlabelled"] == []
    assert "training uses labels only" in caplog.text


def test_labels_alone_on_request_need_no_warning(caplog):
    requested_data(labelled("a"), labelled("b"), use_unlabelled=False)
    assert not caplog.text


def test_a_request_without_a_label_is_refused(serve, message_of):
    serve({"b": "/studies/b.png"})
    with pytest.raises(InputError) as error:
        requested_data([], labelled("a"))
    assert "label at least one, or choose a smaller val_split" in message_of(error)


@pytest.mark.usefixtures("no_server")
def test_training_without_a_server_is_refused_with_the_fix(message_of):
    with pytest.raises(InputError) as error:
        requested_data(labelled("a"), [])
    assert "export it without --monai-label" in message_of(error)
