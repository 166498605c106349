"""Published numbers come with their source and stay apart."""

from __future__ import annotations

import pytest

from custom.benchmark.published import published_data_sets, published_section, read_published
from custom.errors import InputError

TABLES = read_published()["tables"]


@pytest.mark.parametrize("table", TABLES, ids=[f"{t['data']}, {t['source']['table']}" for t in TABLES])
def test_every_table_names_the_source_of_its_numbers(table):
    assert table["source"]["address"].startswith("https://")
    assert all(table["source"][key] for key in ("paper", "table", "read_from", "whose_runs"))
    assert table["metrics"] and table["preset"] and "image_size" in table
    for row in table["rows"]:
        values = [row[name] for name in table["metrics"] if name in row]
        assert row["labels"] and row["method"] and values and all(0 < value < 100 for value in values)
        assert row.keys() <= {"labels", "method", *table["metrics"]}


def test_data_sets_of_bundles_have_tables():
    published = read_published()
    named = [name for names in published["bundles"].values() for name in names]
    named += [name for entry in published["datalists"].values() for name in entry["data"]]
    assert set(named) == {table["data"] for table in TABLES}


def test_the_bundle_the_datalist_or_the_user_choose_the_tables():
    assert published_data_sets("semigda_polyp", "Polyp", 2) == ["CVC-300", "ClinicDB", "Kvasir"]
    assert published_data_sets("semigda_busi", "ACDC", 4) == ["ACDC"]
    assert published_data_sets("semigda_busi", "BUSI", 3) == []  # other classes than the published ones
    assert published_data_sets("semigda_busi", "Ultrasound phantoms", 2) == []
    assert published_data_sets("semigda_busi", "Ultrasound phantoms", 2, "BCSS") == ["BCSS"]
    assert published_data_sets("semigda_busi", "BUSI", 2, "none") == []
    with pytest.raises(InputError, match="--published"):
        published_data_sets("semigda_busi", "BUSI", 2, "busi")


def test_the_paper_s_95hd_is_not_called_hd95():
    section = published_section(["BUSI"])
    assert "not HD95 in pixels" in section and "HD95 px" not in section
    assert "| 10% | SemiGDA | 75.57 | 65.72 | 4.7 |" in section
    assert published_section([]) == ""
