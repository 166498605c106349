from __future__ import annotations

import pytest

from custom.tracking import MetricsTable


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "metrics.csv"


def test_starting_over_begins_a_new_table_and_keeps_the_old_one(path):
    for loss in (1.0, 2.0):
        table = MetricsTable(path)
        table.start_over()
        table.append(1, 1, "alignment", {"loss": loss})
    assert path.read_text().splitlines()[1:] == ["1,1,alignment,loss,2"]
    assert path.with_name("metrics_previous.csv").read_text().endswith("alignment,loss,1\n")


def test_truncate_leaves_other_stages_alone(path):
    table = MetricsTable(path)
    for stage in ("alignment", "segmentation"):
        table.append(5, 1, stage, {"loss": 1.0})
        table.append(6, 1, stage, {"loss": 2.0})
    table.truncate("segmentation", 5)
    assert table.path.read_text().splitlines() == [
        "step,epoch,stage,name,value",
        "5,1,alignment,loss,1",
        "6,1,alignment,loss,2",
        "5,1,segmentation,loss,1",
    ]


def test_repeated_step_appears_once_in_the_table_even_without_truncation(path):
    first = MetricsTable(path)
    first.append(1, 1, "alignment", {"loss": 1.0})
    first.append(2, 1, "alignment", {"loss": 2.0})
    resumed = MetricsTable(path)
    resumed.append(2, 1, "alignment", {"loss": 2.0, "term": 5.0})
    resumed.append(3, 1, "alignment", {"loss": 3.0})
    assert resumed.path.read_text().splitlines()[1:] == [
        "1,1,alignment,loss,1",
        "2,1,alignment,loss,2",
        "2,1,alignment,term,5",
        "3,1,alignment,loss,3",
    ]


def test_table_drops_the_half_line_of_a_killed_process(path):
    table = MetricsTable(path)
    table.append(1, 1, "alignment", {"loss": 1.0})
    with table.path.open("a") as file:
        file.write("2,1,alignment,loss,0.1")  # of 0.1234
    again = MetricsTable(path)
    again.append(2, 1, "alignment", {"loss": 0.1234})
    assert again.path.read_text().splitlines()[1:] == ["1,1,alignment,loss,1", "2,1,alignment,loss,0.1234"]
