"""The command that downloads, checks and converts published weights."""

import argparse
import pathlib
import sys
from collections.abc import Iterator, Sequence

from avemo_jax.convert.conversion import HEAD, Converted, convert
from avemo_jax.convert.download import ChecksumError, download, verify
from avemo_jax.convert.flags import THESIS, fetch_parser
from avemo_jax.convert.heads import is_head_checkpoint
from avemo_jax.convert.published_networks import NETWORKS, AnyNetwork
from avemo_jax.convert.rules import ConversionError
from avemo_jax.convert.torch_file import TorchFileError
from avemo_jax.convert.transfer import DownloadError, Patience
from avemo_jax.embed.weights import (
    WeightsError,
    default_weights_path,
    read_weights,
    weights_dir,
)
from avemo_jax.extractors.published import (
    THESIS_HEADS,
    THESIS_LICENCE,
    PublishedFile,
    ThesisHead,
)
from avemo_jax.runtime.errors import guarded, text_of

_ERRORS = (DownloadError, ConversionError, TorchFileError, WeightsError, OSError)


def sources_dir() -> pathlib.Path:
    """Folder of the published files as they were downloaded."""
    return weights_dir() / "sources"


def head_path(head: ThesisHead) -> pathlib.Path:
    """Folder of the head checkpoint of a head of the original system."""
    return weights_dir() / THESIS / head.name


def fetch_network(
    network: AnyNetwork,
    *,
    given: pathlib.Path | None = None,
    source_file: str | None = None,
    overwrite: bool = False,
    show_progress: bool = True,
    patience: Patience | None = None,
) -> Converted | None:
    """Fetch and convert a network's weights; None if they were there already.

    Args:
        network: The network whose weights are fetched.
        given: The published file, or a folder that has it; None: it is downloaded.
        source_file: Name of the published file to take; None: the one with the name of
            ``given``, else the preferred one. No other one is tried.
        overwrite: Whether existing weights are converted again.
        show_progress: Whether a progress bar is drawn.
        patience: How long to wait for the server; None: the default.

    Raises:
        DownloadError: If the file cannot be downloaded or is not the published one.
        ConversionError: If it cannot be converted.
        TorchFileError: If it is no file of PyTorch, or would run code.
        WeightsError: If existing weights are not this network's.
    """
    out = default_weights_path(network.name)
    if out.exists() and not overwrite:
        _check_there(out, network.name)
        return None
    source = _chosen(network, given, source_file)
    path = _file(source, given, show_progress=show_progress, patience=patience)
    # Companions are looked for beside a file that is given.
    beside = given if given is None or given.is_dir() else given.parent
    companions = [
        _file(companion, beside, show_progress=show_progress, patience=patience)
        for companion in source.companions
    ]
    if out.exists() and not overwrite:  # another process was first
        return None
    pca = companions[0] if companions else None
    return convert(network.name, path, out, pca=pca, overwrite=overwrite)


def fetch_head(
    head: ThesisHead,
    *,
    given: pathlib.Path | None = None,
    overwrite: bool = False,
    show_progress: bool = True,
    patience: Patience | None = None,
) -> Converted | None:
    """Fetch and convert a head of the original; None if it was there already.

    Args:
        head: The head of the original system.
        given: The published file, or a folder that has it; None: it is downloaded.
        overwrite: Whether an existing checkpoint is replaced.
        show_progress: Whether a progress bar is drawn.
        patience: How long to wait for the server; None: the default.

    Raises:
        DownloadError: If the file cannot be downloaded or is not the published one.
        ConversionError: If it cannot be converted.
        TorchFileError: If it is no file of PyTorch, or would run code.
    """
    out = head_path(head)
    if is_head_checkpoint(out) and not overwrite:
        return None
    path = _file(head.source, given, show_progress=show_progress, patience=patience)
    if is_head_checkpoint(out) and not overwrite:  # another process was first
        return None
    return convert(HEAD, path, out, features=head.features, overwrite=overwrite)


def _check_there(out: pathlib.Path, name: str) -> None:
    try:
        read_weights(out, extractor=name)
    except WeightsError as error:
        raise WeightsError(f"{error} (--overwrite replaces it)") from error


def _chosen(
    network: AnyNetwork, given: pathlib.Path | None, source_file: str | None
) -> PublishedFile:
    named = {source.file: source for source in network.sources}
    if source_file is None:
        called = given.name if given else ""
        return named.get(called, network.sources[0])
    if source_file not in named:
        raise DownloadError(
            f"--source {source_file!r} for {network.name}; expected one of "
            f"{', '.join(named)}; correct it"
        )
    return named[source_file]


def _file(
    source: PublishedFile,
    given: pathlib.Path | None,
    *,
    show_progress: bool,
    patience: Patience | None = None,
) -> pathlib.Path:
    """The published file, downloaded or the user's own copy, and checked."""
    if given is None:
        return download(
            source, sources_dir(), show_progress=show_progress, patience=patience
        )
    path = given / source.file if given.is_dir() else given
    if not path.exists():
        raise DownloadError(
            f"{path}: no such file; expected {source.file} as published at "
            f"{source.url}; put it there, or leave --from out to download it"
        )
    try:
        verify(path, source, pins=sources_dir())
    except ChecksumError as error:
        raise ChecksumError(
            f"{error}; get it again, or convert it as weights of your own with avemo "
            "convert"
        ) from error
    return path


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``avemo fetch``: 0, 1 after an error told on stderr, 130 if stopped."""
    parser = fetch_parser()
    args = parser.parse_args(argv)
    args.prog = parser.prog
    return guarded(
        lambda: _print_list() if args.list else _fetch_all(args),
        prog=parser.prog,
        kept="what was downloaded and converted is kept",
    )


def _fetch_all(args: argparse.Namespace) -> int:
    """Fetch all that is named; 1 if something failed, else 0."""
    heads = {head.name: head for head in THESIS_HEADS}
    failed = 0
    for name in args.names:
        if name in NETWORKS:
            failed += _fetch_one(NETWORKS[name], args)
        else:
            wanted = THESIS_HEADS if name == THESIS else (heads[name],)
            failed += _fetch_heads(wanted, args)
    return min(failed, 1)


def _fetch_one(network: AnyNetwork, args: argparse.Namespace) -> int:
    """Fetch one network's weights; the number of failures, 0 or 1."""
    if not network.needs_weights:
        print(f"{network.name}: ready, for it has no weights", flush=True)
        return 0
    try:
        done = fetch_network(
            network,
            given=args.given,
            source_file=args.source,
            overwrite=args.overwrite,
            show_progress=not args.quiet,
        )
    except _ERRORS as error:
        _say(args, network.name, error)
        others = [source.file for source in network.sources[1:]]
        if isinstance(error, DownloadError) and others and not args.source:
            print(f"another source: --source {others[0]}", file=sys.stderr)
        return 1
    state = "ready" if done else "there already (--overwrite converts it again)"
    print(f"{network.name}: {state}\n  {default_weights_path(network.name)}")
    for note in done.notes if done else ():
        print(f"  {note}")
    print(f"  licence: {network.licence}", flush=True)
    return 0


def _fetch_heads(heads: Sequence[ThesisHead], args: argparse.Namespace) -> int:
    """Fetch heads of the original system; the number of failures."""
    print(f"licence: {THESIS_LICENCE}; the files are for use here, not to be passed on")
    failed, patience = 0, Patience()
    for head in heads:
        try:
            done = fetch_head(
                head,
                given=args.given,
                overwrite=args.overwrite,
                show_progress=not args.quiet,
                patience=patience,
            )
        except _ERRORS as error:
            failed += 1
            print(f"{head.name}: failed", flush=True)
            _say(args, head.name, error)
            # If one cannot be downloaded, each of the others is tried only once.
            if isinstance(error, DownloadError) and not isinstance(
                error, ChecksumError
            ):
                patience = Patience(attempts=1)
        else:
            state = "ready" if done else "there already"
            print(f"{head.name}: {state}, {head_path(head)}", flush=True)
    if len(heads) > 1:
        print(f"{len(heads) - failed} of {len(heads)} heads are there")
    return failed


def _say(args: argparse.Namespace, name: str, error: Exception) -> None:
    print(f"{args.prog}: error: {name}: {text_of(error)}", file=sys.stderr)


def _print_list() -> None:
    for line in _listed():
        print(line)


def _listed() -> Iterator[str]:
    """Lines that list all names with their files, licences and addresses."""
    for network in NETWORKS.values():
        if not network.needs_weights:
            yield f"{network.name}: has no weights"
            continue
        out = default_weights_path(network.name)
        yield f"{network.name}: {out if out.exists() else 'not fetched'}"
        yield f"  licence: {network.licence}"
        for source in network.sources:
            for file in (source, *source.companions):
                yield f"  {file.file}: {file.url}"
    yield f"{THESIS}, the heads of the original system"
    yield f"  licence: {THESIS_LICENCE}"
    for head in THESIS_HEADS:
        out = head_path(head)
        yield f"  {head.name}: {out if is_head_checkpoint(out) else 'not fetched'}"
