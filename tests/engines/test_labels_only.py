from __future__ import annotations

import ignite.distributed as idist
import pytest

from custom.engines import LabelsOnlyBaseline
from custom.errors import InputError


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setattr(idist, "get_world_size", lambda: 2)
    with pytest.raises(InputError, match="one process"):
        LabelsOnlyBaseline("config.json", "metadata.json", "runs", "data")
