"""Pickles carried out by a small machine that runs no code.

Unpickling may run any code: a pickle is a program that looks up names, calls what it
found and sets attributes. The ``Machine`` knows the instructions that move values about
and build plain containers. Whatever touches a name (looking it up, calling it, giving
it a state) is handed to a ``Policy``, which builds values itself from checked parts, or
refuses. Nothing is ever imported or called by name.

Every instruction costs time and memory in proportion to its own bytes, except those of
one byte that make a container, which are counted. A policy that copies, goes through,
hashes or prints values has to bound that: a pickle of 100 bytes can name the same list
2 ** 20 times.

The instructions are described in Python's Lib/pickletools.py.
"""

import codecs
import mmap
import struct
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

# Containers, names and calls: 56 to 400 bytes of memory each. Picklers write 7 bytes
# or more for one, on average; a file of nothing else ends here.
_SPARE_OBJECTS = 1 << 18
_BYTES_OF_OBJECT = 16
_MAKING = frozenset(b"])}tld\x8f\x85\x86\x87\x91R\x81\x92c\x93Q")
_MAX_MARKS = 10_000  # open at once: values within one another
_MAX_REASON = 200  # characters; a KeyError prints the whole key
# Instructions that only make plain values: sets, and numbers of thousands of digits.
_PLAIN_VALUES = frozenset(b"\x8f\x90\x91\x8b")


class RefusedPickleError(ValueError):
    """The pickle asks for something that its kind of file does not need."""


class DamagedPickleError(ValueError):
    """The bytes are no pickle, or are damaged."""


class Refusal(Exception):
    """Raised by a policy: its text says what the pickle asked for."""


class Policy:
    """The meaning of names in a pickle; this base class refuses them all.

    Its methods raise ``Refusal`` with what was asked for, or ValueError, TypeError,
    KeyError, IndexError if the parts do not fit.

    Attributes:
        source: The file, for messages.
        allowed: Words for what the pickle may ask for, for messages.
        expected: Words for what the file should be, for messages.
    """

    source: object = "pickle"
    allowed = "plain containers"
    expected = "a pickle"

    @property
    def instructions(self) -> "Mapping[int, Action]":
        """The instructions that may be carried out, by opcode."""
        return PLAIN

    def new_dict(self) -> Any:
        """The value that stands for a new dict."""
        return {}

    def find(self, module: str, name: str) -> Any:
        """The value that a name stands for."""
        raise Refusal(f"{module:.80}.{name:.80}")

    def call(self, function: Any, arguments: Any) -> Any:
        """The value that calling ``function`` would make."""
        raise Refusal(f"a call of {type(function).__name__}")

    def create(self, kind: Any, arguments: Any, named: Any) -> Any:
        """The value that stands for a new object of the class ``kind``."""
        raise Refusal(f"a new {type(kind).__name__}")

    def set_state(self, target: Any, state: Any) -> None:
        """Fill ``target``, in place."""
        raise Refusal(f"the state of a {type(target).__name__}")

    def set_items(self, target: Any, items: list[Any]) -> None:
        """Put keys and values, in turn, into ``target``."""
        raise Refusal(f"entries in a {type(target).__name__}")

    def append_items(self, target: Any, items: list[Any]) -> None:
        """Append to ``target``."""
        raise Refusal(f"appending to a {type(target).__name__}")

    def add_items(self, target: Any, items: list[Any]) -> None:
        """Add to the set ``target``."""
        raise Refusal(f"members of a {type(target).__name__}")

    def persistent(self, identity: Any) -> Any:
        """The value that is stored outside the pickle under ``identity``."""
        raise Refusal("something outside the pickle")

    def finished(self, value: Any) -> Any:
        """The pickle's value, given ``value`` at the end of all instructions."""
        return value

    def check_parts(self, value: Any) -> None:
        """Check that the finished value can be gone through by who takes it."""


class Machine:
    """Carries out the instructions of one pickle.

    Attributes:
        position: Index into ``data`` of the next byte.
    """

    def __init__(self, data: bytes | mmap.mmap, policy: Policy, start: int = 0) -> None:
        self.data = data
        self.policy = policy
        self.position = start
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: list[Any] = []
        self.objects_left = _SPARE_OBJECTS + len(data) // _BYTES_OF_OBJECT

    def run(self) -> Any:
        """The value that the pickle describes, as the policy builds it.

        Raises:
            RefusedPickleError: If the pickle asks for what the policy does not allow.
            DamagedPickleError: If the bytes are no pickle, or a damaged one.
        """
        actions = self.policy.instructions
        try:
            while True:
                opcode = self.data[self.position]
                self.position += 1
                if opcode == ord("."):
                    value = self.policy.finished(self.stack.pop())
                    self.policy.check_parts(value)
                    return value
                action = actions.get(opcode)
                if action is None and opcode in _PLAIN_VALUES:
                    raise ValueError("a set, or another value that no table needs")
                if action is None:
                    raise Refusal(f"the instruction {bytes([opcode])!r}")
                if opcode in _MAKING:
                    self.objects_left -= 1
                    if self.objects_left < 0:
                        raise ValueError("more objects than so many bytes may have")
                action(self)
        except Refusal as refusal:
            self._refuse(refusal)
        except (
            IndexError,
            KeyError,
            TypeError,
            ValueError,
            OverflowError,
            MemoryError,
            RecursionError,
            struct.error,
        ) as error:
            reason = " ".join(str(error)[:_MAX_REASON].split())
            if type(error) is not ValueError:
                reason = f"{type(error).__name__}: {reason}"
            raise DamagedPickleError(
                f"{self.policy.source}, byte {self.position}: damaged or no pickle "
                f"({reason}); expected {self.policy.expected}: copy or save the "
                "file again"
            ) from error

    def _refuse(self, refusal: Refusal) -> NoReturn:
        """Raise the error, of one line, that the file asks for what was refused."""
        asked = " ".join(str(refusal).split())
        raise RefusedPickleError(
            f"{self.policy.source}, byte {self.position}: the pickle asks for "
            f"{asked}, which may run code; expected {self.policy.allowed} only: do "
            "not trust this file; nothing of it was run"
        ) from None

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        end = self.position + count
        if count < 0 or end > len(self.data):
            raise ValueError(f"{count} bytes announced, the file ends before")
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def number(self, code: str) -> int:
        """The next integer, by its ``struct`` code."""
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def real(self) -> float:
        """The next float."""
        return struct.unpack(">d", self.take(8))[0]

    def integer(self, code: str) -> int:
        """The next integer of any length; ``code`` is the code of its length."""
        return int.from_bytes(self.take(self.number(code)), "little", signed=True)

    def text(self, code: str) -> str:
        """The next text; ``code`` is the code of its length in bytes."""
        return self.take(self.number(code)).decode("utf-8")

    def line(self) -> bytes:
        """The next line."""
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise ValueError("a line without an end")
        line = self.data[self.position : end]
        self.position = end + 1
        return line

    def name(self) -> str:
        """The next line, as a name."""
        return self.line().decode("utf-8")

    def integer_line(self) -> int | bool:
        """The next line as an integer, which protocol 0 writes truths as too."""
        line = self.line()
        if line in (b"00", b"01"):
            return line == b"01"
        return int(line.removesuffix(b"L"))

    def quoted_line(self) -> str | bytes:
        """The next line as a string of Python 2: a text, or bytes."""
        line = self.line()
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
            raise ValueError("a string without quotes")
        return text_or_bytes(codecs.escape_decode(line[1:-1])[0])

    def mark(self) -> None:
        """Mark the top of the stack."""
        if len(self.marks) == _MAX_MARKS:
            raise ValueError(f"over {_MAX_MARKS} values within one another")
        self.marks.append(len(self.stack))

    def to_mark(self) -> list[Any]:
        """The values above the last mark, taken off the stack."""
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def find(self, module: object, name: object) -> None:
        """Push the value that a name stands for."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refusal("a name that is no text")
        self.stack.append(self.policy.find(module, name))

    def reduce(self) -> None:
        """Push the value that a call would make."""
        arguments = self.stack.pop()
        self.stack.append(self.policy.call(self.stack.pop(), arguments))

    def create(self, named: Any) -> None:
        """Push the value that stands for a new object."""
        arguments = self.stack.pop()
        self.stack.append(self.policy.create(self.stack.pop(), arguments, named))

    def build(self) -> None:
        """Fill the last value with a state."""
        state = self.stack.pop()
        self.policy.set_state(self.stack[-1], state)

    def frozen(self) -> None:
        """Push a frozen set of the values above the last mark."""
        items: set[Any] = set()
        self.policy.add_items(items, self.to_mark())
        self.stack.append(frozenset(items))

    def tuple_of(self, count: int) -> None:
        """Make one tuple of the last ``count`` values."""
        if len(self.stack) < count:
            raise ValueError("too few values for a tuple")
        items = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        self.stack.append(items)

    def put(self, index: int) -> None:
        """Remember the last value.

        Picklers number values from 0 on, Python 2's from 1 on. Free numbers would let a
        file choose how long each look-up takes.
        """
        if not 0 <= index <= len(self.memo) + 1:
            raise ValueError(f"value {index} put behind {len(self.memo)} others")
        if index == len(self.memo) + 1:
            self.memo.append(None)
        self.memo[index : index + 1] = [self.stack[-1]]

    def get(self, index: int) -> None:
        """Push the value that was remembered as number ``index``."""
        if index < 0:
            raise ValueError(f"value {index}")
        self.stack.append(self.memo[index])

    def dict_of(self, items: list[Any]) -> None:
        """Push a dict of keys and values, in turn."""
        self.stack.append(self.policy.new_dict())
        if items:
            self.set_items(items)

    def list_of(self, items: list[Any]) -> None:
        """Push a list of these values."""
        self.stack.append([])
        self.append_items(items)

    def set_items(self, items: list[Any]) -> None:
        """Put keys and values, in turn, into the last value."""
        self.policy.set_items(self.stack[-1], items)

    def append_items(self, items: list[Any]) -> None:
        """Append to the last value."""
        self.policy.append_items(self.stack[-1], items)

    def add_items(self, items: list[Any]) -> None:
        """Add to the set that is the last value."""
        self.policy.add_items(self.stack[-1], items)


def text_or_bytes(content: bytes) -> str | bytes:
    """A string of Python 2, which may be either; text where it is one."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content


Action = Callable[[Machine], object]


def _pushes(make: Callable[[Machine], Any]) -> Action:
    """An action that pushes what ``make`` reads."""

    def action(machine: Machine) -> None:
        machine.stack.append(make(machine))

    return action


# Plain values and containers, names, calls and states.
PLAIN: dict[int, Action] = {
    ord(code): action
    for code, action in {
        "\x80": lambda m: m.take(1),
        "\x95": lambda m: m.take(8),
        "(": lambda m: m.mark(),
        "0": lambda m: m.stack.pop(),
        "1": lambda m: m.to_mark(),
        "2": _pushes(lambda m: m.stack[-1]),
        # Protocol 0 writes lines of text.
        "I": _pushes(lambda m: m.integer_line()),
        "L": _pushes(lambda m: m.integer_line()),
        "F": _pushes(lambda m: float(m.line())),
        "S": _pushes(lambda m: m.quoted_line()),
        "V": _pushes(lambda m: m.line().decode("raw-unicode-escape")),
        "d": lambda m: m.dict_of(m.to_mark()),
        "l": lambda m: m.list_of(m.to_mark()),
        "p": lambda m: m.put(int(m.line())),
        "g": lambda m: m.get(int(m.line())),
        "T": _pushes(lambda m: text_or_bytes(m.take(m.number("<i")))),
        "U": _pushes(lambda m: text_or_bytes(m.take(m.number("<B")))),
        "N": _pushes(lambda m: None),
        "\x88": _pushes(lambda m: True),
        "\x89": _pushes(lambda m: False),
        "J": _pushes(lambda m: m.number("<i")),
        "K": _pushes(lambda m: m.number("<B")),
        "M": _pushes(lambda m: m.number("<H")),
        "\x8a": _pushes(lambda m: m.integer("<B")),
        "G": _pushes(lambda m: m.real()),
        "X": _pushes(lambda m: m.text("<I")),
        "\x8c": _pushes(lambda m: m.text("<B")),
        "\x8d": _pushes(lambda m: m.text("<Q")),
        "B": _pushes(lambda m: m.take(m.number("<I"))),
        "C": _pushes(lambda m: m.take(m.number("<B"))),
        "\x8e": _pushes(lambda m: m.take(m.number("<Q"))),
        "\x96": _pushes(lambda m: m.take(m.number("<Q"))),
        ")": _pushes(lambda m: ()),
        "t": _pushes(lambda m: tuple(m.to_mark())),
        "\x85": lambda m: m.tuple_of(1),
        "\x86": lambda m: m.tuple_of(2),
        "\x87": lambda m: m.tuple_of(3),
        "]": _pushes(lambda m: []),
        "}": lambda m: m.dict_of([]),
        "a": lambda m: m.append_items([m.stack.pop()]),
        "e": lambda m: m.append_items(m.to_mark()),
        "s": lambda m: m.set_items([m.stack.pop(-2), m.stack.pop()]),
        "u": lambda m: m.set_items(m.to_mark()),
        "c": lambda m: m.find(m.name(), m.name()),
        "\x93": lambda m: m.find(m.stack.pop(-2), m.stack.pop()),
        "R": lambda m: m.reduce(),
        "b": lambda m: m.build(),
        "q": lambda m: m.put(m.number("<B")),
        "r": lambda m: m.put(m.number("<I")),
        "\x94": lambda m: m.put(len(m.memo)),
        "h": lambda m: m.get(m.number("<B")),
        "j": lambda m: m.get(m.number("<I")),
    }.items()
}
# Also objects of classes, sets, and values outside the pickle; strings are texts.
WITH_OBJECTS: dict[int, Action] = PLAIN | {
    ord(code): action
    for code, action in {
        "\x8b": _pushes(lambda m: m.integer("<i")),
        "T": _pushes(lambda m: m.text("<i")),
        "U": _pushes(lambda m: m.text("<B")),
        "\x8f": _pushes(lambda m: set()),
        "\x90": lambda m: m.add_items(m.to_mark()),
        "\x91": lambda m: m.frozen(),
        "\x81": lambda m: m.create({}),
        "\x92": lambda m: m.create(m.stack.pop()),
        "Q": _pushes(lambda m: m.policy.persistent(m.stack.pop())),
    }.items()
}
