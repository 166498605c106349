from __future__ import annotations

import json

import pytest

from custom.prepare.command import main
from custom.prepare.sources import SOURCES


def test_the_command_prepares_and_prints_where(own, tmp_path, capsys):
    output = tmp_path / "prepared"
    arguments = ["folder", "--source", str(own), "--output", str(output), "--no-audit", "--labelled-counts", "2", "60%"]
    main(arguments)
    assert f"{output}: training 7, validation 1, test 2" in capsys.readouterr().out
    assert {"2", "60%"} <= json.loads((output / "datalist.json").read_text())["labelled_subsets"].keys()
    main(arguments)
    assert "nothing to do" in capsys.readouterr().out


def test_help_names_every_data_set_and_option(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    options = ("--validation-share", "--test-share", "--seed", "--max-side", "--group-duplicates", "--labelled-counts")
    assert all(word in text for word in (*SOURCES, *options, "--overwrite", "--mask-colours", "--seeded-split"))


@pytest.mark.parametrize(("option", "stated"), [("--one-component", True), ("--several_components", False)])
def test_connected_pieces_can_be_stated(own, tmp_path, option, stated):
    main(["folder", "--source", str(own), "--output", str(tmp_path / "prepared"), "--no-audit", option])
    datalist = json.loads((tmp_path / "prepared" / "datalist.json").read_text())
    assert datalist["one_connected_component"] is stated
