from __future__ import annotations

import json

import pytest

from custom.prepare.command import main
from custom.prepare.sources import SOURCES


def test_the_command_prepares_and_tells_where(own, tmp_path, capsys):
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
