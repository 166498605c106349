"""MONAI Label looks here for the app: the one that came with the bundles in model/."""

import sys
from pathlib import Path

from monailabel.interfaces.app import MONAILabelApp

_bundles = sorted(path.parent.parent for path in Path(__file__).parent.glob("model/*/custom/version.py"))
if not _bundles:
    raise SystemExit("error: model/ holds no bundle; make one with: python -m custom label-app --app APP --bundle ...")
sys.path.insert(0, str(_bundles[0]))

from custom.monai_label.server import SemiGDAApp  # noqa: E402


class App(SemiGDAApp, MONAILabelApp):
    """MONAI Label takes the class whose direct base is MONAILabelApp."""
