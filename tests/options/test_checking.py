from __future__ import annotations

import functools
import json
import random

import monai.bundle
import pytest
from monai.bundle import ComponentLocator, ConfigParser, ConfigWorkflow

from custom.error_causes import find_input_error
from custom.options import COMMANDS
from custom.options.parts import arguments_at, value_at
from custom.phantoms import write_phantom_dataset
from tests.options.conftest import CONFIGS, OVERLAYS
from tests.options.samples import samples, words_of

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file")

QUICKSTART = CONFIGS / "quickstart.yaml"
MASK_BRANCH = OVERLAYS / "networks" / "mask_branch.yaml"
METHODS = {
    name: OVERLAYS / "methods" / f"{name}.yaml"
    for name in (
        *("diffrect", "scdl_cps", "ict", "fixmatch", "mc_net", "ua_mt", "distilled", "bcp"),
        *("ga_cps", "dhc", "genericssl", "vclipseg", "magicnet", "bs_net", "csc_pa", "cdma", "caussl_cps", "dtc"),
        *("incl", "mcf", "pmt", "skcdf", "unco"),
    )
}
OWN_FILE = "is no option: change it in a file of your own"


LOCATOR = ComponentLocator()


@functools.cache
def merged_with(config, *overlays):
    return ConfigParser.load_config_files([str(CONFIGS / f"{config}.yaml"), *map(str, overlays)])


@functools.cache
def overlays_of(config, key):
    """Overlays of train.yaml with the part that `key` belongs to; None if no part takes it."""
    alone = [QUICKSTART, OVERLAYS / "presets" / "paper.yaml", *METHODS.values()]
    for files in ([], *([overlay] for overlay in alone), [METHODS["fixmatch"], MASK_BRANCH]):
        merged = merged_with(config, *files)
        parent, _, name = key.rpartition("#")
        part = value_at(merged, parent) if parent else merged
        if isinstance(part, dict) and (name in part or (parent and name in arguments_at(merged, parent, LOCATOR))):
            return files
        if config != "train":
            break
    return None


CASES = [
    pytest.param(config, key, id=f"{config}-{key}")
    for config, kinds in COMMANDS.items()
    for key in kinds
    if key not in ("bundle_root", "starting_model", "backend")  # of overlays that do more than this test
    and overlays_of(config, key) is not None
]
HAVE_FRIENDS = {
    *("widths", "norm_num_groups", "image_size", "network_def#sampling_steps", "network_def#diffusion_steps"),
    "train#method#pseudo",
}


@pytest.mark.parametrize(("config", "key"), CASES)
def test_a_wrong_value_on_the_command_line_is_refused_in_one_line_and_a_right_one_is_taken(
    config, key, command, refusal
):
    choice = random.Random(f"{config} {key}")
    right, wrong = samples(words_of(config, key))
    files = overlays_of(config, key)
    for text in choice.sample(wrong, 2):
        message = refusal(f"--{key}={text}", config=config, overlays=files)
        assert message.startswith(f"--{key} ")
        assert ": give " in message
    if key not in HAVE_FRIENDS:
        command(f"--{key}={choice.choice(right)}", config=config, overlays=files)


def test_every_option_belongs_to_a_part_of_some_configuration():
    keys = [(config, key) for config, kinds in COMMANDS.items() for key in kinds]
    homeless = [key for config, key in keys if overlays_of(config, key) is None]
    assert set(homeless) <= {"starting_model", "backend"}  # of MONAI Label and of several processes


TEXTS = ["dataset_dir", "datalist", "first_stage", "runs_dir", "output_dir", "run_name"]


@pytest.mark.parametrize("key", TEXTS)
def test_a_text_is_taken_as_it_was_typed(key, command):
    for text in ("2018", "lesion,2024", "1e3", "007", "1_000", "None", "[a]", '"x"', "true"):
        assert command(f"--{key}", text)[key] == text


def test_values_have_their_types_once_they_are_checked(command):
    parser = command("--amp", "yes", "--image_size", "032", "--optimizer#momentum", "0", "--width", "none", "--resume")
    keys = ("amp", "image_size", "optimizer#momentum", "width", "resume")
    assert [parser[key] for key in keys] == [True, 32, 0.0, None, True]
    assert parser.get_parsed_content("train#trainer#amp", instantiate=False) is True
    assert parser.get_parsed_content("align#trainer#max_epochs", instantiate=False) == 200


def test_an_expression_of_a_configuration_is_still_evaluated(command):
    parser = command("--seed", "7", "--runs_dir", "here")
    assert parser.get_parsed_content("run_name") == "semigda_release_fixed_10percent_seed7"
    assert command("--bundle_root", "there").get_parsed_content("runs_dir") == "there/runs"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"val_interval": "$1 - 4"}, "val_interval -3: give a whole number from 1"),
        ({"optimizer#momentum": 5}, "optimizer#momentum 5: give a number from 0 and below 1"),
        ({"segmentation_epochs": 5, "alignment_epochs": "$@segmentation_epochs - 5"}, "alignment_epochs 0: give"),
        ({"amp": "maybe"}, "amp maybe: give true or false"),
        ({"run_name": "a/b"}, "run_name a/b: give one plain folder name"),
        ({"learning_rate": None}, "learning_rate None: give a number above 0"),
        ({"optimizer#momentum": None}, "optimizer#momentum None: give a number from 0 and below 1"),
        ({"seed": "$1 / 0"}, "seed $1 / 0: cannot be evaluated (division by zero); correct it"),
        ({"seed": "@seed"}, "seed @seed: cannot be evaluated ("),
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
        ("validate#dataloader#num_workers", "1.5", "give a whole number"),
        ("train#dataloader#pin_memory", "maybe", "give true or false"),
        ("align#trainer#momentum", "x", "give a number"),
        ("augmentation#rotate#prob", "x", "give a number"),
        ("load#keys", "['image', {}]", OWN_FILE),
        ("load#_target_", "os.system", OWN_FILE),
        ("load", "{'_target_': 'os.system'}", OWN_FILE),
        ("network", "3", OWN_FILE),
        ("imports", "['os']", OWN_FILE),
        ("run", "x", OWN_FILE),
        ("optimizer#params", "x", OWN_FILE),
        ("align#evaluator#label_codec", "{'_target_': 'os.system'}", OWN_FILE),
        ("augmentation#rotate#prob", "1.5", "give a number from 0 to 1"),
        ("optimizer#lr", "-1", "give a number above 0"),
        ("train#dataloader#num_workers", "-1", "give a whole number from 0"),
        ("align#trainer#accumulation_steps", "0", "give a whole number from 1"),
        ("session#checkpoint_interval", "0", OWN_FILE),
        ("test#report#num_classes", "0", OWN_FILE),
        ("resize#size_mode", "all", OWN_FILE),
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
        ("train::trainer::max_epochs", "3", 3),
        ("validate#dataloader#num_workers", "2", 2),
        ("train#dataloader#pin_memory", "true", True),
        ("augmentation#rotate#prob", "0.25", 0.25),
        ("tracker#experiment_name", "2018", "2018"),
        ("network_def#dropout", "0.5", 0.5),
    ],
)
def test_a_part_of_the_workflow_can_be_set(option, text, value, command):
    assert command(f"--{option}", text)[option] == value


@pytest.mark.parametrize(
    ("arguments", "config", "message"),
    [
        (["--widths", "[8, 12]"], "train_autoencoder", "widths [8, 12]: give multiples of norm_num_groups"),
        (["--image_size", "33"], "train_autoencoder", "image_size 33: give a multiple of 8"),
    ],
)
def test_options_must_fit_each_other(arguments, config, message, refusal):
    assert refusal(*arguments, config=config).startswith(message)


def test_an_alignment_without_epochs_is_refused(refusal):
    assert refusal("--alignment_epochs", "0").startswith("--alignment_epochs 0: give a whole number from 1")


@pytest.mark.parametrize(
    ("arguments", "overlay", "message"),
    [
        (["--train#trainer#mixing_strat", "0.5"], None, "--train#trainer#mixing_strat is no option"),
        (["--train#method#mixing_strat", "0.5"], None, "train#method#mixing_strat: SemiGDASegmentation takes no such "),
        (
            ["--train#method#mixing_start", "0.5"],
            "ua_mt",
            "train#method#mixing_start: UncertaintyAwareMeanTeacher takes",
        ),
        (["--network_def#mapper_width", "8"], "ua_mt", "network_def#mapper_width: UNetWithTeacher takes no such value"),
    ],
)
def test_a_part_refuses_values_that_it_does_not_take(arguments, overlay, message, refusal):
    line = refusal(*arguments, overlays=[METHODS[overlay]] if overlay else [])
    assert line.startswith(message) or "takes no such value" in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"train#trainer#max_epoch": 3},
            "train#trainer#max_epoch: SemiGDASegmentation takes no such value; did you mean",
        ),
        ({"augmentation#rotate#probability": 3}, "augmentation#rotate#probability: RandRotate90d takes no such value"),
        (
            {"train#method#_target_": "custom.methods.NoSuch"},
            "train#method#_target_ custom.methods.NoSuch: there is no",
        ),
        ({"session": None}, "session is null, but training#1 $@session.run() needs it; leave session as it was"),
        ({"resize#_target_": "NoSuchTransform"}, "resize#_target_ NoSuchTransform: there is no such class"),
        ({"train#trainer#_target_": "@train#methode"}, "train#trainer#_target_ @train#methode: there is no such part"),
        ({"network_def#_target_": None}, "network_def#_target_ None: give the name of a class or function"),
        ({"seed": "@sede"}, "seed @sede: there is no sede in the configuration; correct the name"),
        ({"train#trainer#amp": "$not @load#nope"}, "train#trainer#amp $not @load#nope: there is no load#nope in"),
        (
            {"netwrok_def": {"_target_": "custom.networks.UNet"}},
            "unknown option netwrok_def; did you mean 'network_def'?",
        ),
    ],
)
def test_a_mistyped_part_in_a_file_is_one_line(content, message, refusal, tmp_path):
    (tmp_path / "own.json").write_text(json.dumps(content))
    assert refusal(overlays=[tmp_path / "own.json"]).startswith(message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--learning_rat", "None"], "unknown option --learning_rat; did you mean 'learning_rate'?"),
        (["--trian#foo", "None"], "unknown option --trian#foo; did you mean 'train'?"),
        (["--tarin#method#floor", "None"], "unknown option --tarin#method#floor; did you mean 'train#method#floor'?"),
        (["--+seed", "3"], "unknown option --+seed; did you mean 'seed'?"),
        (["--train#method#threshold", "None"], "--train#method#threshold: train#method takes no such value"),
    ],
)
def test_what_monai_leaves_out_is_refused_all_the_same(arguments, message, refusal):
    """MONAI drops an option whose value is None, and merges one that begins with a plus."""
    assert refusal(*arguments).startswith(message)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["methods/fixmatch", "methods/diffrect"], "fixmatch.yaml and diffrect.yaml are each a method; give one"),
        (["presets/paper", "presets/release_parity"], "paper.yaml and release_parity.yaml are each a preset; give one"),
        (
            ["ablations/no_mixing_loss", "methods/cps"],
            "no_mixing_loss.yaml is for SemiGDA, not for cps.yaml; leave one",
        ),
        (["networks/mask_branch"], "mask_branch.yaml goes after one of the methods distilled.yaml, fixmatch.yaml"),
        (["methods/ua_mt", "networks/mask_branch"], "mask_branch.yaml goes after one of the methods"),
        (["networks/mask_branch", "methods/supervised"], "mask_branch.yaml goes after one of the methods"),
        (["methods/fixmatch", "methods/fixmatch"], "fixmatch.yaml twice; give it once"),
        (["methods/cps", "presets/paper"], "if it is of another file, put cps.yaml last in --config_file"),
    ],
)
def test_overlays_that_do_not_go_together_are_refused(names, message, refusal):
    assert message in refusal(overlays=[OVERLAYS / f"{name}.yaml" for name in names])


def test_a_method_after_a_preset_is_taken(command):
    overlays = [OVERLAYS / "presets" / "paper.yaml", OVERLAYS / "methods" / "cps.yaml"]
    assert command(overlays=overlays)["preset"] == "paper"


@pytest.mark.parametrize(("key", "name"), [("method", "ua_mt"), ("preset", "paper")])
def test_the_name_of_an_overlay_does_not_stand_for_it(key, name, refusal, command):
    for overlays in ([], [OVERLAYS / f"{key}s" / f"{name}.yaml"]):
        assert f"custom/configs/{key}s/{name}.yaml to --config_file" in refusal(f"--{key}", name, overlays=overlays)
    assert command(overlays=[OVERLAYS / f"{key}s" / f"{name}.yaml"])[key] == name
    assert command(f"--{key}", "mine")[key] == "mine"


def test_more_sampling_steps_than_steps_are_refused(refusal):
    assert "give at most diffusion_steps, which is 10" in refusal(
        "--network_def#sampling_steps", "11", "--network_def#diffusion_steps", "10", overlays=[METHODS["diffrect"]]
    )


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
    check = "$custom.options.check('train')"
    stop = tmp_path / "stop.json"
    stop.write_text(json.dumps({"initialize": ["$import custom", check], "data": {}, "run": ["$None"]}))
    return [str(CONFIGS / "train.yaml"), str(stop)]


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
    (tmp_path / "own.json").write_text(json.dumps({"own_factor": 2, "optimizer#weight_decay": "$@own_factor / 100"}))
    parser = command("--own_factor", "3", overlays=[tmp_path / "own.json"])
    assert parser.get_parsed_content("optimizer#weight_decay") == 0.03


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
