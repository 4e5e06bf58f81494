"""Extractors of other packages, found by their entry points.

A package declares ``NAME = module:OBJECT`` in the group ``avemo.extractors``; OBJECT is
a :class:`PluginExtractor` called NAME. Once installed, it works by its name wherever an
extractor of this package does. Names are read from the packages' metadata; a package is
imported only when its name is asked for, so that a faulty one does not disturb others.
docs/extending.md has a whole example.
"""

import dataclasses
import importlib.metadata
import math
import re
from collections.abc import Callable, Collection
from typing import Any, Literal

from avemo_jax.extractors.contract import Extractor, ImageInput, SoundInput
from avemo_jax.extractors.published import PublishedFile

GROUP = "avemo.extractors"
Framework = Literal["jax", "other"]
_NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]*")


class PluginError(ValueError):
    """A plug-in that cannot be used; the message names it and its package."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """The package that a plug-in comes from.

    Attributes:
        distribution: Name of the package, as pip shows it.
        version: Version of the package.
        entry_point: Its entry point, as declared: ``NAME = module:OBJECT``.
    """

    distribution: str
    version: str
    entry_point: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} ({GROUP}: {self.entry_point})"


@dataclasses.dataclass(frozen=True)
class PluginExtractor(Extractor):
    """An extractor that another package brings, in the form of two functions.

    Resizing, normalising, resampling and batching are done by this package, as
    ``takes`` says.

    Attributes:
        load: ``load(weights) -> params``. ``weights`` is the path of the file of
            weights, or None where the package brings its own. Params of a JAX plug-in
            are a tree of arrays; else they may be anything. No pickles, please.
        apply: ``apply(params, x) -> features``, float, (batch, dim); if the extractor
            has ``outputs``: ``(features, outputs)``. ``x`` is float32: images (batch,
            size, size, 3), RGB, ``(pixel / 255 - mean) / std``; or sound (batch,
            samples), mono in [-1, 1], in windows of ``receptive_field_s`` that start
            every ``hop_s`` and give one vector each.
        framework: "jax": ``apply`` is traced by ``jax.jit``, and runs on all devices,
            each with its part of the batch. "other": it is called with NumPy arrays.
        needs_weights: Whether ``load`` is given ``NAME.safetensors``, from the folder
            of ``--weights`` or from the cache directory.
        origin: The package that it comes from; set on loading.
    """

    default_input: str = dataclasses.field(default="", kw_only=True)
    network: str = dataclasses.field(default="plug-in", kw_only=True)
    sources: tuple[PublishedFile, ...] = dataclasses.field(default=(), kw_only=True)
    load: Callable[[str | None], Any] = dataclasses.field(kw_only=True)
    apply: Callable[[Any, Any], Any] = dataclasses.field(kw_only=True)
    framework: Framework = dataclasses.field(default="jax", kw_only=True)
    needs_weights: bool = dataclasses.field(default=False, kw_only=True)
    origin: Origin = dataclasses.field(default=Origin("?", "?", "?"), kw_only=True)

    def __post_init__(self) -> None:
        """Checks the fields.

        Raises:
            ValueError: If a field is of a wrong type or out of range.
        """
        if faults := _faults(self):
            wrong, value, expected = faults[0]
            raise ValueError(f"{wrong} {value!r}; expected {expected}; correct it")
        if not self.default_input:
            object.__setattr__(self, "default_input", _input_name(self.takes))

    def error(self, what: str, expected: str) -> PluginError:
        """An error that names this plug-in and its package.

        Args:
            what: Words that say what the plug-in did wrong.
            expected: Words that say what it should have done.
        """
        return PluginError(
            f"the plug-in {self.name} of {self.origin} {what}; expected {expected}; "
            "take another version of the package, or tell its authors"
        )


def plugin_names() -> list[str]:
    """Names of the plug-ins that are installed, faulty or not; nothing is imported."""
    return sorted({point.name for point in _entry_points()})


def load_plugin(name: str, *, ours: Collection[str] = ()) -> PluginExtractor | None:
    """The plug-in called ``name``, imported; None if there is none.

    Args:
        name: Name of the entry point and of the extractor.
        ours: Names of this package's extractors, which no plug-in may have.

    Raises:
        PluginError: If it cannot be imported, is no :class:`PluginExtractor`, has
            another name, or shares its name with another extractor.
    """
    found = [point for point in _entry_points() if point.name == name]
    if not found:
        return None
    origins = [_origin(point) for point in found]
    listed = " and ".join(map(str, origins))
    if name in ours:
        raise PluginError(
            f"the plug-in of {listed} is called {name!r}, as an extractor of avemo_jax "
            "is; expected another name, so that it is sure which is meant; uninstall "
            "the package, or ask its authors to rename the extractor"
        )
    if len(found) > 1:
        raise PluginError(
            f"{len(found)} plug-ins are called {name!r}: {listed}; expected one, so "
            "that it is sure which is meant; uninstall all others"
        )
    return _imported(found[0], origins[0])


def _entry_points() -> list[importlib.metadata.EntryPoint]:
    return list(importlib.metadata.entry_points(group=GROUP))


def _origin(point: importlib.metadata.EntryPoint) -> Origin:
    declared = f"{point.name} = {point.value}"
    if point.dist is None:
        return Origin("an unknown package", "?", declared)
    return Origin(point.dist.name, point.dist.version, declared)


def _imported(point: importlib.metadata.EntryPoint, origin: Origin) -> PluginExtractor:
    """The extractor that an entry point names, imported.

    Raises:
        PluginError: If it cannot be imported, is no :class:`PluginExtractor`, or has
            another name than the entry point.
    """
    advice = "mend the package, take another version, or uninstall it"
    try:
        found = point.load()
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"the plug-in {point.name} of {origin} cannot be imported: "
            f"{type(error).__name__}: {error}; expected a module that imports and has "
            f"that object; {advice}"
        ) from error
    if not isinstance(found, PluginExtractor):
        raise PluginError(
            f"the plug-in {point.name} of {origin} is of type {type(found).__name__}; "
            "expected an avemo_jax.extractors.PluginExtractor (the object, no function "
            f"or class that makes it); {advice}"
        )
    if found.name != point.name:
        raise PluginError(
            f"the plug-in {point.name} of {origin} calls itself {found.name!r}; "
            f"expected the name of its entry point; {advice}"
        )
    return dataclasses.replace(found, origin=origin)


def _input_name(takes: ImageInput | SoundInput) -> str:
    """Default name of an input: kind and size of crops, or seconds of sound."""
    if isinstance(takes, ImageInput):
        return f"cropped_aligned-{takes.size_px}"
    return f"{takes.receptive_field_s:g}s"


def _faults(one: PluginExtractor) -> list[tuple[str, Any, str]]:
    """Each wrong field, its value, and what was expected."""
    found: list[tuple[str, Any, str]] = []
    if not (isinstance(one.name, str) and _NAME.fullmatch(one.name)):
        found.append(("name", one.name, "letters, digits and _ . + -"))
    if not (type(one.dim) is int and one.dim > 0):
        found.append(("dim", one.dim, "a whole number from 1"))
    if not (
        isinstance(one.outputs, tuple)
        and all(isinstance(name, str) for name in one.outputs)
    ):
        found.append(("outputs", one.outputs, "a tuple of names"))
    for field in ("load", "apply"):
        if not callable(getattr(one, field)):
            found.append((field, getattr(one, field), "a function"))
    if one.framework not in ("jax", "other"):
        found.append(("framework", one.framework, "'jax' or 'other'"))
    if isinstance(one.takes, ImageInput):
        return found + _image_faults(one.takes)
    if isinstance(one.takes, SoundInput):
        return found + _sound_faults(one, one.takes)
    return [*found, ("takes", one.takes, "an ImageInput or a SoundInput")]


def _image_faults(takes: ImageInput) -> list[tuple[str, Any, str]]:
    found: list[tuple[str, Any, str]] = []
    if not (type(takes.size_px) is int and takes.size_px > 0):
        found.append(("takes.size_px", takes.size_px, "a whole number from 1"))
    for name, values in (("mean", takes.mean), ("std", takes.std)):
        if len(values) != 3 or not all(map(math.isfinite, values)):
            found.append((f"takes.{name}", values, "three finite numbers"))
    if not all(value > 0 for value in takes.std):
        found.append(("takes.std", takes.std, "three numbers over 0"))
    return found


def _sound_faults(
    one: PluginExtractor, takes: SoundInput
) -> list[tuple[str, Any, str]]:
    found: list[tuple[str, Any, str]] = []
    rate = takes.sample_rate_hz
    if not (type(rate) is int and rate >= 1000):
        return [("takes.sample_rate_hz", rate, "a whole number from 1000")]
    for name in ("hop_s", "receptive_field_s"):
        seconds = getattr(takes, name)
        samples = seconds * rate if math.isfinite(seconds) else 0.0
        if samples < 1 or abs(samples - round(samples)) > 1e-3:
            found.append(
                (f"takes.{name}", seconds, f"a whole number of samples at {rate} Hz")
            )
    if takes.normalise:
        found.append(("takes.normalise", True, "False: normalise within apply"))
    if one.outputs:
        found.append(("outputs", one.outputs, "none of an extractor of sound"))
    return found
