"""The viewer OHIF that a MONAI Label server brings, in a browser: what a user does in its MONAI Label panel."""

from __future__ import annotations

import json
import time

import numpy as np
from numpy.typing import NDArray

from scripts.browser import Browser
from scripts.orthanc import Series

__all__ = ["Ohif"]

_PANEL = "document.querySelector('.monaiLabelPanel')"
_TABS = f"[...{_PANEL}.querySelectorAll('.tab')]"
_VOLUME = "services.segmentationService.getLabelmapVolume('1')"
_LOADED = "cornerstone.cache.getVolumes().some(volume => volume.loadStatus && volume.loadStatus.loaded)"
_ANSWERS = """performance.getEntriesByType('resource').filter(entry => entry.name.includes('/infer/')
    && entry.responseEnd > 0).map(entry => entry.responseStatus)"""


class Ohif:
    """A study in the viewer's mode "MONAI Label".

    Args:
        browser: where it is shown.
        url: of a MONAI Label server on a DICOM store.
        series: what the store holds and the viewer shows.
    """

    def __init__(self, browser: Browser, url: str, series: Series) -> None:
        self.browser = browser
        browser.open(f"{url}/ohif/monai-label?StudyInstanceUIDs={series.study}")
        browser.wait_for("document.querySelector('#monailabelServerURL') !== null")
        browser.evaluate("performance.setResourceTimingBufferSize(10000)")
        browser.evaluate("document.querySelector('[data-cy=confirm-and-hide-button]')?.click()")
        browser.wait_for(_LOADED)
        field = "document.querySelector('#monailabelServerURL')"
        browser.evaluate(f"{field}.value = {json.dumps(url + '/')}")
        browser.evaluate(f"{field}.dispatchEvent(new FocusEvent('focusout', {{bubbles: true}}))")  # as it is left
        browser.evaluate("document.querySelector('.settingsTable .actionButton').click()")
        browser.wait_for(f"{_TABS}.length > 0 && {_VOLUME} !== undefined")

    def models(self) -> list[str]:
        """Names of the models that the panel offers for segmentation."""
        return self.browser.evaluate(f"[...{_tab('Auto-Segmentation')}.querySelectorAll('option')].map(o => o.value)")

    def segment(self) -> int:
        """Press *Run* under *Auto-Segmentation*, wait for a mask that is not empty; the status of the answer."""
        before = len(self.browser.evaluate(_ANSWERS))
        self._press("Auto-Segmentation", "Run")
        status = self.browser.wait_for(f"({_ANSWERS})[{before}]")
        if status == 200:
            self.browser.wait_for(f"{_VOLUME}.voxelManager.getCompleteScalarDataArray().some(value => value > 0)")
            time.sleep(2)  # until it is drawn
        return status

    def mask(self) -> NDArray[np.uint8]:
        """The segmentation that the viewer shows, as indices of its segments [slices, rows, columns]."""
        columns, rows, slices = self.browser.evaluate(f"Array.from({_VOLUME}.dimensions)")
        values = self.browser.evaluate(f"Array.from({_VOLUME}.voxelManager.getCompleteScalarDataArray())")
        return np.array(values, np.uint8).reshape(slices, rows, columns)

    def next_sample(self, strategy: str) -> dict[str, str]:
        """Press *Next Sample* under *Active Learning*; returns the fields of what the viewer then shows."""
        choice = f"{_tab('Active Learning')}.querySelector('select')"
        self.browser.evaluate(f"{choice}.value = {json.dumps(strategy)}")
        self.browser.evaluate(f"{choice}.dispatchEvent(new Event('change', {{bubbles: true}}))")
        self._press("Active Learning", "Next Sample")
        rows = "document.querySelectorAll('.nextSampleForm tbody tr')"
        self.browser.wait_for(f"{rows}.length > 0")
        return dict(self.browser.evaluate(f"[...{rows}].map(row => [...row.cells].map(cell => cell.innerText))"))

    def _press(self, tab: str, button: str) -> None:
        self.browser.evaluate(f"{_tab(tab)}.querySelector('input.tab-switch').click()")
        buttons = f"[...{_tab(tab)}.querySelectorAll('button')]"
        self.browser.evaluate(f"{buttons}.find(each => each.innerText.trim() === {json.dumps(button)}).click()")


def _tab(title: str) -> str:
    return f"{_TABS}.find(tab => tab.querySelector('label').innerText.trim() === {json.dumps(title)})"
