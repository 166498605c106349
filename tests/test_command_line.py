"""What all commands share, and a seeded campaign of bad options through every one of them."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import click
import pytest

from custom.__main__ import COMMANDS as SUBCOMMANDS
from custom.__main__ import main as custom_main
from custom.benchmark.command import main as benchmark
from custom.command_line import (
    Command,
    CommandGroup,
    Name,
    Number,
    PathOrId,
    PathTo,
    Text,
    Values,
    WholeNumber,
    is_evaluated,
    run_command,
)
from custom.error_hook import show_input_errors_in_one_line
from custom.errors import InputError
from custom.export import main as export
from custom.monai_label.command import main as monai_label
from custom.phantoms.dataset import main as phantom
from custom.prepare.command import main as prepare
from custom.prepare.duplicates.search import main as near_duplicates
from scripts.curves import main as curves
from scripts.monai_label_walkthrough import main as walkthrough
from scripts.training_step import main as training_step
from tests.bundles.conftest import ROOT

CALLS = (
    ("scripts.curves",),
    ("scripts.monai_label_walkthrough",),
    ("scripts.training_step",),
    ("custom",),
    *(("custom", name) for name in SUBCOMMANDS),
)
HELP_WITHOUT = """
import contextlib, io, runpy, sys
module, *words = sys.argv[1:]
for option in ("--help", "--hepl"):
    sys.argv = [module, *words, option]
    with contextlib.suppress(SystemExit, ValueError), contextlib.redirect_stdout(io.StringIO()):
        runpy.run_module(module, run_name="__main__", alter_sys=True)
print(sorted({"torch", "monai", "mlflow"} & set(sys.modules)))
"""


@click.command(cls=Command)
@click.argument("kind", type=Name(["folder", "busi"]), metavar="KIND")
@click.option("--source", type=PathTo(), multiple=True)
@click.option("--group-duplicates", is_flag=True)
@click.option("--image-size", type=WholeNumber(16, 64))
@click.option("--share", type=Number(0, 1))
@click.option("--name", type=Text())
@click.option("--first-stage", type=PathOrId())
@click.option("--counts", cls=Values, type=Text())
@click.option("--output", type=PathTo("folder", new=True))
def example(**options):
    """Give the options back."""
    return options


def call(*arguments):
    return run_command(example, arguments)


def refusal(message_of, *arguments):
    with pytest.raises(InputError) as error:
        call(*arguments)
    return message_of(error)


@pytest.mark.parametrize("words", CALLS, ids=" ".join)
def test_neither_help_nor_a_mistyped_option_imports_what_is_slow(words):
    process = subprocess.run([sys.executable, "-c", HELP_WITHOUT, *words], capture_output=True, text=True, cwd=ROOT)
    assert process.stdout == "[]\n", process.stderr


def test_an_error_is_one_line_on_standard_error():
    command = [sys.executable, "-m", "custom", "prepare", "floder", "--source", ".", "--output", "nowhere"]
    process = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 1 and process.stdout == ""
    assert process.stderr.startswith("error: DATASET: 'floder' is not one of")
    assert process.stderr.endswith("did you mean 'folder'?\n") and process.stderr.count("\n") == 1


@click.command(cls=Command)
@click.option("--image-size", type=WholeNumber(16, 64))
def command(image_size):
    """A command of `GROUP`, which finds it by this name."""
    return image_size


GROUP = CommandGroup({"first-one": (__name__, "Does one thing."), "other": ("no.such.module", "Does another.")}, "Do.")


@pytest.mark.parametrize("name", ["first-one", "first_one"])
def test_a_group_calls_the_command_with_its_arguments_and_returns_what_it_returns(name):
    assert run_command(GROUP, [name, "--image_size", "32"]) == 32


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frist-one"], "COMMAND: 'frist-one' is not one of first-one, other; did you mean 'first-one'?"),
        (["--hepl"], "unknown option '--hepl'; did you mean --help?"),
        ([], "Missing command; see --help"),
        (["first-one", "--imagesize", "32"], "unknown option '--imagesize'; did you mean --image-size?"),
        (["first-one", "--image-size", "8"], "--image-size: '8' is no whole number from 16 to 64"),
    ],
)
def test_an_error_in_a_call_of_a_group_names_the_fix(arguments, words, message_of):
    with pytest.raises(InputError) as error:
        run_command(GROUP, arguments)
    assert words in message_of(error)


def test_the_help_of_a_group_has_one_line_for_each_command_and_imports_none(capsys):
    with pytest.raises(SystemExit) as end:
        run_command(GROUP, ["--help"], "python -m group")
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Usage: python -m group [OPTIONS] COMMAND ..."
    assert lines[-2:] == ["  first-one  Does one thing.", "  other      Does another."]


def test_the_help_of_a_command_is_the_same_from_the_group_and_by_itself(capsys):
    for main, arguments in ((custom_main, ["label-app", "--help"]), (monai_label, ["--help"])):
        with pytest.raises(SystemExit):
            main(arguments)
    text = capsys.readouterr().out
    assert text == 2 * text[: len(text) // 2]


def test_every_command_fits_one_line_of_the_help(capsys):
    with pytest.raises(SystemExit):
        custom_main(["--help"])
    listed = capsys.readouterr().out.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == list(SUBCOMMANDS)


def test_many_commands_in_one_process_hook_in_once():
    show_input_errors_in_one_line()
    hook = sys.excepthook
    call("folder")
    assert sys.excepthook is hook


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["folder", "--sorce", "."], "unknown option '--sorce'; did you mean --source?"),
        (["folder", "--imagesize", "32"], "unknown option '--imagesize'; did you mean --image-size?"),
        (["floder"], "KIND: 'floder' is not one of folder, busi; did you mean 'folder'?"),
        ([], "KIND is missing"),
        (["folder", "--image_size", "8"], "--image-size: '8' is no whole number from 16 to 64"),
        (["folder", "--name"], "'--name' requires an argument"),
        (["folder", "--name", "--share", "0.5"], "--name: has no value before --share"),
        (["folder", "more"], "unexpected extra argument (more)"),
    ],
)
def test_an_error_names_the_option_and_the_fix(arguments, words, message_of):
    assert words in refusal(message_of, *arguments)


def test_options_are_written_with_hyphens_or_underscores():
    first = call("folder", "--group-duplicates", "--image-size", "32")
    assert first == call("folder", "--group_duplicates", "--image_size", "32")
    assert (first["group_duplicates"], first["image_size"]) == (True, 32)


def test_an_option_of_several_values_ends_at_the_next_option():
    assert call("--counts", "2", "15%", "--group-duplicates", "folder")["counts"] == ("2", "15%")
    assert call("folder", "--counts", "2", "--counts", "3")["counts"] == ("2", "3")


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    options = call("folder", "--source=~", "--output", "~/new", "--first_stage", "~/stage")
    assert options["source"] == (tmp_path,)
    assert (options["output"], options["first_stage"]) == (tmp_path / "new", str(tmp_path / "stage"))


@pytest.mark.parametrize("text", ["1", "1e5", "[1]", "None", "true", "a b", "{}", "-"])
def test_what_looks_like_a_value_stays_a_text(text):
    assert call("folder", "--name", text)["name"] == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("$x", True),
        (" @x", True),
        ("%x", True),
        ("a@#b", True),
        ([1, ["$x"]], True),
        ({}, True),
        ("10%", False),
        ("me@home", False),
        (5, False),
        (None, False),
        ([1, "a"], False),
    ],
)
def test_what_a_configuration_would_evaluate_is_known(value, expected):
    assert is_evaluated(value) is expected


NO_TEXT = ["", " ", "a\nb", "a\0b", "a\udc80b"]
BAD = {
    "number": [*NO_TEXT, "x", "1.5", "-5", "1e3", "nan", "inf", "[1]", "None", "9" * 30, "$x", "0x10", "1_0", "\u0663"],
    "share": [*NO_TEXT, "x", "nan", "inf", "-inf", "-0.1", "1", "1e999", "1_0", "[0.1]", "$x", "0,1", "10%"],
    "size": [*NO_TEXT, "x", "nan", "inf", "-1", "0", "1e999", "$x"],
    "name": [*NO_TEXT, "floder", "$x", "busi,folder", "[busi]", "1"],
    "text": [*NO_TEXT, "$x", "@x", "%x", "$__import__('os').system('touch marker')"],
    "colours": [*NO_TEXT, "x", "1=", "0,0,0=0 255=2", "300=1", "$x", "0=0 0=1"],
    "count": [*NO_TEXT, "x", "0", "-2", "1.5", "101%", "0%", "nan%", "$x"],
    "list of numbers": [*NO_TEXT, "x", "0,1,x", "-1", "1.5", "0,0", "9" * 30, "$x", ","],
    "list of names": [*NO_TEXT, "semigd", "supervised,supervised", "$x", ",", "1"],
    "source": [*NO_TEXT, "missing", "~no-such-user/x", "x" * 5000, "PIPE", "FILE/below"],
    "folder": [*NO_TEXT, "missing", "~no-such-user/x", "x" * 5000, "PIPE", "FILE"],
    "file": [*NO_TEXT, "missing", "~no-such-user/x", "x" * 5000, "PIPE", "FOLDER"],
    "new folder": [*NO_TEXT, "~no-such-user/x", "x" * 5000, "PIPE", "FILE", "FILE/below"],
    "new file": [*NO_TEXT, "~no-such-user/x", "x" * 5000, "PIPE", "FOLDER", "FILE/below"],
    "size of images": ["x", "-32", "1.5", "[64]", "$x", "None", "true", ""],
    "flag": ["maybe", "2", "$x", "None", "[true]"],
    "momentum": ["x", "1e999", "$x", "true", "[0.9]"],
    "anything but an expression": ["$x", "@x", "%x", "['$x']", "{'_target_': 'os.system'}", "{1}", "b'x'"],
    "refused": ["1", "x", "$x"],
}
NETWORK = {"image_size": "number", "width": "number", "mapper_width": "number", "first_stage": "text", "seed": "number"}
COMMANDS = {
    prepare: (
        ["folder", "--source", "FOLDER", "--output", "new"],
        {
            **{"source": "source", "output": "new folder", "validation-share": "share", "test-share": "share"},
            **{"seed": "number", "labelled-counts": "count", "max-side": "number", "mask-colours": "colours"},
            **{"max-archive-gb": "size", "ignore-value": "number", "DATASET": "name"},
        },
    ),
    benchmark: (
        [
            "--bundle",
            "BUNDLE",
            "--dataset-dir",
            "DATA",
            "--methods",
            "supervised",
            "--labels",
            "all",
            "--output",
            "new",
        ],
        {
            **{"bundle": "folder", "dataset_dir": "folder", "datalist": "file", "methods": "list of names"},
            **{"labels": "list of names", "seeds": "list of numbers", "output": "new folder", "protocol": "file"},
            **{"jobs": "number", "experiment": "text", "image_size": "size of images", "amp": "flag"},
            **{"momentum": "momentum", "first_stage": "text", "mixing_start": "anything but an expression"},
            **{"device": "anything but an expression", "width": "anything but an expression", "seed": "refused"},
            **{"train#trainer#_target_": "refused", "network_def": "refused", "imagesize": "refused"},
        },
    ),
    export: (["BUNDLE", "--output", "new"], {"output": "new folder", "checkpoint": "file", "BUNDLE": "folder"}),
    monai_label: (
        ["--app", "new", "--bundle", "BUNDLE"],
        {
            **NETWORK,
            **{"app": "new folder", "bundle": "folder", "checkpoint": "file", "first_stage_subfolder": "text"},
            **{"num_classes": "number"},
        },
    ),
    phantom: (
        ["--output", "new"],
        {
            **{"output": "new folder", "labelled": "number", "unlabelled": "number", "validation": "number"},
            **{"test": "number", "image-size": "number", "seed": "number", "modality": "name"},
        },
    ),
    near_duplicates: (
        ["FOLDER", "--output", "new"],
        {"output": "new folder", "dataset_dir": "folder", "DIR_OR_DATALIST": "source"},
    ),
    curves: (
        ["FOLDER", "--output", "new.png"],
        {"names": "text", "metric": "name", "labelled-batches": "number", "output": "new file", "RUN...": "folder"},
    ),
    training_step: (
        ["--first-stage", "x"],
        {"image_size": "number", "width": "number", "first_stage": "text", "device": "name", "repeats": "number"},
    ),
    walkthrough: (
        ["--bundle", "BUNDLE", "--dataset-dir", "DATA", "--output", "new", "--first-stage", "x"],
        {
            **NETWORK,
            "bundle": "folder",
            "output": "new folder",
            "rounds": "number",
            "images": "number",
            "add": "number",
        },
    ),
}
CASES = [
    (main, option, value) for main, (_, kinds) in COMMANDS.items() for option in kinds for value in BAD[kinds[option]]
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with all that the valid arguments name."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "FOLDER").mkdir()
    (folder / "FOLDER" / "text.txt").write_text("x")
    (folder / "FILE").write_text("{")
    os.mkfifo(folder / "PIPE")
    os.symlink(ROOT / "bundles" / "semigda_busi", folder / "BUNDLE")
    items = [{"image": "a.png", "label": "b.png"}]
    datalist = {"num_classes": 2, "training": items, "validation": items, "test": items}
    (folder / "DATA").mkdir()
    (folder / "DATA" / "datalist.json").write_text(json.dumps(datalist))
    for name in ("a.png", "b.png"):
        (folder / "DATA" / name).write_bytes(b"")
    return folder


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def with_option(main, option, value):
    """The valid arguments with one of them exchanged, or one more."""
    arguments = list(COMMANDS[main][0])
    if option.isupper():  # an argument, which comes first
        return [value, *arguments[1:]]
    if f"--{option}" in arguments:
        arguments[arguments.index(f"--{option}") + 1] = value
        return arguments
    return [*arguments, f"--{option}", value]


def mistyped(option, rng):
    """The option with two letters exchanged, or one left out or doubled."""
    at = rng.randrange(len(option) - 1)
    left, first, second, right = option[:at], option[at], option[at + 1], option[at + 2 :]
    return rng.choice([left + second + first + right, left + second + right, left + first + first + second + right])


def refused(main, arguments, place, monkeypatch):
    """The one line in which a command refuses, having written nothing."""
    monkeypatch.chdir(place)
    before = listing(place)
    with pytest.raises(InputError) as error:
        main(arguments)
    message = str(error.value)
    assert "\n" not in message and message.encode().isascii() or message.isprintable()
    assert listing(place) == before, " ".join(map(repr, arguments))
    return message


@pytest.mark.parametrize("main", COMMANDS, ids=lambda main: main.__module__)
def test_a_bad_value_is_refused_in_one_line_that_names_the_option(main, place, monkeypatch):
    kinds = COMMANDS[main][1]
    for option, value in ((name, value) for name in kinds for value in BAD[kinds[name]]):
        message = refused(main, with_option(main, option, value), place, monkeypatch)
        assert option.replace("_", "-") in message.replace("_", "-"), (value, message)


@pytest.mark.parametrize("main", COMMANDS, ids=lambda main: main.__module__)
def test_a_mistyped_option_is_refused(main, place, monkeypatch):
    rng = random.Random(0)
    arguments, kinds = COMMANDS[main]
    options = [option for option in kinds if not option.isupper() and "refused" not in kinds[option]]
    for option in options:
        wrong = mistyped(option, rng)
        if wrong not in options and wrong.replace("_", "-") not in options:
            message = refused(main, [*arguments, f"--{wrong}", "1"], place, monkeypatch)
            assert wrong.replace("_", "-") in message.replace("_", "-"), (option, message)
