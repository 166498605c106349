"""What is behind an error: libraries and workers wrap the errors of others in their own."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from custom.errors import WORKER_TRACEBACK, InputError

__all__ = ["find_input_error", "find_refused_access", "is_interrupt"]

_REFUSED = {
    errno.ENOSPC: "free some space and start the command again; a training continues with --resume true",
    errno.EDQUOT: "free some space and start the command again; a training continues with --resume true",
    errno.EROFS: "give a folder on a disk that can be written",
    errno.EACCES: "change its permissions or give another path",
}


def find_input_error(error: BaseException | None) -> InputError | None:
    """The `InputError` behind `error`, or None.

    MONAI's config parser wraps it in its own errors, and PyTorch's `DataLoader` passes on an error of a worker as the
    text of a traceback within an error of the same kind.
    """
    for each in _chain(error):
        if isinstance(each, RuntimeError | ValueError) and (found := _from_worker(str(each))) is not None:
            return found
        if isinstance(each, InputError):
            return each
    return None


def is_interrupt(error: BaseException | None) -> bool:
    """Whether ctrl-C is behind `error`."""
    return any(isinstance(each, KeyboardInterrupt) for each in _chain(error))


def find_refused_access(error: BaseException | None) -> str | None:
    """One line on a full disk or missing permissions, with the file and the fix; None for any other error.

    Libraries and the workers of a data loader pass the reason on as text alone.
    """
    for each in _chain(error):
        number = each.errno if isinstance(each, OSError) else None
        for wanted in _REFUSED:
            if number == wanted or (wanted != errno.EACCES and os.strerror(wanted) in str(each)):
                file = getattr(each, "filename", None) or "writing the results"
                return f"{file}: {os.strerror(wanted)}; {_REFUSED[wanted]}"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """`error`, then its causes."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _from_worker(text: str) -> InputError | None:
    """The last `InputError` in the text that a `DataLoader` makes of an error in a worker."""
    if not WORKER_TRACEBACK.match(text):
        return None
    names = tuple(f"{kind.__module__}.{kind.__qualname__}: " for kind in _kinds(InputError))
    lines = [line.partition(": ")[2] for line in text.splitlines() if line.startswith(names)]
    return InputError(lines[-1]) if lines else None


def _kinds(kind: type[InputError]) -> list[type[InputError]]:
    return [kind, *(inner for narrower in kind.__subclasses__() for inner in _kinds(narrower))]
