"""Strict renaming, and what needs no PyTorch to read."""

import functools
import hashlib
import io
import subprocess
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from avemo_jax.convert.rules import (
    IDENTITY,
    ConversionError,
    Ignored,
    Renaming,
    rename,
)
from avemo_jax.convert.source_file import open_source, read_state
from avemo_jax.convert.vggish import PCA_SHAPES, read_pca
from avemo_jax.embed.weights import write_weights
from avemo_jax.extractors.published import PublishedFile


def zeros(**shapes):
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


def renamed(source, shapes, *rules, **options):
    rules = rules or (IDENTITY,)
    return rename(source, shapes, rules, file="x.pt", wanted="it", **options)


def faults_of(source, shapes, *rules, **options) -> tuple[str, ...]:
    with pytest.raises(ConversionError, match=r"^x\.pt does not fit it; ") as caught:
        renamed(source, shapes, *rules, **options)
    faults = caught.value.faults
    assert list(faults) == sorted(faults)
    assert all(fault in str(caught.value) for fault in faults)
    return faults


def test_first_matching_rule_decides():
    source = {"a.0.w": np.ones(2), "a.1.w": np.full(3, 2.0)}
    rules = (Renaming(r"a\.0\.(w)", r"first.\1"), Renaming(r"a\.(\d+)\.w", r"other.\1"))
    got = renamed(source, {"first.w": (2,), "other.1": (3,)}, *rules).tensors
    assert list(got) == ["first.w", "other.1"]
    np.testing.assert_array_equal(got["other.1"], [2, 2, 2])
    assert {array.dtype.name for array in got.values()} == {"float32"}


def test_rules_match_whole_names():
    assert faults_of(zeros(ab=(1,)), {}, Renaming("a", "b")) == (
        "source ab (1,): no rule names it",
    )


def test_all_faults_of_both_sides_are_reported_at_once():
    source = {
        **zeros(same=(2,), shape=(2, 3), one=(1,), other=(1,), extra=(4,), odd=(1,)),
        "count": np.zeros(3, np.int64),
        "bad": np.array([1.0, np.inf], np.float32),
        "large": np.array([1e300]),
    }
    shapes = {"same": (2,), "shape": (3, 2), "both": (1,), "missing": (7,)}
    shapes |= {"count": (3,), "bad": (2,), "large": (1,)}
    rules = (
        Renaming("one|other", "both"),
        Renaming("odd", "away"),
        Renaming("[^x]+", r"\g<0>"),
    )
    finite = "not finite everywhere (in float32)"
    assert faults_of(source, shapes, *rules) == (
        f"destination bad (2,): bad is {finite}",
        "destination both (1,): written by each of one, other",
        "destination count (3,): count is of dtype int64; expected one of float16, "
        "bfloat16, float32, float64",
        f"destination large (1,): large is {finite}",
        "destination missing (7,): nothing is written to it",
        "destination shape (3, 2): shape is of shape (2, 3)",
        "source extra (4,): no rule names it",
        "source odd (1,): renamed away, has no place",
    )


def test_what_is_ignored_is_reported_with_its_reason():
    source = zeros(**{"a": (1,), "b.count": (), "c.count": ()})
    got = renamed(source, {"a": (1,)}, ignored=[Ignored(r".+\.count", "counters")])
    assert got.ignored == {"counters": ["b.count", "c.count"]}


def test_optional_places_may_stay_empty_but_not_be_wrong():
    optional = {"b": (2,)}
    assert set(renamed(zeros(a=(1,)), {"a": (1,)}, optional=optional).tensors) == {"a"}
    both = zeros(a=(1,), b=(2,))
    assert set(renamed(both, {"a": (1,)}, optional=optional).tensors) == {"a", "b"}
    wrong = zeros(a=(1,), b=(3,))
    assert faults_of(wrong, {"a": (1,)}, optional=optional) == (
        "destination b (2,): b is of shape (3,)",
    )


@pytest.mark.parametrize(
    ("shape", "squeeze", "fits"),
    [
        ((4, 3, 1), 1, True),
        ((4, 3, 1, 1), 2, True),
        ((4, 3), 1, True),
        ((4, 3, 1), 0, False),
        ((4, 3, 1, 1), 1, False),
        ((4, 3, 2), 1, False),
        ((1, 4, 3), 1, False),
        ((12,), 1, False),
    ],
)
def test_only_trailing_ones_are_dropped_and_only_where_allowed(shape, squeeze, fits):
    source = {"w": np.arange(np.prod(shape), dtype=np.float32).reshape(shape)}
    rule = Renaming("w", "w", squeeze=squeeze)
    if fits:
        got = renamed(source, {"w": (4, 3)}, rule).tensors["w"]
        np.testing.assert_array_equal(got, np.arange(12).reshape(4, 3))
    else:
        assert len(faults_of(source, {"w": (4, 3)}, rule)) == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_weights_of_other_precision_become_float32(dtype):
    source = {"w": np.array([[1.5, -2.0]], dtype).T}  # not contiguous
    got = renamed(source, {"w": (2, 1)}).tensors["w"]
    np.testing.assert_array_equal(got, np.array([[1.5], [-2.0]], np.float32))
    assert got.dtype == np.float32
    assert got.flags.c_contiguous


names = st.text("ab.01", min_size=1, max_size=4)


@given(st.sets(names), st.sets(names))
def test_identity_fails_by_just_what_differs(have, want):
    source, shapes = zeros(**dict.fromkeys(have, (1,))), dict.fromkeys(want, (1,))
    if have == want:
        assert set(renamed(source, shapes).tensors) == want
    else:
        expected = [f"source {name} (1,): has no place" for name in have - want]
        expected += [
            f"destination {name} (1,): nothing is written to it" for name in want - have
        ]
        assert faults_of(source, shapes) == tuple(sorted(expected))


# Files.


def test_checksums_are_those_of_sha256_and_git(tmp_path):
    path = tmp_path / "file.pt"
    path.write_bytes(b"some content\n" * 100_000)
    opened = open_source(path)
    assert opened.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    command = ["git", "hash-object", "--no-filters", str(path)]
    git = subprocess.run(command, capture_output=True, text=True, check=True)
    assert opened.git_blob == git.stdout.strip()


def test_a_published_file_is_known_by_its_checksum_only(tmp_path):
    path = tmp_path / "name.pt"
    path.write_bytes(b"abc")
    opened = open_source(path)
    by_blob = PublishedFile("other.pt", "u", git_blob=opened.git_blob)
    by_prefix = PublishedFile("name.pt", "u", sha256=opened.sha256[:8])
    wrong = PublishedFile("name.pt", "u", git_blob="0" * 40)
    unknown = PublishedFile("name.pt", "u")
    assert opened.is_published(by_blob)
    assert opened.is_published(by_prefix)
    assert not opened.is_published(wrong)
    assert not opened.is_published(unknown)
    assert opened.named([by_blob, unknown, wrong]) is wrong
    assert opened.provenance([wrong])["known_source"] is False
    assert opened.provenance([wrong, by_blob])["known_source"] is True


def test_missing_file_and_unknown_ending_are_refused(tmp_path):
    with pytest.raises(ConversionError, match=r"No such file.*avemo fetch"):
        open_source(tmp_path / "none.pt")
    path = tmp_path / "weights.h5"
    path.write_bytes(b"")
    with pytest.raises(ConversionError, match=r"ends in '\.h5'; expected one of \.pt"):
        read_state(path)


def test_safetensors_of_others_are_read_and_ours_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    tensors = {
        "module.a": np.ones(2, ml_dtypes.bfloat16),
        "module.b": np.zeros((1, 3), np.float16),
    }
    safetensors.numpy.save_file(tensors, path, {"format": "pt"})
    state = read_state(path)
    assert {n: (a.shape, a.dtype.name) for n, a in state.items()} == {
        "a": ((2,), "bfloat16"),
        "b": ((1, 3), "float16"),
    }
    write_weights(path, {"a": np.ones(1, np.float32)}, {"extractor": "vggish"})
    with pytest.raises(ConversionError, match="written by avemo convert already"):
        read_state(path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ConversionError, match=r"cannot be read .*\.safetensors"):
        read_state(path)


def test_types_that_numpy_has_not(tmp_path):
    header = b'{"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}'
    content = len(header).to_bytes(8, "little") + header + bytes(4)
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(ConversionError, match=r"cannot be read .*\.safetensors"):
        read_state(tmp_path / "a.safetensors")


# The PCA of VGGish.


def pca_arrays():
    rng = np.random.default_rng(0)
    return {
        "pca_eigen_vectors": rng.normal(size=(128, 128)),
        "pca_means": rng.normal(size=(128, 1)),
    }


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_pca_of_a_file(tmp_path, save):
    arrays = pca_arrays()
    save(tmp_path / "pca.npz", **arrays)
    got = read_pca(tmp_path / "pca.npz")
    assert {name: array.shape for name, array in got.items()} == PCA_SHAPES
    expected = arrays["pca_means"][:, 0].astype(np.float32)
    np.testing.assert_array_equal(got["pca.means"], expected)
    expected = arrays["pca_eigen_vectors"].astype(np.float32)
    np.testing.assert_array_equal(got["pca.eigen_vectors"], expected)


def test_the_published_pca(shared_data):
    path = shared_data / "weights" / "vggish_pca_params.npz"
    with np.load(path, allow_pickle=False) as stored:
        for name, target in zip(pca_arrays(), PCA_SHAPES, strict=True):
            np.testing.assert_array_equal(
                read_pca(path)[target], stored[name].reshape(PCA_SHAPES[target])
            )


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit",))


def npy(array, *, claims=None) -> bytes:
    stream = io.BytesIO()
    if claims is None:
        np.save(stream, array, allow_pickle=True)
    else:
        header = {"shape": claims, "fortran_order": False, "descr": "<f8"}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(array.tobytes())
    return stream.getvalue()


@functools.cache
def bad_pcas():
    good = {name: npy(array) for name, array in pca_arrays().items()}
    means = pca_arrays()["pca_means"]
    with_means = lambda content: {**good, "pca_means": content}  # noqa: E731
    return {
        "no arrays": {},
        "no means": {"pca_eigen_vectors": good["pca_eigen_vectors"]},
        "pickle": with_means(npy(np.array([Bomb()], object))),
        "absurd": with_means(npy(means, claims=(10**15, 10**15))),
        "negative": with_means(npy(means, claims=(-128, -1))),
        "short": with_means(good["pca_means"][:-8]),
        "long": with_means(npy(np.zeros(10**7))),
        "integers": with_means(npy(np.zeros((128, 1), np.int64))),
        "shape": with_means(npy(np.zeros((64, 2)))),
        "no npy": with_means(b"\x93NUMPY\x07\x00" + b"\0" * 100),
        "empty": with_means(b""),
    }


@pytest.mark.parametrize("case", bad_pcas())
def test_bad_pcas_are_refused(tmp_path, case):
    path = tmp_path / "pca.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in bad_pcas()[case].items():
            archive.writestr(f"{name}.npy", content)
    with pytest.raises(ConversionError, match=r"pca\.npz"):
        read_pca(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no zip at all" * 10])
def test_what_is_no_npz_is_refused(tmp_path, content):
    path = tmp_path / "pca.npz"
    path.write_bytes(content)
    with pytest.raises(ConversionError, match=r"take vggish_pca_params\.npz"):
        read_pca(path)


def test_mutated_pca_gives_our_error_or_the_pca(tmp_path):
    path = tmp_path / "pca.npz"
    np.savez_compressed(path, **pca_arrays())
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        content = bytearray(whole)
        for at in rng.integers(0, len(content), rng.integers(1, 4)):
            content[at] = rng.integers(256)
        path.write_bytes(content[: rng.integers(1, 2 * len(content))])
        try:
            assert {n: a.shape for n, a in read_pca(path).items()} == PCA_SHAPES
        except ConversionError:
            refused += 1
    assert refused > 200
