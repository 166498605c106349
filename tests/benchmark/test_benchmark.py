"""The whole command on a tiny set; every number is worked out again from the files of the runs."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import threading
import time

import numpy as np
import pytest
from PIL import Image

from custom.benchmark import runs
from custom.benchmark.pictures import predict
from custom.errors import InputError
from custom.metrics import paired_bootstrap_interval
from tests.benchmark.conftest import PROTOCOL, call, real_start

METHODS = ("supervised", "ua_mt")


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def folder(benchmark, method, seed):
    return benchmark.output / "runs" / f"{method}_4_images_seed{seed}"


def dice(benchmark, method, seed):
    """Dice of each image, in the order of their names."""
    rows = read_csv(folder(benchmark, method, seed) / "evaluation" / "per_image.csv")
    return np.array([float(row["prediction.dice"]) for row in sorted(rows, key=lambda row: row["file"])])


def row_of(benchmark, method):
    return next(row for row in read_csv(benchmark.output / "table.csv") if row["method"] == method)


def changed(benchmark, tmp_path, **options):
    """The command's arguments with other options, writing to a copy of its output."""
    output = tmp_path / "copy"
    shutil.copytree(benchmark.output, output)
    arguments = list(benchmark.arguments)
    for name, value in {"output": str(output), **options}.items():
        if f"--{name}" in arguments:
            arguments[arguments.index(f"--{name}") + 1] = value
        else:
            arguments += [f"--{name}", value]
    return output, arguments


@pytest.mark.parametrize("method", METHODS)
def test_scores_are_means_over_images_then_mean_and_deviation_over_seeds(benchmark, method):
    row = row_of(benchmark, method)
    for metric in ("dice", "iou", "hd95"):
        seeds = []
        for seed in (0, 1):
            rows = read_csv(folder(benchmark, method, seed) / "evaluation" / "per_image.csv")
            seeds.append(np.mean([float(line[f"prediction.{metric}"]) for line in rows]))
        assert float(row[metric]) == pytest.approx(np.mean(seeds), rel=1e-4)
        assert float(row[f"{metric}_deviation"]) == pytest.approx(np.std(seeds, ddof=1), rel=1e-3, abs=1e-6)
    assert (
        f"{100 * float(row['dice']):.2f} ± {100 * float(row['dice_deviation']):.2f}"
        in (benchmark.output / "table.md").read_text()
    )


def test_the_tiny_runs_have_learnt_something_so_the_numbers_tell_methods_apart(benchmark):
    values = {float(row_of(benchmark, method)["dice"]) for method in METHODS}
    assert len(values) == 2 and max(values) > 0.05


@pytest.mark.parametrize(("method", "peer"), [METHODS, METHODS[::-1]])
def test_the_difference_is_paired_over_images_of_seeds_averaged(benchmark, method, peer):
    own, other = (np.mean([dice(benchmark, name, seed) for seed in (0, 1)], axis=0) for name in (method, peer))
    row = row_of(benchmark, method)
    assert row["peer"] == peer
    assert float(row["difference"]) == pytest.approx(np.mean(own - other), abs=1e-5)
    low, high = paired_bootstrap_interval(own, other)
    assert (float(row["difference_low"]), float(row["difference_high"])) == pytest.approx((low, high), abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_costs_are_those_of_the_network_that_predicts(benchmark, method):
    row = row_of(benchmark, method)
    assert int(row["parameters"]) == int(row["trained_parameters"]) == 1_813_762  # the U-Net, without a teacher
    assert 0.03e9 < int(row["macs"]) < 0.06e9  # 2.26e9 at 224 pixels, which has 49 times as many of them


def test_training_time_and_memory_are_those_of_the_runs_own_tables(benchmark):
    for run in read_csv(benchmark.output / "runs.csv"):
        if run["method"] == "broken":
            continue
        figures = read_csv(folder(benchmark, run["method"], run["seed"]) / "metrics.csv")
        seconds = [float(line["value"]) for line in figures if line["name"] == "epoch_seconds"]
        assert len(seconds) == PROTOCOL["segmentation_epochs"]
        assert float(run["training_seconds"]) == pytest.approx(sum(seconds), rel=1e-4)
        memory = [float(line["value"]) for line in figures if line["name"] == "peak_memory_mib"]
        assert float(run["peak_memory_mib"]) == pytest.approx(max(memory), rel=1e-4)


def test_a_failed_run_stops_no_other_and_is_shown(benchmark):
    assert benchmark.status == 1
    table = (benchmark.output / "table.md").read_text()
    row = next(line for line in table.splitlines() if line.startswith("| 4 images (4) | broken |"))
    assert "| 0/2 | failed:" in row and "NoNetwork" in row
    assert "`runs/broken_4_images_seed1.log`" in table
    statuses = {(run["method"], run["seed"]): run["status"] for run in read_csv(benchmark.output / "runs.csv")}
    assert [statuses[method, seed] for method in METHODS for seed in "01"] == ["finished"] * 4
    assert statuses["broken", "0"].startswith("failed: ")
    assert "2 of 6 runs have no result" in benchmark.printed


def test_one_line_reports_when_a_run_starts_and_ends(benchmark):
    lines = benchmark.printed.splitlines()
    assert "[1/6] supervised, 4 images labelled, seed 0: starts" in lines
    ended = next(line for line in lines if line.startswith("[1/6]") and "Dice" in line)
    assert f"Dice {100 * dice(benchmark, 'supervised', 0).mean():.2f} %" in ended and "left for 5 more" in ended


def test_the_head_states_what_was_compared_and_how(benchmark):
    head = (benchmark.output / "table.md").read_text().split("| labelled |")[0]
    fingerprint = json.loads((benchmark.output / "benchmark.json").read_text())["data"]["fingerprint"]
    for words in ("Ultrasound phantoms", fingerprint, "10 for training, 2 for validation, 7 for test", "4 images: 4"):
        assert words in head
    assert "seeds: 0, 1" in head and "32 pixels" in head and "12 epochs of 1 labelled + 1 unlabelled" in head
    assert "before that, broken: alignment" in head  # the others' overlays leave that stage out


def test_settings_of_the_protocol_and_of_each_method_are_listed(benchmark):
    table = (benchmark.output / "table.md").read_text()
    assert "`segmentation_epochs` 12" in table
    assert "Of supervised itself: `use_unlabelled` false" in table


def test_a_method_keeps_what_its_overlay_sets(benchmark, bundle):
    config = json.loads((folder(benchmark, "supervised", 0) / "config.json").read_text())
    assert config["lr_scheduler"]["cycles"] == 1 and config["use_unlabelled"] is False  # train.yaml has other values
    assert config["segmentation_epochs"] == PROTOCOL["segmentation_epochs"]
    assert config["bundle_root"] == str(bundle)  # so that a benchmark may be started from any folder


def test_published_rows_stand_apart_from_the_own_ones(benchmark):
    own, published = (benchmark.output / "table.md").read_text().split("## Published elsewhere")
    assert "| MC-Net |" in published and "2604.23274" in published and "| MC-Net |" not in own
    assert {row["method"] for row in read_csv(benchmark.output / "table.csv")} == {*METHODS, "broken"}


def test_the_plot_and_the_pictures_are_drawn(benchmark):
    for name, least in (("dice_by_labels.png", (600, 200)), ("pictures.png", (700, 900))):
        with Image.open(benchmark.output / name) as picture:
            assert picture.width >= least[0] and picture.height >= least[1]
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 20


def test_pictures_show_what_was_scored(benchmark, bundle, phantoms):
    run = folder(benchmark, "supervised", 0)
    scored = {row["file"]: float(row["prediction.dice"]) for row in read_csv(run / "evaluation" / "per_image.csv")}
    predictions = predict(run / "model.pt", list(scored), bundle, phantoms, phantoms / "datalist.json", PROTOCOL)
    for file, (image, truth, labels) in predictions.items():
        assert image.shape == (3, 32, 32)
        overlap, size = 2 * (truth * labels).sum().item(), (truth.sum() + labels.sum()).item()
        assert overlap / size == pytest.approx(scored[file], abs=1e-4)


def test_the_same_command_trains_nothing_twice(benchmark, tmp_path):
    output, arguments = changed(benchmark, tmp_path)
    files = [*output.glob("runs/*_seed?/model.pt"), *output.glob("runs/*_seed?/metrics.csv")]
    before = {file: file.stat().st_mtime_ns for file in files}
    status, printed = call(arguments)
    assert len(before) == 8 and before == {file: file.stat().st_mtime_ns for file in files}
    assert status == 1 and "6 runs, 4 of them finished before" in printed  # the broken ones are tried again


def test_a_report_alone_needs_the_output_alone(benchmark, tmp_path):
    output, _ = changed(benchmark, tmp_path)
    table = (output / "table.csv").read_bytes()
    for name in ("table.md", "table.csv", "runs.csv", "pictures.png", "dice_by_labels.png"):
        (output / name).unlink()
    status, _ = call(["--output", str(output), "--report-only"])
    assert status == 1 and (output / "table.csv").read_bytes() == table
    assert (output / "pictures.png").is_file() and (output / "dice_by_labels.png").is_file()


def test_a_changed_protocol_is_refused_and_named(benchmark, tmp_path, message_of):
    output, arguments = changed(benchmark, tmp_path, **{"optimizer#momentum": "0.5"})
    before = (output / "protocol.json").read_bytes()
    with pytest.raises(InputError) as error:
        call(arguments)
    assert "optimizer#momentum is 0.5 but was 'not set'" in message_of(error)
    assert (output / "protocol.json").read_bytes() == before


def test_other_data_are_refused(benchmark, phantoms, tmp_path, message_of):
    shutil.copytree(phantoms, tmp_path / "data")
    image = tmp_path / "data" / json.loads((phantoms / "datalist.json").read_text())["test"][0]["image"]
    picture = Image.open(image)
    picture.putpixel((0, 0), 255 - picture.getpixel((0, 0)))
    picture.save(image)
    _, arguments = changed(benchmark, tmp_path, dataset_dir=str(tmp_path / "data"))
    with pytest.raises(InputError) as error:
        call(arguments)
    assert "fingerprint" in message_of(error)


def test_two_benchmarks_do_not_write_to_one_folder(benchmark, tmp_path, message_of):
    from filelock import FileLock

    output, arguments = changed(benchmark, tmp_path)
    with FileLock(output / ".lock"), pytest.raises(InputError) as error:
        call(arguments)
    assert "another benchmark" in message_of(error)


def test_an_interrupted_run_continues_from_its_checkpoint(benchmark, tmp_path):
    output, arguments = changed(benchmark, tmp_path, methods="supervised", seeds="2", checkpoint_interval="1")
    run = output / "runs" / "supervised_4_images_seed2"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it

    def press_ctrl_c():
        while not (run / "metrics.csv").is_file() or (run / "metrics.csv").read_text().count("epoch_seconds") < 3:
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press_ctrl_c, daemon=True).start()
    try:
        status, printed = call(arguments)
    finally:
        signal.signal(signal.SIGINT, before)
    assert status == 130 and "the same command continues from here" in printed
    assert not (run / "finished.json").is_file()
    statuses = {(each["method"], each["seed"]): each["status"] for each in read_csv(output / "runs.csv")}
    assert statuses["supervised", "2"] == "unfinished"
    done = [line["value"] for line in read_csv(run / "metrics.csv") if line["name"] == "epoch_seconds"]

    status, printed = call(arguments)
    assert status == 0 and "[1/1] supervised, 4 images labelled, seed 2: continues" in printed
    epochs = [line for line in read_csv(run / "metrics.csv") if line["name"] == "epoch_seconds"]
    assert [int(line["epoch"]) for line in epochs] == list(range(1, PROTOCOL["segmentation_epochs"] + 1))
    assert epochs[0]["value"] == done[0]  # measured before the interruption
    assert row_of_output(output, "supervised")["runs"] == "3"


def row_of_output(output, method):
    return next(row for row in read_csv(output / "table.csv") if row["method"] == method)


def test_a_run_is_a_process_of_its_own(benchmark, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "_start_process", real_start)
    output, arguments = changed(benchmark, tmp_path, methods="broken", seeds="0")
    (output / "runs" / "broken_4_images_seed0.failed.txt").unlink()
    status, _ = call(arguments)
    assert status == 1
    assert "NoNetwork" in (output / "runs" / "broken_4_images_seed0.failed.txt").read_text()
