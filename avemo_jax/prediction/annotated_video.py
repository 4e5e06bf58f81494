"""An input with faces, boxes and scores drawn into it: a video, or a picture.

Frames are read as they were for the prediction, upright, in square pixels and standard
range, and shown when the input shows them; its sound is copied where an MP4 file takes
it.
"""

import pathlib
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from PIL import Image
from tqdm import tqdm

from avemo_jax.media.audio_decoding import SoundError
from avemo_jax.media.picture_sources import (
    ImageSequence,
    PartOfPictures,
    Picture,
    PictureSource,
    read_ahead,
)
from avemo_jax.media.sound_tracks import sound_track
from avemo_jax.media.video import VideoFile, open_video
from avemo_jax.media.video_writing import write_video
from avemo_jax.prediction.face_marks import FaceMarks
from avemo_jax.prediction.overlay import Overlay
from avemo_jax.prediction.predicted import Predicted
from avemo_jax.runtime.progress import progress_bar


def write_annotated_video(
    predicted: Predicted, path: pathlib.Path, show_progress: bool = False
) -> tuple[str, ...]:
    """Write the input as an H.264 video, with what is predicted drawn over it.

    A part of an input begins at 0 s, with its own sound.

    Args:
        predicted: What is predicted of the input, which is read again.
        path: The file.
        show_progress: Draw a bar on stderr.

    Returns:
        What a user should know of the video, in words.

    Raises:
        ValueError: If the input is gone, cannot be read any more or has changed.
        OSError: If the video cannot be written.
    """
    source, marks = _source(predicted), FaceMarks(predicted)
    begin_s = 0.0 if predicted.first_frame == 1 else float(predicted.times_s[0])
    lasts_s = predicted.durations_s()
    sound, tick_s = None, None
    silent: tuple[str, ...] = ()
    if isinstance(source, VideoFile):
        tick_s = source.tick_s
        is_cut = predicted.settings.get("end_s") is not None
        end_s = float(predicted.times_s[-1] + lasts_s[-1]) if is_cut else None
        try:
            sound = sound_track(predicted.path, begin_s, end_s)
        except SoundError as error:
            silent = (f"without sound: {error}",)
    elif predicted.fps:
        tick_s = 1 / Fraction(predicted.fps).limit_denominator(1001)
    with progress_bar(
        predicted.num_frames,
        f"annotate {predicted.name}",
        "frame",
        quiet=not show_progress,
    ) as bar:
        notes = write_video(
            path,
            _counted(_drawn(predicted, source, marks), bar),
            predicted.times_s - begin_s,
            last_s=float(lasts_s[-1]),
            tick_s=tick_s,
            sound=sound,
        )
    known = {*predicted.notes, *predicted.losses}
    lost = [note for note in source.notes if note not in known]
    return tuple(f"annotated video: {note}" for note in (*lost, *silent, *notes))


def write_annotated_picture(
    predicted: Predicted, path: pathlib.Path
) -> tuple[str, ...]:
    """Write an image as a PNG file, with what is predicted drawn over it.

    Args:
        predicted: What is predicted of the image, which is read again.
        path: The file.

    Returns:
        Nothing that a user should know.

    Raises:
        ValueError: If the image is gone, cannot be read any more or has changed.
        OSError: If the file cannot be written.
    """
    for picture in _drawn(predicted, _source(predicted), FaceMarks(predicted)):
        Image.fromarray(picture).save(path, format="PNG")
    return ()


def _source(predicted: Predicted) -> PictureSource:
    """The input's pictures, read anew.

    Raises:
        ValueError: If it is gone, cannot be read or has another size now.
    """
    files = predicted.files
    source: PictureSource
    if files:
        source = ImageSequence(predicted.path, files)
    else:
        source = open_video(predicted.path)
    now, then = (source.width, source.height), (predicted.width, predicted.height)
    if now != then:
        raise ValueError(
            f"{predicted.path}: {now[0]} x {now[1]} pixels, {then[0]} x {then[1]} when "
            "it was predicted; expected the same input: predict it again, with "
            "--overwrite"
        )
    return source


def _drawn(
    predicted: Predicted, source: PictureSource, marks: FaceMarks
) -> Iterator[Picture]:
    """The frames, drawn over.

    Raises:
        ValueError: If there are fewer than were predicted.
    """
    overlay = Overlay(predicted.width, predicted.height, marks.bar_names)
    start, count = predicted.first_frame - 1, predicted.num_frames
    pictures = PartOfPictures(source, start, start + count).pictures()
    done = 0
    for done, picture in enumerate(read_ahead(pictures), start=1):
        if not picture.flags.writeable:
            picture = np.array(picture)
        shown = marks.of(done - 1)
        note = ""
        if predicted.fps:
            note = f"frame {start + done} · {predicted.times_s[done - 1]:.3f} s"
            note += "" if shown else " · no face"
        overlay.draw(picture, shown, note)
        yield picture
    if done < count:
        raise ValueError(
            f"{predicted.path}: {start + done} pictures, {start + count} when it was "
            "predicted; expected the same input: predict it again, with --overwrite"
        )


def _counted(pictures: Iterator[Picture], bar: tqdm) -> Iterator[Picture]:
    for picture in pictures:
        yield picture
        bar.update()
