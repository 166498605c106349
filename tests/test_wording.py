import pytest

from custom.wording import and_more, did_you_mean, first_message, nearest_name, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("10%", "10%"),
        ("Läsion", "Läsion"),
        ("a\nb", r"'a\nb'"),
        (" ", "' '"),
        ("", "''"),
        ("\ud800", r"'\ud800'"),
        (None, "None"),
        (["ä"], r"['\xe4']"),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 60 + "..."),
    ],
)
def test_a_value_is_shown_in_one_line(value, text):
    assert shown(value) == text


@pytest.mark.parametrize(("count", "text"), [(-3, ""), (0, ""), (1, " and 1 more"), (12, " and 12 more")])
def test_what_is_not_named_is_counted(count, text):
    assert and_more(count) == text


@pytest.mark.parametrize(
    ("messages", "text"), [(["a is wrong"], "a is wrong"), (["a is wrong", "b", "c"], "a is wrong (and 2 more)")]
)
def test_the_first_of_several_messages_counts_the_others(messages, text):
    assert first_message(messages) == text


def test_the_nearest_name_is_proposed_whatever_the_case():
    assert nearest_name("IMAGE_SISE", ["images", "image_size", "seed"]) == "image_size"
    assert did_you_mean("sede", ["image_size", "seed"]) == "; did you mean 'seed'?"


def test_nothing_is_proposed_where_no_name_is_near():
    assert nearest_name("zzz", ["image_size"]) is None
    assert did_you_mean("zzz", ["image_size"]) == ""
