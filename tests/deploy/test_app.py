"""The example application on MONAI Deploy itself, where it is installed: see `.ci/monai_deploy_environment`."""

from __future__ import annotations

import os
import subprocess
import sys

import highdicom
import numpy as np
import pytest

from custom.export import export_bundle
from custom.volumes import read_volume
from tests.bundles.conftest import ROOT
from tests.bundles.test_inference import predict
from tests.volumes.files import write_series

try:
    import monai.deploy.operators.monai_bundle_inference_operator  # noqa: F401
except Exception as error:
    pytest.skip(f"MONAI Deploy is not installed ({type(error).__name__})", allow_module_level=True)


def test_the_app_writes_the_segmentation_that_inference_writes(tmp_path):
    bundle = export_bundle(ROOT / "bundles" / "semigda_busi", tmp_path / "bundle")
    columns, rows = np.mgrid[:160, :120]
    noise = np.random.default_rng(0).standard_normal((160, 120))
    lesions = [((columns - 70 - 5 * k) / 40) ** 2 + ((rows - 60) / 22) ** 2 < 1 for k in range(4)]
    series = write_series(tmp_path / "ct", np.stack([400 + 150 * noise - 700 * lesion for lesion in lesions], axis=-1))
    (tmp_path / "out").mkdir()
    app = [sys.executable, str(ROOT / "docs" / "deploy" / "app.py")]
    places = ["--input", str(series), "--output", str(tmp_path / "out"), "--model", str(bundle)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    process = subprocess.run(app + places, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    (file,) = (tmp_path / "out").glob("*.dcm")
    segmentation = highdicom.seg.segread(file)
    assert process.returncode == 0, process.stderr[-4000:]
    assert [segment.SegmentLabel for segment in segmentation.SegmentSequence] == ["lesion"]

    own = predict(series, bundle / "models" / "model.pt", tmp_path / "own")
    mask = read_volume(own / "masks" / "ct.nii.gz")
    found = segmentation.get_volume(combine_segments=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ found.affine[:, [2, 1, 0, 3]]
    assert np.allclose(lps, mask.affine, atol=1e-4)
    assert 0.05 < mask.values.mean() < 0.5
    assert np.array_equal(found.array.transpose(2, 1, 0), mask.values)
