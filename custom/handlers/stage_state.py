"""What the checkpoint of a stage must hold before a stage continues from it."""

from __future__ import annotations

from typing import Any

from ignite.engine import State

from custom.checkpoints.kinds import describe_content
from custom.checkpoints.weights import check_tensors
from custom.errors import InputError

__all__ = ["check_stage_state"]

KEYS = {"network", "objects", "trainer", "best"}
LENGTHS = {"max_epochs": "number of epochs", "epoch_length": "number of iterations per epoch"}
FIX = "resume with the same settings and data, or start another run_name"


def check_stage_state(content: Any, state: State, may_grow: bool = False, data: str | None = None) -> None:
    """Compare a checkpoint with the stage that is to continue from it.

    Args:
        content: what `load_checkpoint` returned.
        state: state of the stage's trainer before the checkpoint is loaded, with the lengths of the configuration.
        may_grow: whether the stage may have more epochs than the checkpoint.
        data: fingerprint of the data; None compares nothing.

    Raises:
        InputError: the content is no state of a stage, or one of other data or lengths, or its weights are not finite
            numbers; the message continues "cannot resume FILE: ".
    """
    if not _is_state_of_a_stage(content):
        raise InputError(f"it {describe_content(content)}")
    if None not in (data, content.get("data")) and data != content["data"]:
        raise InputError("images or labels have changed since it was saved; bring them back, or start another run_name")
    for key, name in LENGTHS.items():
        saved, given = content["trainer"][key], getattr(state, key)
        if saved != given and not (may_grow and key == "max_epochs" and saved < given):
            raise InputError(f"its {name} is {saved}, the configuration gives {given}; {FIX}")
    try:
        check_tensors(content["network"])
    except InputError as error:
        raise InputError(f"{error}; start another run_name") from error


def _is_state_of_a_stage(content: Any) -> bool:
    if not isinstance(content, dict) or not content.keys() >= KEYS or not isinstance(content["trainer"], dict):
        return False
    numbers = [content["trainer"].get(name) for name in ("epoch", *LENGTHS)]
    best = content["best"]
    return (
        all(isinstance(number, int) and number >= 0 for number in numbers)
        and isinstance(content["objects"], dict)
        and isinstance(best, (tuple, list))
        and len(best) == 2
    )
