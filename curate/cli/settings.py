"""Settings in layers: the nearest curate.toml or pyproject.toml, then CURATE_* variables, then options; the last wins.

    # curate.toml                         # pyproject.toml           # environment
    backbone = "resnet18"                 [tool.curate]              CURATE_BACKBONE=resnet18
    [check]                               [tool.curate.check]
    rules = "rules.toml"                  rules = "rules.toml"       CURATE_CHECK_RULES=rules.toml

The nearest file is the one in the working folder or the first above it. A relative path in it starts at its folder.
Former names of settings (`curate.config.RENAMED_SETTINGS`) are read with a warning on stderr; the present name wins.
"""

from __future__ import annotations

import os
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import typer
from pydantic import BaseModel, ConfigDict, ValidationError

from curate.config import RENAMED_SETTINGS, ScanConfig
from curate.errors import InputError, UsageError
from curate.rules.choices import FailOn, ReportFormat
from curate.toml_files import TomlFile, first_fault, nearest, read_toml

OWN_FILE, PROJECT_FILE = "curate.toml", "pyproject.toml"
PREFIX, CHECK = "CURATE_", "check"
OTHER_VARIABLES = frozenset(("CURATE_MODELS",))
"""Variables that `curate.config` reads itself."""
DEFAULT, OPTION = "default", "option"


class CheckConfig(BaseModel):
    """What the user may choose about a check.

    Attributes:
        rules: a shipped pack or the path of one.
        select, ignore: codes or beginnings of codes.
        fail_on: the least severity of a broken rule that fails the check.
        format: of the report.
        baseline: a file of accepted violations; None for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: str = "default"
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: FailOn = FailOn.ERROR
    format: ReportFormat = ReportFormat.TEXT
    baseline: Path | None = None


SECTIONS: Mapping[str, type[BaseModel]] = {"": ScanConfig, CHECK: CheckConfig}

Config = TypeVar("Config", bound=BaseModel)


@dataclass(frozen=True)
class Setting:
    """One value, and where it comes from: "default", "option", a variable's name, or `file:line`."""

    value: Any
    origin: str


@dataclass(frozen=True)
class Settings:
    """Every setting, by section ("" for scan, "check") and name."""

    sections: Mapping[str, Mapping[str, Setting]]

    def given(self, section: str = "") -> dict[str, Any]:
        """Return the values of a section that are not defaults."""
        return {name: one.value for name, one in self.sections[section].items() if one.origin != DEFAULT}

    @property
    def scan(self) -> ScanConfig:
        """The settings of a scan."""
        return ScanConfig(**self.given())

    @property
    def check(self) -> CheckConfig:
        """The settings of a check."""
        return CheckConfig(**self.given(CHECK))

    def lines(self) -> tuple[str, ...]:
        """Return a line for each setting: its name, its value, where it comes from."""
        rows = [
            (f"{section}.{name}".lstrip("."), str(_plain(one.value)), one.origin)
            for section, values in self.sections.items()
            for name, one in values.items()
        ]
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        return tuple(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}" for name, value, origin in rows)


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "-"
    return "-" if value is None else value


def layered(
    scan: Mapping[str, Any] | None = None,
    check: Mapping[str, Any] | None = None,
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Return all settings, each from the last layer that sets it.

    Args:
        scan, check: values of options, by the names of `ScanConfig` and `CheckConfig`; only those on the command line.
        folder: where the search for a file begins; None for the working folder.
        environment: the variables; None for the process's own.

    Raises:
        InputError: a file has an unknown key or a wrong value; the message has file, line and the most similar key.
        UsageError: the same for a variable or an option.
    """
    sections = {name: _defaults(model) for name, model in SECTIONS.items()}
    file = nearest_file((folder or Path.cwd()).absolute())
    if file is not None:
        _from_file(file, sections)
    _from_environment(os.environ if environment is None else environment, sections)
    for section, options in (("", scan or {}), (CHECK, check or {})):
        for name, value in options.items():
            sections[section][name] = _setting(SECTIONS[section], name, value, origin=OPTION, error=UsageError)
    return Settings(sections)


def _defaults(model: type[BaseModel]) -> dict[str, Setting]:
    empty = model()
    return {name: Setting(getattr(empty, name), DEFAULT) for name in model.model_fields}


def nearest_file(folder: Path) -> TomlFile | None:
    """Return the first curate.toml, or pyproject.toml with a table [tool.curate], in a folder or above it."""
    for place in (folder, *folder.parents):
        if (place / OWN_FILE).is_file():
            return read_toml(_shown(place / OWN_FILE))
        if (place / PROJECT_FILE).is_file():
            file = read_toml(_shown(place / PROJECT_FILE))
            tool = file.data.get("tool")
            if isinstance(tool, dict) and "curate" in tool:
                return file
    return None


def _shown(path: Path) -> Path:
    """Return a path relative to the working folder if it lies below that."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _from_file(file: TomlFile, sections: dict[str, dict[str, Setting]]) -> None:
    above = ("tool", "curate") if file.path.name == PROJECT_FILE else ()
    data = file.data["tool"]["curate"] if above else file.data
    if not isinstance(data, dict):
        raise InputError(f"{file.place(*above)}: tool.curate is not a table; write [tool.curate]")
    own = dict(data)
    check = own.pop(CHECK, {})
    if not isinstance(check, dict):
        raise InputError(f"{file.place(*above, CHECK)}: {CHECK} is not a table; write [{'.'.join((*above, CHECK))}]")
    for section, values, keys in (("", own, above), (CHECK, check, (*above, CHECK))):
        for key, value in _former_first(values):
            place = file.place(*keys, key)
            name = RENAMED_SETTINGS.get(key, key) if section == "" else key
            if name != key:
                _warn(f"{place}: {key!r} is deprecated; write {name!r}")
            setting = _setting(SECTIONS[section], name, value, origin=place, error=InputError)
            sections[section][name] = Setting(_beside(file.path.parent, name, setting.value), place)


def _former_first(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield keys and values, those with former names first, so that present names win."""
    yield from sorted(values.items(), key=lambda item: item[0] not in RENAMED_SETTINGS)


def _warn(message: str) -> None:
    typer.echo(f"warning: {message}", err=True)


def _beside(folder: Path, name: str, value: Any) -> Any:
    """Return a path that a settings file in `folder` names."""
    named = name == "trusted" and ("/" in value or Path(value).suffix)  # else it may be a split
    if named or isinstance(value, Path):
        try:
            path = folder / Path(value).expanduser()
        except RuntimeError as error:
            raise InputError(f"{name} = {str(value)!r}: there is no home folder here; write the whole path") from error
        return str(path) if named else path
    return str(folder / value) if name == "rules" and value.endswith(".toml") else value


def _from_environment(environment: Mapping[str, str], sections: dict[str, dict[str, Setting]]) -> None:
    names = {
        _variable(name, section): (section, name) for section, model in SECTIONS.items() for name in model.model_fields
    }
    former = {_variable(old): new for old, new in RENAMED_SETTINGS.items()}
    for variable, text in sorted(environment.items(), key=lambda item: (item[0] not in former, item[0])):
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES or not text:
            continue
        if variable in former:
            _warn(f"{variable} is deprecated; set {_variable(former[variable])}")
        elif variable not in names:
            raise UsageError(
                f"{variable}: no such variable; {nearest(variable, sorted(names.keys() | OTHER_VARIABLES))}"
            )
        section, name = ("", former[variable]) if variable in former else names[variable]
        sections[section][name] = _setting(SECTIONS[section], name, text, origin=variable, error=UsageError)


def _variable(name: str, section: str = "") -> str:
    """Return the environment variable of a setting."""
    return PREFIX + "_".join(filter(None, (section, name))).upper()


def _setting(model: type[BaseModel], name: str, value: Any, *, origin: str, error: type[UsageError]) -> Setting:
    """Return one setting, validated by its model."""
    if isinstance(value, str) and name in model.model_fields and _is_list(model.model_fields[name].annotation):
        value = tuple(part.strip() for part in value.split(",") if part.strip())
    if (name, value) == ("image_size", "auto"):
        value = None
    try:
        return Setting(getattr(model.model_validate({name: value}), name), origin)
    except ValidationError as fault:
        _, reason = first_fault(fault, _names(model))
        if origin == OPTION:  # it is named already
            raise error(f"--{name.replace('_', '-')} {reason.removeprefix(f'{name} = ')}") from fault
        raise error(f"{origin}: {reason}") from fault


def _names(model: type[BaseModel]) -> Iterable[str]:
    return (*model.model_fields, *([CHECK] if model is ScanConfig else []))


def _is_list(annotation: Any) -> bool:
    if isinstance(annotation, types.UnionType):
        return any(_is_list(part) for part in get_args(annotation))
    return get_origin(annotation) is tuple


def chosen(values: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Return the options on the command line; those at their defaults are left to the layers below.

    Args:
        values: by parameter name.
        context: of typer, for the command that runs.
    """
    return {
        name: value
        for name, value in values.items()
        if value is not None and context.get_parameter_source(name).name == "COMMANDLINE"
    }
