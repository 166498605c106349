from __future__ import annotations

import pytest
from PIL import Image

from custom.errors import InputError
from scripts.trade_off import draw_trade_off, main, read_runs

HEAD = "data,method,minutes,gmacs,dice,low,high\n"


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "runs.csv"
    file.write_text(HEAD + "A,labels only,16,1.0,65,60,70\nA,ours,17,2.5,68,63,73\nB,ours,30,2.5,79,75,83\n")
    return file


def test_every_run_is_a_point_over_minutes_and_over_operations(table):
    figure = draw_trade_off(read_runs(table))
    panels = [[tuple(float(v[0]) for v in bars[0].get_data()) for bars in axes.containers] for axes in figure.axes]
    assert panels == [[(16, 65), (17, 68)], [(1, 65), (2.5, 68)], [(30, 79)], [(2.5, 79)]]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["labels only", "ours"]
    colours = [[bars[0].get_color() for bars in axes.containers] for axes in figure.axes]
    assert colours == [["C0", "C1"], ["C0", "C1"], ["C1"], ["C1"]]


def test_the_table_becomes_a_picture(table, tmp_path):
    main([str(table), "--output", str(tmp_path / "picture.png")])
    assert Image.open(tmp_path / "picture.png").width > 900


@pytest.mark.parametrize("text", ["data,dice\nA,1\n", HEAD + "A,b,1,1,much,1,1\n", HEAD + "A,b,1\n", HEAD])
def test_another_table_is_refused_in_one_line(text, tmp_path):
    (tmp_path / "runs.csv").write_text(text)
    with pytest.raises(InputError, match=r"runs\.csv: (give a CSV file with the columns data|holds no run)"):
        read_runs(tmp_path / "runs.csv")
