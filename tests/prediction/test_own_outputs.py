"""Outputs of extractors as tasks, told apart by their names."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from avemo_jax.extractors import EXTRACTORS
from avemo_jax.postprocess.blending import extractor_probs
from avemo_jax.prediction.own_outputs import output_tasks
from avemo_jax.tasks import AU, EXPR, VA

B0 = EXTRACTORS["enet_b0_8_va_mtl"]


def tasks_of(*outputs: str):
    return output_tasks(dataclasses.replace(B0, name="theirs", outputs=outputs))


def test_hsemotion_has_affectnets_expressions_in_the_benchmarks_order():
    faces, values = output_tasks(B0)
    assert faces.task.columns == (*EXPR.columns[:7], "Contempt")
    assert (faces.task.name, faces.task.decided) == ("EXPR", "expression")
    assert values.task is VA
    outputs = np.random.default_rng(0).normal(size=(20, 10)).astype(np.float32) * 3
    expected = np.asarray(extractor_probs(jnp.asarray(outputs)))
    np.testing.assert_allclose(faces.scores(outputs), expected, atol=1e-6)
    np.testing.assert_array_equal(
        values.scores(outputs), np.clip(outputs[:, 8:], -1, 1)
    )


def test_a_plug_ins_names_are_understood():
    faces, units, values, others = tasks_of(
        "happy", "au12", "neutral", "sad", "AU_4", "Valence", "arousal", "pain"
    )
    assert faces.task.columns == ("Neutral", "Happiness", "Sadness")
    assert faces.at == (2, 0, 3)
    assert units.task.columns == ("AU04", "AU12")
    assert (units.task.kind, units.at) == ("multilabel", (4, 1))
    assert values.at == (5, 6)
    assert (others.task.name, others.task.columns) == ("theirs", ("pain",))
    logits = np.array([[0, 2, 0, 0, -200, 0.5, -3, 7]], np.float32)
    np.testing.assert_allclose(faces.scores(logits), 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(
        units.scores(logits), [[0, 1 / (1 + np.exp(-2))]], atol=1e-6
    )
    np.testing.assert_array_equal(values.scores(logits), [[0.5, -1]])
    np.testing.assert_array_equal(others.scores(logits), [[7]])


def test_all_units_of_the_benchmark_are_its_task():
    (units,) = tasks_of(*reversed(AU.columns))
    assert units.task is AU
    assert units.at == tuple(reversed(range(12)))


def test_one_expression_alone_is_a_value():
    (others,) = tasks_of("happy", "arousal")
    assert (others.task.kind, others.task.columns) == (
        "regression",
        ("happy", "arousal"),
    )


@pytest.mark.parametrize(
    ("outputs", "said"), [((), "no outputs of its own"), (("AU1", "au01"), "two outp")]
)
def test_outputs_that_cannot_be_tasks(outputs, said):
    with pytest.raises(ValueError, match=said):
        tasks_of(*outputs)
