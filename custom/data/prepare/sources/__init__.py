"""The data sets which `python -m custom.data.prepare` knows."""

from __future__ import annotations

from custom.data.prepare.records import Source
from custom.data.prepare.sources.acdc import ACDC
from custom.data.prepare.sources.bcss import BCSS
from custom.data.prepare.sources.busi import BUSI
from custom.data.prepare.sources.folder import FOLDER
from custom.data.prepare.sources.isic2018 import ISIC2018
from custom.data.prepare.sources.polyp import POLYP
from custom.data.prepare.sources.polyp_sets import SINGLE_SETS

__all__ = ["SOURCES"]

SOURCES: dict[str, Source] = {
    source.name: source for source in (BUSI, *SINGLE_SETS, POLYP, ISIC2018, BCSS, ACDC, FOLDER)
}
