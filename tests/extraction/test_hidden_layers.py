"""Feature sets of hidden layers, by their names."""

import pytest

from avemo_jax.extraction.extractor_choice import choose_audio, hidden_layer
from avemo_jax.prediction.wanted_sets import wanted_set

LAYER_9 = "wavlm_base_plus@16k-layer9"


def test_a_hidden_layer_is_named_by_its_feature_set():
    names = [LAYER_9, "wavlm_base_plus@16k-layer6", "wavlm_base_plus"]
    ninth, sixth, last = choose_audio(names, weights_dir=None)
    assert dict(ninth.options) == {"layers": 9}
    assert (ninth.name, ninth.input_name) == ("wavlm_base_plus", "16k-layer9")
    assert dict(sixth.options) == {"layers": 6}
    assert (last.options, last.input_name) == ((), "16k")
    assert hidden_layer("wav2vec2_base", "16k") is None
    assert hidden_layer("vggish", "0.96s-layer3") is None


def test_prediction_makes_the_layer_that_a_head_was_trained_on():
    found = wanted_set(LAYER_9)
    assert found.options == {"layers": 9}
    choice = found.choice(weights_dir=None, dtype="float32")
    assert (choice.input_name, dict(choice.options)) == ("16k-layer9", {"layers": 9})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wavlm_base_plus@16k-layer13", "no layer 13; expected 0, .*to 12"),
        ("vggish@0.96s-layer3", "expected the name of an extractor, or 0.96s-layerN"),
        ("wavlm_base_plus@8k", "expected the name of an extractor, or 16k-layerN"),
    ],
)
def test_a_layer_that_is_not_there(name, said):
    with pytest.raises(ValueError, match=said):
        choose_audio([name], weights_dir=None)


def test_a_layer_twice():
    with pytest.raises(ValueError, match=f"{LAYER_9} given twice"):
        choose_audio([LAYER_9, LAYER_9], weights_dir=None)
