"""The network that names each voxel's vertebra."""

from __future__ import annotations

from inference.models.folded_unet import FoldedUNet

CLASSES = 11


class LocaliserNet(FoldedUNet):
    """Logits for background, C1 ... C7, T1, lower vertebrae and skull: [b, 1, z, y, x] at 2 mm to [b, 11, z, y, x].

    Its deepest level sees the whole neck, as counting vertebrae needs.
    """

    def __init__(self, channels: tuple[int, ...] = (32, 48, 96, 128), classes: int = CLASSES) -> None:
        super().__init__(1, classes, channels)
