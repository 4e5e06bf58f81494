"""The rows of the results table, and what the original reported for them.

Reported figures are those of the original system (MLP and Transformer fusion heads on
EfficientNet and wav2vec 2.0 or VGGish features) on the official Aff-Wild2 validation
set, with its own protocol; its times are of a Colab machine.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal, NamedTuple

HeadKind = Literal["mlp", "transformer", "batch_transformer"]
Post = Literal["none", "smooth", "fixed_stride", "sequential", "grid"]

_B2, _W, _V = "enet_b2_8_best", "wav2vec2_base", "vggish"
_SOUNDS = {"": (), "vggish": (_V,), "wav2vec2": (_W,)}
_TITLES: dict[HeadKind, str] = {
    "batch_transformer": "Transformer (across the batch, as the original)",
    "transformer": "temporal Transformer",
    "mlp": "MLP",
}


class Reported(NamedTuple):
    """What the original reported for one row and task.

    Attributes:
        score: Macro F1, mean F1 or mean CCC.
        time_s: Its "Time": for rows without smoothing loading the checkpoint, one pass
            over the validation frames, and metrics; else the loop over windows.
    """

    score: float
    time_s: float


@dataclasses.dataclass(frozen=True)
class RowSpec:
    """One row of the table.

    Attributes:
        id: Short name, in names of files and on the command line.
        visual: Extractors of faces, for the table.
        sound: Extractors of sound, for the table.
        model: The model in words, for the table.
        kind: Kind of all heads of the row.
        heads: Feature sets of each head, joined by "+"; several heads are blended.
        post: Post-processing of the scores.
        reported: The original's figures by task, where it has the row.
        note: A remark on the row, or empty.
    """

    id: str
    visual: tuple[str, ...]
    sound: tuple[str, ...]
    model: str
    kind: HeadKind
    heads: tuple[str, ...]
    post: Post = "none"
    reported: Mapping[str, Reported] = dataclasses.field(default_factory=dict)
    note: str = ""

    @property
    def original(self) -> bool:
        """Whether the original reported this row."""
        return bool(self.reported)


def rows(b0: str = "enet_b0_8_va_mtl") -> tuple[RowSpec, ...]:
    """All rows, in the table's order.

    Args:
        b0: The EfficientNet-B0 of the last blend; the original's was
            ``enet_b0_8_best_vgaf``.
    """
    both = ((0.31, 29.5), (0.509, 88.0), (0.324, 55.2))
    both_v = ((0.316, 33.0), (0.502, 81.0), (0.376, 57.4))
    both_w = ((0.33, 34.4), (0.497, 89.0), (0.394, 58.9))
    alone = ((0.327, 8.93), (0.521, 52.5), (0.415, 26.9))
    with_v = ((0.379, 11.4), (0.52, 48.6), (0.444, 29.4))
    with_w = ((0.394, 12.0), (0.513, 50.3), (0.459, 30.3))
    smoothed = ((0.457, 31.65), (0.525, 15.73), (0.493, 30.3))
    temporal = _TITLES["transformer"]
    return (
        _single("batch_transformer", "", both),
        _single("batch_transformer", "vggish", both_v),
        _single("batch_transformer", "wav2vec2", both_w),
        *(_single("transformer", sound) for sound in _SOUNDS),
        _single("mlp", "", alone),
        _single("mlp", "vggish", with_v),
        _single("mlp", "wav2vec2", with_w),
        _with_post("mlp", "smooth", "smooth", "MLP, smooth all frames", smoothed),
        _with_post("transformer", "smooth", "smooth", f"{temporal}, smooth all frames"),
        _with_post(
            "mlp",
            "stride10",
            "fixed_stride",
            "MLP, fixed stride 10 (the original's row)",
            ((0.455, 13.91), None, None),
            note="the original calls this row adaptive frame rate",
        ),
        _with_post(
            "mlp",
            "sequential",
            "sequential",
            "MLP, sequential rule",
            note="the original's lists of strides reach .454 to .457 (reported by it)",
        ),
        _with_post("mlp", "grid", "grid", "MLP, grid refinement"),
        _blend(
            "blend-wav2vec2-vggish",
            ((_B2, _W), (_B2, _V)),
            (None, (0.534, 17.3), (0.51, 13.6)),
        ),
        _blend("blend-b2-b0-vggish", ((_B2, _V), (b0, _V)), (None, (0.54, 22.2), None)),
    )


_Figures = tuple[tuple[float, float] | None, ...]  # of EXPR, AU and VA: score, seconds


def _single(kind: HeadKind, sound: str, figures: _Figures = ()) -> RowSpec:
    """A row of one head without smoothing."""
    return RowSpec(
        id="-".join(filter(None, (kind.replace("_", "-"), "b2", sound))),
        visual=(_B2,),
        sound=_SOUNDS[sound],
        model=_TITLES[kind],
        kind=kind,
        heads=("+".join((_B2, *_SOUNDS[sound])),),
        reported=_reported(figures),
    )


def _with_post(
    kind: HeadKind,
    name: str,
    post: Post,
    model: str,
    figures: _Figures = (),
    note: str = "",
) -> RowSpec:
    """The row of B2 and wav2vec 2.0 with post-processing."""
    plain = _single(kind, "wav2vec2")
    return dataclasses.replace(
        plain,
        id=f"{plain.id}-{name}",
        model=model,
        post=post,
        reported=_reported(figures),
        note=note,
    )


def _blend(name: str, heads: tuple[tuple[str, str], ...], figures: _Figures) -> RowSpec:
    """A row of several MLPs, each on one network of faces and one of sound."""
    visual, sound = (tuple(dict.fromkeys(names)) for names in zip(*heads, strict=True))
    return RowSpec(
        id=name,
        visual=visual,
        sound=sound,
        model="MLP blend, smooth all frames",
        kind="mlp",
        heads=tuple("+".join(names) for names in heads),
        post="smooth",
        reported=_reported(figures),
    )


def _reported(figures: _Figures) -> dict[str, Reported]:
    """The figures by task."""
    pairs = zip(("EXPR", "AU", "VA"), figures, strict=False)
    return {task: Reported(*pair) for task, pair in pairs if pair}
