"""Strict renaming: every tensor used or ignored, every place filled exactly once."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np

# Types that weights may be stored in; all are converted to float32.
_DTYPES = ("float16", "bfloat16", "float32", "float64")


class ConversionError(ValueError):
    """A source that cannot be converted as asked.

    Attributes:
        faults: All faults of the tensors, sorted; empty if the reason is another.
    """

    def __init__(self, message: str, faults: Sequence[str] = ()):
        super().__init__(message)
        self.faults = tuple(faults)


@dataclasses.dataclass(frozen=True)
class Renaming:
    r"""A rule that gives tensors whose names match a new name.

    Attributes:
        pattern: Regular expression that the whole name has to match.
        target: Name of the destination, with groups as ``\1``.
        squeeze: Most trailing axes of length 1 that are dropped if the destination
            lacks them, as for a 1x1 convolution.
    """

    pattern: str
    target: str
    squeeze: int = 0


@dataclasses.dataclass(frozen=True)
class Ignored:
    """A rule that leaves out tensors whose names match.

    Attributes:
        pattern: Regular expression that the whole name has to match.
        reason: Why they are left out, for users.
    """

    pattern: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Renamed:
    """The result of renaming.

    Attributes:
        tensors: Tensors by destination, float32, in the order of the destinations.
        ignored: Names in the source that were left out, by reason.
    """

    tensors: dict[str, np.ndarray]
    ignored: dict[str, list[str]]


IDENTITY = Renaming(r"(.+)", r"\1")
COUNTERS = (
    Ignored(r".+\.num_batches_tracked", "BatchNorm's counter of training batches"),
)


def rename(
    source: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    rules: Sequence[Renaming],
    *,
    file: str,
    wanted: str,
    ignored: Sequence[Ignored] = (),
    optional: Mapping[str, tuple[int, ...]] | None = None,
) -> Renamed:
    """The tensors of ``source`` under the names of ``shapes``.

    The first rule that matches a tensor's name renames it, unless it is ignored.

    Args:
        source: Tensors by name.
        shapes: Shape of every destination; all have to be written.
        rules: Rules, of which the first that matches counts.
        file: Name of the source, for the error.
        wanted: What the source is to become, for the error.
        ignored: Rules for tensors to leave out, which go before ``rules``.
        optional: Shapes of further destinations, which may stay without a tensor;
            None: there are none.

    Raises:
        ConversionError: If a tensor has no rule or no destination, or is not floating
            point or not finite, or if a destination has no tensor, several, or one of
            another shape. All faults are named.
    """
    places = {**shapes, **(optional or {})}
    writers, left_out, faults = _assigned(source, places, rules, ignored)
    tensors = {}
    for target, shape in places.items():
        found = writers.get(target, [])
        if len(found) == 1:
            name, rule = found[0]
            tensors[target] = _fitted(source[name], shape, rule)
            if fault := _fault(source[name], tensors[target], shape):
                faults.append(f"destination {target} {shape}: {name} is {fault}")
        elif found:
            names = ", ".join(name for name, _ in found)
            faults.append(f"destination {target} {shape}: written by each of {names}")
        elif target in shapes:
            faults.append(f"destination {target} {shape}: nothing is written to it")
    if faults:
        raise failure(file, wanted, faults)
    finished = {n: np.ascontiguousarray(t, np.float32) for n, t in tensors.items()}
    return Renamed(finished, left_out)


def _assigned(
    source: Mapping[str, np.ndarray],
    places: Mapping[str, tuple[int, ...]],
    rules: Sequence[Renaming],
    ignored: Sequence[Ignored],
) -> tuple[dict[str, list[tuple[str, Renaming]]], dict[str, list[str]], list[str]]:
    """Names and rules by destination; names left out by reason; faults of names."""
    writers: dict[str, list[tuple[str, Renaming]]] = {}
    left_out: dict[str, list[str]] = {}
    faults = []
    for name in sorted(source):
        if reason := _reason(name, ignored):
            left_out.setdefault(reason, []).append(name)
            continue
        target, rule = _target(name, rules)
        if rule is None:
            faults.append(f"source {name} {source[name].shape}: no rule names it")
        elif target not in places:
            to = "" if target == name else f"renamed {target}, "
            faults.append(f"source {name} {source[name].shape}: {to}has no place")
        else:
            writers.setdefault(target, []).append((name, rule))
    return writers, left_out, faults


def failure(file: str, wanted: str, faults: Sequence[str]) -> ConversionError:
    """The error that lists all ``faults``, sorted."""
    listed = sorted(faults)
    return ConversionError(
        f"{file} does not fit {wanted}; expected each of its tensors used or known to "
        f"be left out, and each place filled once; {len(listed)} faults, see whether "
        "it is the right file:\n  " + "\n  ".join(listed),
        listed,
    )


def _reason(name: str, ignored: Sequence[Ignored]) -> str:
    for one in ignored:
        if re.fullmatch(one.pattern, name):
            return one.reason
    return ""


def _target(name: str, rules: Sequence[Renaming]) -> tuple[str, Renaming | None]:
    for rule in rules:
        if match := re.fullmatch(rule.pattern, name):
            return match.expand(rule.target), rule
    return "", None


def _fitted(array: np.ndarray, shape: tuple[int, ...], rule: Renaming) -> np.ndarray:
    """``array`` without those trailing axes of length 1 that the rule drops."""
    surplus = array.ndim - len(shape)
    if 0 < surplus <= rule.squeeze and array.shape[len(shape) :] == (1,) * surplus:
        return array.reshape(array.shape[: len(shape)])
    return array


def _fault(array: np.ndarray, fitted: np.ndarray, shape: tuple[int, ...]) -> str:
    if array.dtype.name not in _DTYPES:
        return f"of dtype {array.dtype.name}; expected one of {', '.join(_DTYPES)}"
    if fitted.shape != shape:
        return f"of shape {array.shape}"
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.isfinite(fitted.astype(np.float32)).all():
            return "not finite everywhere (in float32)"
    return ""
