# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line: what an operator or a script types (docs/interface.md, "Command line").

Each command imports what it needs when it runs: `edgeagent --help` and `edgeagent status` must not wait
for, or pay for, the libraries of a node.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated, Any

import typer

from edgeagent import __version__
from edgeagent.cli import (
    check_commands,
    evaluate_command,
    fleet_commands,
    intent_commands,
    node_commands,
    prune_command,
    rollout_commands,
    store_commands,
    version_commands,
)
from edgeagent.cli.options import FAILED, WRONG, ConfigOption
from edgeagent.cli.tables import printable, use_plain_characters
from edgeagent.core.text import redact
from edgeagent.errors import EdgeAgentError, UsageError

_INTERRUPTED = 130  # what typer makes of Ctrl-C
# Its public name moved between typer's versions; its place did not.
_TyperUsageError: type[Any] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    help="Swap YOLO models under a running vision line, without losing a frame.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 done, 1 it failed, 2 arguments or configuration are wrong."""
    args = sys.argv[1:] if argv is None else list(argv)
    debug = "--debug" in args  # taken anywhere, not only before the command
    args = [a for a in args if a != "--debug"]
    from edgeagent.observe.logs import setup_logging, stop_logging

    use_plain_characters()
    try:
        setup_logging("debug" if debug else "warning", "console")
        code = typer.main.get_command(app).main(args, prog_name="edgeagent", standalone_mode=False)
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        sys.stdout.flush()
        return int(code or 0)
    except _TyperUsageError as e:
        return _fail(UsageError("arguments", e.format_message().rstrip("."), _see_help(e)), WRONG, debug)
    except UsageError as e:
        return _fail(e, WRONG, debug)
    except EdgeAgentError as e:
        return _fail(e, FAILED, debug)
    except BrokenPipeError:  # `edgeagent history | head`; nothing is left to print to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (KeyboardInterrupt, typer.Abort):
        return _fail(EdgeAgentError("edgeagent", "interrupted"), FAILED, debug)
    except Exception as e:  # noqa: BLE001 - the last resort: one line, and how to see more
        todo = "run it again with --debug, and report it"
        return _fail(EdgeAgentError("edgeagent", f"unexpected {type(e).__name__}: {e}", todo), FAILED, debug)
    finally:
        stop_logging()


def _fail(error: EdgeAgentError, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    typer.echo(f"error: {printable(redact(str(error)))}", err=True)
    return code


def _see_help(error: Any) -> str:
    return f"see {error.ctx.command_path} --help" if error.ctx else "see edgeagent --help"


@app.callback(invoke_without_command=True)
def _global(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="With a traceback, and all of the log.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(WRONG)


@app.command()
def run(config: ConfigOption) -> None:
    """Run the node in the foreground until SIGTERM or SIGINT; SIGHUP re-reads what can be re-read."""
    from edgeagent.run import run_node

    raise typer.Exit(run_node(config))


@app.command()
def demo(
    seconds: Annotated[float | None, typer.Option(min=1, metavar="N", help="How long the line runs.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, metavar="P", help="Of the HTTP API.")] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Don't open the node's page.")] = False,
    stay: Annotated[
        bool, typer.Option("--stay", help="At the end leave line and page running, until Ctrl-C.")
    ] = False,
) -> None:
    """Show the whole product: a rendered line, good and bad models; no server, no camera."""
    from edgeagent.demo.run import run_demo

    raise typer.Exit(run_demo(seconds, port, not no_browser, stay))


for command in (
    store_commands.publish,
    version_commands.versions,
    version_commands.tag,
    version_commands.untag,
    version_commands.yank,
    prune_command.prune,
    evaluate_command.evaluate,
    intent_commands.promote,
    node_commands.rollback,
    node_commands.approve,
    node_commands.refuse,
    node_commands.status,
    node_commands.history,
    fleet_commands.coordinate,
    fleet_commands.nodes,
    fleet_commands.snapshot,
    fleet_commands.restore,
    check_commands.check,
    check_commands.doctor,
):
    app.command()(command)


app.add_typer(rollout_commands.app, name="rollout")
