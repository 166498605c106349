"""Scores of many images: written now and then while they are computed, and stored at once."""

from __future__ import annotations

import json

import pytest
from PIL import Image

pytest.importorskip(
    "monailabel", reason="MONAI Label is not installed in this environment; .ci/run tests it in its own"
)

from custom.checkpoints.untrained import mark_as_untrained
from custom.errors import InputError
from custom.monai_label import disagreement
from custom.monai_label.datastore import CheckedDatastore
from custom.monai_label.disagreement import Disagreement, DisagreementScoring, read_scores


@pytest.fixture
def store(tmp_path):
    (tmp_path / "studies").mkdir()
    for number in range(6):
        Image.new("L", (8, 8), number).save(tmp_path / "studies" / f"{number}.png")
    return CheckedDatastore(str(tmp_path / "studies"), extensions=["*.png"])


@pytest.fixture
def files(tmp_path):
    """The model file of a trained model, and where its scores go."""
    (tmp_path / "model.pt").write_bytes(b"")
    return tmp_path / "model.pt", tmp_path / "runs" / "disagreement.json"


def score(number):
    return {"disagreement": number / 10, "features": [float(number), 0.0]}


def scoring(files, monkeypatch, stop_after=None, broken=()):
    """A scoring that knows the score of each image, and counts those it has scored."""
    method = DisagreementScoring(None, *files)
    done = []

    def known(path, device):
        number = int(path.rsplit("/", 1)[1][0])
        if len(done) == stop_after:
            raise KeyboardInterrupt
        if number in broken:
            raise InputError("broken")
        done.append(number)
        return score(number)

    monkeypatch.setattr(method, "_score", known)
    return method, done


def test_scores_are_written_while_it_scores_and_a_second_scoring_goes_on(store, files, monkeypatch):
    monkeypatch.setattr(disagreement, "SECONDS_BETWEEN_SAVES", -1)
    method, done = scoring(files, monkeypatch, stop_after=4)
    with pytest.raises(KeyboardInterrupt):
        method({}, store)
    assert sorted(read_scores(files[1], files[0])) == ["0", "1", "2", "3"]
    method, done = scoring(files, monkeypatch)
    assert method({}, store) == {"total": 6, "executed": 2}
    assert done == [4, 5]


def test_scores_are_not_written_for_each_image(store, files, monkeypatch):
    written = []
    method, _ = scoring(files, monkeypatch)
    monkeypatch.setattr(method, "_save", lambda version, found: written.append(len(found)))
    method({}, store)
    assert written == [0, 6]


def test_an_image_that_cannot_be_read_is_left_out(store, files, monkeypatch):
    method, _ = scoring(files, monkeypatch, broken=(2,))
    method({}, store)
    assert sorted(read_scores(files[1], files[0])) == ["0", "1", "3", "4", "5"]


def write_scores(files, numbers):
    files[1].parent.mkdir(exist_ok=True)
    version = str(files[0].stat().st_mtime_ns)
    content = {"model": version, "images": {str(number): score(number) for number in numbers}}
    files[1].write_text(json.dumps(content))


def ask(files, store, started):
    strategy = Disagreement({"model": files}, started.append)
    return strategy({"strategy": "disagreement"}, store)


def test_the_answer_says_how_far_the_scoring_is(store, files):
    started = []
    mark_as_untrained(files[0])
    assert ask(files, store, started)["reason"] == "random: the model is not trained yet"
    files[0].with_name("UNTRAINED.txt").unlink()
    assert ask(files, store, started)["reason"] == "random: the images are being scored (0 of 6)"
    write_scores(files, [1, 4])
    answer = ask(files, store, started)
    assert answer["id"] == "4"
    assert answer["reason"] == "disagreement 0.400, among the 2 of 6 images that are scored so far"
    assert started == ["model", "model"]
    write_scores(files, range(6))
    assert ask(files, store, started)["reason"] == "disagreement 0.500"
    assert started == ["model", "model"]


def test_scores_reach_the_datastore_at_once(store, files, monkeypatch):
    writes = []
    monkeypatch.setattr(store, "_update_datastore_file", lambda lock=True: writes.append(lock))
    write_scores(files, range(6))
    ask(files, store, [])
    assert len(writes) == 1
    assert [store.get_image_info(str(number))["disagreement"] for number in range(6)] == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    ask(files, store, [])
    assert len(writes) == 1


def test_what_is_gone_gets_no_note(store):
    store.update_image_infos({"0": {"disagreement": 0.5}, "nobody": {"disagreement": 1}})
    assert store.get_image_info("0")["disagreement"] == 0.5
    assert "nobody" not in store.list_images()
