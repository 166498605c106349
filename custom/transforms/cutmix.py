"""CutMix: a rectangle of one image is pasted into another (Yun et al., ICCV 2019; sizes as in UniMatch, CVPR 2023)."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["cutmix_boxes"]

SHARES = (0.02, 0.4)
RATIOS = (0.3, 1 / 0.3)


def cutmix_boxes(count: int, height: int, width: int, prob: float = 0.5, device: torch.device | None = None) -> Tensor:
    """Masks, [count, 1, height, width], float: ones in a rectangle, where another image is pasted, zeros elsewhere.

    Its area is 0.02 to 0.4 of the image's and its height 0.3 to 3.3 times its width, both uniform; a side is cut at
    that of the image. With probability 1 - `prob` a mask has no rectangle.
    """
    boxes = torch.zeros(count, 1, height, width)
    for box in boxes[:, 0]:
        if torch.rand(()) >= prob:
            continue
        area = height * width * float(torch.empty(()).uniform_(*SHARES))
        ratio = float(torch.empty(()).uniform_(*RATIOS))
        rows = min(height, max(1, round((area * ratio) ** 0.5)))
        columns = min(width, max(1, round((area / ratio) ** 0.5)))
        top, left = int(torch.randint(height - rows + 1, ())), int(torch.randint(width - columns + 1, ()))
        box[top : top + rows, left : left + columns] = 1
    return boxes.to(device)
