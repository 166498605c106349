"""The data sets which `python -m custom prepare` knows."""

from __future__ import annotations

from custom.prepare.records import Source
from custom.prepare.sources.acdc import ACDC
from custom.prepare.sources.bcss import BCSS
from custom.prepare.sources.busi import BUSI
from custom.prepare.sources.folder import FOLDER
from custom.prepare.sources.isic2018 import ISIC2018
from custom.prepare.sources.polyp import POLYP
from custom.prepare.sources.polyp_sets import SINGLE_SETS

__all__ = ["SOURCES", "WITH_VOLUMES"]

SOURCES: dict[str, Source] = {
    source.name: source for source in (BUSI, *SINGLE_SETS, POLYP, ISIC2018, BCSS, ACDC, FOLDER)
}

WITH_VOLUMES = (FOLDER.name, ACDC.name)
"""Data sets that may hold volumes, of which slices are made."""
