"""What the selection needs to know of a series, in the node's own type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from dicom_node.core.series import SeriesFacts
from inference.headers import InstanceHeader
from inference.series_facts import series_facts


def facts_of(members: Sequence[InstanceHeader]) -> SeriesFacts:
    """From the headers of one series. Raises ValueError for none."""
    found = series_facts(members)
    return SeriesFacts(**{field.name: getattr(found, field.name) for field in fields(SeriesFacts)})
