import pytest

from custom.tables import append_csv, markdown_table, read_csv, text_table, to_csv


def test_a_csv_file_has_the_columns_of_all_rows():
    assert to_csv([{"a": 1, "b": "x"}, {"a": 2, "c": None}]) == b"a,b,c\n1,x,\n2,,\n"


def test_given_columns_are_written_without_rows_too():
    assert to_csv([], ("a", "b")) == b"a,b\n"


def test_a_row_with_an_unknown_column_is_refused():
    with pytest.raises(ValueError, match="b"):
        to_csv([{"a": 1, "b": 2}], ("a",))


def test_numbers_have_six_significant_digits():
    assert to_csv([{"a": 1 / 3, "b": 12345678, "c": float("nan")}], header=False) == b"0.333333,12345678,nan\n"


def test_what_is_written_is_read(tmp_path):
    rows = [{"name": 'a, "b"\nc', "value": "ä"}, {"name": "", "value": " "}]
    (tmp_path / "a.csv").write_bytes(to_csv(rows))
    assert read_csv(tmp_path / "a.csv") == rows


def test_the_header_is_appended_once(tmp_path):
    for number in (1, 2):
        append_csv(tmp_path / "a.csv", [{"number": number}])
    assert (tmp_path / "a.csv").read_bytes() == b"number\n1\n2\n"


@pytest.mark.parametrize("content", [b"\xff\xfe", b'a\n"' + b"x" * 200_000])
def test_what_is_no_csv_is_refused(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError):
        read_csv(tmp_path / "a.csv")


def test_markdown_keeps_every_value_in_its_cell():
    assert markdown_table(["a|b", 2], [["x\ny", None]]) == "| a\\|b | 2 |\n| --- | --- |\n| x y | None |"


def test_text_columns_are_of_equal_width():
    lines = text_table(["method", "Dice"], [["a", "90.1"], ["a long name", "-"]]).splitlines()
    assert [line.rstrip() for line in lines] == [
        "method       Dice",
        "-----------------",
        "a            90.1",
        "a long name  -",
    ]
    assert len(set(map(len, lines))) == 1
