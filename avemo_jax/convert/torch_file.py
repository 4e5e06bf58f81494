"""Files of PyTorch, read without PyTorch and without running their pickles.

Since PyTorch 1.6, ``torch.save`` writes a zip archive: ``NAME/data.pkl`` is a pickle in
which tensors refer to storages, and ``NAME/data/KEY`` has the bytes of each storage,
uncompressed. Before, it wrote five pickles one after another (magic number, version,
machine, the object, keys of storages), then the storages.

Memory is bounded by the file's size (``torch_tensors.Allowance``) and by
``MAX_PICKLE_BYTES``. ``torch_pickle.py`` decides what the pickles may do.
"""

import os
import pathlib
import stat
import struct
import zipfile
import zlib
from typing import IO, Any

import numpy as np

from avemo_jax.convert.torch_modules import state_dict_of
from avemo_jax.convert.torch_pickle import TorchPolicy
from avemo_jax.convert.torch_records import Record, TorchFileError
from avemo_jax.convert.torch_tensors import STORAGES, Allowance, Storage
from avemo_jax.runtime import safe_pickle
from avemo_jax.runtime.regular_files import is_special

__all__ = ["Record", "TorchFileError", "read_torch", "state_dict_of"]

# Size of pickles without storages; that of a large network is under one million.
MAX_PICKLE_BYTES = 1 << 24
_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001


def read_torch(path: str | os.PathLike[str]) -> Any:
    """The value that ``torch.save`` stored, with nothing imported, called or run.

    Tensors and parameters come out as contiguous numpy arrays that own their memory,
    bfloat16 widened to float32 (exactly); OrderedDict as dict, torch.Size as tuple.
    Everything else that has a name (modules, dtypes, devices, functions; also sparse,
    quantised, float8, conjugate tensors and bare storages) is a ``Record``. Whether
    the file was saved from a GPU makes no difference.

    Raises:
        TorchFileError: If the file is missing, damaged or no such file, asks for a call
            of anything that networks are not made of, or for more memory than a few
            times its size.
    """
    path = pathlib.Path(path)
    if is_special(path):
        raise _wrong(path, "no regular file")
    try:
        with path.open("rb") as file:
            return _read(path, file)
    except OSError as error:
        raise TorchFileError(
            f"{path}: not readable ({error.strerror or error}); expected a file of "
            "torch.save (.pt, .pth, .bin); give its path"
        ) from error
    except (MemoryError, RecursionError, OverflowError) as error:
        raise _wrong(path, f"{type(error).__name__} {error!s:.80}") from error
    except (safe_pickle.RefusedPickleError, safe_pickle.DamagedPickleError) as error:
        raise TorchFileError(str(error)) from error


def _read(path: pathlib.Path, file: IO[bytes]) -> Any:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        raise _wrong(path, "empty, or no regular file")
    data = np.asarray(np.memmap(file, np.uint8, "r"))
    if bytes(data[:4]) == b"PK\x03\x04":
        return _Archive(path, file, data).value()
    if bytes(data[:1]) == b"\x80":
        return _legacy(path, data)
    raise _wrong(path, f"begins with {bytes(data[:16])!r}")


def _wrong(path: pathlib.Path, what: str) -> TorchFileError:
    return TorchFileError(
        f"{path}: {what}; expected a file of torch.save, a zip archive with a data.pkl "
        "or pickles after one another; is it damaged, or of another kind? Copy or "
        "download it again"
    )


class _Archive:
    """A file that is a zip archive."""

    def __init__(self, path: pathlib.Path, file: IO[bytes], data: np.ndarray) -> None:
        self.path = path
        self.data = data
        self.storages: dict[str, np.ndarray] = {}
        self.entries: dict[str, zipfile.ZipInfo] = {}
        try:
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
        except (
            zipfile.BadZipFile,
            ValueError,
            NotImplementedError,
            OverflowError,
            struct.error,
        ) as error:
            raise _wrong(path, f"no readable zip archive ({error})") from error
        for entry in entries:
            if entry.filename in self.entries:
                raise _wrong(path, f"two entries {entry.filename!r:.80}")
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                raise _wrong(path, f"{entry.filename!r:.80} is compressed or encrypted")
            self.entries[entry.filename] = entry
        # Entries that overlap would be read many times.
        total = sum(entry.file_size for entry in entries)
        if total > len(data):
            raise _wrong(path, f"entries of {total} bytes in {len(data)}")

    def value(self) -> Any:
        """The value that the archive keeps."""
        mains = [n for n in self.entries if n.rpartition("/")[2] == "data.pkl"]
        if len(mains) != 1:
            raise _wrong(self.path, f"a zip archive with {len(mains)} data.pkl")
        self.folder = mains[0].removesuffix("data.pkl")
        if f"{self.folder}constants.pkl" in self.entries:
            raise TorchFileError(
                f"{self.path}: a TorchScript archive; expected a file of torch.save; "
                "save the network's state dict with torch.save"
            )
        size = self.entries[mains[0]].file_size
        if size > MAX_PICKLE_BYTES:
            raise _wrong(self.path, f"data.pkl of {size} bytes")
        order = b"little"
        if f"{self.folder}byteorder" in self.entries:
            order = self.content(f"{self.folder}byteorder").tobytes()
        if order not in (b"little", b"big"):
            raise _wrong(self.path, f"byte order {order!r:.40}")
        self.big_endian = order == b"big"
        policy = TorchPolicy(self.path, self.storage, Allowance(len(self.data)))
        return safe_pickle.Machine(self.content(mains[0]).tobytes(), policy).run()

    def content(self, name: str) -> np.ndarray:
        """The bytes of an entry, as they are in the file.

        Raises:
            TorchFileError: If they are not where, or not those that, the archive says.
        """
        entry = self.entries[name]
        start, size = entry.header_offset, entry.file_size
        header = self.data[start : start + 30].tobytes()
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            raise _wrong(self.path, f"{name!r:.80} is not where the archive says")
        start += 30 + sum(struct.unpack("<HH", header[26:]))
        content = self.data[start : start + size]
        if len(content) != size or entry.compress_size != size:
            raise _wrong(self.path, f"{name!r:.80} has not the {size} bytes it says")
        # torch can be told to write no checksums; then they are 0.
        if entry.CRC and zlib.crc32(content.data) != entry.CRC:
            raise _wrong(self.path, f"{name!r:.80} has another checksum")
        return content

    def storage(
        self, kind: str, key: str, count: int, view: tuple[Any, ...] | None
    ) -> Storage:
        """The bytes of a storage."""
        if view is not None:
            raise ValueError("a view of a storage in a zip archive")
        if key not in self.storages:
            self.storages[key] = self.content(f"{self.folder}data/{key}")
        whole = Storage(self.storages[key], STORAGES[kind], self.big_endian)
        return whole.part(0, count)


def _legacy(path: pathlib.Path, data: np.ndarray) -> Any:
    """The value of a file in the form before PyTorch 1.6.

    The object comes before its storages, so its pickle is carried out twice: first with
    empty tensors, for the keys and types of storages, then with the bytes.
    """
    head = data[:MAX_PICKLE_BYTES].tobytes()
    types: dict[str, Storage] = {}

    def seen(kind: str, key: str, count: int, view: tuple[Any, ...] | None) -> Storage:
        storage = types.setdefault(key, Storage(None, STORAGES[kind]))
        if storage.element != STORAGES[kind]:
            raise ValueError(f"storage {key!r:.40} as two types")
        return storage

    def plain(start: int) -> tuple[Any, int]:
        policy = TorchPolicy(path, seen, Allowance(len(data)))
        machine = safe_pickle.Machine(head, policy, start)
        return machine.run(), machine.position

    magic, position = plain(0)
    # The type is compared first, since a tensor does not compare with a number.
    right = type(magic) is int and magic == _MAGIC_NUMBER
    version, position = plain(position) if right else (None, 0)
    if type(version) is not int or version != _LEGACY_VERSION:
        raise _wrong(path, "a pickle, but none of torch.save")
    _, position = plain(position)
    _, after = plain(position)
    keys, end = plain(after)
    storages = _legacy_storages(path, data, end, keys, types)

    def opened(
        kind: str, key: str, count: int, view: tuple[Any, ...] | None
    ) -> Storage:
        whole = storages[key].part(0, count)
        if view is None:
            return whole
        _, offset, size = view
        return whole.part(offset, size)

    policy = TorchPolicy(path, opened, Allowance(len(data)))
    return safe_pickle.Machine(head, policy, position).run()


def _legacy_storages(
    path: pathlib.Path,
    data: np.ndarray,
    position: int,
    keys: Any,
    types: dict[str, Storage],
) -> dict[str, Storage]:
    """The storages after the pickles, each a number of elements, then the elements."""
    found: dict[str, Storage] = {}
    if type(keys) is not list:
        raise _wrong(path, f"a {type(keys).__name__} instead of keys of storages")
    for key in keys:
        if type(key) is not str or key not in types or key in found:
            raise _wrong(path, f"an unknown key of a storage, {key!r:.40}")
        count = int.from_bytes(data[position : position + 8].tobytes(), "little")
        element = types[key].element
        start, position = position + 8, position + 8 + count * element.size
        if position > len(data):
            raise _wrong(path, f"storage {key!r:.40} of {count} elements, cut off")
        found[key] = Storage(data[start:position], element)
    return found
