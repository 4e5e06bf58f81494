"""The original's heads become head checkpoints that score as PyTorch does."""

import json
import pathlib
import re

import jax
import numpy as np
import pytest
from made.stores import annotated, source, vectors

from avemo_jax.batches.tables import memory_budget, open_data
from avemo_jax.convert.command import main
from avemo_jax.convert.conversion import convert
from avemo_jax.convert.rules import ConversionError
from avemo_jax.data.features.names import full_name
from avemo_jax.experiment import evaluate_checkpoint
from avemo_jax.extractors import EXTRACTORS
from avemo_jax.extractors.published import THESIS_HEADS
from avemo_jax.heads import HeadSpec
from avemo_jax.models.card import read_card
from avemo_jax.models.head import check_feature_sets, load_trained_head, row_scores
from avemo_jax.packing.build import build_store

torch = pytest.importorskip("torch", reason="needs the extra 'parity'")
pytestmark = pytest.mark.parity

from reference.heads import reference  # noqa: E402  (needs torch)

VIDEOS = {"one": "validation", "two": "validation", "three": "train", "four": "train"}
FRAMES = 45
BATCH = {"attention": "batch", "positions": "none"}


def original(task, kind, features, **options):
    """PyTorch's head with random weights, and what it is."""
    dims = tuple(EXTRACTORS[name].dim for name in features)
    options |= BATCH if kind == "transformer" else {}
    kinds = tuple(EXTRACTORS[name].kind for name in features)
    spec = HeadSpec(task, kind, dims, kinds, **options)
    return reference(spec, dtype=torch.float32), spec


B2 = ("enet_b2_8_best",)
VGGISH = ("enet_b2_8_best", "vggish")
WAV2VEC2 = ("enet_b2_8_best", "wav2vec2_base")
B0 = ("enet_b0_8_va_mtl", "vggish")
HEADS = {
    "EXPR_mlp_visual": ("EXPR", "mlp", B2, {}),
    "AU_mlp_effnet_b0_vggish": ("AU", "mlp", B0, {}),
    "VA_mlp_visual": ("VA", "mlp", B2, {}),
    "VA_mlp_visual_wav2vec2": ("VA", "mlp", WAV2VEC2, {"va_form": "shared"}),
    "EXPR_fusion_visual_vggish": ("EXPR", "transformer", VGGISH, {}),
    "AU_fusion_visual": ("AU", "transformer", B2, {}),
    "VA_fusion_visual_vggish": ("VA", "transformer", VGGISH, {}),
}

QUICK = ("EXPR_mlp_visual", "VA_mlp_visual_wav2vec2", "AU_fusion_visual")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> pathlib.Path:
    """Four videos with features of every extractor that the original used."""
    directory = tmp_path_factory.mktemp("store")
    records = [
        annotated(video, FRAMES, split, seed=i)
        for i, (video, split) in enumerate(VIDEOS.items())
    ]
    sources = []
    for name in ("enet_b2_8_best", "enet_b0_8_va_mtl", "vggish", "wav2vec2_base"):
        known = EXTRACTORS[name]
        step = 7 if known.kind == "visual" else FRAMES + 1
        rows = [frame for frame in range(1, FRAMES + 1) if frame % step]
        content = vectors(name, dict.fromkeys(VIDEOS, rows), known.dim)
        sources.append(source(full_name(name), known.kind, content, digest=name))
    build_store(directory, records, sources, show_progress=False)
    return directory


def saved(path, network, wrapped=False):
    state = network.state_dict()
    content = {"epoch": 3, "model": state} if wrapped else state
    torch.save(content, path, _use_new_zipfile_serialization=not wrapped)
    return path


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, marks=() if file in QUICK else pytest.mark.slow)
        for file in HEADS
    ],
)
def test_scores_are_those_of_torch(file, store, tmp_path, caplog):
    task, kind, features, options = HEADS[file]
    network, spec = original(task, kind, features, **options)
    path = saved(tmp_path / f"best_{file}.pth", network, wrapped=kind == "mlp")
    done = convert("head", path, tmp_path / "head")
    assert done.num_parameters == sum(
        value.numel() for value in network.state_dict().values() if value.ndim
    )
    trained = load_trained_head(tmp_path / "head")
    assert trained.head.spec == spec
    assert trained.features == [full_name(name) for name in features]
    data = open_data(str(store))
    check_feature_sets(trained, data)
    assert "does not say which enet_b" in caplog.text
    table, scores = row_scores(trained, data, "validation", memory_budget())
    assert scores.shape == (1, table.num_rows, spec.num_outputs)
    np.testing.assert_allclose(scores[0], torch_scores(network, table), atol=2e-6)


def torch_scores(network, table):
    """As the original: a Transformer sees 32 rows at a time as one sequence."""
    x = torch.as_tensor(np.asarray(table.features, np.float32))
    batches = [x]
    if hasattr(network, "transformer_encoder"):
        batches = [batch[None] for batch in x.split(32)]
    with torch.no_grad():
        logits = torch.cat([network(batch) for batch in batches])
    activate = {"EXPR": lambda z: z.softmax(-1), "AU": torch.sigmoid, "VA": torch.tanh}
    return activate[table.task.name](logits).numpy()


@pytest.mark.release
def test_evaluation_takes_it_and_chooses_nothing(store, tmp_path):
    task, kind, features, options = HEADS["AU_mlp_effnet_b0_vggish"]
    network, _ = original(task, kind, features, **options)
    path = saved(tmp_path / "best_AU_mlp_effnet_b0_vggish.pth", network)
    convert("head", path, tmp_path / "head", faithful=True)
    found = evaluate_checkpoint(
        tmp_path / "head", data_dir=str(store), split="validation", workdir=None
    )
    assert found["chosen_on"] is None
    assert found["chosen_on_reason"] == "the videos that it was trained on are unknown"
    assert found["protocol"] == "original"
    assert found["trained_on_this_split"] is False
    folder = tmp_path / "evaluation-head-validation"
    written = json.loads((folder / "results.json").read_text())
    assert written["metrics"]["smoothed"].keys() >= {"with_crop", "all_labelled"}
    assert (folder / "predictions.csv").is_file()


def test_a_converted_head_needs_a_store(tmp_path):
    network, _ = original("EXPR", "mlp", B2)
    path = saved(tmp_path / "best_EXPR_mlp_visual.pth", network)
    convert("head", path, tmp_path / "head")
    with pytest.raises(
        ValueError, match="was trained on unknown data; without a store"
    ):
        evaluate_checkpoint(
            tmp_path / "head", data_dir=None, split="validation", workdir=None
        )


def test_a_store_without_its_features_is_refused(store, tmp_path):
    network, _ = original("EXPR", "mlp", B2)
    features = ["enet_b2_8_best@elsewhere-224"]
    path = saved(tmp_path / "a.pth", network)
    convert("head", path, tmp_path / "head", features=features)
    trained = load_trained_head(tmp_path / "head")
    with pytest.raises(ValueError, match="no feature set 'enet_b2_8_best@elsewhere"):
        check_feature_sets(trained, open_data(str(store)))


def test_card_says_where_it_comes_from(tmp_path, caplog):
    network, spec = original("VA", "transformer", WAV2VEC2)
    path = saved(tmp_path / "best_VA_fusion_visual_wav2vec2.pth", network)
    convert("head", path, tmp_path / "head")
    card = read_card(tmp_path / "head")
    assert card.training_videos == "unknown"
    assert card.missing_audio == "drop"
    assert card.protocol == "ours"
    assert card.config["postprocess"]["faithful_gaps"] is False
    assert card.evaluation_batch_size == 32  # the original's, a sequence each
    assert card.head == spec.to_dict()
    assert [entry.fingerprint for entry in card.features] == ["unknown"] * 2
    origin = card.provenance
    assert origin.source == path.name
    assert origin.known_source is False
    assert re.fullmatch(r"[0-9a-f]{64}", origin.source_sha256)
    assert re.fullmatch(r"[0-9a-f]{40}", origin.source_git_blob)
    assert origin.licence.startswith("none stated")
    # It is called as a released file and is not that file.
    assert "IS NOT THE PUBLISHED FILE" in caplog.text
    assert "a2bd267977c147d427b2265dfad620860a345d67" in caplog.text


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(head, marks=pytest.mark.slow if number % 3 else (), id=head.name)
        for number, head in enumerate(THESIS_HEADS)
    ],
)
def test_every_released_name_tells_its_features(head, tmp_path):
    small = {"mlp_dim": 6}
    if head.head == "transformer":
        small = {"feat_dim": 6, "model_dim": 8, "ffn_dim": 5, "head_dim": 3}
        small["num_layers"] = 2
    network, spec = original(head.task, head.head, head.features, **small)
    path = saved(tmp_path / head.source.file, network)
    convert("head", path, tmp_path / "head")
    card = read_card(tmp_path / "head")
    assert card.head == spec.to_dict()
    assert [e.name for e in card.features] == [full_name(n) for n in head.features]


# What the file does not tell.


def test_features_by_their_length_where_only_one_combination_has_it(tmp_path):
    for features in (VGGISH, WAV2VEC2):
        network, _ = original("AU", "mlp", features)
        path = saved(tmp_path / "mine.pth", network)
        convert("head", path, tmp_path / "head", overwrite=True)
        card = read_card(tmp_path / "head")
        assert [entry.name for entry in card.features] == [
            full_name(name) for name in features
        ]


def test_ambiguous_features_are_asked_for(tmp_path):
    network, _ = original("AU", "mlp", B0)
    path = saved(tmp_path / "mine.pth", network)
    with pytest.raises(ConversionError, match="length 1408; expected to know of which"):
        convert("head", path, tmp_path / "head")
    arguments = ["head", str(path), "--out", str(tmp_path / "head")]
    assert main([*arguments, "--features", "enet_b0_8_va_mtl, vggish"]) == 0
    card = read_card(tmp_path / "head")
    assert [entry.dim for entry in card.features] == [1280, 128]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (["enet_b2_8_best", "wav2vec2_base"], "length 1536, and they are to be"),
        (["vggish", "enet_b2_8_best"], "visual ones first"),
        (["enet_b2_8_best", "openface"], "expected names among enet_b2_8_best"),
        ([""], "expected names among"),
    ],
)
def test_wrong_features_are_refused(features, message, tmp_path):
    network, _ = original("AU", "mlp", VGGISH)
    path = saved(tmp_path / "mine.pth", network)
    with pytest.raises(ConversionError, match=message):
        convert("head", path, tmp_path / "head", features=features)
    assert not (tmp_path / "head").exists()


def test_a_name_that_promises_another_head_is_refused(tmp_path):
    network, _ = original("AU", "mlp", VGGISH)
    path = saved(tmp_path / "best_EXPR_mlp_visual_vggish.pth", network)
    with pytest.raises(
        ConversionError, match="holds a head for AU, mlp; expected EXPR"
    ):
        convert("head", path, tmp_path / "head")


def renamed(old, new):
    def change(state):
        state[new] = state.pop(old)

    return change


def without(name):
    return lambda state: state.pop(name)


def with_array(name, shape):
    return lambda state: state.__setitem__(name, torch.zeros(shape))


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("EXPR_mlp_visual", with_array("fc2.bias", 7), "fc2.bias: 7 outputs"),
        (
            "EXPR_mlp_visual",
            with_array("fc3.bias", 8),
            r"source fc3.bias \(8,\): has no",
        ),
        ("EXPR_mlp_visual", without("fc1.bias"), r"destination fc1.bias \(128,\)"),
        ("EXPR_mlp_visual", with_array("fc1.weight", (128, 1400)), "length 1400"),
        ("EXPR_mlp_visual", renamed("fc1.weight", "a"), "expected a head of the"),
        ("VA_mlp_visual", without("ahead.1.running_var"), "ahead.1.running_var"),
        (
            "VA_mlp_visual_wav2vec2",
            with_array("feat_fc.weight", (512, 2176, 3)),
            r"destination feat_fc.weight \(512, 2176\): feat_fc.weight is of shape",
        ),
        (
            "AU_fusion_visual",
            without("conv1.weight"),
            r"destination conv1.weight \(128, 512\)",
        ),
        (
            "AU_fusion_visual",
            without("transformer_encoder.layers.2.norm2.bias"),
            "destination transformer_encoder.layers.2.norm2.bias",
        ),
        (
            "AU_fusion_visual",
            with_array("transformer_encoder.layers.4.norm2.bias", 128),
            "destination transformer_encoder.layers.4.linear1.weight",
        ),
        (
            "EXPR_fusion_visual_vggish",
            renamed("head.3.weight", "head.2.weight"),
            "source head.2.weight",
        ),
    ],
)
def test_what_is_no_original_head_is_refused(file, change, message, tmp_path):
    task, kind, features, options = HEADS[file]
    network, _ = original(task, kind, features, **options)
    state = dict(network.state_dict())
    change(state)
    torch.save(state, tmp_path / f"best_{file}.pth")
    with pytest.raises(ConversionError, match=message):
        convert("head", tmp_path / f"best_{file}.pth", tmp_path / "head")
    assert not (tmp_path / "head").exists()


def test_only_a_head_checkpoint_is_replaced(tmp_path):
    network, _ = original("EXPR", "mlp", B2)
    path = saved(tmp_path / "best_EXPR_mlp_visual.pth", network)
    out = tmp_path / "head"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(ConversionError, match="is not a head checkpoint"):
        convert("head", path, out, overwrite=True)
    assert (out / "thesis.txt").read_text() == "years of work"
    convert("head", path, tmp_path / "other")
    with pytest.raises(ConversionError, match="is there already"):
        convert("head", path, tmp_path / "other")
    convert("head", path, tmp_path / "other", overwrite=True)
    assert not list(tmp_path.glob(".*"))


def test_command_says_what_it_wrote(tmp_path, capsys):
    network, _ = original("EXPR", "mlp", VGGISH)
    path = saved(tmp_path / "best_EXPR_mlp_visual_vggish.pth", network)
    assert main(["head", str(path), "--out", str(tmp_path / "head")]) == 0
    said = capsys.readouterr().out
    assert (
        "head (EXPR, mlp, of enet_b2_8_best@cropped_aligned-224 + vggish@0.96s)" in said
    )
    assert "4 tensors, 197,768 values" in said
    assert "nothing is chosen on dev for it" in said
    variables = load_trained_head(tmp_path / "head").variables
    assert {leaf.shape[0] for leaf in jax.tree.leaves(variables)} == {1}
