"""The feature sets that a model takes: extractors, their options and crops."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any, Literal

from avemo_jax.data.features.names import split_name
from avemo_jax.extraction.extractor_choice import (
    ExtractorChoice,
    choose_audio,
    choose_visual,
    hidden_layer,
)
from avemo_jax.extractors import Modality, PluginExtractor, get_extractor

CropKind = Literal["aligned", "tight"]
# How the names of feature sets call these crops.
CROPS: dict[str, CropKind] = {"cropped_aligned": "aligned", "cropped": "tight"}
_IMAGES = re.compile(r"([a-z_]+)-(\d+)")
_SOUND = re.compile(r"([0-9.]+)s(?:-hop([0-9.]+)s)?")


@dataclasses.dataclass(frozen=True)
class WantedSet:
    """A feature set that a model takes.

    Attributes:
        name: Full name, ``EXTRACTOR@INPUT``.
        kind: "visual" or "audio".
        extractor: Name of the extractor.
        crop: Which crops of a face it is made from; None for sound.
        options: What the name says of the extractor's options: ``size_px`` of faces,
            ``hop_s`` and ``context_s`` of acoustic features, ``stereo`` and
            ``chunking`` of sound as in the original system.
        has_outputs: Whether the extractor's own outputs are taken too.
    """

    name: str
    kind: Modality
    extractor: str
    crop: CropKind | None
    options: Mapping[str, Any]
    has_outputs: bool = False

    @property
    def needs_weights(self) -> bool:
        """Whether the extractor runs only with a file of weights."""
        return get_extractor(self.extractor).needs_weights

    def choice(
        self,
        *,
        weights_dir: str | os.PathLike[str] | None = None,
        batch_size: int | None = None,
        dtype: str = "float32",
    ) -> ExtractorChoice:
        """The extractor with these options, to be loaded.

        Args:
            weights_dir: Folder of ``NAME.safetensors``; None: the cache directory.
            batch_size: Pictures that run at once; None: 32 on a CPU, else 256.
            dtype: Precision of the network's arithmetic.
        """
        variant = split_name(self.name)[1] or ""
        if self.kind == "visual":
            source, _, _ = variant.rpartition("-")
            (found,) = choose_visual(
                [self.extractor],
                weights_dir=weights_dir,
                source=source,
                size_px=self.options["size_px"],
                batch_size=batch_size,
                dtype=dtype,
            )
            return found
        own = {
            name: self.options[name]
            for name in ("hop_s", "context_s")
            if name in self.options
        }
        of_layer = "layers" in self.options and not variant.endswith("-original")
        (found,) = choose_audio(
            [f"{self.extractor}@{variant}" if of_layer else self.extractor],
            weights_dir=weights_dir,
            sound="original" if variant.endswith("-original") else "ours",
            dtype=dtype,
            **own,
        )
        return dataclasses.replace(found, input_name=variant)


def wanted_set(name: str, *, where: pathlib.Path | None = None) -> WantedSet:
    """The feature set with a full name.

    Args:
        name: ``EXTRACTOR@INPUT``.
        where: The head that takes it, for errors; None: there is none.

    Raises:
        ValueError: If the extractor is not known here, or the input is none that can be
            made of a video: of faces or of its sound.
        PluginError: If the extractor is a plug-in that is faulty.
    """
    extractor, variant = split_name(name)
    begin = "" if where is None else f"{where}: "
    try:
        known = get_extractor(extractor)
    except ValueError as error:
        raise ValueError(
            f"{begin}the feature set {name!r} cannot be made here: {error}"
        ) from error
    variant = variant or known.default_input
    full = f"{extractor}@{variant}"
    if known.kind == "visual":
        match = _IMAGES.fullmatch(variant)
        if match is None or match[1] not in CROPS:
            raise ValueError(
                f"{begin}the feature set {name!r} is made from {variant}; expected one "
                f"of faces, {extractor}@ with {' or '.join(CROPS)}-PIXELS: train a "
                "head on such features, or make these and use avemo evaluate"
            )
        size = {"size_px": int(match[2])}
        return WantedSet(full, "visual", extractor, CROPS[match[1]], size)
    return WantedSet(
        full, "audio", extractor, None, _sound_options(extractor, variant, begin)
    )


def outputs_set(extractor: str) -> WantedSet:
    """The feature set whose outputs are the extractor's own, of tight crops.

    Args:
        extractor: Name of an extractor of pictures that has outputs.
    """
    size = get_extractor(extractor).image.size_px
    found = wanted_set(f"{extractor}@cropped-{size}")
    return dataclasses.replace(found, has_outputs=True)


def _sound_options(extractor: str, variant: str, begin: str) -> dict[str, Any]:
    """What the name of an input of sound says.

    Raises:
        ValueError: If it is no such name.
    """
    known = get_extractor(extractor)
    usual = known.default_input
    if variant == usual:
        return {}
    if variant == f"{usual}-original" and not isinstance(known, PluginExtractor):
        (choice,) = choose_audio([extractor], weights_dir=None, sound="original")
        return dict(choice.options)
    if (layer := hidden_layer(extractor, variant)) is not None:
        return {"layers": layer}
    match = _SOUND.fullmatch(variant)
    if known.network == "acoustic" and match:
        options = {"context_s": float(match[1])}
        return options | ({"hop_s": float(match[2])} if match[2] else {})
    raise ValueError(
        f"{begin}the feature set {extractor}@{variant} is of sound made otherwise; "
        f"expected {usual}, {usual}-original"
        f"{' or SECONDSs-hopSECONDSs' if known.network == 'acoustic' else ''}: train a "
        "head on such features, or make these and use avemo evaluate"
    )
