"""The networks. Importing them costs nothing beyond torch itself; building a U-Net imports MONAI."""

from inference.models.localiser_net import LocaliserNet
from inference.models.place_net import PlaceNet
from inference.models.shape_net import ShapeNet

__all__ = ["LocaliserNet", "PlaceNet", "ShapeNet"]
