"""Command lines as people type them, read in the same way by every command.

Nothing here loads JAX, so that ``avemo COMMAND --help`` and a mistake in a flag are
answered at once.
"""

import argparse
import difflib
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

_MAIN = "avemo_jax.main"  # names its command by --mode
_FIELDS = ("--config.", "--noconfig.")
_NUMBER = re.compile(r"-\.?\d\S*")  # a value, although it begins with a dash
# Hyphens and dashes that editors and messengers put in the place of "-".
_DASHES = "\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{FIGURE DASH}\N{EN DASH}\N{EM DASH}"
_DASHES += "\N{HORIZONTAL BAR}\N{MINUS SIGN}"
# A home folder at the beginning of a value or of one of several, which the shell leaves
# as it is behind an equals sign or a comma.
_HOME = re.compile(r"(?:^|(?<=[=,]))~[\w.-]*(?=[/\\]|$)")


def program() -> str:
    """The program as it was called: "avemo", or "python -m avemo_jax.main"."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None and spec.name.startswith("avemo_jax."):
        return f"python -m {spec.name}"
    return "avemo"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The words "did you mean X? ", or none where no known word is like ``word``."""
    by_letters = {_letters(one): one for one in known}
    near = difflib.get_close_matches(_letters(word), by_letters, n=1, cutoff=0.65)
    return f"did you mean {by_letters[near[0]]}? " if near else ""


def _letters(word: str) -> str:
    return word.lower().replace("_", "-").lstrip("-")


class CommandParser(argparse.ArgumentParser):
    """Reads a command line as a person means it, or says in one line what is wrong.

    Flags may be written with underscores, and a value may begin with ``~``. Refused
    are, beside what argparse refuses: unknown flags, with what was likely meant; empty
    values, as variables of a shell leave them; a flag twice with different values; and
    dashes of a text editor.

    Attributes:
        fields: Names of the configuration's fields, which ``--config.NAME=VALUE`` set;
            None: the command has no configuration. Where there are some, the parsed
            ``fields`` are these arguments.
        bare: The flag that a word without one is likely for, with an example; "": none.
        elsewhere: What to say of flags that other commands have, by flag; ``{value}``
            stands for the value.
        check: Called with the parser and what was parsed; ends the program by
            ``parser.error`` where flags do not fit each other. It loads no JAX.
    """

    def __init__(self, *args: Any, **options: Any):
        """Begins without flags.

        Args:
            args: Arguments of ``ArgumentParser``.
            options: Further ones.
        """
        super().__init__(*args, **options)
        self.fields: Sequence[str] | None = None
        self.bare = ""
        self.elsewhere: Mapping[str, str] = {}
        self.check: Callable[[CommandParser, argparse.Namespace], None] | None = None

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        """What the flags say; a wrong command line ends the program with 2.

        Args:
            args: Arguments; None: those of the process.
            namespace: Gets the values; None: a new one.
        """
        words = [self._plain(word) for word in (sys.argv[1:] if args is None else args)]
        fields, rest = self._fields_apart(words)
        self._check_flags(rest)
        found, others = self.parse_known_args(rest, namespace)
        if others:
            flag = f" before it: {self.bare}" if self.bare else " before it"
            self.error(f"unexpected {others[0]!r}; expected a flag{flag}")
        if self.fields is not None:
            found.fields = fields
            if fields and found.config is None:
                self.error(
                    f"{fields[0]} without --config; expected the configuration whose "
                    "field it is: name one, --config expr_mlp"
                )
        if self.check is not None:
            self.check(self, found)
        return found

    def error(self, message: str) -> NoReturn:
        """Tell what is wrong in one line, and end the program with 2."""
        help_text = f"{self.prog} --help"
        more = "" if help_text in message else f"; {help_text} shows all flags"
        self.exit(2, f"{self.prog}: error: {message}{more}\n")

    def _plain(self, word: str) -> str:
        """The word with dashes for underscores in its flag, and with home folders."""
        if not word:
            self.error(
                "an argument is empty; expected a value: is a variable of the shell "
                "not set?"
            )
        if word[0] in _DASHES:
            meant = f"--{word.lstrip(_DASHES + '-')}"
            self.error(
                f"{word} begins with a dash of a text editor; expected two hyphens: "
                f"type {meant}"
            )
        word = _HOME.sub(lambda found: os.path.expanduser(found[0]), word)
        flag, equals, value = word.partition("=")
        if self.fields is not None and flag.startswith(_FIELDS):
            dashes, dot, name = flag.partition(".")
            return f"{dashes}{dot}{name.replace('-', '_')}{equals}{value}"
        dashed = flag.replace("_", "-")
        if flag.startswith("--") and dashed in self._option_string_actions:
            return f"{dashed}{equals}{value}"
        return word

    def _fields_apart(self, words: Sequence[str]) -> tuple[list[str], list[str]]:
        """Arguments that set fields of the configuration, and the others."""
        fields: list[str] = []
        rest: list[str] = []
        bare = ""  # the last argument, if it was a field without its value
        for word in words:
            name, equals, value = word.partition("=")
            if self.fields is not None and word.startswith(_FIELDS):
                fields.append(word)
                bare = "" if equals else name
                if equals:
                    self._refuse_empty(name, value)
            elif bare and not word.startswith("--"):
                fields.append(word)
                self._refuse_empty(bare, word)
                bare = ""
            else:
                rest.append(word)
                bare = ""
        return fields, rest

    def _refuse_empty(self, flag: str, value: str) -> None:
        """End the program at an empty value."""
        if not value:
            self.error(
                f"{flag}= is empty; expected a value: give one, or leave it out (is a "
                "variable of the shell not set?)"
            )

    def _check_flags(self, words: Sequence[str]) -> None:
        """End the program at a flag that is unknown or without its value."""
        left = iter(words)
        for word in left:
            if word == "--":
                return
            if not word.startswith("-") or word == "-" or _NUMBER.fullmatch(word):
                continue
            flag, equals, value = word.partition("=")
            action = self._option_string_actions.get(flag)
            if action is None:
                self.error(self._unknown(flag, value))
            if action.nargs == 0:
                if equals:
                    self.error(f"{word}; expected {flag} alone: leave the value out")
                continue
            if not equals:
                value = next(left, "")
                if not value or value.startswith("--"):
                    wanted = action.metavar or "a value"
                    self.error(f"{flag} without a value; expected {wanted}: give it")
                if value[0] == "-" and not self._negative_number_matcher.match(value):
                    self.error(
                        f"{flag} {value}; expected a value that begins with a dash "
                        f"behind an equals sign: write {flag}={value}"
                    )
            self._refuse_empty(flag, value)

    def _unknown(self, flag: str, value: str) -> str:
        """What to say of a flag that the command does not have."""
        dashed = flag.replace("_", "-")
        if dashed in self.elsewhere:
            said = f"{dashed}={value}" if value else dashed
            text = self.elsewhere[dashed].format(value=value or True)
            return f"{said} with {self.prog}; {text}"
        fields = {name.split(".")[-1]: f"--config.{name}" for name in self.fields or ()}
        known = dict.fromkeys(self._option_string_actions) | fields
        meant = did_you_mean(flag, known)
        for short, name in fields.items():
            meant = meant.replace(f" {short}?", f" {name}?")
        return (
            f"unknown flag {flag}; {meant}expected one that {self.prog} --help lists: "
            "correct it"
        )


def command_parser(command: str, description: str, *, example: str) -> CommandParser:
    """The parser of ``avemo COMMAND``, without flags yet; none may be shortened.

    Args:
        command: Name of the command.
        description: Text that ``--help`` shows before the flags, as it stands.
        example: Command lines that ``--help`` shows after them.
    """
    called = program()
    named = f"--mode={command}" if called.endswith(_MAIN) else command
    return CommandParser(
        prog=f"{called} {named}",
        description=description,
        epilog=f"example:\n{textwrap.indent(example, '  ')}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
