"""Refuses expressions on a command line of `monai.bundle` as soon as it is imported.

The configurations import this module first of all. MONAI evaluates import statements before any other text, so
nothing else can run earlier: not even a value given for `initialize` or `bundle_root`. The module exits on import
because MONAI offers no other moment, and takes every other error of an import for a missing package.
"""

from __future__ import annotations

import os
import sys
import time

from custom.error_hook import SECONDS_FOR_THE_FIRST_PROCESS
from custom.errors import InputError
from custom.options.command_line import own_arguments, read_command_line, refuse_expressions

__all__: list[str] = []


def _guard() -> None:
    try:
        refuse_expressions()
        command = read_command_line()
        if command is not None and command.options.get("init_id", "initialize") != "initialize":
            raise InputError("--init_id: leave it out; the checks are in 'initialize'")
    except InputError as error:
        if int(os.environ.get("RANK", 0)) > 0:
            time.sleep(SECONDS_FOR_THE_FIRST_PROCESS)
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if own_arguments() is not None:
    _guard()
