"""Backbones on this machine: list them, pull one from timm's hub, carry it to a machine without a network.

    hub --pull--> models folder --export--> bundle.tar --import--> models folder of another machine

The models folder (`config.default_models`) holds NAME.safetensors and NAME.json for each model. A bundle is a plain tar
of exactly `model.json` and `weights.safetensors`. Nothing is unpacked by name and nothing is unpickled: both members
are read as bytes, and the weights must have the sha256 in `model.json` and fit the timm model that it names.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from curate.atomic_files import replacing_path
from curate.embeddings.backbones import hub_file, load_backbone, published_file
from curate.embeddings.catalogue import SHORT_NAMES, full_name, good_for, short_name
from curate.embeddings.packaged import PACKAGED_NAME, packaged_card, packaged_weights
from curate.embeddings.weight_files import file_sha256
from curate.embeddings.weight_packages import installed_weights
from curate.errors import InputError, UsageError, WriteError

PACKAGED_GOOD_FOR = "CPU: the smallest; in curate itself"
FACTS, WEIGHTS = "model.json", "weights.safetensors"
LARGEST_FACTS_BYTES, LARGEST_WEIGHTS_BYTES = 64 * 1024, 4 * 1024**3
BLOCK_BYTES = 1024 * 1024
FINISHED = "[!.]*.safetensors"
"""The weights in a models folder without those that are being written."""

Fetch = Callable[[str, bool], Path]
"""From (timm model, offline) to the file of its published weights on this disk."""


class Origin(StrEnum):
    """Where the weights of a listed model are."""

    PACKAGED = "packaged"
    INSTALLED = "installed package"
    IMPORTED = "imported"
    CACHED = "cached"
    KNOWN = "known"


class ModelFacts(BaseModel):
    """Facts about a model's weights: `NAME.json` in the models folder, `model.json` in a bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=1, le=LARGEST_WEIGHTS_BYTES)
    licence: str = Field(max_length=200)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    strides: tuple[int, ...] = Field(min_length=1, max_length=8)


@dataclass(frozen=True, kw_only=True)
class ListedModel:
    """One row of the list: `size_bytes` is 0 and `sha256` empty for weights that are not on this machine.

    Attributes:
        name: to give to `--backbone`, the short one where there is one.
        full_name: as an audit records it.
        good_for: what it is good for; empty if that is not known.
    """

    name: str
    origin: Origin
    size_bytes: int
    licence: str
    sha256: str
    full_name: str
    good_for: str


# ------------------------------------------------------------------------------------------------ list


def list_models(folder: Path) -> tuple[ListedModel, ...]:
    """Return the packaged and imported models, then those with a short name. Opens no socket and builds no network."""
    imported = [_imported(file) for file in sorted(folder.glob(FINISHED))]
    names = {model.name for model in imported}
    return (_packaged(), *imported, *(_known(short) for short in SHORT_NAMES if short not in names))


def _packaged() -> ListedModel:
    card, size = packaged_card(), packaged_weights().stat().st_size
    return _row(card.name, Origin.PACKAGED, licence=card.licence, size_bytes=size, sha256=card.sha256)


def _imported(weights: Path) -> ListedModel:
    facts, size = weights.with_name(f"{weights.stem}.json"), weights.stat().st_size
    licence = _parse(facts, facts.read_bytes()).licence if facts.is_file() else "unknown"
    return _row(weights.stem, Origin.IMPORTED, licence=licence, size_bytes=size, sha256=file_sha256(weights))


def _known(short: str) -> ListedModel:
    import timm

    name = full_name(short)
    settings = timm.get_pretrained_cfg(name)
    licence = str((settings and settings.license) or "unknown")
    installed = installed_weights(name)
    if installed is not None and installed.file.is_file():
        size = installed.file.stat().st_size
        return _row(name, Origin.INSTALLED, licence=licence, size_bytes=size, sha256=file_sha256(installed.file))
    cached = _in_hub_cache(settings) if settings and settings.hf_hub_id else None
    if cached is None:
        return _row(name, Origin.KNOWN, licence=licence)
    size = cached.stat().st_size
    return _row(name, Origin.CACHED, licence=licence, size_bytes=size, sha256=file_sha256(cached))


def _row(name: str, origin: Origin, *, licence: str, size_bytes: int = 0, sha256: str = "") -> ListedModel:
    short = short_name(name)
    return ListedModel(
        name=short,
        origin=origin,
        size_bytes=size_bytes,
        licence=licence,
        sha256=sha256,
        full_name=name,
        good_for=PACKAGED_GOOD_FOR if name == PACKAGED_NAME else good_for(short),
    )


def _in_hub_cache(settings: Any) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(str(settings.hf_hub_id), published_file(settings))
    return Path(cached) if isinstance(cached, str) else None


# ------------------------------------------------------------------------------------------------ pull, export


def pull(name: str, folder: Path, *, offline: bool = False, fetch: Fetch | None = None) -> ModelFacts:
    """Bring a timm model's published weights into the models folder.

    Args:
        name: a model of timm, such as `resnet18`, or a short name.
        offline: use only the hub's cache on this disk.
        fetch: where the weights come from; None for timm's hub.

    Raises:
        UsageError: the name is not one of timm's, or its stages do not fit.
        CouldNotFinish: the hub cannot be reached, or `offline` and the weights are not in its cache.
        InputError: what was fetched is not the weights of this model.
        WriteError: the models folder cannot be written.
    """
    name = _pullable(name)
    fetched = (fetch or hub_file)(name, offline)
    facts = _facts_of(name, fetched)
    with _replacing(folder / f"{name}.safetensors") as temporary:
        shutil.copyfile(fetched, temporary)
    _write_facts(folder, facts)
    return facts


def export(
    name: str, target: Path, folder: Path, *, offline: bool = False, force: bool = False, fetch: Fetch | None = None
) -> ModelFacts:
    """Write a model as a bundle; it is pulled first if the models folder does not hold it.

    Args:
        target: the tar to write.
        force: replace `target`.

    Raises:
        UsageError: `target` exists and `force` is not set; otherwise as `pull`.
        WriteError: the bundle cannot be written.
    """
    name = _pullable(name)
    if target.exists() and not force:
        raise UsageError(f"{target}: exists already; add --force or choose another name")
    weights = folder / f"{name}.safetensors"
    facts = _facts_of(name, weights) if weights.is_file() else pull(name, folder, offline=offline, fetch=fetch)
    with _replacing(target) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as bundle:
        text = (facts.model_dump_json(indent=1) + "\n").encode()
        bundle.addfile(_member(FACTS, len(text)), io.BytesIO(text))
        with weights.open("rb") as stream:
            bundle.addfile(_member(WEIGHTS, facts.size_bytes), stream)
    return facts


def _member(name: str, size: int) -> tarfile.TarInfo:
    """Describe a member of a tar without owner and time, so that equal models give equal bundles."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member


def _facts_of(name: str, weights: Path) -> ModelFacts:
    """Return the facts of a weights file. Raises as `load_backbone` if it does not fit the timm model of that name."""
    backbone = load_backbone(name, weights=weights, offline=True)
    return ModelFacts(
        name=name,
        sha256=backbone.sha256,
        size_bytes=weights.stat().st_size,
        licence=backbone.licence,
        mean=_three(backbone.mean),
        std=_three(backbone.std),
        strides=backbone.strides,
    )


def _three(values: tuple[float, ...]) -> tuple[float, float, float]:
    first, second, third = values
    return first, second, third


def _pullable(name: str) -> str:
    """Return timm's name for a name that can be pulled. Raises UsageError for the others."""
    if name == PACKAGED_NAME:
        raise UsageError(f"{name}: ships with curate; there is nothing to pull, export or import")
    name = full_name(name)
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name):
        raise UsageError(f"{name!r}: not the name of a timm model")
    return name


# ------------------------------------------------------------------------------------------------ import


def import_bundle(bundle: Path, folder: Path, *, force: bool = False) -> ModelFacts:
    """Take a bundle's model into the models folder. Opens no socket.

    Args:
        force: replace other weights of the same name.

    Raises:
        InputError: not a whole bundle, or its weights do not match its facts.
        UsageError: the folder holds other weights of that name and `force` is not set.
        WriteError: the models folder cannot be written.
    """
    try:
        with tarfile.open(bundle, "r:") as tar:
            facts = _read_facts(bundle, tar)
            _pullable(facts.name)
            target = folder / f"{facts.name}.safetensors"
            _refuse_other(target, facts, force)
            with _replacing(target) as temporary:
                _copy_weights(bundle, tar, facts, target=temporary)
                _check_fit(bundle, facts, temporary)
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{bundle}: not a bundle of `curate models export` ({error})") from error
    except OSError as error:
        raise InputError(f"{bundle}: cannot be read ({error.strerror or error})") from error
    _write_facts(folder, facts)
    return facts


def _read_facts(bundle: Path, tar: tarfile.TarFile) -> ModelFacts:
    """Read `model.json`, the first member."""
    with _next_file(bundle, tar, FACTS, largest=LARGEST_FACTS_BYTES) as stream:
        return _parse(bundle, stream.read(LARGEST_FACTS_BYTES))


def _parse(file: Path, text: bytes) -> ModelFacts:
    try:
        return ModelFacts.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or FACTS
        raise InputError(f"{file}: {place}: {first['msg']}; export the model again") from error


def _next_file(bundle: Path, tar: tarfile.TarFile, wanted: str, *, largest: int) -> IO[bytes]:
    member = tar.next()
    name = member.name if member else "nothing"
    if member is None or member.name != wanted or not member.isreg() or not 0 < member.size <= largest:
        raise InputError(f"{bundle}: holds {name!r} in place of the file {wanted}; not a bundle of curate")
    stream = tar.extractfile(member)
    if stream is None:
        raise InputError(f"{bundle}: {wanted} cannot be read")
    return stream


def _copy_weights(bundle: Path, tar: tarfile.TarFile, facts: ModelFacts, *, target: Path) -> None:
    """Copy the weights, the second and last member, and check their sha256 on the way."""
    digest, size = hashlib.sha256(), 0
    with _next_file(bundle, tar, WEIGHTS, largest=facts.size_bytes) as stream, target.open("wb") as out:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
            size += out.write(block)
    if (digest.hexdigest(), size) != (facts.sha256, facts.size_bytes):
        raise InputError(f"{bundle}: the sha256 of the weights differs from that in {FACTS}; copy the bundle again")
    if tar.next() is not None:
        raise InputError(f"{bundle}: holds more than {FACTS} and {WEIGHTS}; not a bundle of curate")


def _check_fit(bundle: Path, facts: ModelFacts, weights: Path) -> None:
    """Refuse weights that are not those of the timm model that the bundle names."""
    try:
        measured = _facts_of(facts.name, weights)
    except UsageError as error:
        raise InputError(f"{bundle}: {str(error).replace(str(weights), WEIGHTS)}") from error
    if measured.strides != facts.strides:
        raise InputError(f"{bundle}: {FACTS} gives strides {facts.strides}, but {facts.name} has {measured.strides}")


def _refuse_other(target: Path, facts: ModelFacts, force: bool) -> None:
    if target.exists() and not force and file_sha256(target) != facts.sha256:
        raise UsageError(f"{target}: other weights of {facts.name} are there already; add --force to replace them")


# ------------------------------------------------------------------------------------------------ writing


def _write_facts(folder: Path, facts: ModelFacts) -> None:
    with _replacing(folder / f"{facts.name}.json") as temporary:
        temporary.write_text(facts.model_dump_json(indent=1) + "\n", encoding="utf-8")


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """Give the name of a file to write, with the suffix of `target`; see `atomic_files.replacing_path`.

    Raises:
        WriteError: it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing_path(target, suffix=target.suffix) as temporary:
            yield temporary
    except OSError as error:
        raise WriteError(f"{target}: cannot be written ({error.strerror or error})") from error
