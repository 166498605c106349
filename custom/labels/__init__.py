"""Labels: values that all parts agree on, undecided pixels, and labels as images."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "values": ["IGNORED_LABEL", "MOST_CLASSES"],
        "ignored": ["clear_ignored", "decided", "decided_cells", "mean_loss"],
        "signed_distances": ["signed_distances"],
        "codec": ["LabelCodec", "most_likely"],
        "colours": ["colour_labels", "colour_palette", "distant_palette"],
        "palette_codec": ["PaletteCodec", "make_label_codec"],
    },
)
