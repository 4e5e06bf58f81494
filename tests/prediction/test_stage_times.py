"""Time of stages that run within one another."""

import time

from avemo_jax.prediction.stage_times import StageTimes


def test_what_runs_within_a_stage_counts_for_itself():
    stages = StageTimes()

    def items():
        for i in range(3):
            time.sleep(0.02)
            yield i

    began = time.perf_counter()
    with stages.stage("outer"):
        time.sleep(0.01)
        for _ in stages.each("inner", items()):
            time.sleep(0.01)
    whole = time.perf_counter() - began
    assert list(stages.seconds) == ["outer", "inner"]
    assert stages.seconds["inner"] >= 0.06
    assert stages.seconds["outer"] >= 0.04
    assert abs(sum(stages.seconds.values()) - whole) < 0.01
    stages.add("inner", 1.0)
    assert stages.seconds["inner"] > 1.06
