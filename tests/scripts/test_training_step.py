from __future__ import annotations

import torch

from scripts.training_step import decode_in_two_passes, main


def test_two_passes_of_the_decoder_paint_what_one_pass_paints(make_network, images):
    network = make_network().double().eval()
    one_pass = torch.cat(network.predict_branches(images.double()))
    assert torch.allclose(one_pass, decode_in_two_passes(network, images.double()), atol=1e-12)


def test_every_step_is_timed(bundle_first_stage, capsys):
    result = main(["--first-stage", str(bundle_first_stage), "--width", "4", "--image-size", "16", "--repeats", "1"])
    assert set(result["seconds"]) == {
        "alignment_step",
        "segmentation_step",
        "segmentation_step_with_mixing",
        "decoder_in_one_pass",
        "decoder_in_two_passes",
    }
    assert all(value > 0 for value in result["seconds"].values())
    assert '"peak_memory_mib"' in capsys.readouterr().out
