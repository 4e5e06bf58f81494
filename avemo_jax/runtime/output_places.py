"""Where a command may write: nowhere inside of what it reads."""

import os
import pathlib


def check_out(
    flag: str, out: str | os.PathLike[str], *inputs: str | os.PathLike[str] | None
) -> None:
    """Check that what is written lies in none of the folders and files that are read.

    Results among the inputs would be read the next time, or replace them. Links are
    followed, in all of the paths.

    Args:
        flag: Flag of the output, for the error: "--out".
        out: The folder or file that is written, there or not.
        *inputs: What is read; None: nothing.

    Raises:
        ValueError: If the output is an input, or lies in the folder of one.
    """
    place = pathlib.Path(os.path.realpath(out))
    for given in inputs:
        if given is None:
            continue
        there = pathlib.Path(os.path.realpath(given))
        if there == place or there in place.parents:
            what = "is" if there == place else f"lies in {given},"
            raise ValueError(
                f"{flag} {out} {what} what is read; expected a place outside of it: "
                f"choose another {flag}"
            )
