"""The top of the process: the commands put together, and every error as one line with the right exit status.

Exit status: 0 success, 1 it did not work out, 2 usage or configuration, 3 not applicable (`analyse`), 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import typer

from config.errors import ConfigError
from dicom_node.cli import (
    analysis,
    backup,
    data,
    deliveries,
    doctor,
    model,
    network,
    peers,
    quarantine,
    service,
    studies,
    top,
    users,
)
from dicom_node.core.errors import ConfigurationError, NodeError
from storage.permissions import keep_to_ourselves

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="cspine-node",
    help="A DICOM node that looks for cervical spine fractures on CT and answers with DICOM SR and SEG.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for group in (service, top, doctor, backup, analysis, network, model, data):
    group.register(app)
app.add_typer(peers.app, name="peers")
app.add_typer(studies.app, name="studies")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(users.app, name="users")


def main() -> None:
    """Runs the command in sys.argv and ends the process with its exit status. What it writes is for its user alone."""
    keep_to_ourselves()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs one command; its exit status. Errors stand on standard error in one line."""
    try:
        outcome = app(list(arguments), prog_name="cspine-node", standalone_mode=False)
        return outcome if isinstance(outcome, int) else 0
    except typer.Exit as done:
        return done.exit_code
    except typer.TyperException as error:
        return _usage(error)
    except (typer.Abort, KeyboardInterrupt):
        return _say("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader went away (`| head`): nothing is left to say, and Python must not try again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (ConfigError, ConfigurationError) as error:
        return _say(str(error), WRONG_USAGE)
    except NodeError as error:
        return _say(str(error), FAILED)
    except OSError as error:
        return _say(f"{error.filename or 'the system'}: {error.strerror or error}", FAILED)
    except Exception as error:  # top of the process: an unexpected error is a bug, and its place helps to find it
        traceback.print_exc()
        return _say(f"unexpected {type(error).__name__}; please report the lines above", FAILED)


def _usage(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    message = " ".join(error.format_message().split())
    if context is not None and (not message or type(error).__name__ == "NoArgsIsHelpError"):
        typer.echo(context.get_help(), err=True)
        return WRONG_USAGE
    hint = f" Try '{context.command_path} --help'." if context is not None else ""
    return _say(message + hint, error.exit_code)


def _say(message: str, status: int) -> int:
    typer.echo("cspine-node: " + " ".join(message.splitlines()), err=True)
    return status
