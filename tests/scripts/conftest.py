from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def bundle_first_stage():
    """The small first stage that comes with the BUSI bundle."""
    return Path(__file__).parents[2] / "bundles" / "semigda_busi" / "first_stages" / "phantom"
