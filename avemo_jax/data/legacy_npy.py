"""The original system's ``.npy`` files: a dict of vectors, read without pickle.

``np.save`` of a dict writes a pickle, and unpickling may run any code. So the pickle's
instructions are carried out by the small interpreter below, which knows those that
numpy needs and no other. It calls nothing by name: a named function is only compared
with a short list, and what it stands for (an array, a dtype, a scalar) is built here
from checked parts. Whatever else a file asks for is refused, with nothing done.
Sizes are checked against the bytes that the file has, so that a small file cannot ask
for much memory.

Instructions: Python's Lib/pickletools.py; arrays: numpy's ``ndarray.__reduce__``.
"""

import dataclasses
import math
import os
import pathlib
import re
import struct
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

# What a name in a pickle may mean here; numpy 1 says numpy.core, numpy 2 numpy._core.
_GLOBALS = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("numpy.core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy._core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy.core.multiarray", "scalar"): "scalar",
    ("numpy._core.multiarray", "scalar"): "scalar",
    ("numpy.core.numeric", "_frombuffer"): "frombuffer",
    ("numpy._core.numeric", "_frombuffer"): "frombuffer",
    ("collections", "OrderedDict"): "OrderedDict",
}
_DTYPES = {
    f"{kind}{size}": np.dtype(f"{kind}{size}")
    for kind, sizes in {"f": (2, 4, 8), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8)}.items()
    for size in sizes
} | {"b1": np.dtype("b1")}
# The only header that numpy.lib.format writes for one pickled object.
_HEADER = re.compile(
    rb"\x93NUMPY(?:\x01\x00..|[\x02\x03]\x00....)"
    rb"\{'descr': '\|O', 'fortran_order': (?:True|False), 'shape': \(\), \} *\n",
    re.DOTALL,
)
# An array may be named by many keys (one hop of sound serves several frames).
_MAX_REPEATS = 64


@dataclasses.dataclass(slots=True)
class _Global:
    """A name that is allowed."""

    meaning: str


@dataclasses.dataclass(slots=True)
class _Dtype:
    """A dtype in the making; ``value`` is None for objects."""

    value: np.dtype | None


@dataclasses.dataclass(slots=True)
class _Array:
    """An array in the making."""

    value: np.ndarray | None = None


class RefusedPickleError(ValueError):
    """The file asks for something that no feature file needs."""


def read_original_npy(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The dict of vectors that ``np.save`` stored: ``VIDEO/00001.jpg`` -> (dim,).

    Raises:
        ValueError: If it is no such file, or is damaged (named with its path).
        RefusedPickleError: If the pickle in it asks for anything but numpy arrays and
            plain containers. Nothing of it was run.
    """
    path = pathlib.Path(path)
    data = path.read_bytes()
    header = _HEADER.match(data)
    if header is None:
        raise ValueError(
            f"{path} begins with {data[:100]!r}; expected np.save of a dict "
            "{'VIDEO/00001.jpg': vector}, which is one pickled object: is this another "
            "kind of file?"
        )
    value = _Interpreter(path, data, header.end()).run()
    if isinstance(value, np.ndarray) and value.dtype == object and value.shape == ():
        value = value.item()
    if not isinstance(value, dict):
        raise ValueError(
            f"{path} holds a {type(value).__name__}; expected a dict "
            "{'VIDEO/00001.jpg': vector}: is this another kind of file?"
        )
    total = 0
    for key, vector in value.items():
        if not isinstance(key, str) or not isinstance(vector, np.ndarray):
            raise ValueError(
                f"{path}: entry {key!r:.80} holds a {type(vector).__name__}; expected "
                "'VIDEO/00001.jpg' with a vector: extract the features again"
            )
        total += vector.nbytes
    if total > _MAX_REPEATS * len(data):
        raise RefusedPickleError(
            f"{path}: {total} bytes of vectors from a file of {len(data)}; expected "
            f"at most {_MAX_REPEATS} frames to share one: do not trust this file"
        )
    return value


class _Interpreter:
    """Carries out the instructions of one pickle; see the module."""

    def __init__(self, path: pathlib.Path, data: bytes, start: int) -> None:
        self.path = path
        self.data = data
        self.position = start
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.objects_left = len(data)

    def run(self) -> Any:
        """The object that the pickle describes, with arrays and dicts in place."""
        try:
            while True:
                opcode = self.data[self.position]
                self.position += 1
                if opcode == ord("."):
                    return _finished(self.stack.pop())
                action = _ACTIONS.get(opcode)
                if action is None:
                    self.refuse(f"the instruction {bytes([opcode])!r}")
                action(self)
        except RefusedPickleError:
            raise
        except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
            raise ValueError(
                f"{self.path}, byte {self.position}: damaged or no pickle "
                f"({type(error).__name__}: {error}); expected np.save of a dict of "
                "vectors: copy the file again"
            ) from error

    def refuse(self, what: str) -> NoReturn:
        """Raise that the file asks for ``what``."""
        raise RefusedPickleError(
            f"{self.path}, byte {self.position}: the pickle asks for {what}, which may "
            "run code; expected numpy arrays and plain containers only: do not trust "
            "this file; nothing of it was run"
        )

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        end = self.position + count
        if end > len(self.data):
            raise ValueError(f"{count} bytes announced, the file ends before")
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def number(self, code: str) -> int:
        """The next number in ``struct`` code ``code``."""
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def line(self) -> str:
        """The next line of text."""
        end = self.data.index(b"\n", self.position)
        text = self.data[self.position : end].decode("utf-8")
        self.position = end + 1
        return text

    def to_mark(self) -> list[Any]:
        """What lies on the stack above the last mark, taken off."""
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def find(self, module: object, name: object) -> None:
        """Push what a name means."""
        meaning = _GLOBALS.get((str(module), str(name)))
        if meaning is None:
            self.refuse(f"{module!s:.80}.{name!s:.80}")
        self.stack.append(_Global(meaning))

    def reduce(self) -> None:
        """Build what a function of the list, called with these values, would build."""
        arguments = self.stack.pop()
        function = self.stack.pop()
        if not isinstance(function, _Global) or not isinstance(arguments, tuple):
            self.refuse(f"a call of {type(function).__name__}")
        made: Any
        match function.meaning, arguments:
            case "reconstruct", (_Global(meaning="ndarray"), tuple(), bytes()):
                made = _Array()
            case "dtype", (str(code), *_):
                made = _Dtype(None if code in ("O8", "O4", "O") else _DTYPES[code])
            case "scalar", (_Dtype(value=np.dtype() as dtype), bytes(raw)):
                made = _numeric(dtype, (), raw)[()]
            case "frombuffer", (bytes(raw), _Dtype() as dtype, tuple(shape), str(o)):
                made = _Array(self.filled(dtype, shape, raw, fortran=o == "F"))
            case "OrderedDict", ():
                made = {}
            case _:
                self.refuse(f"{function.meaning} of {len(arguments)} odd arguments")
        self.stack.append(made)

    def build(self) -> None:
        """Fill the array or finish the dtype on the stack."""
        state = self.stack.pop()
        match self.stack[-1], state:
            case _Array() as array, (int(), tuple(shape), _Dtype() as dtype, f, raw):
                array.value = self.filled(dtype, shape, raw, fortran=bool(f))
            case _Dtype() as dtype, (int(), "<" | "|" | "=" | ">" as order, *_):
                if dtype.value is not None and order in "<>":
                    dtype.value = dtype.value.newbyteorder(order)
            case target, _:
                self.refuse(f"the state of a {type(target).__name__}")

    def filled(
        self, dtype: _Dtype, shape: tuple[Any, ...], raw: Any, *, fortran: bool
    ) -> np.ndarray:
        """The array of a pickled state: bytes of numbers, or a list of objects."""
        if dtype.value is not None:
            if type(raw) is not bytes:
                raise ValueError(f"a {type(raw).__name__} as an array's content")
            array = _numeric(dtype.value, shape[::-1] if fortran else shape, raw)
            return array.T if fortran else array
        if type(raw) is not list or math.prod(shape) != len(raw):
            raise ValueError(f"objects in an array of shape {shape!r}")
        # A list can be named again and again in a few bytes; copies are counted.
        self.objects_left -= len(raw)
        if self.objects_left < 0:
            self.refuse("more objects than it has bytes")
        objects = np.empty(len(raw), object)
        for index, item in enumerate(raw):
            objects[index] = item
        return objects.reshape(shape)

    def set_items(self, items: list[Any]) -> None:
        """Put keys and values, in turn, into the dict on the stack."""
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            self.refuse(f"entries in a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int | bytes):
                self.refuse(f"a {type(key).__name__} as a key")
            target[key] = _finished(value)

    def append_items(self, items: list[Any]) -> None:
        """Append to the list on the stack."""
        target = self.stack[-1]
        if type(target) is not list:
            self.refuse(f"appending to a {type(target).__name__}")
        target.extend(_finished(item) for item in items)

    def tuple_of(self, count: int) -> None:
        """Make one tuple of the last ``count`` values."""
        if len(self.stack) < count:
            raise ValueError("too few values for a tuple")
        items = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        self.stack.append(items)

    def put(self, index: int) -> None:
        """Remember the last value."""
        self.memo[index] = self.stack[-1]


def _finished(value: Any) -> Any:
    """The array that an array in the making has become; other values as they are."""
    if not isinstance(value, _Array):
        return value
    if value.value is None:
        raise ValueError("an array without content")
    return value.value


def _numeric(dtype: np.dtype, shape: tuple[Any, ...], raw: bytes) -> np.ndarray:
    """An array over ``raw``, which must have exactly the bytes of the shape."""
    if not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"array shape {shape!r}")
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise ValueError(f"{len(raw)} bytes for an array of shape {shape!r}")
    return np.frombuffer(raw, dtype).reshape(shape)


def _pushes(make: Callable[[_Interpreter], Any]) -> Callable[[_Interpreter], None]:
    """An action that pushes what ``make`` reads."""

    def action(machine: _Interpreter) -> None:
        machine.stack.append(make(machine))

    return action


_ACTIONS: dict[int, Callable[[_Interpreter], None]] = {
    ord(code): action
    for code, action in {
        "\x80": lambda m: m.take(1),
        "\x95": lambda m: m.take(8),
        "(": lambda m: m.marks.append(len(m.stack)),
        "0": lambda m: m.stack.pop(),
        "N": _pushes(lambda m: None),
        "\x88": _pushes(lambda m: True),
        "\x89": _pushes(lambda m: False),
        "J": _pushes(lambda m: m.number("<i")),
        "K": _pushes(lambda m: m.number("<B")),
        "M": _pushes(lambda m: m.number("<H")),
        "\x8a": _pushes(
            lambda m: int.from_bytes(m.take(m.number("<B")), "little", signed=True)
        ),
        "G": _pushes(lambda m: m.number(">d")),
        "X": _pushes(lambda m: m.take(m.number("<I")).decode("utf-8")),
        "\x8c": _pushes(lambda m: m.take(m.number("<B")).decode("utf-8")),
        "\x8d": _pushes(lambda m: m.take(m.number("<Q")).decode("utf-8")),
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
        "}": _pushes(lambda m: {}),
        "a": lambda m: m.append_items([m.stack.pop()]),
        "e": lambda m: m.append_items(m.to_mark()),
        "s": lambda m: m.set_items([m.stack.pop(-2), m.stack.pop()]),
        "u": lambda m: m.set_items(m.to_mark()),
        "c": lambda m: m.find(m.line(), m.line()),
        "\x93": lambda m: m.find(m.stack.pop(-2), m.stack.pop()),
        "R": lambda m: m.reduce(),
        "b": lambda m: m.build(),
        "q": lambda m: m.put(m.number("<B")),
        "r": lambda m: m.put(m.number("<I")),
        "\x94": lambda m: m.put(len(m.memo)),
        "h": _pushes(lambda m: m.memo[m.number("<B")]),
        "j": _pushes(lambda m: m.memo[m.number("<I")]),
    }.items()
}
