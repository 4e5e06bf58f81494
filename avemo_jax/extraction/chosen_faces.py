"""Which of the faces of a video are taken."""

from collections.abc import Sequence
from typing import Literal

from avemo_jax.extraction.face_tracks import FaceTrack

Faces = Literal["all", "largest"] | int


def chosen_faces(tracks: Sequence[FaceTrack], faces: Faces) -> list[FaceTrack]:
    """The faces that are taken, the one that is seen in most frames first.

    Of two that are seen equally long the one that comes earlier is first.

    Args:
        tracks: All faces of a video.
        faces: "all"; "largest", the one that is seen the longest; or how many of those
            that are seen the longest.

    Raises:
        ValueError: If ``faces`` is another word, or a number below 1.
    """
    ordered = sorted(tracks, key=lambda t: (-len(t.frame), int(t.frame[0])))
    if faces == "all":
        return ordered
    count = 1 if faces == "largest" else faces
    if not isinstance(count, int) or count < 1:
        raise ValueError(
            f"faces {faces!r}; expected all, largest or a number from 1; correct it"
        )
    return ordered[:count]
