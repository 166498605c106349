"""The workflow whose configuration is being evaluated, and what was set when it was made."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from monai.bundle import ConfigWorkflow, create_workflow

__all__ = ["Running", "find_running"]


@dataclass(frozen=True)
class Running:
    """A workflow, and the overrides with which `monai.bundle` made it; none where code made the workflow itself."""

    workflow: ConfigWorkflow
    overrides: dict[str, Any] = field(default_factory=dict)
    by_monai: bool = False


def find_running() -> Running | None:
    """The innermost workflow that calls this through an expression; None outside of one.

    MONAI gives an expression no name for the configuration it belongs to, so the calling frames are searched.
    """
    frame = inspect.currentframe()
    while frame is not None:
        workflow = frame.f_locals.get("self")
        if isinstance(workflow, ConfigWorkflow):
            maker = _outside(frame, workflow)
            by_monai = maker is not None and maker.f_code is create_workflow.__code__
            return Running(workflow, _overrides(maker) if by_monai else {}, by_monai)
        frame = frame.f_back
    return None


def _outside(frame: FrameType | None, workflow: ConfigWorkflow) -> FrameType | None:
    """The first calling frame that is no method of `workflow`."""
    while frame is not None and frame.f_locals.get("self") is workflow:
        frame = frame.f_back
    return frame


def _overrides(frame: FrameType) -> dict[str, Any]:
    """The keyword arguments of `create_workflow` that MONAI does not use itself."""
    arguments = frame.f_locals.get("_args", {})
    own = inspect.signature(ConfigWorkflow).parameters
    return {key: value for key, value in arguments.items() if key not in own}
