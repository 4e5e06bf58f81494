"""The original system's ``.npy`` files: a dict of vectors, read without pickle.

``np.save`` of a dict writes a pickle, and unpickling may run any code. So the pickle's
instructions are carried out by the machine of ``runtime/safe_pickle.py``, which knows
those that numpy needs and no other. It calls nothing by name: a named function is only
compared with a short list, and what it stands for (an array, a dtype, a scalar) is
built here from checked parts. Whatever else a file asks for is refused before anything
is done. Sizes are checked against the bytes that the file has, so that a small file
cannot ask for much memory.

Arrays: numpy's ``ndarray.__reduce__``.
"""

import dataclasses
import math
import os
import pathlib
import re
import reprlib
from typing import Any

import numpy as np

from avemo_jax.runtime import safe_pickle
from avemo_jax.runtime.array_files import damage_told, opened_file

# Names that a pickle may use, and what each means; numpy 1 has numpy.core, numpy 2
# numpy._core.
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
    ("collections", "defaultdict"): "defaultdict",
    # bytes, in protocols before 3
    ("_codecs", "encode"): "encode",
} | {
    # what a defaultdict would make of missing keys; nothing asks for any
    (module, name): "factory"
    for module in ("builtins", "__builtin__")
    for name in ("list", "dict", "tuple", "set", "int", "float", "str")
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
_MAX_AXES = 64  # numpy's
_MAX_DEPTH = 8  # a dict of dicts of tuples of lists, with room
_SPARE_PARTS = 1 << 20
_MAX_KEY = 10_000  # characters
_CONTAINERS = (list, tuple, dict, np.ndarray)


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


def read_original_npy(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The dict of vectors that ``np.save`` stored: ``VIDEO/00001.jpg`` -> (dim,).

    Raises:
        ValueError: If the file is of another kind or damaged; the error names it.
        RefusedPickleError: If the pickle in it asks for anything but numpy arrays and
            plain containers. Nothing of it was run.
    """
    path = pathlib.Path(path)
    data = _content(path)
    header = _HEADER.match(data)
    if header is None:
        raise ValueError(
            f"{path} begins with {data[:100]!r}; expected np.save of a dict "
            "{'VIDEO/00001.jpg': vector}, which is one pickled object: is this another "
            "kind of file?"
        )
    value = _dict_of(path, data, header.end())
    for key, vector in value.items():
        if not isinstance(key, str) or not isinstance(vector, np.ndarray):
            raise ValueError(
                f"{path}: entry {key!r:.80} holds a {type(vector).__name__}; expected "
                "'VIDEO/00001.jpg' with a vector: extract the features again"
            )
    return value


def read_pickled_dict(path: str | os.PathLike[str]) -> dict[Any, Any]:
    """The dict in a ``.pkl`` or an ``.npy`` of numpy arrays and plain values.

    Raises:
        ValueError: If the file holds no dict, or is damaged.
        RefusedPickleError: If the pickle asks for anything but numpy arrays and plain
            containers. Nothing of it was run.
    """
    path = pathlib.Path(path)
    data = _content(path)
    header = _HEADER.match(data)
    return _dict_of(path, data, header.end() if header else 0)


def _content(path: pathlib.Path) -> bytes:
    """The bytes of a file."""
    expected = "expected a pickled dict of vectors: copy the file again"
    with damage_told(path, expected), opened_file(path) as file:
        return file.read()


def _dict_of(path: pathlib.Path, data: bytes, start: int) -> dict[Any, Any]:
    """The dict of the pickle from byte ``start`` on."""
    policy = FeaturePolicy(path, len(data))
    value = safe_pickle.Machine(data, policy, start).run()
    if isinstance(value, np.ndarray) and value.dtype == object and value.shape == ():
        value = value.item()
    if not isinstance(value, dict):
        raise ValueError(
            f"{path} holds a {type(value).__name__}; expected a dict "
            "{'VIDEO/00001.jpg': vector}: is this another kind of file?"
        )
    return value


class FeaturePolicy(safe_pickle.Policy):
    """The rules that a pickle of features must keep: it builds numpy arrays only."""

    allowed = "numpy arrays and plain containers"
    expected = "np.save or pickle.dump of a dict of vectors"

    def __init__(self, path: pathlib.Path, size: int) -> None:
        self.source = path
        self.objects_left = size
        self.parts_left = size + _SPARE_PARTS
        self.size = size
        self.bytes_left = _MAX_REPEATS * size

    def find(self, module: str, name: str) -> _Global:
        """What an allowed name means.

        Raises:
            Refusal: If the name is not allowed.
        """
        meaning = _GLOBALS.get((module, name))
        if meaning is None:
            raise safe_pickle.Refusal(f"{module:.80}.{name:.80}")
        return _Global(meaning)

    def call(self, function: Any, arguments: Any) -> Any:
        """What an allowed function would build from these arguments.

        Raises:
            Refusal: If the function or its arguments are not allowed.
        """
        if not isinstance(function, _Global) or not isinstance(arguments, tuple):
            raise safe_pickle.Refusal(f"a call of {type(function).__name__}")
        match function.meaning, arguments:
            case "reconstruct", (_Global(meaning="ndarray"), tuple(), bytes() | str()):
                return _Array()
            case "dtype", (str(code), *_):
                return _Dtype(None if code in ("O8", "O4", "O") else _DTYPES[code])
            case "scalar", (_Dtype(value=np.dtype() as dtype), bytes() | str() as raw):
                return _numeric(dtype, (), _as_bytes(raw))[()]
            case "frombuffer", (bytes(raw), _Dtype() as dtype, tuple(shape), str(o)):
                return _Array(self.filled(dtype, shape, raw, fortran=o == "F"))
            case "encode", (str(text), "latin1"):
                return text.encode("latin1")
            case "OrderedDict", () | (list(),):
                made = self.new_dict()
                for pair in arguments[0] if arguments else ():
                    self.objects_left -= 1
                    if type(pair) not in (list, tuple) or self.objects_left < 0:
                        raise ValueError("an OrderedDict of odd pairs")
                    self.set_items(made, list(pair))
                return made
            case "defaultdict", () | (None | _Global(meaning="factory"),):
                return self.new_dict()
        raise safe_pickle.Refusal(
            f"{function.meaning} of {len(arguments)} odd arguments"
        )

    def set_state(self, target: Any, state: Any) -> None:
        """Fill an array or finish a dtype."""
        match target, state:
            case _Array() as array, (int(), tuple(shape), _Dtype() as dtype, f, raw):
                array.value = self.filled(dtype, shape, raw, fortran=bool(f))
            case _Dtype() as dtype, (int(), "<" | "|" | "=" | ">" as order, *_):
                if dtype.value is not None and order in "<>":
                    dtype.value = dtype.value.newbyteorder(order)
            case _:
                raise safe_pickle.Refusal(f"the state of a {type(target).__name__}")

    def filled(
        self, dtype: _Dtype, shape: tuple[Any, ...], raw: Any, *, fortran: bool
    ) -> np.ndarray:
        """The array of a pickled state: bytes of numbers, or a list of objects.

        Raises:
            ValueError: If the content does not fill the shape.
            Refusal: If the file asks for more objects than it has bytes.
        """
        if dtype.value is not None:
            raw = _as_bytes(raw)
            if type(raw) is not bytes:
                raise ValueError(f"a {type(raw).__name__} as an array's content")
            array = _numeric(dtype.value, shape[::-1] if fortran else shape, raw)
            return array.T if fortran else array
        if type(raw) is not list or _count(shape) != len(raw):
            raise ValueError(f"objects in an array of shape {reprlib.repr(shape)}")
        # A list can be named again and again in a few bytes; copies are counted.
        self.objects_left -= len(raw)
        if self.objects_left < 0:
            raise safe_pickle.Refusal("more objects than it has bytes")
        objects = np.empty(len(raw), object)
        for index, item in enumerate(raw):
            objects[index] = item
        return objects.reshape(shape)

    def set_items(self, target: Any, items: list[Any]) -> None:
        """Put keys and values, in turn, into a dict."""
        if type(target) is not dict or len(items) % 2:
            raise safe_pickle.Refusal(f"entries in a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.check_key(key)
            target[key] = self.finished(value)

    @staticmethod
    def check_key(key: Any) -> None:
        """Check that a key is a text, as long as names of files are.

        The hash of a number could be chosen, and with it the time to find it.

        Raises:
            ValueError: If it is not.
        """
        if not isinstance(key, str | bytes):
            raise ValueError(f"a {type(key).__name__} as a key; expected a text")
        if len(key) > _MAX_KEY:
            raise ValueError(f"{len(key)} characters as a key; expected a name")

    def append_items(self, target: Any, items: list[Any]) -> None:
        """Append to a list."""
        if type(target) is not list:
            raise safe_pickle.Refusal(f"appending to a {type(target).__name__}")
        target.extend(self.finished(item) for item in items)

    def finished(self, value: Any) -> Any:
        """The finished array of one in the making; other values as they are.

        Raises:
            ValueError: If the array has no content yet.
        """
        if not isinstance(value, _Array):
            return value
        if value.value is None:
            raise ValueError("an array without content")
        return value.value

    def check_parts(self, value: Any) -> None:
        """Check that going through all parts of a value ends, and soon.

        Raises:
            ValueError: If values lie deeper within one another than any table of
                vectors needs, or all that were checked have more parts, or many times
                more numbers, than the file has bytes.
        """
        pending = [(value, 0)] if isinstance(value, _CONTAINERS) else []
        while pending:
            one, depth = pending.pop()
            if isinstance(one, np.ndarray):
                self.bytes_left -= one.nbytes
                if self.bytes_left < 0:
                    raise ValueError(
                        f"over {_MAX_REPEATS} times as many bytes of vectors as the "
                        f"file's {self.size:,}, as where many frames share one; save a "
                        "copy for each frame"
                    )
                one = list(one.flat) if one.dtype == object else ()
            elif isinstance(one, dict):
                one = list(one.values())
            self.parts_left -= len(one)
            if depth > _MAX_DEPTH or self.parts_left < 0:
                raise ValueError("values within one another without end")
            pending += [(p, depth + 1) for p in one if isinstance(p, _CONTAINERS)]

    @staticmethod
    def size_of(value: Any) -> int:
        """Bytes of an array in the making; 0 for other values."""
        if not isinstance(value, _Array):
            return 0
        return 100 + (0 if value.value is None else value.value.nbytes)


def _as_bytes(raw: Any) -> Any:
    """An array's content as bytes: Python 2 had one type for these and for texts."""
    return raw.encode("utf-8") if type(raw) is str else raw


def numpy_header(path: pathlib.Path) -> int:
    """The byte at which the pickle begins: after the header of ``np.save``, if any."""
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        header = _HEADER.match(file.read(1000))
    return header.end() if header else 0


def _numeric(dtype: np.dtype, shape: tuple[Any, ...], raw: bytes) -> np.ndarray:
    """An array over ``raw``, which must have exactly the bytes of the shape."""
    if _count(shape) * dtype.itemsize != len(raw):
        raise ValueError(
            f"{len(raw)} bytes for an array of shape {reprlib.repr(shape)}"
        )
    return np.frombuffer(raw, dtype).reshape(shape)


def _count(shape: tuple[Any, ...]) -> int:
    """The number of elements of an array."""
    if len(shape) > _MAX_AXES or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"array shape {reprlib.repr(shape)}")
    return math.prod(shape)
