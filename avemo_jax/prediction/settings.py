"""What a prediction is asked for: all that decides what comes out, beside the model."""

import argparse
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from avemo_jax.extraction.crop_template import Template, points_of, template_of
from avemo_jax.postprocess.seconds import SHORT_S
from avemo_jax.prediction.frame_choice import Every
from avemo_jax.prediction.input_faces import Search
from avemo_jax.prediction.smoothing_choice import Smooth
from avemo_jax.prediction.sound_rows import Audio
from avemo_jax.prediction.summaries import MIN_FACE_PX


@dataclasses.dataclass(frozen=True)
class PredictSettings:
    """What is asked for.

    Attributes:
        search: Which part of an input is searched for which faces.
        boxes: Table of faces that were found elsewhere, with a column ``input`` where
            there are several, or the folder of ``NAME.csv``; None: faces are searched.
        is_alone: Whether there is one input, which the table calls as it likes.
        audio: "auto", "none", or a file with the sound of the one input.
        every: The network sees every so many frames; or "adaptive", those that the
            model's own rule asks for.
        smooth: Seconds that scores are averaged over, "none", or "as-trained".
        min_face_px: Faces that are smaller are flagged.
        calibrated: Whether probabilities are brought to how often they come true, as
            was fitted on dev.
        template: x and y of the five points in aligned crops; None: ArcFace's.
    """

    search: Search = dataclasses.field(default_factory=Search)
    boxes: pathlib.Path | None = None
    is_alone: bool = False
    audio: Audio = "auto"
    every: Every = 1
    smooth: Smooth = SHORT_S
    min_face_px: int = MIN_FACE_PX
    template: Template = None
    calibrated: bool = False

    @property
    def points(self) -> Float[np.ndarray, "5 2"]:
        """Where the five points come in aligned crops."""
        return points_of(self.template)

    def search_in(self, name: str) -> Search:
        """The search in the input of that name, with the table of its faces.

        Raises:
            ValueError: If the folder of tables has none for it.
        """
        boxes = self._boxes_of(name)
        in_folder = boxes != self.boxes
        if boxes is not None and in_folder and not boxes.is_file():
            raise ValueError(
                f"no faces of this input: there is no {boxes}; expected a table "
                "for each input: write it, or leave --boxes out"
            )
        called = None if self.is_alone or in_folder else name
        return dataclasses.replace(self.search, boxes=boxes, boxes_of=called)

    def files_beside(self, name: str) -> tuple[pathlib.Path, ...]:
        """The files that are read with the input of that name: faces, and sound."""
        sound = self.audio if isinstance(self.audio, pathlib.Path) else None
        return tuple(one for one in (self._boxes_of(name), sound) if one is not None)

    def _boxes_of(self, name: str) -> pathlib.Path | None:
        boxes = self.boxes
        return boxes / f"{name}.csv" if boxes is not None and boxes.is_dir() else boxes

    def as_json(self) -> dict[str, Any]:
        """The settings as plain values, for ``run.json``."""
        return {
            "faces": self.search.faces,
            "detect_s": self.search.interval_s,
            "start_s": self.search.start_s,
            "end_s": self.search.end_s,
            "boxes": None if self.boxes is None else self.boxes.name,
            "audio": self.audio if isinstance(self.audio, str) else self.audio.name,
            "every": self.every,
            "smooth": self.smooth,
            "calibrated": self.calibrated,
            "min_face_px": self.min_face_px,
            "template": None if self.template is None else self.points.tolist(),
        }


def digest_of(facts: Mapping[str, Any]) -> str:
    """Digest of plain values."""
    text = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def settings_of(args: argparse.Namespace, num_inputs: int) -> PredictSettings:
    """The settings that the flags name.

    Args:
        args: The parsed flags.
        num_inputs: How many inputs there are.

    Raises:
        ValueError: If the file of the template is none.
    """
    named = args.audio in ("auto", "none")
    return PredictSettings(
        search=Search(
            faces=args.faces,
            interval_s=args.detect,
            start_s=args.start,
            end_s=args.end,
        ),
        boxes=None if args.boxes is None else pathlib.Path(args.boxes),
        is_alone=num_inputs == 1,
        audio=args.audio if named else pathlib.Path(args.audio),
        every=args.every,
        smooth=args.smooth,
        min_face_px=args.min_face,
        template=template_of(args.template),
        calibrated=args.calibrated,
    )
