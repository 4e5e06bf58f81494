"""Faces to embeddings: decoded on the host, resized and normalised on the devices.

Where the devices are the host's CPU, Pillow resizes, to the same bits.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from avemo_jax.embed import identity
from avemo_jax.embed.contract import Embeddings, check_count, joined
from avemo_jax.embed.devices import in_flight, on_all_devices, to_all_devices
from avemo_jax.embed.image_networks import image_network
from avemo_jax.extractors import Extractor
from avemo_jax.media import resizing
from avemo_jax.runtime.machine import device_bytes, memory_bytes

Images = np.ndarray | Sequence[np.ndarray]


class ImageExtractor:
    """A network, or histograms of gradients, on face crops of any size.

    Attributes:
        extractor: The extractor's entry in the table.
        settings: All that decides its numbers beside the weights.
        fingerprint: Digest of weights, settings and version.
        weights_sha256: Digest of the weights' tensors, as feature files record it.
    """

    def __init__(
        self,
        extractor: Extractor,
        tensors: Mapping[str, np.ndarray] | None = None,
        *,
        dtype: str = "float32",
        size_px: int | None = None,
        batch_size: int = 32,
        tensors_sha256: str = "",
    ):
        """Puts the network on the devices; it compiles with the first batch.

        Args:
            extractor: The extractor's entry in the table.
            tensors: Weights by the names in its published files (timm's names of an
                EfficientNet); None: it has none.
            dtype: Precision of the arithmetic: "float32" or "bfloat16"; of histograms
                of gradients the first alone.
            size_px: Side that crops are resized to: at least 32 for an EfficientNet,
                16 for histograms of gradients, a multiple of 14 for DINOv2. None: the
                default of the table.
            batch_size: Images that run at once, rounded up to a multiple of the number
                of devices; a shorter batch is padded. 1 suits single live images.
            tensors_sha256: Digest of the tensors, a part of the fingerprint.

        Raises:
            ValueError: If an option is out of range.
            WeightsError: If the tensors are not those of this network.
        """
        size = extractor.image.size_px if size_px is None else size_px
        check_count(extractor, "batch_size", batch_size, 1)
        network = image_network(extractor, tensors, size_px=size, dtype=dtype)
        self._params = to_all_devices(network.params)
        self._embed = on_all_devices(network.embed)
        settings = {"size_px": size, "dtype": dtype, **network.settings}
        self._set_up(extractor, settings, batch_size, tensors_sha256)

    def _set_up(
        self,
        extractor: Extractor,
        settings: dict[str, Any],
        batch_size: int,
        weights_sha256: str,
    ) -> None:
        """Sets up all but the network, alike for every extractor of images."""
        takes, size, dtype = extractor.image, settings["size_px"], settings["dtype"]
        self.extractor = extractor
        self.weights_sha256 = weights_sha256
        self.settings = settings
        self.fingerprint = identity.fingerprint(extractor, weights_sha256, settings)
        devices = jax.local_device_count()
        _check_memory(extractor, -(-batch_size // devices), size)
        self.batch_size = -(-batch_size // devices) * devices

        def resized(_: Any, batch: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
            return resizing.resize_and_normalise(
                *batch, size_px=size, mean=takes.mean, std=takes.std, dtype=dtype
            )

        self._on_cpu = jax.local_devices()[0].platform == "cpu"
        # Apart from the network, since each canvas size compiles this small part again.
        self._resize = on_all_devices(resized)

    def extract(self, batch: Images) -> Embeddings:
        """The embedding and the network's own outputs of each image, in order.

        Args:
            batch: RGB, uint8, each (height, width, 3), of any sizes and number; an
                array of one size or a sequence of arrays.

        Raises:
            ValueError: If an image is not of that form.
        """
        return joined(self.extractor, self.stream(iter(batch)))

    def stream(self, images: Iterator[np.ndarray]) -> Iterator[Embeddings]:
        """The embeddings of :meth:`extract`, batch by batch, while images are read.

        The n-th row, counted across batches, belongs to the n-th image. Every batch but
        the last has ``batch_size`` rows. The host fills the next batches while the
        devices work: a batch comes out once two more are full, or the images have
        ended.

        Args:
            images: The images, read one by one as they are needed.

        Raises:
            ValueError: If an image is not RGB, uint8, (height, width, 3).
        """
        for rows, result in in_flight(self._begun(images)):
            features, outputs = (np.asarray(part)[:rows] for part in result)
            yield Embeddings(features, outputs if self.extractor.outputs else None)

    def _begun(self, images: Iterator[np.ndarray]) -> Iterator[tuple[int, Any]]:
        """Number of rows and running work of each batch."""
        batch: list[np.ndarray] = []
        for image in images:
            batch.append(_checked(image))
            if len(batch) == self.batch_size:
                work = self._start(batch)
                batch = []
                yield self.batch_size, work
        if batch:
            yield len(batch), self._start(batch)

    def _start(self, images: list[np.ndarray]) -> Any:
        """Start the devices' work on one batch."""
        pack = resizing.pack_resized if self._on_cpu else resizing.pack_images
        packed = pack(images, rows=self.batch_size, size_px=self.settings["size_px"])
        pixels = self._resize(None, packed)
        return self._embed(self._params, pixels)


def _check_memory(extractor: Extractor, rows: int, size_px: int) -> None:
    """Check that a batch fits into a device's memory, or the machine's on a CPU.

    Raises:
        ValueError: If its pixels, as bytes and as numbers, take more.
    """
    needed = rows * 3 * size_px**2 * (1 + np.dtype(np.float32).itemsize)
    there = device_bytes() or memory_bytes()
    if needed > there:
        raise ValueError(
            f"batch_size {rows:,} on a device for {extractor.name} takes at least "
            f"{needed:,} bytes of memory for its pixels, and there are {there:,}; "
            "expected less: lower the batch size"
        )


def _checked(image: np.ndarray) -> np.ndarray:
    form = image.ndim == 3 and image.shape[-1] == 3 and image.size > 0
    if image.dtype != np.uint8 or not form:
        raise ValueError(
            f"an image of dtype {image.dtype} and shape {image.shape}; expected uint8 "
            "(height, width, 3), RGB; read files with avemo_jax.media.images.read_image"
        )
    return image
