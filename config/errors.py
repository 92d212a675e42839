"""What is wrong with a configuration."""

from __future__ import annotations


class ConfigError(ValueError):
    """One line for the operator: which key, its value, where it came from and what is expected.

    `source` is "FILE:LINE", "environment NAME", "command line", "default", or a file alone where no line applies.
    """

    def __init__(self, key: str, value: object, source: str, message: str) -> None:
        self.key = key
        self.value = value
        self.source = source
        self.message = message
        super().__init__(key, value, source, message)

    def __str__(self) -> str:
        shown = "" if self.value is None else f" = {_shown(self.value)}"
        named = f"{self.key}{shown} " if self.key else ""
        return " ".join(f"{named}({self.source}): {self.message}".splitlines())


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
