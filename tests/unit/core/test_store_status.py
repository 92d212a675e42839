import pytest

from dicom_node.core.store_status import Answer, meaning


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0x0000, Answer.STORED),
        (0x0001, Answer.STORED),
        (0x0107, Answer.STORED),
        (0x0111, Answer.STORED),
        (0xB000, Answer.STORED),
        (0xB007, Answer.STORED),
        (0xA700, Answer.BUSY),
        (0xA7FF, Answer.BUSY),
        (0x0110, Answer.BUSY),
        (0x0213, Answer.BUSY),
        (0xC000, Answer.UNCLEAR),
        (0xCFFF, Answer.UNCLEAR),
        (0xA900, Answer.UNSUITABLE),
        (0x0122, Answer.UNSUITABLE),
        (0x0124, Answer.REFUSED),
        (0x0211, Answer.REFUSED),
    ],
)
def test_a_status_says_what_the_sender_does_next(status, expected):
    assert meaning(status) is expected
