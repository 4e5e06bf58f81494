"""All networks of this package by name: extractors, and the face detector."""

from avemo_jax.extractors import EXTRACTORS, Extractor
from avemo_jax.extractors.published import PublishedNetwork
from avemo_jax.faces.published import DETECTOR

AnyNetwork = Extractor | PublishedNetwork
NETWORKS: dict[str, AnyNetwork] = {
    **EXTRACTORS,
    DETECTOR.name: DETECTOR,
}
