"""The choice of extractors to run, with their weights and options."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any, Literal

import jax

from avemo_jax.data.features.names import split_name
from avemo_jax.embed import AnyExtractor, load_extractor
from avemo_jax.embed.weights import WeightsError, default_weights_path
from avemo_jax.extraction.feature_set import ExtractedSet
from avemo_jax.extraction.video_faces import FaceRule
from avemo_jax.extractors import Modality, PluginExtractor, get_extractor
from avemo_jax.extractors.wav2vec2_spec import SPECS
from avemo_jax.media.alignment import AlignmentRule
from avemo_jax.media.decoding import Medium

FULL_FRAME = "full_frame"  # begins the input's name where whole pictures are embedded
SoundWay = Literal["ours", "original"]
# Options that do as the original system did, where the defaults here differ.
_ORIGINAL_SOUND = {
    "wav2vec2": {"stereo": "after", "chunking": "original"},
    "vggish": {},
}
_ACOUSTIC = "acoustic"


@dataclasses.dataclass(frozen=True)
class ExtractorChoice:
    """An extractor and its settings; small enough to be sent to workers.

    Attributes:
        name: Name of the extractor.
        weights: File of its weights; None: the one in the cache directory.
        input_name: Name of its input, the second part of the feature set's name.
        dtype: Precision of the network's arithmetic.
        options: Options of the extractor's class, as pairs of name and value.
        alignment: Rule that gives each frame a hop of sound; None for pictures.
        faces: How faces are cut out of videos; None: pictures are there already.
    """

    name: str
    weights: str | None
    input_name: str
    dtype: str = "float32"
    options: tuple[tuple[str, Any], ...] = ()
    alignment: AlignmentRule | None = None
    faces: FaceRule | None = None

    @property
    def kind(self) -> Modality:
        """Whether its input is pictures ("visual") or sound ("audio")."""
        return get_extractor(self.name).kind

    @property
    def medium(self) -> Medium:
        """What is decoded for it: files of pictures, or a file's pictures or sound."""
        if self.kind == "audio":
            return "sound"
        is_video = self.faces or self.input_name.startswith(FULL_FRAME)
        return "video" if is_video else "pictures"

    @property
    def missing_weights(self) -> pathlib.Path | None:
        """The file of its weights, if it needs one that is not there."""
        known = get_extractor(self.name)
        if isinstance(known, PluginExtractor) or not known.needs_weights:
            return None
        file = pathlib.Path(self.weights or default_weights_path(self.name))
        return None if file.is_file() else file

    def load(self) -> AnyExtractor:
        """The extractor, ready to run.

        Raises:
            WeightsError: If its weights are missing, damaged or another network's.
        """
        check_weights([self])
        return load_extractor(
            self.name, weights=self.weights, dtype=self.dtype, **dict(self.options)
        )

    def feature_set(
        self, extractor: AnyExtractor, features: pathlib.Path
    ) -> ExtractedSet:
        """The feature set that ``extractor`` gives, within the folder of all sets.

        Raises:
            WeightsError: If a face detector is needed, and its weights are missing.
        """
        return ExtractedSet.of(
            extractor,
            features,
            input_name=self.input_name,
            medium=self.medium,
            alignment=self.alignment,
            faces=None if self.faces is None else self.faces.facts(),
        )


def check_weights(choices: Sequence[ExtractorChoice]) -> None:
    """Check that no file of weights is missing.

    Raises:
        WeightsError: If some are; it says by which flags they are found.
    """
    files = {one.name: one.missing_weights for one in choices}
    if missing := {name: file for name, file in files.items() if file is not None}:
        first = next(iter(missing))
        raise WeightsError(
            f"no weights of {', '.join(missing)}: there is no "
            f"{', '.join(map(str, missing.values()))}; expected NAME.safetensors for "
            f"each: get them, avemo fetch {' '.join(missing)}, or convert files that "
            f"you have, avemo convert {first} FILE --out DIR/{first}.safetensors, and "
            "name their folder, --weights DIR"
        )


def choose_visual(
    names: Sequence[str],
    *,
    weights_dir: str | os.PathLike[str] | None,
    source: str,
    size_px: int | None = None,
    batch_size: int | None = None,
    dtype: str = "float32",
    faces: FaceRule | None = None,
) -> list[ExtractorChoice]:
    """The extractors of pictures that are named, with their weights and options.

    Args:
        names: Names of extractors, of this package or of plug-ins.
        weights_dir: Folder of ``NAME.safetensors``; None: the cache directory.
        source: Kind of the pictures: "cropped_aligned", "cropped" or "full_frame".
        size_px: Side that pictures are resized to; None: the extractor's default.
        batch_size: Pictures that run at once; None: 32 on a CPU, else 256.
        dtype: Precision of the network's arithmetic.
        faces: How faces are cut out of videos; None: pictures are there already.

    Raises:
        ValueError: If a name is unknown, of another kind, or given twice.
    """
    _check(names, "visual")
    _refuse_twice(names)
    rows = batch_size or (32 if jax.default_backend() == "cpu" else 256)
    found = []
    for name in names:
        size = size_px or get_extractor(name).image.size_px
        options = (("batch_size", rows), ("size_px", size))
        weights = _weights(weights_dir, name)
        input_name = f"{source}-{size}"
        found.append(
            ExtractorChoice(name, weights, input_name, dtype, options, faces=faces)
        )
    return found


def hidden_layer(extractor: str, input_name: str) -> int | None:
    """The hidden layer that the name of an input asks for, as "16k-layer9".

    Args:
        extractor: Name of an extractor of sound.
        input_name: The second part of a feature set's name.

    Returns:
        Its number; None if the name asks for none.

    Raises:
        ValueError: If the network has no such layer.
    """
    known = get_extractor(extractor)
    match = re.fullmatch(rf"{re.escape(known.default_input)}-layer(\d+)", input_name)
    if known.network not in SPECS or match is None:
        return None
    layer, most = int(match[1]), SPECS[known.network].num_layers
    if layer > most:
        raise ValueError(
            f"{extractor}@{input_name}: there is no layer {layer}; expected 0, the "
            f"input of the first, to {most}: correct the number"
        )
    return layer


def choose_audio(
    names: Sequence[str],
    *,
    weights_dir: str | os.PathLike[str] | None,
    sound: SoundWay = "ours",
    dtype: str = "float32",
    hop_s: float | None = None,
    context_s: float | None = None,
) -> list[ExtractorChoice]:
    """The extractors of sound that are named, with their weights and options.

    Args:
        names: Names of extractors, of this package or of plug-ins; or of feature sets
            of a hidden layer, as "wavlm_base_plus@16k-layer9".
        weights_dir: Folder of ``NAME.safetensors``; None: the cache directory.
        sound: "ours", aligned by time. "original": channels, chunks and alignment as
            in the original system; the sets' names end in ``-original``.
        dtype: Precision of the network's arithmetic.
        hop_s: Seconds from one acoustic vector to the next; None: the table's.
        context_s: Seconds of sound that an acoustic vector describes; None: the
            table's. Other settings than the table's are in the set's name.

    Raises:
        ValueError: If a name is unknown, of another kind, or given twice, ``sound`` is
            "original" for an extractor that the original system lacks, or hop and
            context are given without acoustic features; if a feature set is named that
            is of no hidden layer.
    """
    pairs = [split_name(name) for name in names]
    _check([name for name, _ in pairs], "audio")
    _refuse_twice(names)
    given = {"--hop-s": hop_s, "--context-s": context_s}
    given = {flag: value for flag, value in given.items() if value is not None}
    if _ACOUSTIC not in names and given:
        flags = " ".join(f"{flag} {value:g}" for flag, value in given.items())
        raise ValueError(
            f"{flags} without --audio {_ACOUSTIC}; expected with it alone: leave out "
            f"{' and '.join(given)}, or add {_ACOUSTIC}"
        )
    found = []
    for name, asked in pairs:
        known = get_extractor(name)
        options: dict[str, Any] = {}
        input_name, rule = asked or known.default_input, "time"
        if asked is not None and asked != known.default_input:
            layer = hidden_layer(name, asked)
            if layer is None or sound == "original":
                raise ValueError(
                    f"{name}@{asked} with --audio; expected the name of an extractor, "
                    f"or {known.default_input}-layerN behind that of a wav2vec 2.0 or "
                    "WavLM, without --sound original: correct it"
                )
            options["layers"] = layer
        if sound == "original":
            if known.network not in _ORIGINAL_SOUND:
                raise ValueError(
                    f"--sound original with {name}, which the original system lacks; "
                    f"expected {' or '.join(_ORIGINAL_SOUND)}: leave --sound out"
                )
            options |= _ORIGINAL_SOUND[known.network]
            input_name, rule = f"{input_name}-original", "original"
        if name == _ACOUSTIC:
            options = {"hop_s": hop_s, "context_s": context_s}
            if context_s is not None:
                input_name = f"{context_s:g}s"
            if hop_s not in (None, known.sound.hop_s):
                input_name += f"-hop{hop_s:g}s"
        weights = _weights(weights_dir, name)
        given_options = tuple(sorted(options.items()))
        found.append(
            ExtractorChoice(name, weights, input_name, dtype, given_options, rule)  # type: ignore[arg-type]
        )
    return found


def _weights(folder: str | os.PathLike[str] | None, name: str) -> str | None:
    return None if folder is None else str(pathlib.Path(folder) / f"{name}.safetensors")


def _check(names: Sequence[str], kind: Modality) -> None:
    for name in names:
        known = get_extractor(name)
        if known.kind != kind:
            raise ValueError(
                f"{name} is {known.kind}; expected {kind} extractors there: give it "
                f"with --{known.kind}"
            )


def _refuse_twice(names: Sequence[str]) -> None:
    if twice := sorted({name for name in names if list(names).count(name) > 1}):
        raise ValueError(
            f"{', '.join(twice)} given twice; expected each extractor once: remove one"
        )
