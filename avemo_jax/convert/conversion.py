"""Conversion: a file of weights -> ``.safetensors``, or a head checkpoint."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging

from avemo_jax.convert import (
    dinov2,
    efficientnet,
    heads,
    networks,
    onnx_file,
    source_file,
    vggish,
    wav2vec2,
    yunet,
)
from avemo_jax.convert.published_networks import NETWORKS, AnyNetwork
from avemo_jax.convert.rules import ConversionError, Renamed
from avemo_jax.convert.source_file import SourceFile
from avemo_jax.embed.weights import write_weights
from avemo_jax.extractors import Extractor, ImageInput
from avemo_jax.extractors.dinov2 import dinov2_spec
from avemo_jax.extractors.published import THESIS_HEADS, THESIS_LICENCE, PublishedFile
from avemo_jax.extractors.wav2vec2_spec import SPECS
from avemo_jax.models import checkpoints
from avemo_jax.runtime.command_line import did_you_mean
from avemo_jax.runtime.output_places import check_out
from avemo_jax.runtime.versions import VERSION

HEAD = "head"


@dataclasses.dataclass(frozen=True)
class Converted:
    """The result of a conversion.

    Attributes:
        name: Name of the network, or "head".
        out: File of weights that was written; folder of a head checkpoint.
        num_tensors: Number of tensors in it.
        num_parameters: Number of values of all tensors, running statistics included.
        what: Network and outputs, or task and features, in words.
        notes: Words that say what was left out or filled in, and why.
    """

    name: str
    out: pathlib.Path
    num_tensors: int
    num_parameters: int
    what: str
    notes: tuple[str, ...] = ()


def convert(
    name: str,
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    pca: str | os.PathLike[str] | None = None,
    features: Sequence[str] | None = None,
    faithful: bool = False,
    overwrite: bool = False,
) -> Converted:
    """Convert a file of weights to ``.safetensors``, or to a head checkpoint.

    Args:
        name: An extractor, the face detector, or "head" for a head of the
            original system.
        source: ``.pt``, ``.pth``, ``.bin``, ``.ckpt``, ``.safetensors`` or ``.onnx``.
        out: File to write, which ends in ``.safetensors``; for a head, a folder.
        pca: For VGGish: the published ``vggish_pca_params.npz``; None: no PCA is added.
        features: For a head: its feature sets; None: they are inferred.
        faithful: For a head: evaluate it with the gaps and the smoothing of decisions
            of the original system.
        overwrite: Whether an existing ``out`` may be replaced.

    Raises:
        ConversionError: If ``name`` is unknown or has no weights, the source belongs to
            another name or does not fit, an argument does not belong to ``name``, or
            ``out`` has another ending or may not be replaced; nothing is written then.
        TorchFileError: If the file is damaged or would run code.
    """
    target = pathlib.Path(out)
    if name != HEAD and name not in NETWORKS:
        raise ConversionError(
            f"unknown name {name!r}; {did_you_mean(name, (*NETWORKS, HEAD))}expected "
            f"one of {', '.join(NETWORKS)}, or head for a head of the original system; "
            "correct the name"
        )
    if name != HEAD and not NETWORKS[name].needs_weights:
        raise ConversionError(
            f"{name} has no weights; expected an extractor with weights, or head; "
            f"leave the conversion out: {name} runs without"
        )
    for flag, given, owner in (
        ("--pca", pca is not None, "vggish"),
        ("--features", features is not None, HEAD),
        ("--faithful", faithful, HEAD),
    ):
        if given and name != owner:
            raise ConversionError(
                f"{flag} with {name}; expected it with {owner} only; leave it out"
            )
    check_out("--out", target, source, pca)
    _check_out(name, target, overwrite)
    opened = source_file.open_source(source)
    if name == HEAD:
        return _convert_head(opened, target, features, faithful)
    return _convert_network(NETWORKS[name], opened, target, pca)


def _check_out(name: str, out: pathlib.Path, overwrite: bool) -> None:
    if name != HEAD and out.suffix != ".safetensors":
        raise ConversionError(
            f"{out} for weights; expected a name that ends in .safetensors; rename it"
        )
    if not (out.exists() or out.is_symlink()):
        return
    if not overwrite:
        raise ConversionError(
            f"{out} is there already; expected a new name; choose another, or replace "
            "it with --overwrite"
        )
    replaceable = heads.is_head_checkpoint(out) if name == HEAD else out.is_file()
    if not replaceable:
        kind = "a head checkpoint" if name == HEAD else "a file"
        raise ConversionError(
            f"{out} is not {kind}; expected one where --overwrite is given; remove it "
            "yourself, or choose another name"
        )


def _convert_network(
    network: AnyNetwork,
    opened: SourceFile,
    out: pathlib.Path,
    pca: str | os.PathLike[str] | None,
) -> Converted:
    _check_published(network, opened)
    companions = [c for source in network.sources for c in source.companions]
    metadata = _metadata(network, opened)
    pca_tensors = None
    if pca is not None:
        pca_tensors = vggish.read_pca(pca)
        pca_file = source_file.open_source(pca)
        _warn_if_other(pca_file, companions)
        for fact, value in pca_file.provenance(companions).items():
            metadata[f"pca_{fact}"] = value
    found = _read(network, opened, pca_tensors, metadata)
    notes = [
        f"left out {len(names)}: {reason}" for reason, names in found.ignored.items()
    ]
    if metadata.get("batch_norm") == "folded":
        notes.append("BatchNorm came folded into the convolutions")
    if network.network == "vggish" and "pca.means" not in found.tensors:
        logging.warning(
            "no PCA: only raw vectors can be made with %s; convert it with "
            "--pca vggish_pca_params.npz for the published ones",
            out,
        )
    if filled := metadata.get("filled"):
        notes += [f"{name}: {reason}" for name, reason in filled.items()]
    write_weights(out, found.tensors, metadata)
    outputs = ""
    if isinstance(network, Extractor) and network.outputs:
        outputs = f", {network.output_dim} outputs"
    return Converted(
        name=network.name,
        out=out,
        num_tensors=len(found.tensors),
        num_parameters=sum(t.size for t in found.tensors.values()),
        what=f"{network.network}{outputs}",
        notes=tuple(notes),
    )


def _read(
    network: AnyNetwork,
    opened: SourceFile,
    pca: dict[str, np.ndarray] | None,
    metadata: dict[str, Any],
) -> Renamed:
    """The renamed tensors of a file; ``metadata`` gets facts about its contents."""
    names: Any = {"file": opened.path.name, "wanted": network.name}
    if opened.path.suffix.lower() == source_file.ONNX:
        if not isinstance(network, Extractor) or not network.network.startswith(
            "efficientnet"
        ):
            raise ConversionError(
                f"{opened.path} for {network.name}; expected .onnx for EfficientNets "
                "only; convert the PyTorch file"
            )
        layers = onnx_file.read_layers(opened.path)
        networks.check_network(networks.of_layers(layers), network, opened.path.name)
        metadata["batch_norm"] = "folded" if efficientnet.folded(layers) else "kept"
        spec = networks.efficientnet_spec(network)
        return efficientnet.from_layers(layers, spec, **names)
    state = source_file.read_state(opened.path)
    networks.check_network(networks.of_state(state), network, opened.path.name)
    if not isinstance(network, Extractor):
        return yunet.from_state(state, **names)
    if network.network == "vggish":
        return vggish.from_state(state, **names, pca=pca)
    if network.network in SPECS:
        metadata["naming"] = wav2vec2.naming(state)
        _warn_if_fine_tuned(network.name, state, opened.path.name)
        if not wav2vec2.has_mask(state):
            metadata["filled"] = {wav2vec2.MASK: wav2vec2.MASK_REASON}
        return wav2vec2.from_state(state, SPECS[network.network], **names)
    if network.network.startswith("dinov2"):
        metadata["naming"] = dinov2.naming(state)
        return dinov2.from_state(state, dinov2_spec(network), **names)
    spec = networks.efficientnet_spec(network)
    return efficientnet.from_state(state, spec, **names)


def _convert_head(
    opened: SourceFile,
    out: pathlib.Path,
    given: Sequence[str] | None,
    faithful: bool,
) -> Converted:
    file = opened.path.name
    _warn_if_other(opened, [head.source for head in THESIS_HEADS])
    state = source_file.read_state(opened.path)
    published = heads.published_head(opened)
    dim = heads.input_dim(state, file=file)
    features = heads.choose_features(dim, given, published, file=file)
    dims = tuple(one.extractor.dim for one in features)
    kinds = tuple(one.extractor.kind for one in features)
    spec = heads.infer_spec(state, dims, kinds, file=file)
    if published is not None:
        heads.check_published(spec, published, file=file)
    variables = heads.variables_of(state, spec, file=file)
    card = heads.card_of(spec, features, opened, faithful=faithful)
    out.parent.mkdir(parents=True, exist_ok=True)
    checkpoints.save_head(out, card, variables)
    used = [name for name in state if not name.endswith("num_batches_tracked")]
    names = " + ".join(one.name for one in features)
    return Converted(
        name=HEAD,
        out=out,
        num_tensors=len(used),
        num_parameters=sum(state[name].size for name in used),
        what=f"{spec.task}, {spec.kind}, of {names}",
        notes=(
            "trained on videos that are not known: nothing is chosen on dev for it",
            f"licence: {THESIS_LICENCE}",
        ),
    )


def _metadata(network: AnyNetwork, opened: SourceFile) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "extractor": network.name,
        "network": network.network,
        **opened.provenance(network.sources),
        "licence": network.licence,
        "avemo_jax": VERSION,
    }
    if not isinstance(network, Extractor):
        return metadata
    takes = network.takes
    return metadata | {
        "preprocessing": dataclasses.asdict(takes)
        | ({"resize": "bilinear"} if isinstance(takes, ImageInput) else {}),
        "outputs": list(network.outputs),
    }


def _check_published(network: AnyNetwork, opened: SourceFile) -> None:
    """Refuse another network's published file; warn of a changed one.

    Raises:
        ConversionError: If the content is published for another network only.
    """
    if any(opened.is_published(source) for source in network.sources):
        return
    for other in NETWORKS.values():
        if any(opened.is_published(source) for source in other.sources):
            raise ConversionError(
                f"{opened.path} is the published file of {other.name}; expected one of "
                f"{network.name}; convert it as {other.name}"
            )
    _warn_if_other(opened, [s for n in NETWORKS.values() for s in n.sources])


def _warn_if_other(opened: SourceFile, known: Sequence[PublishedFile]) -> None:
    """Warn of a file that has the name of a published one, but other content."""
    source = opened.named(known)
    if source is not None and not opened.is_published(source):
        expected = (
            f"git blob {source.git_blob}"
            if source.git_blob
            else f"sha256 {source.sha256}"
        )
        logging.warning(
            "%s IS NOT THE PUBLISHED FILE of that name: its sha256 is %s, its git blob "
            "%s; published is %s at %s. Unless it is your own, fetch it again",
            opened.path,
            opened.sha256,
            opened.git_blob,
            expected,
            source.url,
        )


def _warn_if_fine_tuned(name: str, state: dict[str, np.ndarray], file: str) -> None:
    fine_tuned = wav2vec2.is_recogniser(state)
    if fine_tuned != (name == "wav2vec2_base_960h"):
        found = "has" if fine_tuned else "has no"
        logging.warning(
            "%s %s output layer of a recogniser: is it %s? What is published as %s %s "
            "fine-tuned, and the two normalise the waveform differently",
            file,
            found,
            name,
            name,
            "was not" if fine_tuned else "was",
        )
