from __future__ import annotations

import json
import os
import signal

import pytest
import torch

from custom.checkpoints import load_checkpoint
from custom.error_causes import find_input_error
from custom.methods import SemiGDAAlignment, SemiGDASegmentation
from custom.phantoms.dataset import write_phantom_dataset
from tests.bundles.conftest import train
from tests.conftest import KL
from tests.copies import run_copy


def train_and_die(where, iteration, **arguments):
    """A training in a process that dies without a chance to close anything."""

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def dying_save(content, file):
        """Dies in the middle of writing a checkpoint, with the new file half there."""
        saves.append(1)
        if len(saves) == iteration:
            file.write(b"half a checkpoint")
            file.flush()
            die()
        save(content, file)

    def dying_step(self, engine, batch):
        if engine.state.iteration == iteration:
            die()
        return step(self, engine, batch)

    def work():
        if where == "saving":
            torch.save = dying_save
        else:
            trainer._iteration = dying_step
        train(**arguments)

    save, saves = torch.save, []
    trainer = {"alignment": SemiGDAAlignment, "segmentation": SemiGDASegmentation}.get(where)
    step = trainer and trainer._iteration
    process = run_copy(work)
    assert process.returncode == -signal.SIGKILL, process.stderr[-2000:]


def test_a_run_killed_in_both_stages_and_while_saving_ends_as_if_it_had_never_been(phantom, trained, tmp_path):
    arguments = {"dataset_dir": phantom, "runs_dir": tmp_path, "run_name": "killed"}
    train_and_die("alignment", 4, **arguments)  # 2 epochs of 2 iterations: the first epoch is saved
    train_and_die("segmentation", 3, **arguments, resume=True)
    train_and_die("saving", 1, **arguments, resume=True)
    run = train(**arguments, resume=True)

    for stage in ("alignment", "segmentation"):
        for kind in ("checkpoint", "best"):
            name = f"checkpoints/{stage}_{kind}.pt"
            assert_equal(load_checkpoint(trained / name), load_checkpoint(run / name))
    expected, model = load_checkpoint(trained / "model.pt"), load_checkpoint(run / "model.pt")
    assert_equal(expected["model"], model["model"])
    scores = [json.loads((r / "evaluation" / "summary.json").read_text())["branches"] for r in (trained, run)]
    assert scores[0] == scores[1]


def test_the_number_of_loading_processes_changes_no_weight(phantom, trained, tmp_path):
    run = train(phantom, tmp_path, run_name="workers", num_workers=2)
    assert_equal(load_checkpoint(trained / "model.pt")["model"], load_checkpoint(run / "model.pt")["model"])


def assert_equal(expected, found):
    assert type(expected) is type(found)
    if isinstance(expected, dict):
        assert expected.keys() == found.keys()
        for key in expected:
            assert_equal(expected[key], found[key])
    elif isinstance(expected, list | tuple):
        assert len(expected) == len(found)
        for left, right in zip(expected, found, strict=True):
            assert_equal(left, right)
    elif isinstance(expected, torch.Tensor):
        assert torch.equal(expected, found)
    else:
        assert expected == found


def test_a_finished_run_reports_it_and_stays_as_it_is(phantom, trained, capsys):
    before = (trained / "model.pt").stat().st_mtime_ns
    train(phantom, trained.parent, run_name=trained.name, resume=True)
    assert "finished" in capsys.readouterr().out
    assert (trained / "model.pt").stat().st_mtime_ns == before


def test_resuming_with_another_schedule_is_refused_in_one_line(phantom, tmp_path):
    train(phantom, tmp_path, "alignment", run_name="short")
    with pytest.raises((ValueError, RuntimeError)) as error:
        train(phantom, tmp_path, "training", run_name="short", resume=True, alignment_epochs=5)
    assert "it was started with alignment_epochs 2, now 5. Give" in str(find_input_error(error.value))


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"width": 8}, "width 4, now 8"),
        ({"segmentation_epochs": 2}, "segmentation_epochs 3, now 2"),
        ({"seed": 7, "labelled": "50%"}, "labelled all, now 50%; seed 42, now 7"),
        ({"files": ("train.yaml", "methods/cps.yaml")}, "method semigda, now cps"),
        ({"first_stage": KL | {"scaling_factor": 0.5}}, "first_stage#scaling_factor 0.25, now 0.5"),
    ],
    ids=str,
)
def test_a_run_is_not_resumed_with_other_options_than_its_own(phantom, trained, other, told):
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    with pytest.raises((ValueError, RuntimeError)) as error:
        train(phantom, trained.parent, run_name=trained.name, resume=True, **other)
    message = str(find_input_error(error.value))
    assert f"it was started with {told}" in message or told in message
    assert "\n" not in message
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before


def test_a_run_is_not_resumed_on_other_data(trained, tmp_path):
    write_phantom_dataset(tmp_path, labelled=4, unlabelled=5, validation=2, test=3, image_size=32, seed=9)
    with pytest.raises((ValueError, RuntimeError)) as error:
        train(tmp_path, trained.parent, run_name=trained.name, resume=True)
    assert f"now {tmp_path}" in str(find_input_error(error.value))


def test_how_a_run_computes_may_change_when_it_is_resumed(phantom, trained, capsys):
    other = {"num_workers": 1, "validate#panels#every": 3, "check_data": False, "checkpoint_interval": 2}
    train(os.path.relpath(phantom), trained.parent, run_name=trained.name, resume=True, **other)
    assert "finished; nothing to do" in capsys.readouterr().out


def test_a_finished_run_trains_on_with_a_longer_schedule(phantom, tmp_path):
    arguments = {"dataset_dir": phantom, "runs_dir": tmp_path, "run_name": "longer"}
    run = train(**arguments)
    best = load_checkpoint(run / "checkpoints" / "alignment_best.pt")
    train(**arguments, resume=True, segmentation_epochs=5)
    state = load_checkpoint(run / "checkpoints" / "segmentation_checkpoint.pt")
    assert (state["trainer"]["epoch"], state["trainer"]["max_epochs"]) == (5, 5)
    assert state["objects"]["network_schedule"]["cycle_length"] == 4  # ceil(10 iterations / 3 cycles), as of a new run
    assert_equal(best, load_checkpoint(run / "checkpoints" / "alignment_best.pt"))
    assert json.loads((run / "finished.json").read_text())["epochs"]["segmentation"] == 5


def test_nothing_to_resume_is_reported_in_one_line(phantom, tmp_path):
    with pytest.raises((ValueError, RuntimeError)) as error:
        train(phantom, tmp_path, run_name="never", resume=True)
    assert "no run named 'never'" in str(find_input_error(error.value))
