import pytest

from custom.plain_names import MOST_BYTES, folder_name_fault, strict_name_fault

PLAIN = ["0001", "case 1", "Läsion", "病例 3", "1.2.840", "x" * MOST_BYTES, "a#1"]
ONLY_OF_FOLDERS = [".x", "~x", "$x", "@x", "x.", "C:x", "a@#b", "a*", "labels", "CON", "nul.png"]
OF_NOTHING = ["", ".", "..", "a/b", "a\\b", " x", "x ", "x\u3000", "a\nb", "a\0b", "\ud800", "a\u202eb", "a\u2028b"]


@pytest.mark.parametrize("name", PLAIN)
def test_plain_names_pass_both_rules(name):
    assert folder_name_fault(name) is None
    assert strict_name_fault(name) is None


@pytest.mark.parametrize("name", ONLY_OF_FOLDERS)
def test_a_request_may_not_give_every_name_of_a_folder(name):
    assert folder_name_fault(name) is None
    assert strict_name_fault(name)


@pytest.mark.parametrize("name", [*OF_NOTHING, "x" * (MOST_BYTES + 1), "ä" * MOST_BYTES])
def test_other_names_are_refused_by_both_rules(name):
    assert folder_name_fault(name)
    assert strict_name_fault(name)
