"""What the post-processing of a model may do, from its configuration."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from avemo_jax.postprocess.frame_rate.rules import ALL, FrameRate
from avemo_jax.postprocess.names import Unit
from avemo_jax.postprocess.smoothing import Smoothing
from avemo_jax.postprocess.smoothing_sweep import (
    SMOOTHINGS,
    ThresholdRule,
    smoothings_of,
)

_GROUPS = ("postprocess", "blend", "evaluate")


@dataclasses.dataclass(frozen=True)
class Options:
    """What post-processing may do, from the configuration.

    Attributes:
        faithful: Gaps are filled and AU decisions smoothed like in the original.
        smoothings: Smoothings to choose from.
        threshold_rule: AU: how thresholds are found on dev.
        correction: EXPR: "prior" chooses a temperature and offsets by the classes'
            shares in training; "none".
        causal: Windows end with their own frame.
        trust_extractor: EXPR: the extractor's own probabilities stand where they are
            confident.
        num_resamples: Number of resamples of videos for intervals; 0 gives none.
        frame_rate: The kind of rule for the frames to embed.
        unit: What is best on dev: by "frame", by "video", or "auto": by video where
            labels are of whole videos.
        calibration: "scaling" writes probabilities as they are after it; "none".
        set_level: Classes: share of the frames whose set of classes is to hold the
            right one; 0 makes no sets.
    """

    faithful: bool = False
    smoothings: tuple[Smoothing, ...] = SMOOTHINGS
    threshold_rule: ThresholdRule = "grid"
    correction: str = "none"
    causal: bool = False
    trust_extractor: bool = False
    num_resamples: int = 1000
    frame_rate: FrameRate = ALL
    unit: Unit = "auto"
    calibration: str = "none"
    set_level: float = 0.0

    @classmethod
    def of_config(
        cls, stored: Mapping[str, Any], frame_rate: FrameRate | None = None
    ) -> "Options":
        """The options of a head's configuration, as ``head.json`` keeps it.

        Args:
            stored: The configuration.
            frame_rate: The kind of rule for the frames to embed; None takes the
                configuration's.

        Raises:
            ValueError: If the configuration lacks a field.
        """
        config = ConfigDict({name: stored.get(name, {}) for name in _GROUPS})
        try:
            return cls._of(config, frame_rate)
        except AttributeError as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"the card's configuration lacks a field: {reason}; expected those of "
                f"{', '.join(_GROUPS)} of this version: train or convert the head anew"
            ) from error

    @classmethod
    def _of(cls, config: ConfigDict, frame_rate: FrameRate | None) -> "Options":
        if frame_rate is None:
            rate = config.postprocess.frame_rate
            frame_rate = FrameRate(rate.rule, rate.stride)
        smoothings = smoothings_of(
            tuple(config.postprocess.half_widths),
            gaussian=config.postprocess.gaussian,
        )
        if frame_rate.takes_medians:
            smoothings = tuple(each for each in smoothings if each[0] == "median")
        return cls(
            faithful=bool(config.postprocess.faithful_gaps),
            smoothings=smoothings,
            threshold_rule=config.postprocess.thresholds,
            correction=config.postprocess.correction,
            causal=config.postprocess.causal,
            trust_extractor=config.blend.trust_extractor,
            num_resamples=config.evaluate.num_resamples,
            frame_rate=frame_rate,
            # older cards have no such fields
            unit=config.evaluate.get("unit", "auto"),
            calibration=config.postprocess.get("calibration", "none"),
            set_level=config.postprocess.get("set_level", 0.0),
        )
