import collections
import gzip
import io
import os
import pathlib
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from made.torch_files import (
    LEGACY_START,
    ORDERED,
    Call,
    Filled,
    Name,
    Outside,
    Raw,
    floats,
    legacy_form,
    module,
    parameter,
    pickled,
    storage,
    tensor,
    zip_form,
)
from reference.torch_libraries import import_timm

from avemo_jax.convert.torch_file import (
    Record,
    TorchFileError,
    read_torch,
    state_dict_of,
)

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


@pytest.fixture
def read(tmp_path):
    def read_bytes(content: bytes):
        (tmp_path / "weights.pt").write_bytes(content)
        return read_torch(tmp_path / "weights.pt")

    return read_bytes


@pytest.fixture
def refused(read):
    """Checks that a file is refused with a message that says ``what``."""

    def check(content: bytes, what: str) -> None:
        with pytest.raises(TorchFileError, match=what) as caught:
            read(content)
        assert "weights.pt" in str(caught.value)
        assert "expected" in str(caught.value)
        assert len(str(caught.value)) < 1000

    return check


TWELVE = floats(12)


def in_form(form, value, count=12, raw=TWELVE):
    """A file of a value that uses storage "0"; ``form`` 0 is the zip, 1 the legacy."""
    if form:
        return legacy_form(pickled(value), {"0": (count, raw)})
    return zip_form(pickled(value), {"0": raw})


def test_plain_containers(read):
    value = {
        "none": None,
        "numbers": [True, 3, -(2**70), 0.5],
        "text": ("a", b"b"),
        1: {"x", "y"},
        "empty": (),
    }
    assert read(zip_form(pickled(value))) == value
    assert read(legacy_form(pickled(value))) == value
    # As Python writes them, in each protocol that torch.save can be told to use.
    value = {
        **value,
        "complex": 1 + 2j,
        "frozen": frozenset({"x"}),
        "ordered": collections.OrderedDict(a=1, b=2),
        "mutable": bytearray(b"abc"),
        "long": 1 << 3000,
    }
    for protocol in (2, 3, 4, 5):
        assert read(zip_form(pickle.dumps(value, protocol))) == value
        assert read(legacy_form(pickle.dumps(value, protocol))) == value


def test_python_2(read):
    pairs = Raw(b"](](U\x01aK\x01e](U\x01bT\x02\x00\x00\x00xyee")
    value = {"o": Call(Name("collections", "OrderedDict"), (pairs,))}
    value["s"] = Call(Name("__builtin__", "set"), ([1, 2],))
    assert read(zip_form(pickled(value))) == {"o": {"a": 1, "b": "xy"}, "s": {1, 2}}


@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize(
    ("offset", "size", "stride", "expected"),
    [
        (0, (12,), (1,), np.arange(12)),
        (2, (2, 3), (4, 1), [[2, 3, 4], [6, 7, 8]]),
        (0, (4, 3), (1, 4), np.arange(12).reshape(3, 4).T),
        (5, (), (), np.array(5)),
        (3, (2, 2), (0, 1), [[3, 4], [3, 4]]),
        (0, (0, 3), (3, 1), np.zeros((0, 3))),
        (11, (1, 1), (10**15, 5), [[11]]),
    ],
)
def test_views(read, form, offset, size, stride, expected):
    value = {"t": tensor(storage("0", 12, view=(None,) * form), offset, size, stride)}
    made = read(in_form(form, value))["t"]
    np.testing.assert_array_equal(made, np.asarray(expected, np.float32), strict=True)
    assert made.flags.c_contiguous
    assert made.flags.writeable


DTYPES = "float64 float32 float16 complex64 complex128 int64 int32 int16 int8 uint8"


@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize("dtype", DTYPES.split())
@pytest.mark.parametrize("location", ["cpu", "cuda:3"])
def test_types_and_devices(read, form, dtype, location):
    array = np.arange(6).astype(dtype)
    stored = storage("0", 6, dtype, location, (None,) * form)
    value = {"t": parameter(tensor(stored, 0, (2, 3), (3, 1)))}
    made = read(in_form(form, value, 6, array.tobytes()))["t"]
    np.testing.assert_array_equal(made, array.reshape(2, 3), strict=True)


def test_storage_class_of_cuda(read):
    stored = Outside(
        ("storage", Name("torch.cuda", "HalfStorage"), "94", "cuda:0", 2, None)
    )
    raw = np.float16([1, 2]).tobytes()
    value = {
        "t": Call(Name("torch._utils", "_rebuild_tensor"), (stored, 0, (2,), (1,)))
    }
    assert read(legacy_form(pickled(value), {"94": (2, raw)}))["t"].tolist() == [1, 2]


def test_booleans_and_bfloat16(read):
    value = [tensor(storage("0", 3, "bool"), 0, (3,), (1,))]
    (made,) = read(zip_form(pickled(value), {"0": b"\x00\x01\x07"}))
    assert made.dtype == bool
    assert made.tolist() == [False, True, True]
    raw = np.array([0x3F80, 0xC040, 0x7F80, 0x0001, 0], "<u2").tobytes()
    value = [
        tensor(storage("0", 5, "bfloat16"), 0, (5,), (1,)),
        tensor(storage("0", 5, "bfloat16"), 0, (0,), (1,)),
    ]
    made, empty = read(zip_form(pickled(value), {"0": raw}))
    assert made.dtype == empty.dtype == np.float32
    assert made.tolist() == [1, -3, np.inf, 2.0**-133, 0]


def test_byte_order(read):
    value = [tensor(storage("0", 3), 0, (3,), (1,))]
    raw = np.float32([1, 2, 3]).astype(">f4").tobytes()
    (made,) = read(zip_form(pickled(value), {"0": raw}, byteorder=b"big"))
    assert made.tolist() == [1, 2, 3]
    assert made.dtype == np.dtype("f4")


def test_tensors_share_a_storage(read):
    stored = storage("0", 12)
    value = {"a": tensor(stored, 0, (4,), (1,)), "b": tensor(stored, 4, (4,), (1,))}
    made = read(in_form(0, value))
    made["a"][:] = -1
    assert made["b"].tolist() == [4, 5, 6, 7]


def test_legacy_views_of_storages(read):
    view = storage("0", 12, view=(("5", 3, 4),))
    value = [
        tensor(view, 1, (3,), (1,)),
        tensor(storage("0", 12, view=(None,)), 0, (1,), (1,)),
    ]
    made = read(in_form(1, value))
    assert [part.tolist() for part in made] == [[4, 5, 6], [0]]


# Everything that is no tensor and no plain container is taken down and never made.


def test_records(read):
    function = Name("torch.nn.functional", "relu")
    value = {
        "function": function,
        "system": Name("os", "system"),
        "dtype": Name("torch", "float32"),
        "device": Call(Name("torch", "device"), ("cuda", 0)),
        "size": Call(Name("torch", "Size"), ((2, 3),)),
        "partial": Filled(
            Call(Name("functools", "partial"), (function,)),
            (function, (), {"inplace": True}, {}),
        ),
        "list": Raw(b"ctorch.nn\nOwnList\n)\x81(K\x01K\x02e"),
        "dict": Raw(b"ctimm.layers\nOwnDict\n)\x81(K\x01K\x02u"),
        "named": Raw(b"ctorch\nA\n(K\x01t}U\x01xK\x02s\x92"),
        "quantised": Call(
            Name("torch._utils", "_rebuild_qtensor"), (storage("0", 12), 0, (2,), (1,))
        ),
    }
    made = read(zip_form(pickled(value), {"0": TWELVE}))
    assert made["size"] == (2, 3)
    assert made["function"].name == "torch.nn.functional.relu"
    assert made["function"].args is None
    assert made["partial"].args == (made["function"],)
    assert made["partial"].state == (made["function"], (), {"inplace": True}, {})
    assert made["list"].items == [1, 2]
    assert made["dict"].items == [(1, 2)]
    assert made["named"].args == (1, {"x": 2})
    assert made["quantised"].args[0].name == "torch.FloatStorage"
    assert repr(made["system"]) == "Record(os.system)"
    names = [made[key].name for key in ("system", "dtype", "device", "quantised")]
    assert names == [
        "os.system",
        "torch.float32",
        "torch.device",
        "torch._utils._rebuild_qtensor",
    ]


def test_tensors_that_are_not_plain_are_records(read):
    stored = storage("0", 12)
    v3 = Name("torch._utils", "_rebuild_tensor_v3")
    untyped = Outside(
        ("storage", Name("torch.storage", "UntypedStorage"), "0", "cpu", 48)
    )
    arguments = (untyped, 1, (2,), (2,), False, ORDERED)
    from_type = Name("torch._tensor", "_rebuild_from_type_v2")
    plain = tensor(stored, 1, (2,), (1,))
    value = {
        "conjugate": tensor(stored, 0, (2,), (1,), {"conj": True}),
        "plain": tensor(stored, 0, (2,), (1,), {}),
        "float8": Call(v3, (*arguments, Name("torch", "float8_e4m3fn"))),
        "uint32": Call(v3, (*arguments, Name("torch", "uint32"))),
        "attributes": Call(
            from_type,
            (plain.function, Name("torch", "Tensor"), plain.arguments, {"x": 1}),
        ),
        "class": Call(
            from_type,
            (plain.function, Name("torchvision", "Image"), plain.arguments, {}),
        ),
    }
    made = read(zip_form(pickled(value), {"0": TWELVE}))
    assert made["plain"].tolist() == [0, 1]
    assert made["attributes"].tolist() == [1, 2]
    assert made["uint32"].tolist() == np.float32([1, 3]).view("u4").tolist()
    assert made["uint32"].dtype == np.uint32
    for key in ("conjugate", "float8", "class"):
        assert isinstance(made[key], Record)
    del made["class"]
    with pytest.raises(TorchFileError, match=r"2 of 5 weights .*conjugate.*float8"):
        state_dict_of(made)


def test_objects_may_know_what_they_belong_to(read):
    """As OmegaConf's nodes in fairseq's files do."""
    node = b"comegaconf\nNode\n)\x81q\x00}U\x06parenth\x00sb"
    made = read(zip_form(pickled({"cfg": Raw(node)})))["cfg"]
    assert made.state["parent"] is made


def test_source_of_modules_in_the_legacy_form(read):
    kind = Outside(("module", Name("timm.models", "Net"), "/home/x.py", "class Net:"))
    made = read(legacy_form(pickled(Filled(Call(kind, (), new=True), {"a": 1}))))
    assert (made.name, made.args, made.state) == ("timm.models.Net", (), {"a": 1})


class RunsCode:
    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("touch {}",), "(posix|nt).system"),
        (eval, ("__import__('pathlib').Path('{}').touch()",), "builtins.eval"),
        (exec, ("import pathlib; pathlib.Path('{}').touch()",), "builtins.exec"),
        (getattr, ("", "join"), "builtins.getattr"),
        (__import__, ("antigravity",), "builtins.__import__"),
        (pathlib.Path.touch, (pathlib.Path("{}"),), "builtins.getattr|the name"),
        (pickle.loads, (b"(cos\nsystem\nS'touch {}'\no.",), "pickle.loads"),
    ],
)
def test_code_is_refused_and_not_run(
    tmp_path, read, refused, protocol, function, arguments, name
):
    marker = tmp_path / "it_ran"
    arguments = tuple(
        type(a)(str(a).format(marker)) if isinstance(a, str | pathlib.Path) else a
        for a in arguments
    )
    bad = pickle.dumps({"weight": [RunsCode(function, *arguments)]}, protocol)
    for content in (zip_form(bad), legacy_form(bad)):
        refused(content, f"{name}.*nothing of it was run")
    assert not marker.exists()
    if function in (os.system, eval, exec):
        pickle.loads(bad)  # does run it
        assert marker.exists()


FOREIGN = {
    "call": Call(Name("subprocess", "Popen"), (["true"],)),
    "object": Call(Name("subprocess", "Popen"), (["true"],), new=True),
    "package that sounds like torch": Call(Name("torchx", "f"), ()),
    "builtin of the old name": Call(Name("__builtin__", "eval"), ("1",)),
    "what a library imported": Call(Name("torch", "os.system"), ("true",)),
    "no name": Call(Name("torch", "nn functional"), ()),
    "relative name": Call(Name(".torch", "f"), ()),
    "other name of functools": Call(Name("functools", "reduce"), (1, [])),
    "call of what was made": Call(Call(Name("functools", "partial"), (1,)), ()),
    "call of text": Call("eval", ("1",)),
    "attribute of a class": Filled(Name("torch.nn", "Module"), {"forward": 1}),
    "attribute of a tensor": Filled(tensor(storage("0", 12), 0, (), ()), {"a": 1}),
    "entries of a class": Raw(b"ctorch\nA\n(K\x01K\x02u"),
    "list that is a class": Raw(b"ctorch\nA\n(K\x01e"),
    "entries of a tuple": Raw(b")(K\x01K\x02u"),
    "members of a list": Raw(b"](K\x01\x90"),
    "instance of protocol 0": Raw(b"(ios\nsystem\n"),
    "object of protocol 0": Raw(b"(cos\nsystem\no"),
    "registered name": Raw(b"\x82\x01"),
    "buffer elsewhere": Raw(b"\x97"),
    "text as identity": Raw(b"P1\n"),
}


@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize("value", FOREIGN.values(), ids=FOREIGN.keys())
def test_what_no_network_needs_is_refused(refused, form, value):
    refused(in_form(form, {"a": value}), "asks for .*which may run code.*do not trust")


STORED = storage("0", 12)
# 2 ** 60 tuples for who prints them.
MANY = Raw(b")q\x00" + b"h\x00h\x00\x86q\x00" * 60)
LYING = {
    "tensor behind its storage": tensor(STORED, 12, (1,), (1,)),
    "stride out of its storage": tensor(STORED, 0, (3, 4), (5, 1)),
    "tensor longer than its storage": tensor(STORED, 0, (13,), (1,)),
    "negative offset": tensor(STORED, -1, (1,), (1,)),
    "negative size": tensor(STORED, 0, (-1,), (1,)),
    "negative stride": tensor(STORED, 11, (2,), (-1,)),
    "huge size": tensor(STORED, 0, (2**80,), (0,)),
    "huge size of nothing": tensor(STORED, 0, (0, 2**61), (0, 0)),
    "huge and expanded": tensor(STORED, 0, (2**40,), (0,)),
    "size of two axes, stride of one": tensor(STORED, 0, (1, 1), (1,)),
    "many axes": tensor(STORED, 0, (1,) * 40, (1,) * 40),
    "size of floats": tensor(STORED, 0, (1.0,), (1,)),
    "size of truth": tensor(STORED, 0, (True,), (1,)),
    "no size": tensor(STORED, 0, None, (1,)),
    "storage of text": tensor("0", 0, (1,), (1,)),
    "storage that was made": tensor(
        Call(Name("torch", "FloatStorage"), ("0", 12)), 0, (1,), (1,)
    ),
    "storage longer than the file's": storage("0", 13),
    "negative storage": storage("0", -1),
    "unknown type": Outside(("storage", Name("torch", "Odd"), "0", "cpu", 12)),
    "no storage": Outside(("file", "/etc/passwd")),
    "elsewhere": Outside("0"),
    "tensor of two arguments": Call(Name("torch._utils", "_rebuild_tensor"), (1, 2)),
    "set of text": Call(Name("builtins", "set"), ("abc",)),
    "list as a key": Raw(b"}]K\x01s"),
    "tensor as a key": Raw(b"}" + pickled(tensor(STORED, 0, (), ()))[2:-1] + b"Ns"),
    "integer with a chosen hash": {2**61 - 1: 1},
    "key without value": Raw(b"}(K\x01K\x01K\x01u"),
    "second state": Filled(Filled(Call(Name("torch", "A"), ()), {}), {}),
    "list in itself": Raw(b"]q\x00h\x00a"),
    "dict in itself": Raw(b"}q\x00]h\x00aU\x01ah\x00s"),
    "long name": Name("torch", "a" * 300),
    "name of lists": Raw(b"]q\x00" + b"h\x00h\x00\x86q\x00" * 60 + b"h\x00\x93"),
    "size of tuples": tensor(STORED, 0, (MANY,), (1,)),
    "offset of tuples": tensor(STORED, MANY, (1,), (1,)),
    "key of tuples": Raw(b"}" + MANY.instructions + b"Ns"),
    "long key": Raw(b"}(" + b"U\x01a" * 9 + b"tNs"),
    "tensor of many arguments": tensor(STORED, 0, (), (), *[None] * 9),
    "deep list": Raw(b"]" * 400 + b"a" * 399),
    "deep tuple": Raw(b")" + b"\x85" * 20_000),
    "text cut off": Raw(b"X\xff\xff\xff\x7f"),
    "bytes cut off": Raw(b"\x8e" + struct.pack("<Q", 2**62)),
    "negative length": Raw(b"T\xff\xff\xff\xff"),
    "unknown memory": Raw(b"h\x07"),
    "empty stack": Raw(b"0000"),
    "no mark": Raw(b"t"),
    "tuple below the bottom": Raw(b"00\x87"),
}


@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize("value", LYING.values(), ids=LYING.keys())
def test_lies_and_damage(refused, form, value):
    if form and isinstance(value, Outside) and len(value.identity) == 5:
        value = Outside((*value.identity, None))
    refused(in_form(form, {"a": value}), r"weights\.pt")


def edited(content: bytes, start: int, new: bytes) -> bytes:
    return content[:start] + new + content[start + len(new) :]


def archive_faults():
    value = pickled({"t": tensor(STORED, 0, (12,), (1,))})
    right = zip_form(value, {"0": TWELVE})
    at = right.index(TWELVE)
    central = right.index(b"PK\x01\x02")
    of_storage = right.index(b"archive/data/0", central) - 46
    huge = struct.pack("<I", 2**31)
    sized = edited(right, of_storage + 20, huge + huge)
    squeezed = zip_form(value, {"0": bytes(10**6)}, compression=zipfile.ZIP_DEFLATED)
    return {
        "empty": (b"", "empty"),
        "text": (b"weights", "begins with b'weights'"),
        "safetensors": (b"\x40\0\0\0\0\0\0\0{", "begins with"),
        "only the start of a zip": (right[:60], "no readable zip"),
        "cut off": (right[:-30], "no readable zip"),
        "changed byte": (edited(right, at + 5, b"\x77"), "another checksum"),
        "size over the file's": (sized, "entries of 2147483"),
        "sizes that differ": (
            edited(right, of_storage + 20, b"\x2f"),
            "has not the 48 bytes",
        ),
        "offset elsewhere": (edited(right, of_storage + 42, b"\x09"), "is not where"),
        "encrypted": (edited(right, of_storage + 8, b"\x01"), "encrypted"),
        "compressed": (squeezed, "compressed"),
        "no pickle": (
            zip_form(value, {}).replace(b"data.pkl", b"date.pkl"),
            "0 data.pkl",
        ),
        "two pickles": (zip_form(value, {}, **{"b/data.pkl": value}), "2 data.pkl"),
        "TorchScript": (zip_form(value, {}, **{"constants.pkl": value}), "TorchScript"),
        "byte order": (
            zip_form(value, {}, byteorder=b"middle"),
            "byte order b'middle'",
        ),
        "no storage": (zip_form(value, {"1": TWELVE}), "KeyError: 'archive/data/0'"),
        "short storage": (zip_form(value, {"0": TWELVE[:-1]}), "storage of 47 bytes"),
        "large pickle": (
            zip_form(pickled([bytes(1 << 24)])),
            "data.pkl of 16777",
        ),
        "view in a zip": (
            zip_form(pickled(storage("0", 2, view=(("1", 0, 1),))), {"0": TWELVE}),
            "a view of a storage",
        ),
    }


FAULTS = archive_faults()


@pytest.mark.parametrize(("content", "what"), FAULTS.values(), ids=FAULTS.keys())
def test_faults_of_archives(refused, content, what):
    refused(content, what)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_entries_of_one_name_and_over_one_another(refused):
    value = pickled({"t": tensor(STORED, 0, (12,), (1,))})
    refused(zip_form(value, {}, **{"data.pkl": value}), "two entries")
    right = zip_form(value, {str(i): TWELVE for i in range(50)})
    central = right.index(b"PK\x01\x02")
    one = right.index(b"archive/data/7", central) - 46
    whole = struct.pack("<I", len(right) - 100)
    refused(edited(right, one + 20, whole + whole), "entries of .* bytes in")


def test_archive_without_checksums(read):
    value = pickled({"t": tensor(STORED, 0, (12,), (1,))})
    right = zip_form(value, {"0": TWELVE})
    with zipfile.ZipFile(io.BytesIO(right)) as archive:
        for entry in archive.infolist():
            right = right.replace(struct.pack("<I", entry.CRC), bytes(4))
    np.testing.assert_array_equal(read(right)["t"], np.arange(12))


LEGACY_FAULTS = {
    "another pickle": (pickle.dumps([1, 2]), "none of torch.save"),
    "tensor for a number": (pickled(tensor(STORED, 0, (), ())), "none of torch.save"),
    "another version": (
        LEGACY_START.replace(struct.pack("<H", 1001), struct.pack("<H", 1002)),
        "none of torch.save",
    ),
    "only the start": (LEGACY_START, "IndexError"),
    "no keys": (LEGACY_START + pickled({}) * 2, "a dict instead of keys"),
    "unknown key": (LEGACY_START + pickled({}) + pickled(["7"]), "unknown key"),
    "key of a list": (LEGACY_START + pickled({}) + pickled([[]]), "unknown key"),
    "cut off": (legacy_form(pickled(STORED), {"0": (12, TWELVE[:-1])}), "cut off"),
    "huge": (legacy_form(pickled(STORED), {"0": (2**62, TWELVE)}), "cut off"),
    "negative": (legacy_form(pickled(STORED), {"0": (-1, TWELVE)}), "cut off"),
    "shorter than its reference": (
        legacy_form(pickled(STORED), {"0": (11, TWELVE)}),
        "storage of 44 bytes",
    ),
    "missing": (legacy_form(pickled([tensor(STORED, 0, (1,), (1,))])), "KeyError: '0'"),
    "view out of its storage": (
        legacy_form(
            pickled(storage("0", 12, view=(("1", 8, 5),))), {"0": (12, TWELVE)}
        ),
        "storage of 48 bytes",
    ),
    "view of two": (
        legacy_form(pickled(storage("0", 12, view=((1, 2),))), {"0": (12, TWELVE)}),
        "not enough values to unpack",
    ),
    "two types of one storage": (
        legacy_form(
            pickled([storage("0", 12), storage("0", 6, "float64")]), {"0": (12, TWELVE)}
        ),
        "as two types",
    ),
}


@pytest.mark.parametrize(
    ("content", "what"), LEGACY_FAULTS.values(), ids=LEGACY_FAULTS.keys()
)
def test_faults_of_the_legacy_form(refused, content, what):
    refused(content, what)


def test_paths(tmp_path):
    with pytest.raises(TorchFileError, match="No such file"):
        read_torch(tmp_path / "none.pt")
    with pytest.raises(TorchFileError, match="no regular file"):
        read_torch(tmp_path)


def again_and_again(call: bytes, argument: bytes) -> bytes:
    """A pickle that makes a thing of the same argument 10,000 times."""
    made = call + b"q\x01" + argument + b"q\x02](" + b"h\x01h\x02R" * 10_000 + b"e."
    return zip_form(b"\x80\x02" + made)


ONES = b"](" + b"K\x01" * 5_000 + b"e\x85"
GREEDY = {
    "expanded tensor": in_form(0, [tensor(STORED, 0, (2**28,), (0,))]),
    "expanded tensors": in_form(0, [tensor(STORED, 0, (1000, 12), (0, 1))] * 1_000),
    "sets of a list": again_and_again(b"cbuiltins\nset\n", ONES),
    "objects of many arguments": zip_form(
        b"\x80\x02ctorch\nA\nq\x010(" + b"N" * 5_000 + b"tq\x02"
        b"0}K\x01K\x01sq\x03](" + b"h\x01h\x02h\x03\x92" * 10_000 + b"e."
    ),
    "bytes of a text": again_and_again(
        b"c_codecs\nencode\n", pickled(("x" * 10**5, "latin1"))[2:-1]
    ),
}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(
            content,
            marks=pytest.mark.slow if name == "sets of a list" else (),
            id=name,
        )
        for name, content in GREEDY.items()
    ],
)
def test_memory_is_bounded(refused, content):
    tracemalloc.start()
    try:
        refused(content, "times the bytes that the file has")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 * len(content) + 2**24


def test_shared_parts_are_looked_at_once(read):
    """2 ** 200 lists for who goes through them all."""
    lists = b"".join(
        b"](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1])
        for i in range(200)
    )
    made = read(zip_form(b"\x80\x02]q\x00" + lists + b"."))
    assert made[0] is made[1]
    with pytest.raises(TorchFileError, match="a list where weights should be"):
        state_dict_of(made)


NET = module(
    "timm.models.efficientnet.EfficientNet",
    {"scale": parameter(tensor(STORED, 0, (), ())), "none": None},
    {},
    {
        "conv": module(
            "timm.layers.Conv2dSame",
            {"weight": parameter(tensor(STORED, 0, (2, 2), (2, 1))), "bias": None},
            act=Name("torch.nn.functional", "relu"),
        ),
        "act": None,
        "bn": module(
            "torch.nn.modules.batchnorm.BatchNorm2d",
            {"weight": parameter(tensor(STORED, 4, (2,), (1,)))},
            {
                "running_mean": tensor(STORED, 6, (2,), (1,)),
                "helper": tensor(STORED, 0, (9,), (1,)),
            },
            _non_persistent_buffers_set={"helper"},
        ),
    },
    _backward_hooks=ORDERED,
)
STATE = {
    "scale": 0,
    "conv.weight": [[0, 1], [2, 3]],
    "bn.weight": [4, 5],
    "bn.running_mean": [6, 7],
}


@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize("wrapper", ["", "state_dict", "model", "model_state_dict"])
def test_state_dict_of_a_module(read, form, wrapper):
    epoch = {"epoch": 3, "optimizer": {"state": {0: {"step": 1}}}}
    made = read(in_form(form, {**epoch, wrapper: NET} if wrapper else NET))
    found = state_dict_of(made)
    assert list(found) == list(STATE)
    assert {name: array.tolist() for name, array in found.items()} == STATE


def test_state_dict_of_a_state_dict():
    plain = {"a.weight": np.zeros(3), "b": np.ones(())}
    assert state_dict_of(plain) == plain
    assert state_dict_of({"state_dict": plain, "best": np.ones(())}) == plain
    assert state_dict_of({"model": {"state_dict": plain}}) == plain


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (3, "a int where weights"),
        (Record("torch.nn.Module"), "a torch.nn.Module where weights"),
        ({}, "0 of 0 weights"),
        ({"model": {}}, "0 of 0 weights"),
        ({"a": np.zeros(1), "b": 3}, r"1 of 2 weights .*b \(a int\)"),
        ({3: np.zeros(1)}, r"3 \(a ndarray\)"),
        ({"model": {"a": np.zeros(1)}, "ema": {"a": np.zeros(1)}}, "'model', 'ema'"),
        ({"model": {"a": np.zeros(1)}, "state_dict": {}}, "'model', 'state_dict'"),
        ({"generator": {"a": np.zeros(1)}}, "under 'generator'; expected them in one"),
    ],
)
def test_values_without_weights(value, what):
    with pytest.raises(TorchFileError, match=what):
        state_dict_of(value)


def a_module(**modules) -> Record:
    state = {"_parameters": {"w": np.zeros(1)}, "_buffers": {}, "_modules": modules}
    return Record("torch.nn.Module", (), state)


def test_modules_that_are_none():
    with pytest.raises(TorchFileError, match=r"module 'a.b' is a torch.X"):
        state_dict_of(a_module(a=a_module(b=Record("torch.X", ()))))
    loop = a_module()
    loop.state["_modules"]["again"] = loop
    with pytest.raises(TorchFileError, match="over 100 levels deep"):
        state_dict_of(loop)
    wide = a_module()
    for _ in range(60):
        wide = a_module(a=wide, b=wide)
    with pytest.raises(TorchFileError, match="or too many"):
        state_dict_of(wide)
    hidden = a_module()
    hidden.state["_buffers"] = {f"b{i}": None for i in range(10_000)}
    many = a_module(**{f"m{i}": hidden for i in range(10_000)})
    with pytest.raises(TorchFileError, match="or too many"):
        state_dict_of(many)
    twice = a_module()
    twice.state["_buffers"] = {"w": np.ones(1)}
    with pytest.raises(TorchFileError, match="two tensors of one name"):
        state_dict_of(twice)
    dotted = a_module(a=a_module())
    dotted.state["_parameters"] = {"a.w": np.ones(1)}
    with pytest.raises(TorchFileError, match="two tensors of one name"):
        state_dict_of(dotted)
    other = a_module()
    other.state["_parameters"] = {3: np.ones(1)}
    with pytest.raises(TorchFileError, match=r"a torch.nn.Module where"):
        state_dict_of(other)


# What other versions of timm wrote, with tensors of counted values; see
# scripts/check_old_timm.py.


@pytest.mark.parametrize(
    ("version", "form"),
    [
        *(("0.4.12", "legacy"), ("0.9.16", "zip")),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                *(("0.4.12", "zip"), ("0.9.16", "legacy")),
                *(("0.6.13", "zip"), ("0.6.13", "legacy")),
            )
        ),
    ],
)
def test_modules_of_old_timm(read, version, form):
    packed = (GOLDEN / f"timm_{version}_{form}.pt.gz").read_bytes()
    value = read(gzip.decompress(packed))
    assert value.name == "timm.models.efficientnet.EfficientNet"
    found = state_dict_of(value)
    assert next(iter(found)) == "conv_stem.weight"
    assert list(found)[-1] == "classifier.bias"
    assert len(found) == 74
    for index, (name, array) in enumerate(found.items()):
        whole = name.endswith("num_batches_tracked")
        assert array.dtype == (np.int64 if whole else np.float32)
        expected = np.arange(array.size).reshape(array.shape) % 7 + index
        np.testing.assert_array_equal(array, expected)


# The real thing.


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value.numpy(), strict=True)


@pytest.mark.parity
@pytest.mark.parametrize("as_zip", [True, False])
def test_modules_of_this_timm(tmp_path, as_zip):
    timm = import_timm()
    import torch

    model = timm.create_model("tf_efficientnet_b0", num_classes=8)
    model.blocks = model.blocks[:2]  # they are alike
    model.classifier = torch.nn.Sequential(torch.nn.Linear(1280, 10))
    expected = model.state_dict()
    for value in (model, {"state_dict": expected, "epoch": 3}):
        path = tmp_path / "model.pt"
        torch.save(value, path, _use_new_zipfile_serialization=as_zip)
        assert_same(state_dict_of(read_torch(path)), expected)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("as_zip", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_tensors_of_torch(tmp_path, as_zip, protocol):
    torch = pytest.importorskip("torch", reason="needs the extra 'parity'")
    torch.manual_seed(0)
    matrix = torch.randn(5, 7)
    plain = {
        "matrix": matrix,
        "column": matrix[:, 3],
        "part": matrix[1:4, ::2],
        "turned": matrix.T,
        "expanded": torch.ones(3, 1).expand(3, 4),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(3.5),
        "count": torch.tensor(3),
        "half": matrix.half(),
        "double": matrix.double(),
        "complex": torch.complex(matrix, -matrix),
        "truth": matrix > 0,
        "parameter": torch.nn.Parameter(matrix.clone()),
        "buffer": torch.nn.Buffer(torch.ones(2)),
        "last": matrix.reshape(1, 5, 7, 1).contiguous(
            memory_format=torch.channels_last
        ),
    }
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64):
        plain[str(dtype)] = (matrix * 10).clamp(0).to(dtype)
    if as_zip:
        for dtype in (torch.uint16, torch.uint32, torch.uint64):
            plain[str(dtype)] = (matrix * 10).clamp(0).to(dtype)
    plain["with attributes"] = torch.nn.Parameter(torch.ones(2))
    plain["with attributes"].named = "x"
    odd = {"bfloat16": matrix.bfloat16(), "conjugate": plain["complex"].conj()}
    odd["sparse"] = matrix.to_sparse()
    odd["quantised"] = torch.quantize_per_tensor(matrix, 0.1, 0, torch.qint8)
    path = tmp_path / "tensors.pt"
    torch.save(
        {**plain, **odd},
        path,
        _use_new_zipfile_serialization=as_zip,
        pickle_protocol=protocol,
    )
    made = read_torch(path)
    assert_same({k: made[k] for k in plain}, {k: v.detach() for k, v in plain.items()})
    np.testing.assert_array_equal(
        made["bfloat16"], odd["bfloat16"].float().numpy(), strict=True
    )
    for name in ("conjugate", "sparse", "quantised"):
        assert isinstance(made[name], Record)


@pytest.mark.parity
@pytest.mark.parametrize("as_zip", [True, False])
def test_a_module_with_everything(tmp_path, as_zip):
    torch = pytest.importorskip("torch", reason="needs the extra 'parity'")
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, activation="gelu")
    model = torch.nn.Sequential(
        torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
        torch.nn.ModuleDict({"a": torch.nn.Conv1d(8, 8, 3, bias=False)}),
        torch.nn.ParameterList([torch.nn.Parameter(torch.ones(2))]),
        torch.nn.BatchNorm1d(8),
    )
    model.append(model[0])
    model.register_buffer("hidden", torch.ones(3), persistent=False)
    model.register_buffer("kept", torch.ones(3))
    model.register_forward_hook(torch.nn.functional.relu)
    path = tmp_path / "module.pt"
    torch.save(model, path, _use_new_zipfile_serialization=as_zip)
    found = state_dict_of(read_torch(path))
    assert_same(found, model.state_dict())
    assert found["0.layers.0.norm1.weight"] is found["4.layers.0.norm1.weight"]


@pytest.mark.parity
@pytest.mark.parametrize("as_zip", [True, False])
def test_tensors_saved_from_a_gpu(tmp_path, as_zip):
    torch = pytest.importorskip("torch", reason="needs the extra 'parity'")
    expected = torch.nn.Linear(3, 2).state_dict()
    path = tmp_path / "cuda.pt"
    torch.save(expected, path, _use_new_zipfile_serialization=as_zip)
    of_cpu, of_gpu = pickled("cpu")[2:-1], pickled("cuda:0")[2:-1]
    if as_zip:
        with zipfile.ZipFile(path) as archive:
            contents = {
                e.filename.split("/", 1)[1]: archive.read(e) for e in archive.infolist()
            }
        main = contents.pop("data.pkl")
        del contents["version"]
        assert of_cpu in main
        path.write_bytes(zip_form(main.replace(of_cpu, of_gpu), {}, **contents))
    else:
        assert of_cpu in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(of_cpu, of_gpu))
    assert_same(state_dict_of(read_torch(path)), expected)
