# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line: what an operator or a script types (docs/interface.md, "Command line").

Each command imports what it needs when it runs: `edgeagent --help` and `edgeagent status` must not wait
for, or pay for, the libraries of a node.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import sys
import traceback
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeagent import __version__
from edgeagent.cli.client import DEFAULT_URL, ask, read
from edgeagent.cli.render import printable, show_history, show_json, show_status, use_plain_characters
from edgeagent.errors import EdgeAgentError, UsageError
from edgeagent.intent.port import Tls

FAILED, WRONG = 1, 2
_INTERRUPTED = 130  # what typer makes of Ctrl-C
# Its public name moved between typer's versions; its place did not.
_TyperUsageError: type[Any] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    help="Swap YOLO models under a running vision line, without losing a frame.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigOption = Annotated[
    Path,
    typer.Option("--config", metavar="FILE", help="The node's configuration (YAML).", show_default=False),
]
UrlOption = Annotated[str, typer.Option("--url", metavar="URL", help="The node's HTTP API.")]
TokenOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file", metavar="FILE", envvar="EDGEAGENT_TOKEN_FILE", help="File with the API's token."
    ),
]
CaOption = Annotated[
    Path | None,
    typer.Option(
        "--ca-file", metavar="FILE", envvar="EDGEAGENT_CA_FILE", help="Trust this authority (https)."
    ),
]
CertOption = Annotated[Path | None, typer.Option("--cert-file", metavar="FILE", help="Own certificate.")]
KeyOption = Annotated[Path | None, typer.Option("--key-file", metavar="FILE", help="Its key.")]
JsonOption = Annotated[bool, typer.Option("--json", help="The node's answer as it is.")]
ByOption = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="On whose word; you, if not given.")
]


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
    typer.echo(f"error: {printable(error)}", err=True)
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
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Open no browser.")] = False,
) -> None:
    """Show the whole product: a rendered line, good and bad models; no server, no camera."""
    from edgeagent.demo.run import run_demo

    raise typer.Exit(run_demo(seconds, port, not no_browser))


@app.command()
def publish(
    weights: Annotated[
        Path, typer.Argument(metavar="WEIGHTS", help="A .pt or .onnx file.", show_default=False)
    ],
    model: Annotated[
        str, typer.Option(metavar="M", help="The named stream, such as yolo.", show_default=False)
    ],
    version: Annotated[
        str, typer.Option(metavar="V", help="Its new version, such as v2.", show_default=False)
    ],
    store: Annotated[
        str, typer.Option(metavar="URL", help="The model store: a folder or a URL.", show_default=False)
    ],
    alternates: Annotated[
        list[Path] | None,
        typer.Option(
            "--ready",
            metavar="FILE",
            help="The same network in another format, ready to run; once for each.",
            show_default=False,
        ),
    ] = None,
    golden: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Images that say what it must find.", show_default=False),
    ] = None,
    sign: Annotated[
        Path | None, typer.Option(metavar="KEY", help="Not in this release.", show_default=False)
    ] = None,
    note: Annotated[str, typer.Option(metavar="TEXT", help="A word to those who look at it later.")] = "",
) -> None:
    """Put an immutable version into a model store; refuses to overwrite."""
    from edgeagent.core.model import check_name

    if sign is not None:
        raise UsageError("--sign", "signing is not in this release", "publish without it")
    check_name("model", model)
    check_name("version", version)
    alternates = alternates or []
    for path in (weights, *alternates):
        if not path.is_file():
            raise UsageError(f"weights {path}", "no such file", "give a .pt or .onnx file")
        if path.suffix.lower() == ".engine":
            why = "a TensorRT engine fits only the machine that built it"
            raise UsageError(f"weights {path}", why, "give the .onnx or .pt: a node builds its own engine")
    if golden is not None and not golden.is_dir():
        raise UsageError(f"golden {golden}", "no such folder", "give a folder of images")

    from edgeagent.store.publish import publish as put_into_store
    from edgeagent.workers.inspect import inspect_weights

    manifest = put_into_store(
        weights,
        model,
        version,
        store,
        metadata=inspect_weights(weights),
        alternates=[(path, inspect_weights(path)) for path in alternates],
        golden=golden,
        note=note,
    )
    contract = manifest.contract
    size = "x".join(str(n) for n in contract.imgsz)
    typer.echo(f"published {model}/{version}: {len(contract.names)} classes, {size} px, {manifest.digest}")


@app.command()
def promote(
    model: Annotated[str, typer.Argument(metavar="M", show_default=False)],
    version: Annotated[str, typer.Argument(metavar="V", show_default=False)],
    config_store: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="etcd://host:port,..., zk://host:port/chroot, kafka://host/topic, file:///folder",
            show_default=False,
        ),
    ],
    by: ByOption = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why.")] = "",
    allow_new_contract: Annotated[
        bool, typer.Option(help="The class names may change with this version.")
    ] = False,
    allow_slow: Annotated[bool, typer.Option(help="It may be too slow for its pipelines.")] = False,
    again: Annotated[
        bool, typer.Option(help="Try it at once, although nodes went back from it just now.")
    ] = False,
    username: Annotated[str | None, typer.Option(metavar="NAME", help="User of the config store.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File with its password.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Use TLS, and trust this authority.")
    ] = None,
    cert_file: CertOption = None,
    key_file: KeyOption = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Of its client, such as security.protocol=SASL_SSL; once for each.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write the intent: all nodes that follow the key take this version."""
    from edgeagent.config import readable_login
    from edgeagent.core.directive import Directive, current_key, encode_directive
    from edgeagent.core.model import check_name
    from edgeagent.intent.port import Access
    from edgeagent.intent.url import open_writer

    tls = Tls(ca_file, cert_file, key_file) if ca_file or cert_file or key_file else None
    options = dict(_option(text) for text in option or [])
    key = current_key(check_name("model", model))
    asked = Directive(
        version,
        by=by or _user(),
        reason=reason,
        allow_new_contract=allow_new_contract,
        allow_slow=allow_slow,
        again=again,
    )
    value = encode_directive(asked)
    access = Access(username or "", password_file, tls, options)
    if why := readable_login(config_store, access):
        typer.echo(f"warning: config store {config_store}: {why}", err=True)
    with closing(open_writer(config_store, access)) as writer:
        writer.put(key, value)
    typer.echo(f"{key} = {value.decode()}")


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageError(f"--option {text}", "is not NAME=VALUE", "give one such as security.protocol=SSL")
    return name, value


@app.command()
def rollback(
    model: Annotated[str | None, typer.Argument(metavar="[M]", show_default=False)] = None,
    url: UrlOption = DEFAULT_URL,
    token_file: TokenOption = None,
    ca_file: CaOption = None,
    cert_file: CertOption = None,
    key_file: KeyOption = None,
    by: ByOption = None,
    if_epoch: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Only while this epoch serves (see status).")
    ] = None,
) -> None:
    """Roll one node back to the version before, and hold it there until the intent changes."""
    from edgeagent.core.model import check_name

    path = "/rollback" if model is None else f"/api/models/{check_name('model', model)}/rollback"
    body = {"by": by or _user()} | ({} if if_epoch is None else {"if_epoch": if_epoch})
    answer = ask(url, path, token_file, body, Tls(ca_file, cert_file, key_file))
    typer.echo(json.dumps(answer, ensure_ascii=False))


@app.command()
def status(
    url: UrlOption = DEFAULT_URL,
    token_file: TokenOption = None,
    ca_file: CaOption = None,
    cert_file: CertOption = None,
    key_file: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """What runs on a node, since when and why."""
    from edgeagent.status.schema import Status

    answer = ask(url, "/api/status", token_file, tls=Tls(ca_file, cert_file, key_file))
    if as_json:
        show_json(answer)
    else:
        show_status(read(answer, Status, url))


@app.command()
def history(
    url: UrlOption = DEFAULT_URL,
    token_file: TokenOption = None,
    ca_file: CaOption = None,
    cert_file: CertOption = None,
    key_file: KeyOption = None,
    as_json: JsonOption = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The last so many.")] = 100,
) -> None:
    """What happened on a node."""
    from edgeagent.status.schema import History

    answer = ask(url, f"/api/history?limit={limit}", token_file, tls=Tls(ca_file, cert_file, key_file))
    if as_json:
        show_json(answer)
    else:
        show_history(read(answer, History, url).history)


@app.command()
def check(config: ConfigOption) -> None:
    """Say everything that is wrong with a configuration, at once."""
    from edgeagent.config import ConfigError, load_config

    try:
        found = load_config(config)
    except ConfigError as e:
        for problem in e.problems:
            typer.echo(f"error: {config}: {printable(problem)}", err=True)
        raise typer.Exit(WRONG) from e
    pipelines = ", ".join(f"{p.name} ({p.model})" for p in found.pipelines) or "none"
    typer.echo(f"{config} is right; node {found.node.id}, pipelines: {pipelines}")


@app.command()
def doctor(config: ConfigOption) -> None:
    """Try a configuration for real: config store, model store, camera, runtimes, disk, permissions."""
    from edgeagent.cli.doctor import examine
    from edgeagent.config import load_config

    failed = False
    for finding in examine(load_config(config)):
        failed |= finding.level == "FAIL"
        typer.echo(printable(finding))
    raise typer.Exit(FAILED if failed else 0)


def _user() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        name = f"uid {os.getuid()}"
    return f"{name}@{socket.gethostname()}"
