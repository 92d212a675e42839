from itertools import pairwise

import pytest

from dicom_node.core.store_status import HTTP, STORE, Answer, http_meaning, is_rejected_for_good, meaning


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0x0000, Answer.STORED),
        (0x0001, Answer.STORED),
        (0x0107, Answer.STORED),
        (0x0111, Answer.STORED),
        (0x0116, Answer.STORED),
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


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (408, Answer.BUSY),
        (503, Answer.BUSY),
        (429, Answer.BUSY),
        (507, Answer.BUSY),
        (413, Answer.UNSUITABLE),
        (400, Answer.REFUSED),
        (401, Answer.REFUSED),
        (501, Answer.REFUSED),
    ],
)
def test_an_http_status_does_so_too(status, expected):
    assert http_meaning(status) is expected


@pytest.mark.parametrize("table", [STORE, HTTP])
def test_no_status_is_in_a_table_twice_and_each_has_its_source(table):
    assert all(before.last < after.first for before, after in pairwise(table))
    assert all(row.first <= row.last and row.name and row.source for row in table)


@pytest.mark.parametrize(
    ("result", "source", "is_for_good"),
    [(1, 1, True), (1, 2, True), (2, 1, False), (2, 3, False), (1, 3, False)],
)
def test_an_association_is_rejected_for_good_unless_the_peer_is_only_busy(result, source, is_for_good):
    assert is_rejected_for_good(result=result, source=source) is is_for_good
