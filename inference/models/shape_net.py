"""The network that draws one named vertebra: where its bone ends, at 1 mm."""

from __future__ import annotations

from inference.models.folded_unet import FoldedUNet

INPUTS = 4


class ShapeNet(FoldedUNet):
    """Logits [b, 1, z, y, x] of how much of a 1 mm voxel is the vertebra's own bone.

    Input [b, 4, z, y, x] from `preprocess.shape_input`: two windows of HU, about where the vertebra is, and about where
    other bone is. It sees little more than a vertebra: what the vertebra is called is not its business.
    """

    def __init__(self, channels: tuple[int, ...] = (16, 32, 48)) -> None:
        super().__init__(INPUTS, 1, channels)
