"""Which versions run: of packages, and of this checkout."""

import importlib.metadata
import pathlib
import subprocess
from collections.abc import Iterable

VERSION = "0.1.0"  # of avemo_jax


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of installed packages, by the names that pip knows."""
    return {name: importlib.metadata.version(name) for name in names}


def git_revision() -> str | None:
    """Of the checkout that the package runs from, "+" where it has changes."""
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
