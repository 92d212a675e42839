"""The letters of pictures and paper: matplotlib's DejaVu, which has those of every language we write.

The fonts are found without importing matplotlib, which takes longer than drawing. They have no Chinese, Japanese or
Korean letters.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

REGULAR, BOLD = "DejaVuSans", "DejaVuSans-Bold"


def font_file(name: str) -> Path:
    """The TrueType file of `REGULAR` or `BOLD`. Raises OSError where matplotlib is not installed."""
    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise OSError("the fonts of the results are matplotlib's, which is not installed")
    return Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / f"{name}.ttf"
