"""What is predicted of videos and images, for programs: a table, a summary, files."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Collection, Sequence
from typing import Any

import pyarrow as pa

from avemo_jax.extraction.chosen_faces import Faces
from avemo_jax.extraction.crop_template import template_of
from avemo_jax.faces.keyframes import INTERVAL_S
from avemo_jax.postprocess.seconds import SHORT_S
from avemo_jax.prediction.devices import use_device
from avemo_jax.prediction.finished import run_facts, told_of, write_all_summaries
from avemo_jax.prediction.frame_choice import Every
from avemo_jax.prediction.frame_progress import FrameProgress
from avemo_jax.prediction.input_faces import Search
from avemo_jax.prediction.inputs import find_inputs
from avemo_jax.prediction.many_inputs import predict_inputs
from avemo_jax.prediction.networks import load_networks
from avemo_jax.prediction.page.index_page import write_index
from avemo_jax.prediction.predicted import Predicted
from avemo_jax.prediction.settings import PredictSettings
from avemo_jax.prediction.smoothing_choice import Smooth
from avemo_jax.prediction.sound_rows import Audio
from avemo_jax.prediction.summaries import (
    MIN_FACE_PX,
    SummaryRow,
    summary_rows,
    summary_text,
)
from avemo_jax.prediction.tables import table_of
from avemo_jax.prediction.views import default_views, views_named, write_views
from avemo_jax.prediction.writing import write_predicted


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
    """What is predicted of one input or of several.

    Attributes:
        inputs: What is predicted of each input.
        unread: Why inputs could not be read, by name; empty where all could.
        min_face_px: Faces that are smaller are flagged.
    """

    inputs: tuple[Predicted, ...]
    unread: dict[str, str]
    min_face_px: int

    def __str__(self) -> str:
        texts = [summary_text(one, min_face_px=self.min_face_px) for one in self.inputs]
        return "\n".join(
            [*texts, *(f"not read: {why}" for why in self.unread.values())]
        )

    @functools.cached_property
    def arrow(self) -> pa.Table:
        """The rows of ``predictions.csv`` as an Arrow table, all inputs in a row."""
        return pa.concat_tables(table_of(one) for one in self.inputs)

    @functools.cached_property
    def table(self) -> Any:
        """The rows of ``predictions.csv`` as a pandas DataFrame.

        Raises:
            ImportError: If pandas is not installed.
        """
        try:
            return self.arrow.to_pandas()
        except ImportError as error:
            raise ImportError(
                "no pandas is installed; expected it for a DataFrame: install it, pip "
                "install pandas, or take .arrow, which needs none"
            ) from error

    @functools.cached_property
    def summary(self) -> list[SummaryRow]:
        """The lines of ``summary.csv``: one for each input and face."""
        return [
            row
            for one in self.inputs
            for row in summary_rows(one, min_face_px=self.min_face_px)
        ]

    def write(
        self, folder: str | os.PathLike[str], *, views: Collection[str] | None = None
    ) -> None:
        """Write the files of ``avemo predict``: a folder for each input, a summary.

        Args:
            folder: Where the folders of the inputs come; made if missing.
            views: Names of the views beside the tables, as in
                :data:`avemo_jax.prediction.views.VIEWS`; None: those that the command
                makes by default.

        Raises:
            ValueError: If there is no view of a name, or one cannot be made.
            OSError: If a file cannot be written.
        """
        out = pathlib.Path(folder)
        wanted = default_views() if views is None else views_named(views)
        for one in self.inputs:
            write_predicted(one, out / one.name, min_face_px=self.min_face_px)
            write_views(one, out / one.name, wanted)
        write_all_summaries(out)
        if "page" in wanted:
            write_index(out)


def predict(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    model: str | Sequence[str] = "hsemotion",
    tasks: Sequence[str] | None = None,
    faces: Faces = "all",
    boxes: str | os.PathLike[str] | None = None,
    audio: str | os.PathLike[str] = "auto",
    start_s: float | None = None,
    end_s: float | None = None,
    detect_s: float = INTERVAL_S,
    every: Every = 1,
    smooth: Smooth = SHORT_S,
    calibrated: bool = False,
    min_face_px: int = MIN_FACE_PX,
    template: str | os.PathLike[str] | None = None,
    recursive: bool = False,
    fps: float | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    offline: bool = False,
    show_progress: bool = False,
) -> Prediction:
    """What is predicted of videos and images, as ``avemo predict`` does it.

    Args:
        path: A video, an image, a folder of either, or several of these.
        model: Name of a published model, or folder of a trained one; or several.
        tasks: Names of the tasks that are wanted; None: all that the models have.
        faces: "all", "largest", or how many of those that are shown the longest.
        boxes: Table of faces that were found elsewhere; None: they are searched.
        audio: "auto" uses sound where one face has most of the screen time, "none" uses
            none; or a file with the sound of the one input.
        start_s: What is shown before, in seconds, is left out.
        end_s: What is shown after, in seconds, is left out.
        detect_s: Seconds between two frames that are always searched; 0: every frame.
        every: The network sees every so many frames, or "adaptive".
        smooth: Seconds that scores are averaged over, "none", or "as-trained".
        calibrated: Give probabilities that come true as often as they say, as the
            model's card says how; it changes no decision.
        min_face_px: Faces that are smaller are flagged.
        template: File that says where the five points come in aligned crops, as ``avemo
            check-crops`` writes it; None: ArcFace's.
        recursive: Look into folders within folders.
        fps: Take each folder for one video, of so many numbered pictures a second.
        device: "auto", "cpu", "gpu" or "tpu"; "gpu:1" for one of several.
        batch_size: Faces that a network sees at once; None: as suits the device.
        offline: Fetch no weights that are missing.
        show_progress: Draw a bar on stderr.

    Raises:
        ValueError: If the only input cannot be read, a path names nothing, or model and
            settings do not fit.
        WeightsError: If weights are missing and cannot be fetched, or are damaged.
        OSError: If a file is gone, or the disk is full.
    """
    paths = [path] if isinstance(path, str | os.PathLike) else list(path)
    names = [model] if isinstance(model, str) else list(model)
    found = find_inputs(paths, recursive=recursive, fps=fps).inputs
    asked = PredictSettings(
        search=Search(faces, detect_s, start_s, end_s),
        boxes=None if boxes is None else pathlib.Path(boxes),
        is_alone=len(found) == 1,
        audio=_audio(audio, len(found)),
        every=every,
        smooth=smooth,
        min_face_px=min_face_px,
        template=template_of(template),
        calibrated=calibrated,
    )
    where = use_device(device)
    networks = load_networks(
        names,
        asked,
        tasks=tasks,
        batch_size=batch_size,
        offline=offline,
        show_progress=show_progress,
    )
    facts = run_facts(
        networks.facts,
        asked.as_json(),
        networks.fingerprint(asked),
        where,
        networks.model.notes,
    )
    done: list[Predicted] = []
    unread: dict[str, str] = {}
    with FrameProgress(found, quiet=not show_progress) as progress:
        for one in predict_inputs(
            found,
            networks,
            asked,
            told=lambda one: told_of(facts, one, asked.files_beside),
            progress=progress,
        ):
            if isinstance(one, Predicted):
                done.append(one)
            elif len(found) == 1:
                raise one.error
            else:
                unread[one.input.name] = str(one.error)
    done.sort(key=lambda one: one.name)
    return Prediction(tuple(done), unread, min_face_px)


def _audio(audio: str | os.PathLike[str], num_inputs: int) -> Audio:
    """What becomes of sound.

    Raises:
        ValueError: If one file of sound is given for several inputs.
    """
    if audio == "auto" or audio == "none":
        return audio  # type: ignore[return-value]
    if num_inputs > 1:
        raise ValueError(
            f"audio {os.fspath(audio)!r} for {num_inputs} inputs; expected one input "
            "for a file of sound: call it for each"
        )
    return pathlib.Path(audio)
