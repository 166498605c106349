import pytest

from custom.errors import InputError, short_reason


@pytest.mark.parametrize("text", ["a\nb.png", "a\r\x1b[31m.png", "\udcff.png", "\u2028"])
def test_a_message_is_one_printable_line_whatever_names_it_holds(text):
    message = str(InputError(f"{text} is wrong"))
    assert message.isprintable()
    assert message.endswith(" is wrong")
    message.encode()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("two\n  lines\t"), "two lines"),
        (RuntimeError(), "RuntimeError"),
        (KeyError("key"), "'key'"),
        (ValueError("x" * 500), "x" * 160),
    ],
)
def test_a_reason_is_one_short_line(error, reason):
    assert short_reason(error) == reason
