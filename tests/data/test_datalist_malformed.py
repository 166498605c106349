"""Datalists that people and programs get wrong: whatever the file holds, it is read or refused in one line."""

from __future__ import annotations

import json
import os
import random

import pytest
from PIL import Image

from custom.checks import check_dataset
from custom.data import load_datalist, read_facts
from custom.errors import InputError

CASES = 600
ODD = [
    None, True, False, 0, -1, 1.5, 10**400, 1e308, float("nan"), float("inf"), "", " ", ".", "..", "/", "\\", "~",
    "a\0b", "\ud800", "\udc80.png", "x" * 5000, "x/" * 2000, "../x.png", "/etc/passwd", "C:\\a.png", "\\\\pc\\a.png",
    ".\\images\\a.png", "images\\..\\..\\..\\x.png", "images/a.png", "IMAGES/A.PNG", "$__import__('os').abort()",
    "@image", "%x::y", "a.nii.gz", "a.dcm", "b.webp", "images", "masks/a.png\n", "\u00e9.png", "e\u0301.png",
    "file:///a.png", "images/a.png/", [], {}, [[]], [{}], {"": ""}, {"image": None}, {"image": []},
    {"image": {"image": "images/a.png"}}, ["images/a.png"] * 2,
]  # fmt: skip
KEYS = [
    "training",
    "validation",
    "test",
    "labelled_subsets",
    "num_classes",
    "image",
    "label",
    "set",
    "x",
    "",
    "$x",
    "10%",
]


def good():
    pair = {"image": "images/a.png", "label": "masks/a.png"}
    other = {"image": "images/b.png", "label": "masks/b.png"}
    return {
        "training": [pair, "images/c.png"],
        "validation": [other],
        "test": [{"image": "images/d.png", "set": "x"}],
        "labelled_subsets": {"10%": ["images/a.png"]},
        "num_classes": 2,
    }


def odd_value(rng, depth=0):
    kind = rng.random()
    if depth > 3 or kind < 0.7:
        return rng.choice(ODD)
    if kind < 0.85:
        return [odd_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(KEYS): odd_value(rng, depth + 1) for _ in range(rng.randrange(4))}


def places(value, path=()):
    """Every place in a value: the keys that lead there."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def spoilt(rng):
    """A good datalist with odd values in one to three places."""
    content = good()
    for _ in range(rng.randint(1, 3)):
        path = rng.choice(list(places(content)))
        if not path:
            content[rng.choice(KEYS)] = odd_value(rng)
            continue
        parent = content
        for key in path[:-1]:
            parent = parent[key]
        if rng.random() < 0.2:
            del parent[path[-1]]
        else:
            parent[path[-1]] = odd_value(rng)
    return content


def written(rng):
    """Bytes of a spoilt datalist: in several encodings, at times with bytes exchanged, cut or repeated."""
    text = json.dumps(spoilt(rng), ensure_ascii=rng.random() < 0.5)
    encoding = rng.choice(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1"])
    data = text.encode(encoding, "surrogatepass" if encoding.startswith("utf") else "replace")
    if rng.random() < 0.3:
        start = rng.randrange(len(data))
        data = rng.choice([data[:start], data[start:], data[:start] + rng.randbytes(3) + data[start:], data + data])
    return data


def outcome(file, folder):
    """ "read", or what kind of refusal it was; anything but one line is an error of the test."""
    try:
        splits = load_datalist(file, folder)
        classes = read_facts(file).num_classes
        check_dataset(splits, classes, show_progress=False)
    except InputError as error:
        assert str(error)
        assert "\n" not in str(error)
        str(error).encode()
        return "refused"
    return "read"


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate("abcd"):
        for kind, mode in (("images", "RGB"), ("masks", "1")):
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            Image.new(mode, (4 + number, 4)).save(tmp_path / "data" / kind / f"{name}.png")
    return tmp_path / "data"


def test_malformed_datalists_are_read_or_refused_in_one_line(folder, tmp_path):
    rng = random.Random(12)
    file = tmp_path / "datalist.json"
    outcomes = []
    for _ in range(CASES):
        file.write_bytes(written(rng))
        outcomes.append(outcome(file, folder))
    assert min(map(outcomes.count, ("read", "refused"))) > 10  # the cases are neither all sound nor all hopeless


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\0" * 10, b"null", b"7", b'"training"', b"[]", b"\x80abc", b"{" * 100_000,
        b"[" * 100_000 + b"]" * 100_000, b'{"training": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"training": [], "training": []}', b'{"training": [{"image": "a", "image": "b"}]}', b'{"num_classes": NaN}',
    ],
)  # fmt: skip
def test_what_is_no_datalist_is_refused(folder, tmp_path, content):
    (tmp_path / "datalist.json").write_bytes(content)
    assert outcome(tmp_path / "datalist.json", folder) == "refused"


def test_a_pipe_a_folder_and_a_broken_link_are_refused_at_once(folder, tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "loop.json").symlink_to(tmp_path / "loop.json")
    for file in (tmp_path / "pipe.json", folder, tmp_path / "loop.json"):
        assert outcome(file, folder) == "refused"
