"""Examples as records on disk, whose bytes are the same whoever writes them."""

from collections.abc import Iterable
from typing import Any

from avemo_jax.data.store.tfds import import_tfds

tfds = import_tfds()
_PROTO = tfds.core.example_serializer.tf_example_pb2


class RecordWriter(tfds.core.writer.ExampleWriter):
    """TFDS's writer, with the fields of each record in the order of their names.

    TFDS leaves it to protobuf, which puts them in another order in each process.
    """

    def write(self, path: Any, examples: Iterable[tuple[Any, bytes]]) -> Any:
        """Write records one after the other.

        Args:
            path: File of the shard.
            examples: Pairs of a key, which is not written, and a record.
        """
        return super().write(
            path, ((key, _ordered(record)) for key, record in examples)
        )


def shard_writer(fields: Any) -> Any:
    """TFDS's writer of a shard of array_record.

    Args:
        fields: ``FeaturesDict`` of its examples.
    """
    core = tfds.core
    return core.writer.ShardWriter(
        features=fields,
        serializer=core.example_serializer.ExampleSerializer(
            fields.get_serialized_info()
        ),
        example_writer=RecordWriter(core.file_adapters.FileFormat.ARRAY_RECORD),
    )


def _ordered(record: bytes) -> bytes:
    example = _PROTO.Example.FromString(record)
    ordered: bytes = example.SerializeToString(deterministic=True)
    return ordered
