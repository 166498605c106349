"""From what people download to a checked data set: `python -m custom.data.prepare`."""

from custom.data.prepare.archives import ArchiveLimits
from custom.data.prepare.options import PrepareOptions
from custom.data.prepare.run import Prepared, prepare_dataset
from custom.data.prepare.sources import SOURCES

__all__ = ["SOURCES", "ArchiveLimits", "PrepareOptions", "Prepared", "prepare_dataset"]
