"""Tables as OpenFace 2 and py-feat write them, of given decisions and values."""

import pathlib

import numpy as np

OPENFACE_UNITS = tuple(
    "AU01 AU02 AU04 AU05 AU06 AU07 AU09 AU10 AU12 AU14 AU15 AU17 AU20 AU23 AU25 AU26 "
    "AU45".split()
)
_GAZE = [f"gaze_{eye}_{axis}" for eye in (0, 1) for axis in "xyz"]
_GAZE += ["gaze_angle_x", "gaze_angle_y"]
_POSE = [f"pose_{kind}{axis}" for kind in "TR" for axis in "xyz"]


def write_openface(
    path: pathlib.Path,
    active: dict[str, np.ndarray],
    *,
    face: np.ndarray | None = None,
    frame: np.ndarray | None = None,
    lost: tuple[int, ...] = (),
    fps: float = 25.0,
) -> pathlib.Path:
    """A table with spaces after commas, as OpenFace's headers and cells have them.

    Frames count from 1; AU28 has a decision and no intensity, and there is no AU24.
    ``active`` has 0 or 1 for each row by unit, and rows of the frames ``lost`` have
    success 0 and zeros.
    """
    count = len(next(iter(active.values())))
    rng = np.random.default_rng(count)
    frame = np.arange(1, count + 1) if frame is None else frame
    face = np.zeros(count, int) if face is None else face
    good = ~np.isin(frame, lost)
    columns = {
        "frame": frame,
        "face_id": face,
        "timestamp": np.round((frame - 1) / fps, 3),
        "confidence": np.where(good, 0.98, 0.0),
        "success": good.astype(int),
    }
    columns |= {name: rng.normal(0, 1, count).round(4) for name in _GAZE}
    columns |= {name: rng.normal(0, 50, count).round(1) for name in _POSE}
    decided = {unit: active.get(unit, np.zeros(count, int)) for unit in OPENFACE_UNITS}
    for unit, values in decided.items():
        columns[f"{unit}_r"] = np.round(values * 2.0 + rng.random(count), 2)
    decided["AU28"] = np.zeros(count, int)
    columns |= {f"{unit}_c": values for unit, values in decided.items()}
    for name, values in columns.items():
        if name not in ("frame", "face_id", "timestamp", "confidence", "success"):
            columns[name] = np.where(good, values, 0)
    rows = zip(*columns.values(), strict=True)
    lines = [", ".join(columns), *(", ".join(f"{v:g}" for v in row) for row in rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def write_pyfeat(
    path: pathlib.Path,
    values: dict[str, np.ndarray],
    *,
    name: str = "/home/me/talk.mp4",
    frame: np.ndarray | None = None,
    identity: list[str] | None = None,
    lost: tuple[int, ...] = (),
) -> pathlib.Path:
    """A table of py-feat, whose frames count from 0.

    ``values`` are by column. Rows of the frames ``lost`` have no box, and numbers all
    the same, as py-feat writes them where no face is found.
    """
    count = len(next(iter(values.values())))
    frame = np.arange(count) if frame is None else frame
    box = "FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight,FaceScore"
    header = [box, *values, "Pitch,Roll,Yaw", "Identity_1", "input,frame,approx_time"]
    header += ["Identity"] * (identity is not None)
    lines = [",".join(header)]
    for row in range(count):
        number = int(frame[row])
        place = ",,,,0.0" if number in lost else "10,20,64,64,0.99"
        cells = [place, *(f"{column[row]:.6f}" for column in values.values())]
        cells += ["1.5,-0.25,3.0", "0.1", f"{name},{number},00:{number // 25:02d}"]
        cells += [] if identity is None else [identity[row]]
        lines.append(",".join(cells))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path
