"""Checks that all that setup.cfg asks for has wheels on Windows and on macOS.

python scripts/check_platforms.py [--python 3.11 3.13]

uv decides what each platform needs, since it evaluates the markers of packages for the
platform that is asked of; pip evaluates them for the one that it runs on. Then pip,
which most users have, must find a wheel of each of these versions; it reads what the
index says of them and downloads none. A package that has no wheel for any platform is
built on the user's machine and must be in pure Python: they are named below.
"""

import argparse
import configparser
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence

ROOT = pathlib.Path(__file__).parents[1]
# By what uv calls it: the tag of wheels that pip takes, the oldest system.
PLATFORMS = {"windows": "win_amd64", "macos": "macosx_14_0_arm64"}
MACOS = "14.0"
# Needed by tensorflow-datasets; sources alone, in pure Python.
SOURCES = ("promise",)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a line for each platform; the exit status is 1 if one lacks a wheel."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--python",
        nargs="+",
        default=["3.11", "3.13"],
        metavar="VERSION",
        help="versions of Python; default: 3.11 3.13",
    )
    args = parser.parse_args(argv)
    failed = False
    for platform, tag in PLATFORMS.items():
        for python in args.python:
            try:
                pins = resolved(platform, python)
                wheels = [pin for pin in pins if not pin.startswith(SOURCES)]
                find_wheels(wheels, tag, python)
            except subprocess.CalledProcessError as error:
                failed = True
                print(f"{tag}, Python {python}: FAILED\n{error.stderr}", flush=True)
                continue
            sources = f", {len(pins) - len(wheels)} in source" * (pins != wheels)
            print(f"{tag}, Python {python}: {len(wheels)} wheels{sources}", flush=True)
    return int(failed)


def resolved(platform: str, python: str) -> list[str]:
    """``NAME==VERSION`` of all that a platform needs, by uv."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    command = [
        *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "-"),
        *("--python-platform", platform, "--python-version", python),
        *("--no-header", "--no-annotate", "--only-binary", ":all:"),
        *(flag for name in SOURCES for flag in ("--no-binary", name)),
    ]
    done = subprocess.run(
        command,
        input=setup["options"]["install_requires"],
        env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": MACOS},
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout.split()


def find_wheels(pins: Sequence[str], tag: str, python: str) -> None:
    """Have pip find a wheel of each of ``pins`` for a platform.

    Raises:
        subprocess.CalledProcessError: If one has none.
    """
    with tempfile.TemporaryDirectory() as nowhere:
        command = [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--quiet"),
            *("--no-deps", "--ignore-installed", "--target", nowhere),
            *("--only-binary", ":all:", "--platform", tag, "--python-version", python),
            # pip would compare with its own Python; uv has chosen for the other.
            *("--ignore-requires-python", *pins),
        ]
        subprocess.run(command, capture_output=True, check=True, text=True)


if __name__ == "__main__":
    sys.exit(main())
