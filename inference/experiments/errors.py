"""What can go wrong around an experiment; each message is for the person who gave the command."""

from __future__ import annotations


class ExperimentError(Exception):
    """Root: the command cannot be carried out as it was given."""


class SettingsError(ExperimentError):
    """An experiment's file has an unknown or missing key, or a value that cannot be; the message names it."""


class DataError(ExperimentError):
    """The prepared studies lack what the experiment needs; the message names the study or the folder."""


class RunMismatch(ExperimentError):
    """The folder holds a run that was asked for something else; the message says what differs."""


class StartRefused(ExperimentError):
    """A training cannot start from these weights; the message says which do not fit."""
