"""Values that an option must take or refuse, found from the words of its error message."""

from __future__ import annotations

import re

from custom.options import COMMANDS
from custom.options.kinds import Wanted

NEVER = ["", "   ", "\x00", "a\nb", "\udcff"]
NO_NUMBER = ["nan", "inf", "-inf", "foo", "True", "[1]", "(1, 2)", "{a: 1}", "1/2", "1_000", "0x10", "1,5", "'1'", "١"]
UNREAL = ["1" + "0" * 400, "-1" + "0" * 400]


def words_of(command, key):
    """What the message says to give for a key of a configuration."""
    marks = COMMANDS[command][key].__metadata__
    return [mark for mark in marks if isinstance(mark, Wanted)][-1].words


def samples(words):
    """Texts to accept and texts to refuse."""
    maybe, words = words.endswith(", or none"), words.removesuffix(", or none")
    right, wrong = _samples(words)
    nothing = ["None", "none", "null"]
    if maybe:
        return right + nothing, wrong + NEVER
    if "'none'" in words:
        return right, wrong + NEVER
    takes_any_text = words.startswith(("a text", "a path", "one plain", '"all"'))
    return right, wrong + NEVER + ([] if takes_any_text else nothing)


def _samples(words):
    if whole := re.fullmatch(r"a whole number from (\d+) to (\d+)", words):
        least, most = int(whole[1]), int(whole[2])
        return [str(least), str(most), f"+{most}", f"00{least}"], [
            str(least - 1), str(most + 1), "-7", f"{least}.5", "1e3", f"{least}.0", *NO_NUMBER, *UNREAL
        ]  # fmt: skip
    if number := re.fullmatch(r"a number (from|above) (\S+) (to|and below) (\S+)", words):
        least, most = float(number[2]), float(number[4])
        right = [f"{(least + most) / 2}", f"{most / 4:e}"] + [f"{least}", "-0.0"] * (number[1] == "from")
        wrong = ["-1e-9", f"{most * 1.001}", "1e400"] + ["0", "-0.0"] * (number[1] == "above")
        at_most = right if number[3] == "to" else wrong
        at_most.append(f"{most}")
        return right, wrong + NO_NUMBER + UNREAL
    if words == "true or false":
        yes_or_no = ["true", "True", "1", "yes", "on", "false", "False", "0", "no", "off", "YES"]
        return yes_or_no, ["2", "maybe", "-1", "1.0", "[true]", "t"]
    if words.startswith("a device"):
        return ["cpu"], ["cuda:99", "tpu", "cpu:x", "-1", "0", "meta", "[cpu]"]
    if words.startswith("auto or"):
        return ["auto", "[-160, 240]", "0,1.5"], [
            "none",
            "[1]",
            "[2, 1]",
            "[1, 1]",
            "[0, nan]",
            "[0, x]",
            "[0, 1, 2]",
            "5",
        ]
    if words.startswith("a list"):
        return ["[32, 64]", "32,64,128"], ["32", "[]", "[32]", "[0, 8]", "[8, x]", "[8.5, 8]", "[true, 8]", "{8: 8}"]
    if words.startswith("a path"):
        return ["2018", "lesion,2024", "1e3", "007", "1_000", "[a]", "None", "a b", "true", "-1", "é"], []
    if words.startswith("a text"):
        return ["2018", "a,b", "1e3", "007", "[a]", "None"], []
    if words.startswith("one plain"):
        wrong = ["a/b", "..", ".", "/abs", "../../x", "a\\b", " a", "a ", "x" * 201, "a\u2028b", "a\u200bb", "a\tb"]
        return ["2018", "lesion,2024", "1e3", "a.b", "10%", "..."], wrong
    if words.startswith('"all"'):
        return ["all", "52", "10%", "0.5%", "100 %", "fold 1"], ["0", "-5", "1.5", "0%", "101%", "nan", "inf", "1e3"]
    choices = re.findall(r"'([^']+)'", words)
    assert choices, words
    return choices, [choices[0] + "x", "foo", "0", "1.5", f"[{choices[0]}]", "{a: 1}", f" {choices[0]}"]
