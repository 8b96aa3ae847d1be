"""Keep sandboxes as a branch of a repository describes them: fetch, check, plan, apply, again and again.

A commit that is wrong, or not allowed, changes nothing: what was applied before goes on being held, and --status says
why. What moved away by itself is mended at every turn. Nothing is written back, and nobody is asked.

A repository of this host that a sandbox can write to, or could, is followed with --verify-signatures or
--deny-widening only. Let through is what was let through by the same --ref, --path, --profile and --deny-widening.

Workspaces like `.` are of a tree that follows the branch in place; what an agent writes there is never loaded.
"""

import argparse
import os
import re
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import anyio

from sandboxfile.cli import exits
from sandboxfile.cli.applying import positive
from sandboxfile.cli.planning_options import profiles_of
from sandboxfile.cli.project import this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.errors import NotFoundError, SandboxfileError
from sandboxfile.host.layout import SANDBOX_FILES, ReconcilerPaths
from sandboxfile.host.variables import PROFILES
from sandboxfile.names import is_name, name_from

DEFAULT_INTERVAL = "60s"
SHORTEST = 0.1  # seconds


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--git", metavar="REPO", help="the repository: https, ssh, file, or a directory of this host")
    parser.add_argument("--ref", metavar="REF", help="the branch or tag to follow (default: main)", default="main")
    parser.add_argument("--path", metavar="FILE", default=SANDBOX_FILES[0], help="the sandbox file in the repository")
    parser.add_argument("--name", metavar="NAME", help="of this reconciler (default: the repository's)")
    parser.add_argument(
        "--interval",
        metavar="TIME",
        type=interval,
        default=interval(DEFAULT_INTERVAL),
        help=f"from one turn to the next, e.g. 30s or 5m (default: {DEFAULT_INTERVAL})",
    )
    parser.add_argument("--once", action="store_true", help="one turn; fails when the newest commit is not applied")
    parser.add_argument(
        "--verify-signatures",
        action="store_true",
        help="only commits that `git verify-commit` finds good on this host: any signed one counts, an older one or "
        "one of another branch too, wherever the branch is moved (--deny-widening bounds that)",
    )
    parser.add_argument(
        "--deny-widening", action="store_true", help="refuse commits by which a sandbox may do more than before"
    )
    parser.add_argument("--remove-orphans", action="store_true", help="delete sandboxes that are no longer in the file")
    parser.add_argument("--frozen", action="store_true", help="refuse templates that are not as sandbox.lock has them")
    parser.add_argument(
        "--profile",
        metavar="PROFILE",
        action="append",
        default=[],
        help=f"also sandboxes with this profile; may be repeated (default: {PROFILES})",
    )
    parser.add_argument("--parallel", metavar="N", type=positive, default=4, help="steps at a time (default: 4)")
    verbs = parser.add_mutually_exclusive_group()
    verbs.add_argument("--status", dest="action", action="store_const", const="status", help="say where it stands")
    verbs.add_argument("--suspend", dest="action", action="store_const", const="suspend", help="let it do nothing")
    verbs.add_argument("--resume", dest="action", action="store_const", const="resume", help="let it go on")
    verbs.add_argument("--install", dest="action", action="store_const", const="install", help="write a systemd unit")
    verbs.add_argument(
        "--uninstall", dest="action", action="store_const", const="uninstall", help="take that unit away"
    )
    verbs.add_argument("--forget", metavar="NAME", help="remove what one has left that does not run, and keeps nothing")
    parser.add_argument("--now", action="store_true", help="with --install: enable and start it")
    parser.add_argument("--format", choices=("human", "json"), default="human", help="of --status")


def interval(text: str) -> float:
    """Seconds of `30s`, for an option."""
    from sandboxfile.model.spec_life import parse_duration

    seconds = parse_duration(text)
    if seconds is None or seconds < SHORTEST:
        raise ValueError
    return seconds


def run(args: argparse.Namespace, console: Console) -> int:
    if args.file is not None or args.variables:
        raise SandboxfileError(
            "--file and --env-file are for files of this host, and all that a reconciler loads is of the repository",
            hint="--path FILE names the sandbox file in the repository",
        )
    if args.forget is not None:
        return _forget(args, console)
    match args.action:
        case "status":
            return _status(args, console)
        case "suspend" | "resume":
            return _suspend(args, console)
        case "install":
            return _install(args, console)
        case "uninstall":
            return _uninstall(args, console)
    return _reconcile(args, console)


# --- which one ---------------------------------------------------------------------------------------------------


def name_of(args: argparse.Namespace) -> str:
    """The one that the arguments mean: by name, by repository, or the only one. Raises SandboxfileError."""
    from sandboxfile.host.reconcilers import names

    if args.name is not None:
        if not is_name(args.name):
            raise SandboxfileError(f"{args.name!r} is no name", hint="small letters, digits, - and _")
        return str(args.name)
    if args.git is not None:
        return name_from(re.split(r"[/:]", args.git.rstrip("/"))[-1].removesuffix(".git"), "reconcile")
    known = names(this_layout())
    if len(known) == 1 and args.action is not None:
        return known[0]
    if args.action is None:
        raise SandboxfileError("which repository is to be followed?", hint="--git REPO --ref REF")
    if not known:
        raise NotFoundError("there is no reconciler", hint="sbx reconcile --git REPO --ref REF")
    raise SandboxfileError("which reconciler is meant?", hint=f"--name: {', '.join(known)}")


def _existing(args: argparse.Namespace) -> ReconcilerPaths:
    paths = this_layout().reconciler(name_of(args))
    if not paths.root.is_dir():
        raise NotFoundError(f"there is no reconciler {paths.root.name}", hint="sbx reconcile --git REPO --ref REF")
    return paths


# --- the loop ----------------------------------------------------------------------------------------------------


def _reconcile(args: argparse.Namespace, console: Console) -> int:
    from sandboxfile.cli.reconciling.running import reconcile
    from sandboxfile.cli.reconciling.work import Settings
    from sandboxfile.host.git_clone import checked_address, checked_ref

    name = name_of(args)
    if args.git is None:
        raise SandboxfileError("which repository is to be followed?", hint="--git REPO --ref REF")
    settings = Settings(
        checked_address(args.git),
        checked_ref(args.ref),
        checked_file(args.path),
        args.verify_signatures,
        args.deny_widening,
        args.remove_orphans,
        args.frozen,
        profiles_of(args, os.environ),
        args.parallel,
    )
    return anyio.run(partial(reconcile, name, settings, args.interval, console, once=args.once))


def checked_file(text: str) -> str:
    """A path below the top of the repository. Raises SandboxfileError."""
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.name or not text.isprintable():
        raise SandboxfileError(f"{text!r} is no file of the repository", hint="relative to its top")
    return str(path)


# --- what is asked of one ----------------------------------------------------------------------------------------


def _status(args: argparse.Namespace, console: Console) -> int:
    from sandboxfile.cli.reconciling.views import page
    from sandboxfile.cli.views.json import write_json

    if args.format == "json":
        found = [_found(_existing(args))]
        write_json(found[0], console)
    else:
        found = [_found(paths) for paths in _several(args)]
        console.print("\n\n".join(page(each, datetime.now(UTC)) for each in found))
    return exits.FAILED if any(each["state"] == "failed" for each in found) else exits.OK


def _several(args: argparse.Namespace) -> list[ReconcilerPaths]:
    """The one that is asked about, or all that have run."""
    from sandboxfile.host.reconcilers import names, read_status

    known = names(this_layout()) if args.name is None and args.git is None else []
    all_of_them = [this_layout().reconciler(name) for name in known]
    return [paths for paths in all_of_them if read_status(paths) is not None] or [_existing(args)]


def _found(paths: ReconcilerPaths) -> dict[str, Any]:
    from sandboxfile.host.reconcilers import read_status, to_json

    status = read_status(paths)
    if status is None:
        raise NotFoundError(f"the reconciler {paths.root.name} has not run yet")
    return to_json(paths, status)


def _suspend(args: argparse.Namespace, console: Console) -> int:
    from sandboxfile.host.reconcilers import suspend

    paths = _existing(args)
    suspend(paths, args.action == "suspend")
    console.say(f"{paths.root.name} is suspended" if args.action == "suspend" else f"{paths.root.name} goes on")
    return exits.OK


def _forget(args: argparse.Namespace, console: Console) -> int:
    from sandboxfile.cli.reconciling import unit
    from sandboxfile.host.reconcilers import forget

    args.name = args.forget
    paths = _existing(args)
    if unit.unit_path(args.name, os.environ, Path.home()).exists():
        raise SandboxfileError(
            f"a unit starts the reconciler {args.name}", hint=f"sbx reconcile --uninstall --name {args.name}"
        )
    gone = forget(this_layout(), paths)
    console.say(
        f"{args.name} is forgotten" + ("" if gone else f"; its tree stays, with what was written there: {paths.tree}")
    )
    return exits.OK


def _install(args: argparse.Namespace, console: Console) -> int:
    from sandboxfile.cli.reconciling import unit
    from sandboxfile.cli.reconciling.checking import refuse_open
    from sandboxfile.host.git_clone import checked_address, checked_ref

    if args.git is None:
        raise SandboxfileError("which repository is to be followed?", hint="--git REPO --ref REF")
    name = name_of(args)
    if not (args.verify_signatures or args.deny_widening):
        refuse_open(checked_address(args.git), this_layout())
    options = [f"--name={name}", f"--git={checked_address(args.git)}", f"--ref={checked_ref(args.ref)}"]
    options += [f"--path={checked_file(args.path)}", f"--interval={round(args.interval * 1000)}ms"]
    options += [f"--parallel={args.parallel}"]
    options += [f"--profile={profile}" for profile in profiles_of(args, os.environ)]
    for option in ("verify_signatures", "deny_widening", "remove_orphans", "frozen"):
        options += [f"--{option.replace('_', '-')}"] if getattr(args, option) else []
    path = unit.unit_path(name, os.environ, Path.home())
    unit.install(path, unit.unit_text(name, [*unit.own_program(), "reconcile", *options], os.environ))
    console.print(str(path))
    if args.now:
        if not unit.manager_runs():
            raise SandboxfileError("the unit is written, but this user has no systemd", hint="systemctl --user")
        unit.systemctl("enable", "--now", path.name)
        console.say(f"it runs: systemctl --user status {path.name}")
    else:
        console.say(f"systemctl --user enable --now {path.name}    starts it, now and at every login")
    console.say("loginctl enable-linger                lets it run while you are not logged in")
    return exits.OK


def _uninstall(args: argparse.Namespace, console: Console) -> int:
    from sandboxfile.cli.reconciling import unit

    path = unit.unit_path(name_of(args), os.environ, Path.home())
    if not unit.uninstall(path):
        raise NotFoundError(f"there is no unit {path}")
    console.say(f"{path} is gone; sandboxes stay as they are")
    return exits.OK
