"""Extractors of other packages: how they are found, run, and refused."""

import importlib
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from made.plugins import install
from made.trees import make_tree

from avemo_jax.data.features import names
from avemo_jax.data.features.files import read_feature_file
from avemo_jax.embed import PluginImages, PluginSound, load_extractor
from avemo_jax.embed.weights import WeightsError
from avemo_jax.extraction import command, extractors_command
from avemo_jax.extraction.extractor_choice import choose_audio
from avemo_jax.extractors import (
    EXTRACTORS,
    ImageInput,
    PluginError,
    PluginExtractor,
    SoundInput,
    get_extractor,
    plugins,
)
from avemo_jax.media.audio import Sound

ROOT = pathlib.Path(__file__).parents[2]
SOUND = "takes = SoundInput(1000, hop_s=0.04, receptive_field_s=0.1)"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that packages can be installed in, forgotten after the test."""
    folder = tmp_path / "site"
    folder.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(folder) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]
    importlib.invalidate_caches()


def three_parts(error, *words):
    """The text of an error that names its package and entry point."""
    text = str(error.value)
    assert all(word in text for word in words), text
    assert "; expected " in text
    assert text.count(";") >= 2
    return text


# --- how they are found


def test_names_are_known_and_nothing_is_imported(site):
    install(site, "fine")
    install(site, "faulty", module="raise RuntimeError('broken')")
    assert plugins.plugin_names() == ["faulty", "fine"]
    assert not {"avemo_fine", "avemo_faulty"} & set(sys.modules)
    with pytest.raises(ValueError, match=r"vggish, or of the plug-ins faulty, fine;"):
        get_extractor("finer")
    with pytest.raises(ValueError, match=r"vggish, faulty, fine: write finer@INPUT"):
        names.full_name("finer")
    assert not {"avemo_fine", "avemo_faulty"} & set(sys.modules)


def test_a_plugin_is_described_as_ours_are(site):
    install(site, "fine")
    install(site, "heard", SOUND)
    found, heard = get_extractor("fine"), get_extractor("heard")
    assert (found.name, found.kind, found.dim) == ("fine", "visual", 4)
    assert (found.default_input, heard.default_input) == ("cropped_aligned-16", "0.1s")
    assert heard.kind == "audio"
    assert heard.sound.hops_per_s == 25
    assert found.output_dim == 0
    assert str(found.origin) == (
        "avemo-fine 0.1 (avemo.extractors: fine = avemo_fine:MADE)"
    )
    # Ours are as they were, and no plug-in's.
    assert get_extractor("vggish") is EXTRACTORS["vggish"]


def test_short_names_of_sets(site):
    install(site, "fine")
    assert names.full_name("fine") == "fine@cropped_aligned-16"
    present = ["fine@cropped_aligned-32", "fine@cropped_aligned-16", "vggish@0.96s"]
    assert names.resolve_name("fine", present) == "fine@cropped_aligned-16"
    # A store's only set of an extractor needs no plug-in, and so no faulty one.
    install(site, "faulty", module="raise RuntimeError('broken')")
    assert names.resolve_name("faulty", ["faulty@0.1s"]) == "faulty@0.1s"
    with pytest.raises(PluginError, match=r"avemo-faulty 0\.1"):
        names.resolve_name("faulty", ["faulty@0.1s", "faulty@0.2s"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"module": "import nowhere_to_be_found"}, "ModuleNotFoundError"),
        ({"module": "def f(:"}, "SyntaxError"),
        ({"module": "OTHER = 1"}, "AttributeError"),
        ({"module": "MADE = dict(dim=3)"}, "is of type dict"),
        ({"module": "def MADE(): ..."}, "is of type function"),
        ({"changes": "name = 'another'"}, "calls itself 'another'"),
        ({"changes": "dim = 0"}, "dim 0; expected a whole number from 1"),
        ({"value": "avemo_faulty:MADE.more"}, "AttributeError"),
        ({"value": "no such thing"}, "cannot be imported"),
    ],
)
def test_a_faulty_plugin_is_told_and_no_other_suffers(site, options, said):
    install(site, "faulty", **options)
    install(site, "fine")
    with pytest.raises(PluginError) as error:
        get_extractor("faulty")
    three_parts(error, said, "avemo-faulty 0.1", f"{plugins.GROUP}: faulty = ")
    assert get_extractor("fine").dim == 4


def test_a_module_that_ends_the_program_is_an_error(site):
    install(site, "faulty", module="import sys\nsys.exit(7)")
    with pytest.raises(PluginError) as error:
        get_extractor("faulty")
    three_parts(error, "SystemExit: 7", "avemo-faulty 0.1")


def test_a_name_of_ours_is_refused(site):
    install(site, "vggish")
    with pytest.raises(PluginError) as error:
        get_extractor("vggish")
    three_parts(error, "avemo-vggish 0.1", "as an extractor of avemo_jax is")
    assert get_extractor("wav2vec2_base").dim == 768


def test_two_of_one_name_are_refused(site):
    install(site, "twin", distribution="one-package")
    install(site, "twin", distribution="another", version="2")
    install(site, "fine")
    with pytest.raises(PluginError) as error:
        get_extractor("twin")
    three_parts(error, "one-package 0.1", "another 2", "uninstall")
    assert plugins.plugin_names() == ["fine", "twin"]
    assert get_extractor("fine").dim == 4


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"name": "a b"}, "name"),
        ({"name": "a@b"}, "name"),
        ({"name": ".a"}, "name"),
        ({"dim": -1}, "dim"),
        ({"takes": ImageInput(size_px=0)}, "takes.size_px"),
        ({"takes": ImageInput(std=(1.0, 0.0, 1.0))}, "takes.std"),
        ({"takes": ImageInput(mean=(1.0, float("nan"), 1.0))}, "takes.mean"),
        ({"takes": SoundInput(10, 0.1, 0.1)}, "takes.sample_rate_hz"),
        ({"takes": SoundInput(16_000, 0.0001, 1.0)}, "takes.hop_s"),
        ({"takes": SoundInput(16_000, 0.1, float("inf"))}, "takes.receptive_field_s"),
        ({"takes": SoundInput(16_000, 0.1, 1.0, True)}, "takes.normalise"),
        ({"takes": SoundInput(16_000, 0.1, 1.0), "outputs": ("a",)}, "outputs"),
    ],
)
def test_facts_out_of_range(fields, wrong):
    right = {
        "name": "a",
        "dim": 1,
        "takes": ImageInput(),
        "licence": "MIT",
        "load": lambda weights: {},
        "apply": lambda params, x: x,
    }
    PluginExtractor(**right)
    with pytest.raises(ValueError, match=rf"^{re.escape(wrong)} .*; expected .*; "):
        PluginExtractor(**{**right, **fields})


# --- how they are run


def test_pictures(site):
    install(site, "fine")
    made = load_extractor("fine", batch_size=2)
    assert isinstance(made, PluginImages)
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 256, (5, 16, 16, 3), np.uint8)
    found = made.extract(pictures)
    takes = ImageInput()
    x = (pictures / 255 - np.array(takes.mean)) / np.array(takes.std)
    expected = x.mean((1, 2, 3))[:, None] * [1, 2, 3, 4]
    np.testing.assert_allclose(found.features, expected, rtol=1e-5, atol=1e-5)
    assert found.features.dtype == np.float32
    assert found.outputs is None
    assert made.extract([]).features.shape == (0, 4)


def test_outputs(site):
    more = """
        outputs = ("valence", "arousal")
        def apply(params, x):
            mean = x.reshape(len(x), -1).mean(1, keepdims=True)
            return mean * params["scale"], mean * params["scale"][:, :2] + 1
    """
    install(site, "fine", more)
    found = load_extractor("fine").extract(np.zeros((3, 16, 16, 3), np.uint8))
    np.testing.assert_allclose(found.outputs, found.features[:, :2] + 1, rtol=1e-6)


def test_another_framework_gives_the_same(site):
    install(site, "fine")
    other = """
        framework = "other"
        def apply(params, x):
            assert type(x) is np.ndarray and x.dtype == np.float32
            return x.reshape(len(x), -1).mean(1, keepdims=True) * params["scale"]
    """
    install(site, "other", other)
    pictures = np.random.default_rng(2).integers(0, 256, (3, 30, 20, 3), np.uint8)
    one, two = (load_extractor(name).extract(pictures) for name in ("fine", "other"))
    np.testing.assert_allclose(one.features, two.features, rtol=1e-5, atol=1e-6)


@pytest.mark.parity
def test_a_network_of_pytorch(site):
    pytest.importorskip("torch")
    module = """
        import torch
        framework, outputs = "other", ("smile",)
        takes = ImageInput(size_px=32, mean=(0.0,) * 3, std=(1.0,) * 3)
        def load(weights):
            return torch.nn.AdaptiveAvgPool2d((1, 4))
        def apply(pool, x):
            with torch.inference_mode():
                found = pool(torch.from_numpy(x).permute(0, 3, 1, 2))
            return found.mean(1).flatten(1), found[:, 0, 0, :1].numpy()
    """
    install(site, "net", module)
    pictures = np.random.default_rng(4).integers(0, 256, (3, 32, 32, 3), np.uint8)
    found = load_extractor("net").extract(pictures)
    parts = pictures.reshape(3, 32, 4, 8, 3) / 255
    np.testing.assert_allclose(found.features, parts.mean((1, 3, 4)), atol=1e-6)
    expected = parts[:, :, 0, :, 0].mean((1, 2))
    np.testing.assert_allclose(found.outputs[:, 0], expected, atol=1e-6)
    grad = "framework = 'other'\nimport torch\ndef apply(p, x):\n"
    grad += "    return torch.ones(len(x), 4, requires_grad=True)"
    install(site, "faulty", grad)
    with pytest.raises(PluginError, match=r"RuntimeError.*requires grad") as error:
        load_extractor("faulty")
    three_parts(error, "avemo-faulty 0.1")


@pytest.mark.parametrize("hop_s", [0.04, 0.15])
def test_sound_is_cut_into_windows(site, hop_s):
    install(
        site,
        "heard",
        f"""
        takes = SoundInput(1000, hop_s={hop_s}, receptive_field_s=0.1)
        dim = 2
        def apply(params, x):
            return jnp.stack([x[:, 0], x.mean(1)], 1)
        """,
    )
    made = load_extractor("heard", batch_size=3)
    assert isinstance(made, PluginSound)
    rng = np.random.default_rng(3)
    for length in (0, 1, 99, 100, 139, 140, 249, 250, 1000, 1357):
        samples = rng.uniform(-1, 1, (length, 2)).astype(np.float32)
        found = made.extract(Sound(samples, 1000))
        mono, hop = samples.mean(1), round(hop_s * 1000)
        if 0 < length < 100:
            mono = np.pad(mono, (0, 100 - length))
        starts = np.arange(0, len(mono) - 99, hop)
        expected = [[mono[s], mono[s : s + 100].mean()] for s in starts]
        assert found.features.shape == (len(starts), 2)
        np.testing.assert_allclose(
            found.features, np.reshape(expected, (-1, 2)), rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(found.times_s, (starts + 50) / 1000)


def test_what_decides_the_features_decides_the_fingerprint(site):
    def fingerprint(name="fine", **options):
        return load_extractor(name, **options).fingerprint

    install(site, "fine")
    first = fingerprint()
    assert fingerprint(batch_size=7) == first
    prints = {first, fingerprint(size_px=32)}
    _raise_version(site, "fine")
    prints.add(fingerprint())
    # Other weights of the same version.
    install(site, "other", "def load(weights): return {'scale': np.ones((1, 4))}")
    install(site, "same")
    prints |= {fingerprint("other"), fingerprint("same")}
    assert len(prints) == 5
    one, two = (load_extractor(name).weights_sha256 for name in ("fine", "other"))
    assert load_extractor("same").weights_sha256 == one != two


def _raise_version(site, name):
    path = site / f"avemo_{name}-0.1.dist-info" / "METADATA"
    path.write_text(path.read_text().replace("Version: 0.1", "Version: 0.2"))


# --- how they are refused


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ("dim = 5", r"gave features of shape \(\d+, 4\); expected \(\d+, 5\)"),
        pytest.param(
            "def apply(p, x): return x",
            r"gave features of shape \(\d+, 16, 16, 3\)",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "def apply(p, x): return x[:1, 0, 0, :1]",
            r"gave features of shape \(1, 1\)",
            marks=pytest.mark.slow,
        ),
        ("def apply(p, x): return [1.0]", "gave features of type list"),
        (
            "def apply(p, x): return jnp.ones((len(x), 4), int)",
            "gave features of dtype int32; expected floating",
        ),
        ("def apply(p, x): return p['none']", "failed on a batch of shape .* KeyError"),
        pytest.param(
            "def apply(p): return 1",
            "failed on a batch .* TypeError",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "outputs = ('a',)",
            r"from apply; expected \(features, outputs\)",
            marks=pytest.mark.slow,
        ),
        (
            "outputs = ('a',)\ndef apply(p, x): return x[:, 0, 0, :1] * p['scale'], x",
            r"gave outputs of shape .*; expected \(\d+, 1\)",
        ),
        (
            "def apply(p, x): return jnp.log(x[:, 0, 0, :1]) * p['scale']",
            r"gave features of which \d+ of 8 values are not finite, for a black",
        ),
        ("def load(weights): return {'a': print}", "builtin_function_or_method at "),
        ("def load(weights): return {'a': 'text'}", r"with a str at \['a'\]"),
        ("def load(weights): return open('/nowhere')", "FileNotFoundError"),
        ("def load(): return {}", "failed to load its weights: TypeError"),
        pytest.param(
            "framework = 'other'\ndef apply(p, x): return np.full((len(x), 4), np.nan)",
            "not finite",
            marks=pytest.mark.slow,
        ),
        (
            f"{SOUND}\ndef apply(p, x):\n"
            "    return x[:, :4] / jnp.sqrt(jnp.square(x).sum(1, keepdims=True))",
            r"gave features of which 4 of 4 values are not finite, for a window of sil",
        ),
    ],
)
def test_what_a_plugin_does_wrong_is_told_on_loading(site, changes, said):
    install(site, "faulty", changes)
    with pytest.raises(PluginError, match=said) as error:
        load_extractor("faulty")
    three_parts(error, "avemo-faulty 0.1", "faulty = avemo_faulty:MADE")


def test_weights(site, tmp_path, avemo_cache):
    install(site, "needs", "needs = True\ndef load(w): return {'scale': np.ones(4)}")
    install(site, "brings")
    path = tmp_path / "needs.safetensors"
    with pytest.raises(WeightsError, match=f"{path}: no such file; .*--weights"):
        load_extractor("needs", weights=path)
    with pytest.raises(WeightsError, match=str(avemo_cache)):
        load_extractor("needs")
    path.write_bytes(b"anything that load can read")
    assert load_extractor("needs", weights=path).extractor.name == "needs"
    load_extractor("brings", weights=tmp_path / "brings.safetensors")  # not there
    with pytest.raises(WeightsError, match=r"brings its own .*avemo-brings 0\.1"):
        load_extractor("brings", weights=path)


def test_options_that_plugins_have_not(site):
    install(site, "fine")
    install(site, "heard", SOUND)
    with pytest.raises(ValueError, match=r"dtype bfloat16 .*avemo-fine 0.1"):
        load_extractor("fine", dtype="bfloat16")
    with pytest.raises(ValueError, match="unknown options"):
        load_extractor("heard", hop_s=0.1)
    with pytest.raises(ValueError, match=r"--sound original with heard.*vggish"):
        choose_audio(["heard"], weights_dir=None, sound="original")


@pytest.mark.slow
def test_the_command_takes_them_and_tells_of_faulty_ones(site, tmp_path, capsys):
    install(site, "fine", "outputs = ('a',)\nplain = apply\n" + _WITH_OUTPUTS)
    install(site, "heard", SOUND)
    install(site, "faulty", "dim = 9")
    tree = make_tree(tmp_path / "tree")
    out = tmp_path / "out"
    flags = ["--crops", str(tree / "cropped_aligned"), "--out", str(out), "--quiet"]
    flags += ["--videos", str(tree / "videos"), "--audio", "heard"]
    assert command.main([*flags, "--visual", "fine"]) == 0
    said = capsys.readouterr().out
    assert "fine@cropped_aligned-16: 5 videos extracted" in said
    assert "heard@0.1s: 5 videos extracted" in said
    rows, meta = read_feature_file(out / "fine@cropped_aligned-16" / "1-25-64x48.npz")
    assert (rows.features.shape, rows.outputs.shape) == ((29, 4), (29, 1))
    assert meta["settings"]["plugin"] == "avemo-fine"
    rows, meta = read_feature_file(out / "heard@0.1s" / "1-25-64x48.npz")
    assert (rows.features.shape, meta["kind"]) == ((31, 4), "audio")
    assert command.main([*flags, "--visual", "fine,faulty"]) == 1
    assert "avemo-faulty 0.1" in capsys.readouterr().err
    _raise_version(site, "fine")
    assert command.main([*flags, "--visual", "fine"]) == 1
    assert "plugin_version '0.1' there, '0.2' now" in capsys.readouterr().err
    assert command.main([*flags, "--visual", "heard"]) == 1
    assert "heard is audio; expected visual" in capsys.readouterr().err


def test_the_list_names_all(site, capsys):
    assert extractors_command.main([]) == 0
    ours = capsys.readouterr().out.splitlines()
    assert len(ours) == 1 + len(EXTRACTORS)
    install(site, "heard", SOUND, version="1.2")
    install(site, "vggish")
    install(site, "faulty", module="raise RuntimeError('broken')")
    assert extractors_command.main([]) == 3
    *lines, faulty, hidden = capsys.readouterr().out.splitlines()
    assert lines[: len(ours)] == ours
    assert lines[len(ours) :][0].split() == [
        *("heard", "audio", "4", "0.1s", "avemo-heard", "1.2")
    ]
    assert faulty.startswith("not usable: the plug-in faulty of avemo-faulty 0.1")
    assert hidden.startswith("not usable: the plug-in of avemo-vggish 0.1")


_WITH_OUTPUTS = """
def apply(params, x):
    return plain(params, x), x[:, 0, 0, :1]
"""


# --- the page in docs/extending.md


def page():
    """The section that tells how to write one."""
    text = (ROOT / "docs" / "extending.md").read_text("utf-8")
    return text.split("## An extractor of your own\n")[1].split("\n## ")[0]


def test_the_page_is_short():
    assert len(page().strip().splitlines()) <= 38  # and the title above it


@pytest.mark.release
def test_the_package_of_the_page_is_installed_extracts_and_trains(tmp_path):
    package, target = tmp_path / "avemo-tiny", tmp_path / "target"
    package.mkdir()
    blocks = re.findall(r"```(?:toml|python)\n# (\S+)\n(.*?)```", page(), re.DOTALL)
    for name, text in blocks:
        (package / name).write_text(text)
    assert [name for name, _ in blocks] == ["pyproject.toml", "avemo_tiny.py"]
    tree = make_tree(tmp_path / "tree")
    path = os.pathsep.join([str(target), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path}

    def run(*words):
        done = subprocess.run(
            [sys.executable, "-m", *map(str, words)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--quiet")
    run("pip", "install", *offline, "--target", target, package)
    avemo = "avemo_jax.cli"
    crops = tree / "cropped_aligned"
    run(avemo, "extract", "--visual", "tiny", "--crops", crops, "--out", "features")
    rows, meta = read_feature_file(
        tmp_path / "features" / "tiny@cropped_aligned-64" / "1-25-64x48.npz"
    )
    assert rows.features.shape == (29, 16)
    assert meta["settings"]["plugin"] == "avemo-tiny"
    assert meta["settings"]["plugin_version"] == "0.1"
    source = ("--annotations", tree / "Annotations", "--features", "features")
    said = run(avemo, "build-store", *source, "--out", "store")
    assert "tiny@cropped_aligned-64: 5 videos" in said
    run(
        *(avemo, "train", "--config", ROOT / "configs" / "expr_mlp.py"),
        *("--config.data.dir=store", "--config.data.features=tiny"),
        *("--config.num_epochs=1", "--workdir", "run"),
    )
    results = json.loads((tmp_path / "run" / "results.json").read_text("utf-8"))
    assert "tiny@cropped_aligned-64" in json.dumps(results)
