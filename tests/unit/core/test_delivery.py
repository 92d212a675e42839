import pytest

from dicom_node.core.delivery import ObjectStatus


@pytest.mark.parametrize(
    ("status", "is_stored"),
    [
        (0x0000, True),
        (0xB000, True),
        (0xB007, True),
        (0x0111, True),
        (0xA700, False),
        (0xC000, False),
        (None, False),
    ],
)
def test_success_warnings_and_duplicates_mean_that_the_peer_holds_the_object(status, is_stored):
    assert ObjectStatus(sop_instance_uid="2.25.1", status=status).is_stored is is_stored
