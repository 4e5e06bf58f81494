"""Names of what can be asked of post-processing; imports nothing that takes time."""

from typing import Literal

# Frames on each side of a smoothed one, at most; 4.5 minutes at 30 a second.
MAX_HALF_WIDTH = 8192
# Frames that are embedded.
RuleName = Literal["all", "stride", "sliding", "sequential", "refine"]
# How the thresholds of action units are found on dev.
ThresholdRule = Literal["grid", "exact", "fixed"]
# What is scored where something is chosen on dev.
Unit = Literal["auto", "frame", "video"]
