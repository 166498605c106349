from __future__ import annotations

import json
import random

import monai.bundle
import pytest
from monai.bundle import ConfigWorkflow

from custom.error_causes import find_input_error
from custom.phantoms.dataset import write_phantom_dataset
from tests.options.conftest import CLASSES, CONFIGS
from tests.options.samples import samples, words_of

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file")

METHODS = [CONFIGS / "methods" / f"{name}.json" for name in ("diffrect", "scdl_cps", "ict", "fixmatch")]
OWN_FILE = "is no option: change it in a file of your own"


def overlays_of(config, key):
    """Overlays of train.json that bring `key`."""
    if config != "train.json" or key in json.loads((CONFIGS / config).read_text()):
        return []
    files = [CONFIGS / "quickstart.json", CONFIGS / "multi_gpu_train.json", *METHODS]
    found = [file for file in files if key in json.loads(file.read_text())]
    return found[:1]


CASES = [
    pytest.param(config, key, id=f"{config}-{key}")
    for config, options in CLASSES.items()
    for key in options.__annotations__
    if key not in ("bundle_root", "starting_model", "backend")  # of overlays that do more than this test
]


@pytest.mark.parametrize(("config", "key"), CASES)
def test_a_wrong_value_on_the_command_line_is_refused_in_one_line_and_a_right_one_is_taken(
    config, key, command, refusal
):
    choice = random.Random(f"{config} {key}")
    right, wrong = samples(words_of(CLASSES[config], key))
    files = overlays_of(config, key)
    for text in choice.sample(wrong, 2):
        message = refusal(f"--{key}={text}", config=config, overlays=files)
        assert message.startswith(f"--{key} ")
        assert ": give " in message
    if key not in (
        "widths",
        "norm_num_groups",
        "sampling_steps",
        "diffusion_steps",
        "image_size",
        "alignment_epochs",
        "pseudo",
    ):
        command(f"--{key}={choice.choice(right)}", config=config, overlays=files)


TEXTS = ["dataset_dir", "datalist", "first_stage", "runs_dir", "output_dir", "run_name", "mlflow_experiment"]


@pytest.mark.parametrize("key", TEXTS)
def test_a_text_is_taken_as_it_was_typed(key, command):
    for text in ("2018", "lesion,2024", "1e3", "007", "1_000", "None", "[a]", '"x"', "true"):
        assert command(f"--{key}", text)[key] == text


def test_values_have_their_types_once_they_are_checked(command):
    parser = command("--amp", "yes", "--image_size", "032", "--momentum", "0", "--width", "none", "--resume")
    assert [parser[key] for key in ("amp", "image_size", "momentum", "width", "resume")] == [True, 32, 0.0, None, True]
    assert parser.get_parsed_content("train#trainer#amp", instantiate=False) is True
    assert parser.get_parsed_content("align#trainer#max_epochs", instantiate=False) == 200


def test_an_expression_of_a_configuration_is_still_evaluated(command):
    parser = command("--consistency_beta", "0.7")
    assert parser.get_parsed_content("alignment_beta") == 0.7
    assert parser.get_parsed_content("mixing_start") == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"momentum": "$1 + 4"}, "momentum 5: give a number from 0 and below 1"),
        ({"segmentation_epochs": 5, "alignment_epochs": "$@segmentation_epochs - 5"}, "alignment_epochs 0: give"),
        ({"amp": "maybe"}, "amp maybe: give true or false"),
        ({"run_name": "a/b"}, "run_name a/b: give one plain folder name"),
        ({"learning_rate": None}, "learning_rate None: give a number above 0"),
    ],
)
def test_a_wrong_value_in_a_file_is_refused_too(content, message, refusal, tmp_path):
    (tmp_path / "own.json").write_text(json.dumps(content))
    assert refusal(overlays=[tmp_path / "own.json"]).startswith(message)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("train#trainer#max_epochs", "x", "give a whole number from 1"),
        ("train#trainer#max_epochs", "0", "give a whole number from 1"),
        ("train::trainer::max_epochs", "0", "give a whole number from 1"),
        ("validate#dataloader#batch_size", "1.5", "give a whole number"),
        ("validate#dataloader#shuffle", "maybe", "give true or false"),
        ("align#handlers#0#epoch_level", "3", "give true or false"),
        ("train#preprocessing#transforms#2#prob", "x", "give a number"),
        ("load#keys", "['image', {}]", "give a text"),
        ("load#keys", "image", OWN_FILE),
        ("load#_target_", "os.system", OWN_FILE),
        ("load", "{'_target_': 'os.system'}", OWN_FILE),
        ("network", "3", OWN_FILE),
        ("imports", "['os']", OWN_FILE),
        ("run", "x", OWN_FILE),
        ("optimizers#segmentation#params", "x", OWN_FILE),
        ("alignment_val_codec", "{'_target_': 'os.system'}", OWN_FILE),
    ],
)
def test_a_part_of_the_workflow_keeps_its_type(option, value, message, refusal):
    line = refusal(f"--{option}", value)
    assert line.startswith(f"--{option} ")
    assert message in line


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("train#trainer#max_epochs", "3", 3),
        ("validate#dataloader#batch_size", "2", 2),
        ("validate#dataloader#shuffle", "true", True),
        ("train#preprocessing#transforms#2#prob", "0.25", 0.25),
        ("details#method", "2018", "2018"),
    ],
)
def test_a_part_of_the_workflow_can_be_set(option, text, value, command):
    assert command(f"--{option}", text)[option] == value


@pytest.mark.parametrize(
    ("arguments", "config", "message"),
    [
        (["--widths", "[8, 12]"], "train_autoencoder.json", "widths [8, 12]: give multiples of norm_num_groups"),
        (["--image_size", "33"], "train_autoencoder.json", "image_size 33: give a multiple of 8"),
    ],
)
def test_options_must_fit_each_other(arguments, config, message, refusal):
    assert refusal(*arguments, config=config).startswith(message)


def test_only_a_method_without_alignment_takes_no_epochs_of_it(refusal, command):
    assert refusal("--alignment_epochs", "0").startswith("alignment_epochs 0: give a whole number from 1")
    assert command("--alignment_epochs", "0", overlays=METHODS[:1])["alignment_epochs"] == 0


@pytest.mark.parametrize(("value", "overlays"), [("masked", []), ("hard", [CONFIGS / "methods" / "fixmatch.json"])])
def test_pseudo_labels_of_another_method_are_refused(value, overlays, refusal):
    assert refusal("--pseudo", value, overlays=overlays).startswith(f"pseudo {value}: this method takes ")


@pytest.mark.parametrize(("key", "name"), [("method", "ua_mt"), ("preset", "paper")])
def test_the_name_of_an_overlay_does_not_stand_for_it(key, name, refusal, command):
    assert f"{key}s/{name}.json to --config_file" in refusal(f"--{key}", name)
    assert command(f"--{key}", name, overlays=[CONFIGS / f"{key}s" / f"{name}.json"])[key] == name
    assert command(f"--{key}", "mine")[key] == "mine"


def test_more_sampling_steps_than_steps_are_refused(refusal):
    assert "give at most diffusion_steps, which is 10" in refusal("--sampling_steps", "11", overlays=METHODS[:1])


def test_a_width_that_is_not_safe_with_channels_last_is_refused(refusal, command):
    assert "give at least 8 with channels_last" in refusal("--width", "7", "--channels_last", "true")
    command("--width", "8", "--channels_last", "true")
    command("--width", "7")


def test_a_subfolder_that_a_local_first_stage_lacks_is_refused(refusal, command, tmp_path):
    assert "has no such folder" in refusal("--first_stage", str(tmp_path), "--first_stage_subfolder", "nope")
    (tmp_path / "vae").mkdir()
    command("--first_stage", str(tmp_path), "--first_stage_subfolder", "vae")
    command("--first_stage", str(tmp_path), "--first_stage_subfolder", "none")


def test_options_in_a_file_of_arguments_are_checked_like_those_of_the_command_line(refusal, command, tmp_path):
    file = tmp_path / "arguments.json"
    for content, message in (
        ({"image_size": -1}, "--image_size -1: give"),
        ({"image_sise": 32}, "unknown option --image_sise; did you mean 'image_size'?"),
        ({"dataset_dir": "$print(1)"}, "--dataset_dir $print(1): a value must not begin with"),
    ):
        file.write_text(json.dumps(content))
        assert refusal("--args_file", str(file)).startswith(message)
    file.write_text(json.dumps({"image_size": 64, "seed": 3}))
    parser = command("--args_file", str(file), "--image_size", "32")
    assert (parser["image_size"], parser["seed"]) == (32, 3)


def stopping(tmp_path):
    check = "$custom.options.check(custom.options.TrainingOptions)"
    stop = tmp_path / "stop.json"
    stop.write_text(
        json.dumps(
            {"initialize": ["$import custom", check], "num_classes": 2, "ignore_value": None, "data": {}, "run": []}
        )
    )
    return [str(CONFIGS / "train.json"), str(stop)]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"image_size": -32}, "--image_size -32: give a whole number"),
        ({"dataset_dir": "$print(1)"}, "dataset_dir $print(1): a value must not begin with $"),
        ({"run_name": "a/b"}, "--run_name a/b: give one plain folder name"),
    ],
)
def test_options_given_by_code_are_checked(overrides, message, tmp_path):
    with pytest.raises((ValueError, RuntimeError)) as error:
        monai.bundle.run(config_file=stopping(tmp_path), logging_file=False, **overrides)
    assert str(find_input_error(error.value)).startswith(message)


def test_options_of_a_workflow_that_code_makes_get_their_types(tmp_path):
    workflow = ConfigWorkflow(stopping(tmp_path), logging_file=False, amp="true", dataset_dir=tmp_path, width="8")
    workflow.initialize()
    assert [workflow.parser[key] for key in ("amp", "dataset_dir", "width")] == [True, str(tmp_path), 8]


def test_an_own_overlay_may_add_options_that_its_values_use(command, tmp_path):
    (tmp_path / "own.json").write_text(json.dumps({"own_factor": 2, "weight_decay": "$@own_factor / 100"}))
    parser = command("--own_factor", "3", overlays=[tmp_path / "own.json"])
    assert parser.get_parsed_content("weight_decay") == 0.03


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("labelled", "99", "asks for 99 labelled images; give 1 to 2"),
        ("labelled", "most", "labelled is 'most'; give"),
        ("dataset_dir", "nowhere", "datalist nowhere/datalist.json does not exist"),
    ],
)
def test_what_the_data_lacks_is_refused_before_a_folder_is_made(option, value, message, refusal, tmp_path):
    write_phantom_dataset(tmp_path / "data", labelled=2, unlabelled=0, validation=0, test=0, image_size=32)
    options = {"dataset_dir": str(tmp_path / "data"), "runs_dir": str(tmp_path / "runs"), option: value}
    assert message in refusal(*(f"--{key}={text}" for key, text in options.items()), reads_data=True)
    assert not (tmp_path / "runs").exists()
