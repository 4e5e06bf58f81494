"""Versions of installed packages and of this checkout."""

import importlib.metadata
import pathlib
import subprocess
from collections.abc import Iterable

VERSION = "0.1.0"  # the version of avemo_jax


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of installed packages, by the names that pip knows."""
    return {name: importlib.metadata.version(name) for name in names}


def git_revision() -> str | None:
    """The commit that the package runs from, with "+" if files differ from it.

    None: the package does not run from a checkout.
    """
    root = pathlib.Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        revision = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError) as error:
        return f"unknown ({error})"
    return revision + ("+" if changed else "")
