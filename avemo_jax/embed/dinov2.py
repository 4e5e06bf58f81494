"""Faces to the class tokens and means of patches of DINOv2."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from avemo_jax.embed import identity
from avemo_jax.embed.contract import check_count
from avemo_jax.embed.devices import on_all_devices, to_all_devices
from avemo_jax.embed.images import ImageExtractor
from avemo_jax.extractors import Extractor, dinov2


class DinoV2Extractor(ImageExtractor):
    """A DINOv2 on face crops of any size."""

    def __init__(
        self,
        extractor: Extractor,
        tensors: Mapping[str, np.ndarray],
        *,
        dtype: str = "float32",
        size_px: int | None = None,
        batch_size: int = 32,
        tensors_sha256: str = "",
    ):
        """Puts the network on the devices; it compiles with the first batch.

        Args:
            extractor: The extractor's entry in the table.
            tensors: Weights by the names that the authors give them.
            dtype: Precision of the arithmetic: "float32" or "bfloat16".
            size_px: Side that crops are resized to, a multiple of 14. None: the default
                of the table.
            batch_size: Images that run at once, rounded up to a multiple of the number
                of devices; a shorter batch is padded.
            tensors_sha256: Digest of the tensors, a part of the fingerprint.

        Raises:
            ValueError: If a size is out of range.
            WeightsError: If the tensors are not those of this network.
        """
        size = extractor.image.size_px if size_px is None else size_px
        spec = dinov2.dinov2_spec(extractor)
        spec.patches(size)
        check_count(extractor, "batch_size", batch_size, 1)
        shapes = dinov2.state_shapes(spec)
        identity.check_tensors(extractor, tensors, shapes)
        params = dinov2.prepare(spec, tensors, size_px=size)
        self._params = to_all_devices(params)

        def embed(params: Any, pixels: jax.Array) -> tuple[jax.Array, jax.Array]:
            features = dinov2.apply(spec, params, pixels, dtype=dtype)
            return features, features[:, :0]  # it has no outputs of its own

        self._embed = on_all_devices(embed)
        settings = {"size_px": size, "dtype": dtype}
        self._set_up(extractor, settings, batch_size, tensors_sha256)
