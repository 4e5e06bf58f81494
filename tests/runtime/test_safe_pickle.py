"""What a small pickle may cost: memory, look-ups, and text in errors."""

import struct
import tracemalloc

import pytest
from made.torch_files import pickled, storage, tensor, zip_form

from avemo_jax.convert import torch_pickle
from avemo_jax.convert.source_file import read_state
from avemo_jax.convert.torch_file import TorchFileError, read_torch, state_dict_of
from avemo_jax.data.features.original_npy import (
    read_original_npy,
    read_pickled_dict,
)
from avemo_jax.data.importing.pickled import import_pickle
from avemo_jax.data.importing.spooled import SpooledRows
from avemo_jax.data.predictions.arrays import read_pickle
from avemo_jax.runtime import safe_pickle
from avemo_jax.tasks import TASKS

NPY = (
    b"\x93NUMPY\x01\x00\x76\x00{'descr': '|O', 'fortran_order': False, 'shape': (), }"
).ljust(127) + b"\n"


class AnyPolicy(safe_pickle.Policy):
    """Takes whatever it is given."""

    instructions = safe_pickle.WITH_OBJECTS

    def find(self, module, name):
        return []

    def call(self, function, arguments):
        return []

    def create(self, kind, arguments, named):
        return []

    def persistent(self, identity):
        return []

    def add_items(self, target, items):
        pass


def run(pickle: bytes):
    return safe_pickle.Machine(pickle, AnyPolicy()).run()


@pytest.fixture
def read_as(tmp_path):
    """Reads a pickle as one of a PyTorch file, or as the original system's."""

    def read(kind: str, pickle: bytes):
        if kind == "npy":
            (tmp_path / "v.npy").write_bytes(NPY + pickle)
            return read_original_npy(tmp_path / "v.npy")
        (tmp_path / "v.pt").write_bytes(zip_form(pickle))
        return read_torch(tmp_path / "v.pt")

    return read


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


MAKERS = {
    "lists": b"]",
    "dicts": b"}",
    "sets": b"\x8f",
    "tuples": b")",
    "tuples of marks": b"(t",
    "tuples of one": b"\x85",
    "tuples of two": b"N\x86",
    "tuples of three": b"NN\x87",
    "frozen sets": b"(\x91",
    "names": b"ca\nb\n",
    "names of the stack": b"\x8c\x01a\x8c\x01b\x93",
    "calls": b"NNR",
    "objects": b"NN\x81",
    "objects by name": b"NNN\x92",
    "outside": b"NQ",
}


@pytest.fixture
def few(monkeypatch):
    """A pickle may make 20 objects, and one for each 16 bytes of it."""
    monkeypatch.setattr(safe_pickle, "_SPARE_OBJECTS", 20)


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS.keys())
def test_objects_are_counted(few, maker):
    assert run(b"N" + maker * 18 + b".") is not None
    with pytest.raises(safe_pickle.DamagedPickleError, match="more objects than"):
        run(b"N" + maker * 180 + b".")
    # Among other things there may be more.
    assert run(b"N" + (maker + b"N" * 20) * 180 + b".") is None


@pytest.mark.parametrize("kind", ["pt", "npy"])
def test_a_large_file_has_no_more_for_its_size(few, read_as, kind):
    sets = b"\x80\x03(" + b"]" * safe_pickle._SPARE_OBJECTS + b"]" * 1000 + b"t."
    with pytest.raises(ValueError, match="more objects than"):
        read_as(kind, sets)


COSTLY = {
    "marks": b"N" * 300 + b"(" * 2 * 10**5 + b"t.",
    "numbers of the memo": b"N" + b"\x94" * 4 * 10**4 + b".",
}


@pytest.mark.parametrize(
    "pickle",
    [
        pytest.param(COSTLY["marks"], id="marks"),
        pytest.param(
            COSTLY["numbers of the memo"],
            id="numbers of the memo",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_memory_is_bounded(read_as, pickle):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="expected"):
            state_dict_of(read_as("pt", b"\x80\x03" + pickle))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * len(pickle) + 2**20


@pytest.mark.parametrize("first", [0, 1])
def test_values_are_remembered_in_order(first):
    puts = b"".join(b"K%cq%c" % (value, first + value) for value in range(5))
    assert run(b"(" + puts + b"h%cK\x09q%ch%ct." % (first, first, first)) == (
        *range(5),
        0,
        9,
        9,
    )
    with pytest.raises(safe_pickle.DamagedPickleError, match="value 7 put behind 5"):
        run(b"(" + b"".join(b"K%cq%c" % (v, v) for v in range(5)) + b"q\x07t.")


@pytest.mark.parametrize("kind", ["pt", "npy"])
def test_errors_are_short(read_as, kind):
    asked = {
        "pt": b"\x80\x02ctorch._utils\n_rebuild_tensor\n(cos\n" + b"a" * 200 + b"\nt",
        "npy": b"\x80\x02cnumpy\ndtype\n(" + text("a" * 10**6) + b"t",
    }
    with pytest.raises(ValueError, match="expected") as caught:
        read_as(kind, asked[kind] + b"R.")
    assert len(str(caught.value)) < 1000


def test_what_is_no_storage_is_not_looked_up(read_as):
    """2 ** 60 tuples for who takes their hash."""
    deep = b"N" + b"2\x86" * 60
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + deep + b"K\x00))\x89NtR."
    with pytest.raises(TorchFileError, match="a tensor of a tuple"):
        read_as("pt", b"\x80\x02" + call)


def test_numbers_as_keys(read_as, monkeypatch):
    """Their hash can be chosen: all in one place, each look-up passes the others."""
    prime = 2**61 - 1
    chosen = [b"\x8a\x0c" + (i * prime).to_bytes(12, "little") for i in range(200)]
    with pytest.raises(TorchFileError, match="a int as a key"):
        read_as("pt", b"\x80\x02}(" + b"N".join(chosen) + b"Nu.")
    with pytest.raises(ValueError, match="a int as a key"):
        read_as("npy", b"\x80\x03}(" + b"N".join(chosen) + b"Nu.")

    def keyed(count: int) -> bytes:
        keys = (b"\x8a\x08" + (2**16 + i).to_bytes(8, "little") for i in range(count))
        return b"\x80\x02}(" + b"N".join(keys) + b"Nu."

    monkeypatch.setattr(torch_pickle, "_MAX_NUMBERS", 100)
    assert len(read_as("pt", keyed(100))) == 100
    with pytest.raises(TorchFileError, match="over 100 numbers as keys"):
        read_as("pt", keyed(101))
    small = b"N".join(b"M" + struct.pack("<H", i) for i in range(0, 2**16, 2**7))
    assert len(read_as("pt", b"\x80\x02}(" + small + b"Nu.")) == 2**9


def test_a_long_list_named_often_is_gone_through_once(read_as):
    named = b"\x80\x02](" + b"N" * 10**4 + b"eq\x00(" + b"h\x00" * 10**4 + b"t."
    made = read_as("pt", named)
    assert len(made) == 10**4
    assert made[0] is made[-1]


def test_long_texts_in_many_keys(read_as):
    named = text("a" * 10**6) + b"q\x000"
    keys = b"".join(b"(h\x00h\x00" + text(f"{i}") + b"tN" for i in range(10**3))
    with pytest.raises(TorchFileError, match="a tuple as a key"):
        state_dict_of(read_as("pt", b"\x80\x02" + named + b"}(" + keys + b"u."))


def test_wrappers_around_wrappers(tmp_path):
    def name_of(name: str) -> str:
        path = tmp_path / "v.pt"
        value = {name: tensor(storage("0", 1), 0, (1,), (1,))}
        path.write_bytes(zip_form(pickled(value), {"0": bytes(4)}))
        return next(iter(read_state(path)))

    assert name_of("module._orig_mod.module.fc.weight") == "fc.weight"
    assert name_of("module." * 10**5 + "w").startswith("module.")


WITHOUT_END = {
    "a list in itself": b"]q\x00h\x00a",
    "a list in its tuple": b"]q\x00(h\x00tq\x01a0h\x01",
    "2 ** 60 lists": b"]" + b"".join(b"q%c0](h%ch%ce" % (i, i, i) for i in range(60)),
    "2 ** 28 lists": b"]"
    + b"".join(b"q%c0](" % i + b"h%c" % i * 16 + b"e" for i in range(7)),
    "tuples 20 deep": b"K\x01" + b"\x85" * 20,
}


@pytest.mark.parametrize("value", WITHOUT_END.values(), ids=WITHOUT_END.keys())
@pytest.mark.parametrize(
    "read",
    [
        read_pickled_dict,
        lambda path: read_pickle(path, TASKS["EXPR"]),
        lambda path: import_pickle(path, SpooledRows(path, path.parent)),
    ],
    ids=["original", "score", "import"],
)
def test_values_without_end_are_refused(tmp_path, value, read):
    path = tmp_path / "v.pkl"
    path.write_bytes(b"\x80\x03}(" + text("v/00001.jpg") + value + b"u.")
    with pytest.raises(ValueError, match=r"v\.pkl.*without end"):
        read(path)
