"""MONAI's EfficientNet, as wide and deep as asked."""

from __future__ import annotations

from typing import Any, Final

from torch import nn

# B0's blocks, as in the paper (Tan and Le 2019, table 1) and in MONAI's notation.
_BLOCKS: Final = (
    "r1_k3_s11_e1_i32_o16_se0.25",
    "r2_k3_s22_e6_i16_o24_se0.25",
    "r2_k5_s22_e6_i24_o40_se0.25",
    "r3_k3_s22_e6_i40_o80_se0.25",
    "r3_k5_s11_e6_i80_o112_se0.25",
    "r4_k5_s22_e6_i112_o192_se0.25",
    "r1_k3_s11_e6_i192_o320_se0.25",
)


def efficientnet(in_channels: int, classes: int, *, width: float = 1.0, depth: float = 1.0, blocks: int = 7) -> Any:
    """An untrained EfficientNet with logits [n, classes]; 1 and 1 are B0, fewer `blocks` end it earlier.

    Input [n, in_channels, h, w], sides multiples of 32.
    """
    from monai.networks.nets import EfficientNet  # slow to import: only who builds a network pays for it

    net: nn.Module = EfficientNet(
        blocks_args_str=list(_BLOCKS[:blocks]),
        spatial_dims=2,
        in_channels=in_channels,
        num_classes=classes,
        width_coefficient=width,
        depth_coefficient=depth,
        # MONAI's momentum of 0.01 needs hundreds of steps to forget its start.
        norm=("batch", {"eps": 1e-3, "momentum": 0.1}),
    )
    return net
