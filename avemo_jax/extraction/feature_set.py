"""A feature set that is being extracted: its name, fingerprint and files."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from avemo_jax.data.features.writer import FeatureFileWriter, checked_meta, read_meta
from avemo_jax.embed import AnyExtractor
from avemo_jax.media.alignment import AlignmentRule
from avemo_jax.media.decoding import DECODING_VERSIONS, Medium, decoders


@dataclasses.dataclass(frozen=True)
class ExtractedSet:
    """A feature set with the facts that all of its files have in common.

    Attributes:
        name: Name of the set, ``EXTRACTOR@INPUT``.
        folder: Folder of its files, ``FEATURES/NAME``.
        dim: Length of a feature vector.
        output_dim: Columns of the extractor's own outputs; 0: none.
        meta: Metadata that every file has: ``fingerprint``, ``kind``, ``extractor``,
            ``weights_sha256``, ``settings``, ``input``, ``alignment`` for sound, and
            ``columns`` where each number has a name and a unit, ``decoding`` unless
            that version is 0, and ``faces`` where faces were cut out of videos.
        medium: What is decoded: files of pictures, or a file's pictures or sound.
    """

    name: str
    folder: pathlib.Path
    dim: int
    output_dim: int
    meta: Mapping[str, Any]
    medium: Medium

    @classmethod
    def of(
        cls,
        extractor: AnyExtractor,
        features: pathlib.Path,
        *,
        input_name: str,
        medium: Medium,
        alignment: AlignmentRule | None = None,
        faces: Mapping[str, Any] | None = None,
    ) -> "ExtractedSet":
        """The feature set that ``extractor`` gives.

        Args:
            extractor: The extractor, ready to run.
            features: The folder of all sets.
            input_name: Name of its input, such as ``cropped_aligned-224`` or ``16k``.
            medium: What is decoded: files of pictures, or a file's pictures or sound.
            alignment: Rule that gives each frame a hop of sound; None for pictures.
            faces: How the faces of videos are found and cut out; None: they are not.
        """
        known = extractor.extractor
        rules = rules_of(medium, alignment, faces)
        meta = {
            "fingerprint": set_fingerprint(extractor.fingerprint, input_name, rules),
            "kind": known.kind,
            "extractor": known.name,
            "weights_sha256": extractor.weights_sha256,
            "settings": extractor.settings,
            "input": input_name,
            **rules,
        }
        if known.columns:
            meta["columns"] = [dataclasses.asdict(column) for column in known.columns]
        name, dims = f"{known.name}@{input_name}", (known.dim, known.output_dim)
        return cls(name, features / name, *dims, meta, medium)

    def path_of(self, video: str) -> pathlib.Path:
        """The feature file of a video."""
        return self.folder / f"{video}.npz"

    def videos(self) -> set[str]:
        """The videos that have a feature file."""
        return {path.stem for path in self.folder.glob("*.npz")}

    def writer(self, video: str) -> FeatureFileWriter:
        """A writer of the feature file of a video."""
        return FeatureFileWriter(
            self.path_of(video), dim=self.dim, output_dim=self.output_dim
        )

    def meta_of(
        self,
        source: Mapping[str, Any],
        failed: list[Any],
        notes: list[str],
        **more: Any,
    ) -> dict[str, Any]:
        """The metadata of one feature file.

        Args:
            source: What the file was made from: names, sizes and their ``digest``.
            failed: Number and reason of each frame that a fault left without a row.
            notes: What else a user should know.
            **more: Further metadata of this file.
        """
        said = {
            "source": dict(source),
            "failed": failed,
            "notes": notes,
            "decoders": decoders(self.medium),
        }
        return {**self.meta, **said, **more}

    def check_standing(self) -> None:
        """Check that the folder holds only files of this set.

        Raises:
            ValueError: If a file has another fingerprint.
        """
        for path in sorted(self.folder.glob("*.npz")):
            try:
                found = read_meta(path)
            except ValueError:
                continue  # damaged: extracted again, and counted there
            if found["fingerprint"] != self.meta["fingerprint"]:
                how = _difference(found, self.meta)
                raise ValueError(
                    f"{path} was extracted otherwise ({how}); expected one kind "
                    "of it throughout, since vectors of different weights, settings "
                    "or versions never mix: give another --out, or "
                    f"remove {self.folder} to extract it all again"
                )

    def standing(self, video: str, digest: str) -> dict[str, Any] | str:
        """The metadata of a video's file if that is whole; else why it must be made.

        Args:
            video: Name of the video.
            digest: Digest of the video's source as it is now.
        """
        path = self.path_of(video)
        if not path.exists():
            return "missing"
        try:
            meta = checked_meta(path)
        except ValueError as error:
            return f"damaged: {error}"
        if meta["fingerprint"] != self.meta["fingerprint"]:
            return "of another fingerprint"
        if meta.get("source", {}).get("digest") != digest:
            return "its source has changed"
        return meta


def rules_of(
    medium: Medium,
    alignment: AlignmentRule | None,
    faces: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What decides the features of a set beside its extractor and its input's name.

    Args:
        medium: What is decoded: files of pictures, or a file's pictures or sound.
        alignment: Rule that gives each frame a hop of sound; None for pictures.
        faces: How the faces of videos are found and cut out; None: they are not.
    """
    rules: dict[str, Any] = {}
    if alignment is not None:
        rules["alignment"] = alignment
    if version := DECODING_VERSIONS[medium]:
        rules["decoding"] = version
    if faces is not None:
        rules["faces"] = dict(faces)
    return rules


def set_fingerprint(extractor: str, input_name: str, rules: Mapping[str, Any]) -> str:
    """Sha256 (hex) of all that decides the features of a set but the files themselves.

    Args:
        extractor: Fingerprint of the extractor: its weights, settings and version.
        input_name: Name of its input.
        rules: What else decides them, as :func:`rules_of` tells.
    """
    decisive = {"extractor": extractor, "input": input_name, **rules}
    text = json.dumps(decisive, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """How the metadata of two files differ, in words."""
    names = ("extractor", "weights_sha256", "input", "alignment", "decoding")
    pairs = [(name, found.get(name), expected.get(name)) for name in names]
    before, now = found.get("settings") or {}, expected["settings"]
    pairs += [
        (name, before.get(name), now.get(name)) for name in sorted({**before, **now})
    ]
    before, now = found.get("faces") or {}, expected.get("faces") or {}
    pairs += [
        (f"faces' {name}", before.get(name), now.get(name))
        for name in sorted({**before, **now})
    ]
    words = [f"{name} {a!r:.18} there, {b!r:.18} now" for name, a, b in pairs if a != b]
    return "; ".join(words) or "another version of avemo_jax"
