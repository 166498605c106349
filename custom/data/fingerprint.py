"""A fingerprint of the data of a run: two runs with the same one were trained and scored on the same files."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from custom.data.datalist import Splits, files_in_use
from custom.files import file_digest

__all__ = ["data_fingerprint"]


def data_fingerprint(splits: Splits) -> str:
    """16 hexadecimal digits which change with the names, roles or contents of the files in use, and only with these.

    Names count relative to the folder which all files share: moving the data as a whole changes nothing.
    """
    files = [
        (split, key, path) for split in splits for item in files_in_use(splits, split) for key, path in item.items()
    ]
    folder = os.path.commonpath([os.path.dirname(path) for _, _, path in files])
    with ThreadPoolExecutor() as pool:
        digests = pool.map(file_digest, [path for _, _, path in files])
        lines = [
            f"{split} {key} {Path(path).relative_to(folder).as_posix()} {digest}\n"
            for (split, key, path), digest in zip(files, digests, strict=True)
        ]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()[:16]
