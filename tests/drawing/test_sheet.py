from __future__ import annotations

import numpy as np
import pytest

from custom.drawing.sheet import captioned_row, sheet
from tests.drawing.scenes import black


def test_row_needs_a_caption_for_each_tile():
    with pytest.raises(ValueError, match="one caption per tile"):
        captioned_row([black()], [])


def test_captions_do_not_run_into_the_next_tile():
    long = captioned_row([black(), black()], ["a caption much longer than its tile " * 4, ""])
    gap_column = np.asarray(long)[:, 80:88]
    assert (gap_column == 255).all()


def test_texts_make_room_for_themselves():
    bare = captioned_row([black()], [""])
    assert bare.size == (80, 40)
    assert captioned_row([black()], ["image"]).height > bare.height
    assert captioned_row([black()], [""], heading="first").height > bare.height


def test_sheet_stacks_rows_of_different_widths():
    rows = [black((80, 40)), black((200, 30))]
    paper = sheet(rows)
    assert paper.width > 200 and paper.height > 70
    assert (np.asarray(paper) == 0).all(axis=2).sum() == 80 * 40 + 200 * 30
