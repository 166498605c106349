"""The predictions of an inference, written to files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ignite.engine import Engine, Events

__all__ = ["PredictionFiles"]


class PredictionFiles:
    """Ignite handler that gives every output item of an evaluator to transforms that write it.

    They are no part of the postprocessing, which other programs (MONAI Label, MONAI Deploy) run as it is and whose
    result they write themselves.

    Args:
        transforms: what writes, such as `custom.transforms.SaveMaskd`.
    """

    def __init__(self, transforms: Sequence[Callable[[Mapping[str, Any]], Any]]) -> None:
        self.transforms = tuple(transforms)

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.write)

    def write(self, engine: Engine) -> None:
        """Write the items of one batch."""
        for item in engine.state.output:
            for transform in self.transforms:
                transform(item)
