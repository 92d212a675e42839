"""Associations that lie ready."""

from __future__ import annotations

from dicom_node.dimse.spares import Spares


def test_each_is_given_once_and_one_is_made_where_none_lies_ready():
    made: list[object] = []

    def make() -> object:
        made.append(object())
        return made[-1]

    spares = Spares(make, count=2)  # type: ignore[arg-type]
    assert not spares.is_full
    for _ in range(5):
        spares.stock_up()
    assert spares.is_full
    assert len(made) == 2
    taken = [spares.take() for _ in range(3)]
    assert taken == made
    assert len(made) == 3
    assert not spares.is_full
