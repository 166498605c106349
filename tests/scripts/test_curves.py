from __future__ import annotations

import pytest
from PIL import Image

from custom.errors import InputError
from scripts.curves import main, read_curve


@pytest.fixture
def run(tmp_path):
    lines = ["step,epoch,stage,name,value", "2,1,alignment,loss,9"]
    for branch in ("mean", "image_branch", "mask_branch"):
        lines += [f"{step},{step},segmentation,validation/dice/{branch},0.{step}" for step in (1, 2, 3)]
    (tmp_path / "metrics.csv").write_text("\n".join(lines))
    return tmp_path


def test_a_curve_holds_the_steps_and_values_of_one_figure(run):
    assert read_curve(run, "validation/dice/mean") == ([1, 2, 3], [0.1, 0.2, 0.3])


def test_curves_of_two_runs_become_one_picture(run, tmp_path):
    main([str(run), str(run), "--names", "a", "b", "--output", str(tmp_path / "curves.png")])
    picture = Image.open(tmp_path / "curves.png").convert("RGB")
    assert picture.width > 1000
    assert len(set(picture.getdata())) > 100


def test_curves_over_labelled_images_stretch_the_steps(run, tmp_path):
    pictures = []
    for batches in (["2", "2"], ["2", "4"]):
        file = tmp_path / "curves.png"
        main([str(run), str(run), "--names", "a", "b", "--labelled-batches", *batches, "--output", str(file)])
        pictures.append(Image.open(file).convert("RGB").tobytes())
    assert pictures[0] != pictures[1]  # the same run twice: lines part only where the steps count differently


def test_errors_are_one_line(run, tmp_path):
    with pytest.raises(InputError, match="holds no segmentation/loss"):
        read_curve(run, "loss")
    with pytest.raises(InputError, match="cannot be read"):
        read_curve(tmp_path / "nowhere", "loss")
    with pytest.raises(InputError, match="one for each run"):
        main([str(run), "--names", "a", "b"])
    with pytest.raises(InputError, match="--labelled-batches: give 1 values"):
        main([str(run), "--labelled-batches", "2", "2"])
