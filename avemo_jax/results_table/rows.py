"""The rows of the results table, the original's figures, and types for the results.

Reported figures are those of the original system (MLP and Transformer fusion heads on
EfficientNet and wav2vec 2.0 or VGGish features) on the official Aff-Wild2 validation
set, with its own protocol; its times are of a Colab machine.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

HeadKind = Literal["mlp", "transformer", "batch_transformer"]
Post = Literal["none", "smooth", "fixed_stride", "sequential", "grid"]

_B2, _W, _V = "enet_b2_8_best", "wav2vec2_base", "vggish"
_ACROSS = "Transformer (across the batch, as the original)"
_OVER_TIME = "temporal Transformer"


@dataclasses.dataclass(frozen=True)
class Reported:
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


def _reported(
    expr: tuple[float, float] | None = None,
    au: tuple[float, float] | None = None,
    va: tuple[float, float] | None = None,
) -> dict[str, Reported]:
    pairs = {"EXPR": expr, "AU": au, "VA": va}
    return {task: Reported(*pair) for task, pair in pairs.items() if pair}


def rows(b0: str = "enet_b0_8_va_mtl") -> tuple[RowSpec, ...]:
    """All rows, in the table's order.

    Args:
        b0: The EfficientNet-B0 of the last blend; the original's was
            ``enet_b0_8_best_vgaf``.
    """
    sounds = {"": (), "vggish": (_V,), "wav2vec2": (_W,)}
    heads: dict[HeadKind, tuple[str, dict[str, dict[str, Reported]]]] = {
        "batch_transformer": (
            _ACROSS,
            {
                "": _reported((0.31, 29.5), (0.509, 88.0), (0.324, 55.2)),
                "vggish": _reported((0.316, 33.0), (0.502, 81.0), (0.376, 57.4)),
                "wav2vec2": _reported((0.33, 34.4), (0.497, 89.0), (0.394, 58.9)),
            },
        ),
        "transformer": (_OVER_TIME, {}),
        "mlp": (
            "MLP",
            {
                "": _reported((0.327, 8.93), (0.521, 52.5), (0.415, 26.9)),
                "vggish": _reported((0.379, 11.4), (0.52, 48.6), (0.444, 29.4)),
                "wav2vec2": _reported((0.394, 12.0), (0.513, 50.3), (0.459, 30.3)),
            },
        ),
    }
    single = [
        RowSpec(
            id="-".join(filter(None, (kind.replace("_", "-"), "b2", name))),
            visual=(_B2,),
            sound=sound,
            model=title,
            kind=kind,
            heads=("+".join((_B2, *sound)),),
            reported=reported.get(name, {}),
        )
        for kind, (title, reported) in heads.items()
        for name, sound in sounds.items()
    ]
    return (*single, *_smoothed(), *_blends(b0))


def _smoothed() -> tuple[RowSpec, ...]:
    """Rows that smooth one model's scores."""
    both: dict[str, Any] = {
        "visual": (_B2,),
        "sound": (_W,),
        "heads": (f"{_B2}+{_W}",),
    }
    few: dict[str, Any] = {**both, "kind": "mlp"}
    return (
        RowSpec(
            id="mlp-b2-wav2vec2-smooth",
            model="MLP, smooth all frames",
            post="smooth",
            reported=_reported((0.457, 31.65), (0.525, 15.73), (0.493, 30.3)),
            **few,
        ),
        RowSpec(
            id="transformer-b2-wav2vec2-smooth",
            model=f"{_OVER_TIME}, smooth all frames",
            kind="transformer",
            post="smooth",
            **both,
        ),
        RowSpec(
            id="mlp-b2-wav2vec2-stride10",
            model="MLP, fixed stride 10 (the original's row)",
            post="fixed_stride",
            reported=_reported((0.455, 13.91)),
            note="the original calls this row adaptive frame rate",
            **few,
        ),
        RowSpec(
            id="mlp-b2-wav2vec2-sequential",
            model="MLP, sequential rule",
            post="sequential",
            note="the original's lists of strides reach .454 to .457 (reported by it)",
            **few,
        ),
        RowSpec(
            id="mlp-b2-wav2vec2-grid",
            model="MLP, grid refinement",
            post="grid",
            **few,
        ),
    )


def _blends(b0: str) -> tuple[RowSpec, ...]:
    return (
        RowSpec(
            id="blend-wav2vec2-vggish",
            visual=(_B2,),
            sound=(_W, _V),
            model="MLP blend, smooth all frames",
            kind="mlp",
            heads=(f"{_B2}+{_W}", f"{_B2}+{_V}"),
            post="smooth",
            reported=_reported(au=(0.534, 17.3), va=(0.51, 13.6)),
        ),
        RowSpec(
            id="blend-b2-b0-vggish",
            visual=(_B2, b0),
            sound=(_V,),
            model="MLP blend, smooth all frames",
            kind="mlp",
            heads=(f"{_B2}+{_V}", f"{b0}+{_V}"),
            post="smooth",
            reported=_reported(au=(0.54, 22.2)),
        ),
    )


@dataclasses.dataclass(frozen=True)
class Cell:
    """What was found for one row and one task, over frames with a face crop.

    Attributes:
        task: "EXPR", "AU" or "VA".
        row: Id of the row.
        metric: Name of the score.
        score: Mean over seeds, with what was chosen on dev; None where ``note`` says
            why there is none.
        std: Standard deviation over seeds; None for one seed.
        ci95: 95 % interval of the mean over videos; None without an interval.
        per_seed: The score of each seed.
        tuned_on_reported: Score with smoothing and thresholds chosen on the reported
            frames.
        smoothing: Smoothings of the seeds, and the strides of a rule, in words.
        chosen_on: "dev", or None where nothing was chosen.
        share_embedded: Share of all frames that an extractor has to embed.
        share_entries: Share of all entries of windows that are looked at.
        train_s: Seconds of training all seeds; of a blend the sum of its heads'.
        inference_s: Seconds of a pass over the reported frames by all seeds.
        postprocess_s: Seconds of choosing on dev, and trying all on the reported
            frames.
        original_s: Seconds by the original's definition of its Time, for one seed.
        note: A remark on the cell, or empty.
    """

    task: str
    row: str
    metric: str
    score: float | None
    std: float | None = None
    ci95: tuple[float, float] | None = None
    per_seed: tuple[float, ...] = ()
    tuned_on_reported: float | None = None
    smoothing: str = ""
    chosen_on: str | None = None
    share_embedded: float | None = None
    share_entries: float | None = None
    train_s: float | None = None
    inference_s: float | None = None
    postprocess_s: float | None = None
    original_s: float | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The cell in the form that JSON keeps."""
        stored = dataclasses.asdict(self)
        stored["per_seed"] = list(self.per_seed)
        stored["ci95"] = None if self.ci95 is None else list(self.ci95)
        return stored

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Cell":
        """The inverse of :meth:`to_dict`."""
        ci95 = stored["ci95"]
        return cls(
            **{
                **stored,
                "per_seed": tuple(stored["per_seed"]),
                "ci95": None if ci95 is None else (ci95[0], ci95[1]),
            }
        )


@dataclasses.dataclass(frozen=True)
class Effect:
    """A difference that is expected to have one sign.

    Attributes:
        task: "EXPR", "AU" or "VA".
        name: The effect in words.
        expectation: "> 0" or "< 0".
        difference: Difference of the headline scores, mean over seeds.
        ci95: 95 % interval of the difference over videos, paired.
        holds: Whether the difference has the expected sign.
        comment: A remark on the effect, or empty.
    """

    task: str
    name: str
    expectation: str
    difference: float
    ci95: tuple[float, float]
    holds: bool
    comment: str = ""


@dataclasses.dataclass(frozen=True)
class ResultsTable:
    """Everything that is written.

    Attributes:
        title: What the data is called.
        synthetic: Whether the data is made.
        is_affwild2: Whether the original's figures may stand beside ours.
        split: The split that is reported.
        protocol: "ours" or "original".
        num_seeds: Number of seeds of every model.
        device: The devices in words.
        environment: Versions, fingerprints and such.
        rows: All rows, in the table's order.
        cells: The cells that were computed.
        parts_s: Seconds by part of the work.
        effects: The effects that could be told from the cells' rows.
        frame_rates: By task, scores with few frames (``rates.summary``).
    """

    title: str
    synthetic: bool
    is_affwild2: bool
    split: str
    protocol: str
    num_seeds: int
    device: str
    environment: Mapping[str, Any]
    rows: tuple[RowSpec, ...]
    cells: tuple[Cell, ...]
    parts_s: Mapping[str, float]
    effects: tuple[Effect, ...] = ()
    frame_rates: Mapping[str, Any] = dataclasses.field(default_factory=dict)
