from __future__ import annotations

import pytest

from custom.engines import TrainingRun
from custom.errors import InputError


@pytest.mark.parametrize("stages", [None, {}, {"alignment": None}, []])
def test_a_run_without_stages_is_refused(stages, tmp_path):
    with pytest.raises(InputError, match="session#stages names no stage to train; leave one"):
        TrainingRun(tmp_path, stages, tracker=None)
