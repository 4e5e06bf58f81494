"""The meaning of names in PyTorch's pickles: tensors, plain containers, inert records.

A pickled module is a class, called or made by its name, and a state. Neither the class
nor any function is looked up: a name becomes a ``Record`` that can only be looked at.
A few names are known and stand for plain values (``OrderedDict``, tensors). Calls are
recorded only for names of the libraries that networks are made of; a call of anything
else (``os.system``, ``eval``) means that the file does not keep a network, and is
refused, though nothing would have been run.

The functions that pickles of tensors call are in torch/_utils.py and torch/_tensor.py.
"""

import reprlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from avemo_jax.convert import torch_tensors
from avemo_jax.convert.torch_records import Record, check_depth
from avemo_jax.convert.torch_tensors import Storage
from avemo_jax.runtime import safe_pickle

# Names below these packages may be called; the result is a record.
_PACKAGES = frozenset(
    "torch torchvision torchaudio timm geffnet efficientnet_pytorch transformers "
    "fairseq omegaconf numpy __main__".split()
)
# Further names that may be called, of packages where other names could do harm.
_NAMES = frozenset(
    "argparse.Namespace collections.Counter collections.defaultdict collections.deque "
    "datetime.date datetime.datetime datetime.timedelta functools.partial "
    "pathlib.PosixPath pathlib.PurePosixPath pathlib.Path pathlib.WindowsPath "
    "builtins.object builtins.range builtins.slice types.SimpleNamespace".split()
)
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # names of Python 2
_TENSOR_CLASSES = frozenset(
    "torch.Tensor torch.nn.parameter.Parameter torch.nn.parameter.Buffer".split()
)
_MAX_NAME = 256  # characters
_ENTRY_BYTES = 64  # size of an entry of a dict or set, about
_MAX_ARGUMENTS = 8  # arguments of a function that makes a tensor
# A file can choose the hashes of its numbers, and with them how long a look-up takes.
# So few numbers but small integers may be keys; old optimisers have one per tensor.
_SMALL_KEYS = range(1 << 16)
_MAX_NUMBER = 1 << 60
_MAX_NUMBERS = 10_000
_MAX_TUPLE = 8  # texts in a key


# Opens a storage by its class, key, number of elements, and view or None.
OpenStorage = Callable[[str, str, int, tuple[Any, ...] | None], Storage]


class TorchPolicy(safe_pickle.Policy):
    """A policy that builds tensors of known storages, plain containers and records."""

    allowed = "tensors, plain containers and modules of PyTorch's libraries"
    expected = "a file of torch.save"

    def __init__(
        self,
        source: object,
        open_storage: OpenStorage,
        allowance: torch_tensors.Allowance,
    ) -> None:
        self.source = source
        self._open_storage = open_storage
        self._allowance = allowance
        self._names: dict[tuple[str, str], Record] = {}
        self._storages: dict[Record, Storage] = {}
        self._numbers_left = _MAX_NUMBERS

    @property
    def instructions(self) -> Mapping[int, safe_pickle.Action]:
        """All instructions that protocols 2 to 5 write."""
        return safe_pickle.WITH_OBJECTS

    def find(self, module: str, name: str) -> Record:
        """A record of the name; the same record every time."""
        module = _RENAMED.get(module, module)
        known = self._names.get((module, name))
        if known is not None:
            return known
        parts = (*module.split("."), name)
        # A name with dots would reach whatever the module has imported.
        if len(module) + len(name) > _MAX_NAME or not all(map(str.isidentifier, parts)):
            raise safe_pickle.Refusal(f"the name {name!r:.80} of {module!r:.80}")
        made = self._names[module, name] = Record(f"{module}.{name}")
        return made

    def call(self, function: Any, arguments: Any) -> Any:
        """A plain value or tensor if the name is known, else a record."""
        return self.create(function, arguments, {})

    def create(self, kind: Any, arguments: Any, named: Any) -> Any:
        """A plain value or tensor if the name is known, else a record."""
        if type(kind) is not Record or kind.args is not None:
            raise safe_pickle.Refusal(f"a call of {_what(kind)}")
        if type(arguments) is not tuple or type(named) is not dict:
            raise ValueError(f"{kind.name} called with a {type(arguments).__name__}")
        if kind.name in _KNOWN and not named:
            return _KNOWN[kind.name](self, kind, arguments)
        if kind.name.split(".")[0] not in _PACKAGES and kind.name not in _NAMES:
            raise safe_pickle.Refusal(f"a call of {kind.name}")
        if named:
            arguments = (*self.copied(arguments, _ENTRY_BYTES), named)
        return Record(kind.name, arguments)

    def set_state(self, target: Any, state: Any) -> None:
        """Record an object's state; attributes of an OrderedDict are left out."""
        if type(target) is dict:
            return
        if type(target) is not Record or target.args is None:
            raise safe_pickle.Refusal(f"a change of {_what(target)}")
        if target.state is not None:
            raise ValueError(f"a second state of {target.name}")
        target.state = state

    def set_items(self, target: Any, items: list[Any]) -> None:
        """Put keys and values, in turn, into a dict or a record."""
        if len(items) % 2:
            raise ValueError("a key without value")
        pairs = zip(items[::2], items[1::2], strict=True)
        if type(target) is dict:
            target.update((self.key(key), value) for key, value in pairs)
        else:
            _record_items(target, pairs)

    def append_items(self, target: Any, items: list[Any]) -> None:
        """Append to a list or a record."""
        if type(target) is list:
            target.extend(items)
        else:
            _record_items(target, items)

    def add_items(self, target: Any, items: list[Any]) -> None:
        """Add to a set."""
        if type(target) is not set:
            raise safe_pickle.Refusal(f"members of {_what(target)}")
        target.update(self.key(item) for item in items)

    def persistent(self, identity: Any) -> Any:
        """A storage, or a module's class that is stored with its source text."""
        match identity:
            case ("module", Record(args=None) as kind, _, _):
                return kind
            case ("storage", Record(args=None) as kind, str(key), str(), int(count)):
                storage = self._open_storage(kind.name, key, count, None)
            case (
                "storage",
                Record(args=None) as kind,
                str(key),
                str(),
                int(count),
                (tuple() | None) as view,
            ):
                storage = self._open_storage(kind.name, key, count, view)
            case _:
                raise ValueError("something outside the pickle that is no storage")
        record = Record(kind.name, (key, count))
        self._storages[record] = storage
        return record

    def finished(self, value: Any) -> Any:
        """``value``, if no container in it contains itself or is nested too deeply."""
        check_depth(value)
        return value

    def key(self, key: Any) -> Any:
        """``key``, if it may be one: hashing it and looking it up take little time."""
        match key:
            case str() | bytes() | bool() | None | Record():
                return key
            case int() if key in _SMALL_KEYS:
                return key
            case float() | int() if -_MAX_NUMBER < key < _MAX_NUMBER or key != key:
                self._numbers_left -= 1
                if self._numbers_left < 0:
                    raise ValueError(f"over {_MAX_NUMBERS} numbers as keys")
                return key
            case tuple() if len(key) <= _MAX_TUPLE and all(map(_is_short, key)):
                return key
        raise ValueError(f"a {type(key).__name__} as a key: {reprlib.repr(key)}")

    def copied(self, items: Any, item_bytes: int) -> Any:
        """``items``, counted as copied, since a pickle can name them many times.

        Raises:
            ValueError: If too many bytes are copied.
        """
        self._allowance.spend(item_bytes * len(items))
        return items

    def tensor(self, kind: Record, arguments: tuple[Any, ...]) -> Any:
        """A tensor from (storage, offset, size, stride[, gradient, hooks][, ...])."""
        if len(arguments) > _MAX_ARGUMENTS:
            raise ValueError(f"a tensor of {len(arguments)} arguments")
        storage, offset, size, stride, *rest = arguments
        # Looking up another value could take for ever, since nested tuples are hashed.
        if type(storage) is not Record:
            raise ValueError(f"a tensor of a {type(storage).__name__}")
        rest = rest[2:]  # gradient and hooks do not matter
        known = self._storages[storage]
        element: torch_tensors.Element | None = known.element
        if kind.name.endswith("_v3"):
            dtype, *rest = rest
            element = torch_tensors.TORCH_DTYPES.get(_what(dtype))
        # A conjugate or negative view says so in its last argument.
        if element is None or element.dtype is None or any(rest):
            return Record(kind.name, arguments)
        return torch_tensors.tensor_array(
            known, element, (offset, size, stride), self._allowance
        )


def _what(value: Any) -> str:
    """The name of a record, or the type of another value."""
    return value.name if type(value) is Record else f"a {type(value).__name__}"


def _is_short(text: Any) -> bool:
    """Whether ``text`` is a short text, which may be part of a key."""
    return type(text) is str and len(text) <= _MAX_NAME


def _record_items(target: Any, items: Iterable[Any]) -> None:
    """Put ``items`` into a record."""
    if type(target) is not Record or target.args is None:
        raise safe_pickle.Refusal(f"entries in {_what(target)}")
    target.items = target.items or []
    target.items.extend(items)


def _ordered_dict(
    policy: TorchPolicy, _: Record, arguments: tuple[Any, ...]
) -> dict[Any, Any]:
    (pairs,) = arguments or ([],)
    if type(pairs) is not list:
        raise ValueError(f"an OrderedDict of a {type(pairs).__name__}")
    made: dict[Any, Any] = {}
    for key, value in policy.copied(pairs, _ENTRY_BYTES):
        made[policy.key(key)] = value
    return made


def _set(policy: TorchPolicy, arguments: tuple[Any, ...]) -> set[Any]:
    (items,) = arguments or ((),)
    if type(items) not in (list, tuple):
        raise ValueError(f"a set of a {type(items).__name__}")
    return {policy.key(item) for item in policy.copied(items, _ENTRY_BYTES)}


def _bytes(policy: TorchPolicy, _: Record, arguments: tuple[Any, ...]) -> bytes:
    """The bytes of ``bytes()``, ``bytearray(b"")``, ``bytearray("", "latin-1")``."""
    match arguments:
        case ():
            return b""
        case (bytes(content),):
            return content
        case (str(text), "latin1" | "latin-1"):
            return policy.copied(text, 1).encode("latin-1")
    raise ValueError("bytes of odd arguments")


def _complex(_: TorchPolicy, __: Record, arguments: tuple[Any, ...]) -> complex:
    real, imaginary = arguments
    return complex(float(real), float(imaginary))


def _size(_: TorchPolicy, __: Record, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    (size,) = arguments
    if type(size) is not tuple:
        raise ValueError(f"a torch.Size of a {type(size).__name__}")
    return size


def _parameter(_: TorchPolicy, kind: Record, arguments: tuple[Any, ...]) -> Any:
    """The tensor of a parameter."""
    if arguments and isinstance(arguments[0], np.ndarray | Record):
        return arguments[0]
    return Record(kind.name, arguments)


def _from_type(policy: TorchPolicy, kind: Record, arguments: tuple[Any, ...]) -> Any:
    """A tensor without its attributes; a record for other classes."""
    match arguments:
        case (Record(args=None) as function, Record() as of, tuple() as inner, _):
            if of.name in _TENSOR_CLASSES and function.name in _TENSORS:
                return policy.tensor(function, inner)
    return Record(kind.name, arguments)


_TENSORS = {
    f"torch._utils._rebuild_tensor{version}": TorchPolicy.tensor
    for version in ("", "_v2", "_v3")
}
_KNOWN: dict[str, Callable[[TorchPolicy, Record, tuple[Any, ...]], Any]] = {
    **_TENSORS,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.nn.parameter.Parameter": _parameter,
    "torch.Size": _size,
    "collections.OrderedDict": _ordered_dict,
    "builtins.set": lambda policy, _, given: _set(policy, given),
    "builtins.frozenset": lambda policy, _, given: frozenset(_set(policy, given)),
    "builtins.bytearray": _bytes,
    "builtins.bytes": _bytes,
    "builtins.complex": _complex,
    "_codecs.encode": _bytes,
}
