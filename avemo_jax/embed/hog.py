"""Faces to histograms of oriented gradients, resized on the devices like all faces."""

from typing import Any

import jax

from avemo_jax.embed.contract import check_count, check_float32
from avemo_jax.embed.devices import on_all_devices
from avemo_jax.embed.images import ImageExtractor
from avemo_jax.extractors import Extractor, hog


class HogExtractor(ImageExtractor):
    """Histograms of oriented gradients of face crops of any size."""

    def __init__(
        self,
        extractor: Extractor,
        *,
        dtype: str = "float32",
        size_px: int | None = None,
        batch_size: int = 32,
    ):
        """Prepares the devices; their program compiles with the first batch.

        Args:
            extractor: The extractor's entry in the table.
            dtype: "float32", the only precision.
            size_px: Side that crops are resized to, at least 16. None: the default of
                the table.
            batch_size: Images that run at once, rounded up to a multiple of the number
                of devices; a shorter batch is padded.

        Raises:
            ValueError: If an option is out of range.
        """
        size = extractor.image.size_px if size_px is None else size_px
        check_count(extractor, "size_px", size, hog.MIN_SIZE_PX)
        check_count(extractor, "batch_size", batch_size, 1)
        check_float32(extractor.name, dtype)
        self._params: dict[str, Any] = {}

        def embed(_: Any, pixels: jax.Array) -> tuple[jax.Array, jax.Array]:
            features = hog.apply(pixels)
            return features, features[:, :0]  # it has no outputs of its own

        self._embed = on_all_devices(embed)
        settings = {"size_px": size, "dtype": dtype, "cells": hog.CELLS}
        self._set_up(extractor, settings, batch_size, weights_sha256="")
