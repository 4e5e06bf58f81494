"""Counts of one config of a store, from what is kept beside its examples."""

from collections.abc import Collection, Mapping
from typing import Any

from avemo_jax.data.corpus.splits import base_video

BuildReport = dict[str, int | list[str]]


def report_of(metadata: Mapping[str, Any], annotated: Collection[str]) -> BuildReport:
    """Videos and frames; for a feature set also what is missing, mended or failed.

    Args:
        metadata: What the config keeps beside its examples.
        annotated: Names of the annotated videos.
    """
    if "runs" not in metadata:  # the annotations
        lengths = metadata["num_frames"]
        return {"videos": len(lengths), "frames": sum(lengths.values())}
    runs: dict[str, list[int]] = metadata["runs"]
    rows = {
        video: sum(
            last - first + 1 for first, last in zip(r[::2], r[1::2], strict=True)
        )
        for video, r in runs.items()
    }
    have = {video for video, count in rows.items() if count}
    known = set(annotated)
    if metadata["kind"] == "audio":  # the sound of two faces lies under one name
        known |= {base_video(video) for video in annotated}
    without = [
        video
        for video in sorted(annotated)
        if video not in have
        and not (metadata["kind"] == "audio" and base_video(video) in have)
    ]
    return {
        "videos": len(rows),
        "frames": sum(rows.values()),
        "empty_videos": sorted(set(rows) - have),
        "annotated_videos_without_features": without,
        "videos_without_annotations": sorted(have - known),
        **metadata["report"],
    }
