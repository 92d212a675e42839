"""The two networks. Plain torch: importing them costs nothing beyond torch itself."""

from inference.models.fracture_net import FractureNet
from inference.models.localiser_net import LocaliserNet

__all__ = ["FractureNet", "LocaliserNet"]
