"""Peak memory of ``avemo predict`` on a short and on a long video.

Both are one clip again and again, its packets copied. The long one may take 150 MiB
more than the short one. What follows ``--`` goes to ``avemo predict``, as ``--model``.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import av
from measuring import add_options, report

MOST_MIB = 150
_MIB_IN_KIB = 1024


def main() -> None:
    """Measures, prints, and with ``--check`` fails where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=pathlib.Path, help="a clip with faces")
    parser.add_argument("--minutes", type=float, nargs=2, default=(2.0, 60.0))
    add_options(parser)
    own, flags = sys.argv[1:], []
    if "--" in own:
        own, flags = own[: own.index("--")], own[own.index("--") + 1 :]
    options = parser.parse_args(own)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for minutes in options.minutes:
            path = pathlib.Path(folder) / f"{minutes:g}_minutes.mkv"
            loop(options.video, path, 60 * minutes)
            peak = peak_mib([str(path), "--out", f"{folder}/out", *flags])
            found[f"peak of {minutes:g} minutes, MiB"] = peak
    few, many = found.values()
    found["the long one's more than the short one's, MiB"] = many - few
    bars = {"the long one's more than the short one's, MiB": ("<=", MOST_MIB)}
    report(found, bars, options)


def loop(clip: pathlib.Path, path: pathlib.Path, seconds: float) -> None:
    """Writes the pictures of a clip again and again, without encoding them anew."""
    with av.open(str(clip)) as source:
        track = source.streams.video[0]
        packets = [p for p in source.demux(track) if p.dts is not None]
        times = [(p.pts, p.dts) for p in packets]
        step = packets[-1].duration or 1
        length = max(pts for pts, _ in times) - min(pts for pts, _ in times) + step
        with av.open(str(path), "w") as made:
            copy = made.add_stream_from_template(track)
            start = 0
            while start * track.time_base < seconds:
                for packet, (pts, dts) in zip(packets, times, strict=True):
                    packet.stream = copy
                    packet.time_base = track.time_base
                    packet.pts, packet.dts = pts + start, dts + start
                    made.mux(packet)
                start += length


def peak_mib(flags: list[str]) -> float:
    """Largest memory of a process that predicts."""
    command = [sys.executable, "-m", "avemo_jax.cli", "predict", "--quiet", *flags]
    child = subprocess.Popen(command, env={**os.environ, "MALLOC_ARENA_MAX": "2"})
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"avemo predict ended with status {child.returncode}")
    return used.ru_maxrss / _MIB_IN_KIB


if __name__ == "__main__":
    main()
