from __future__ import annotations

import pytest

from custom.errors import InputError
from custom.json_files import read_json_object

TEXT = '{\r\n "a": "é"\r\n}'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_every_unicode_encoding_is_read_with_and_without_a_mark(tmp_path, encoding):
    (tmp_path / "a.json").write_bytes(TEXT.encode(encoding))
    assert read_json_object(tmp_path / "a.json", "list") == {"a": "é"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "the key 'a' stands twice"),
        ('{"b": {"a": 1, "a": 1}}', "the key 'a' stands twice"),
        ('{"a": NaN}', "NaN is no JSON value"),
        ('{"a": -Infinity}', "-Infinity is no JSON value"),
        ("[1]", "must be a JSON object"),
        ("[" * 200_000, "nested too deeply"),
        ("{", "is not JSON"),
        ("", "is not JSON"),
    ],
)
def test_what_is_wrong_is_reported_in_one_line(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_json_object(tmp_path / "a.json", "list")
    assert "\n" not in str(caught.value)
    assert "list" in str(caught.value)
