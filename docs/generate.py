"""What the documentation takes from the code; a hook of mkdocs, so that it is never stale and never committed.

A line that begins with `<!-- generate: NAME -->` is replaced by the text of `SECTIONS[NAME]`; what follows on the line
says, to a reader of the bare page, where else to find it. Files that live elsewhere in the
repository, such as CONTRIBUTING.md, become pages by one line in `COPIES`. Pages of docs/experiments need none.
"""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
sys.path.insert(0, str(ROOT))  # document the code beside this file, whatever is installed

COPIES: Mapping[str, str] = MappingProxyType(
    {
        "contributing.md": "CONTRIBUTING.md",
        "changelog.md": "CHANGELOG.md",
        "benchmarks/tables.md": "examples/bench/tables.md",
        "benchmarks/flow.md": "examples/bench/flow.md",
        "benchmarks/student.md": "examples/bench/student.md",
        "benchmarks/backbone.md": "examples/backbone/README.md",
        "report.jpg": "examples/report.jpg",
        "reliability.svg": "examples/bench/curves-reliability.svg",
    }
)
"""Pages and pictures of the site that are files elsewhere in the repository."""

PACKS = ("smoke", "default", "strict")
MARKER = re.compile(r"^<!-- generate: (\w+) -->.*$", re.MULTILINE)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def audit_tables() -> str:
    """Return every table of an audit with its columns, types and comments."""
    from curate.audit.schema import SCHEMA_VERSION, TABLES

    parts = [f"Schema version {SCHEMA_VERSION}."]
    for name, schema in TABLES.items():
        rows = [
            (f"`{field.name}`", str(field.type).replace("element: ", ""), _cell(field.metadata[b"comment"].decode()))
            for field in schema
        ]
        parts += [f"### `{name}.parquet`", _table(("column", "type", "meaning"), rows)]
    return "\n\n".join(parts)


def findings() -> str:
    """Return the catalogue of findings."""
    from curate.findings import catalogue

    rows = [
        (f"`{code}`", _cell(text.title), text.severity, _cell(f"{text.why} {text.cure}"))
        for code, text in catalogue().items()
    ]
    return _table(("code", "finding", "severity", "what it means, and what to do"), rows)


def rules() -> str:
    """Return the rules of each shipped pack; of a pack that extends another, those that it adds or changes."""
    from curate.rules.packs import load_pack

    parts, inherited = [], dict[str, Any]()
    for name in PACKS:
        pack = load_pack(name)
        own = [rule for rule in pack.rules if inherited.get(rule.code) != rule]
        rows = [
            (f"`{rule.code}`", _cell(rule.title), rule.severity.value, f"`{rule}`", _cell(f"{rule.why} {rule.cure}"))
            for rule in own
        ]
        heading = f"### Pack `{name}`"
        more = "" if not inherited else "It extends the pack above; these rules are new or stricter."
        parts += [heading, f"{pack.title}. {more}".strip()]
        parts += [_table(("code", "rule", "severity", "holds if", "why, and what to do"), rows)]
        inherited = {rule.code: rule for rule in pack.rules}
    return "\n\n".join(parts)


def commands() -> str:
    """Return every command with its arguments, options and defaults."""
    from curate.cli import app

    return "\n\n".join(part for path, command in walk_commands(app) for part in _command(path, command))


def walk_commands(app: Any) -> Iterator[tuple[str, Any]]:
    """Yield a typer app itself and every command that runs something, by its path: "curate models pull"."""
    from typer.main import get_command

    def walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
        children = getattr(command, "commands", {})
        if not children:
            yield path, command
        for name, child in sorted(children.items(), key=lambda one: (one[0] != "scan", one[0])):
            yield from walk(f"{path} {name}", child)

    root = get_command(app)
    yield "curate", root
    yield from walk("curate", root)


def shown_parameters(command: Any) -> list[Any]:
    """Return the parameters of a command that `--help` shows, without `--help` itself."""
    return [one for one in command.params if not getattr(one, "hidden", False) and one.name != "help"]


def _command(path: str, command: Any) -> Iterator[str]:
    yield f"### `{path}`"
    yield " ".join((command.help or "").split())
    rows = [
        (_names(one), _cell(one.help or ""), _choices(one), _default(path, one)) for one in shown_parameters(command)
    ]
    if rows:
        yield _table(("argument or option", "meaning", "values", "default"), rows)
    if command.epilog:
        yield "```text\n" + command.epilog.replace("\b", "").strip() + "\n```"


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`"
    return ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))


def _choices(parameter: Any) -> str:
    kind = parameter.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"`{one.value}`" for one in kind)
    names = {bool: "", str: "text", int: "integer", float: "number", Path: "path"}
    return "" if getattr(parameter, "is_flag", False) else names.get(kind, "")


def _default(path: str, parameter: Any) -> str:
    """Return a default as it is typed; where the command leaves it open, that of the settings of a scan."""
    from curate.config import ScanConfig

    value = parameter.default
    fields = ScanConfig.model_fields
    if value is None and path == "curate scan" and parameter.name in fields:
        field = fields[parameter.name]
        value = None if field.default_factory else field.get_default()
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, tuple | list):
        value = ",".join(str(getattr(one, "value", one)) for one in value)
    if value is None or value == "" or value is False or value is ... or parameter.required:
        return ""
    if value is True:
        return "on"
    return f"`{value}`"


def backbones() -> str:
    """Return the backbones that have a short name, with what each is good for and its licence."""
    import timm

    from curate.embeddings.catalogue import SHORT_NAMES, licence_note

    rows = [
        (f"`{short}`", f"`{name}`", _cell(good_for), licence_note(timm.get_pretrained_cfg(name).license or "unknown"))
        for short, (name, good_for) in SHORT_NAMES.items()
    ]
    return _table(("name", "timm", "good for", "licence of the weights"), rows)


def demo_screen() -> str:
    """Return what `make demo` prints; `make picture` writes it anew."""
    return "```text\n" + (ROOT / "examples" / "demo-screen.txt").read_text(encoding="utf-8").rstrip() + "\n```"


def experiments() -> str:
    """Return the list of the pages of docs/experiments, with their first headings."""
    return "\n".join(f"- [{_heading(page)}]({page.name})" for page in experiment_pages())


def experiment_pages() -> list[Path]:
    """Return the pages of docs/experiments but its index, by name."""
    return sorted(page for page in (DOCS / "experiments").glob("*.md") if page.name != "index.md")


SECTIONS: Mapping[str, Callable[[], str]] = MappingProxyType(
    {one.__name__: one for one in (audit_tables, backbones, findings, rules, commands, demo_screen, experiments)}
)


def filled(markdown: str) -> str:
    """Return a page with its generated sections in place.

    Raises:
        KeyError: a section that is not in `SECTIONS`.
    """
    return MARKER.sub(lambda found: SECTIONS[found[1]](), markdown)


def relinked(markdown: str, source: str, page: str) -> str:
    """Return the text of a file of the repository as a page of the site: links lead to pages, or become plain text.

    Args:
        markdown: of the file.
        source: its path in the repository.
        page: its path in the site.
    """
    pages = {copied: name for name, copied in COPIES.items()}

    def replace(found: re.Match[str]) -> str:
        image, text, target, anchor = found[1], found[2], found[3], found[4] or ""
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        there = place.removeprefix("docs/") if place.startswith("docs/") else pages.get(place, "")
        if place == "README.md":
            there = "index.md"
        if not there:
            return "" if image else f"`{place}`" if text == target else text
        return f"{image}[{text}]({posixpath.relpath(there, posixpath.dirname(page) or '.')}{anchor})"

    return LINK.sub(replace, markdown)


def _heading(page: Path) -> str:
    lines = page.read_text(encoding="utf-8").splitlines()
    return next((line.removeprefix("# ").strip() for line in lines if line.startswith("# ")), page.stem)


def _cell(text: str) -> str:
    """Return a text for a cell of a table: on one line, no column drawn by accident, no HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def on_config(config: Any) -> Any:
    """Put every page of docs/experiments into the navigation."""
    for entry in config.nav:
        if isinstance(entry, dict) and "Experiments" in entry:
            names = ["index.md", *(page.name for page in experiment_pages())]
            entry["Experiments"] = [f"experiments/{name}" for name in names]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages and pictures that lie elsewhere in the repository."""
    from mkdocs.structure.files import File

    for page, source in COPIES.items():
        path = ROOT / source
        content = path.read_bytes()
        if path.suffix == ".md":
            content = relinked(content.decode("utf-8"), source, page).encode("utf-8")
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in the generated sections of a page, and let links to files of the repository lead to their pages."""
    uri = page.file.src_uri
    return filled(markdown if uri in COPIES else relinked(markdown, f"docs/{uri}", uri))
