"""The documentation builds, is complete, and says what the code does."""

from __future__ import annotations

import contextlib
import doctest
import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

import curate
from curate.audit.schema import TABLES
from curate.audit.views import View
from curate.cli import app
from curate.findings import catalogue, with_audit
from tests.plates import ROOT, draw_plates

PAGES = sorted((ROOT / "docs").rglob("*.md"))
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *PAGES]
LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s#]*)(#[^)\s]*)?\)")


def load_generate():
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = load_generate()
COMMANDS = dict(generate.walk_commands(app))


def page(name: str) -> str:
    """A page of the documentation with its generated sections."""
    return generate.filled((ROOT / "docs" / name).read_text(encoding="utf-8"))


def test_the_audit_format_page_has_every_column_with_its_comment():
    text = page("reference/audit-format.md")
    for name, schema in TABLES.items():
        section = text.split(f"### `{name}.parquet`")[1].split("\n### ")[0]
        for field in schema:
            comment = field.metadata[b"comment"].decode().replace("|", "\\|").replace("<", "&lt;")
            row = next(line for line in section.splitlines() if line.startswith(f"| `{field.name}` |"))
            assert row.endswith(f"| {comment} |")


def test_the_rules_page_has_every_finding_and_every_shipped_rule():
    from curate.rules.packs import load_pack

    text = page("reference/rules.md")
    for code, finding in catalogue().items():
        assert f"| `{code}` | {finding.title} |" in text
    for pack in generate.PACKS:
        for rule in load_pack(pack).rules:
            assert f"| `{rule.code}` | {rule.title} |" in text


@pytest.mark.parametrize("path", COMMANDS)
def test_the_command_line_page_has_every_option_with_its_help(path):
    command = COMMANDS[path]
    section = page("reference/command-line.md").split(f"### `{path}`\n")[1].split("\n### ")[0]
    assert " ".join(command.help.split()) in section
    for parameter in generate.shown_parameters(command):
        if parameter.param_type_name == "option":
            assert all(f"`{name}`" in section for name in parameter.opts)
        assert parameter.help, f"{path} {parameter.name} says nothing"


def test_the_command_line_page_has_every_exit_code():
    codes = {value.exit_code for value in vars(curate.errors).values() if isinstance(value, type)}
    assert all(f"\n| {code} | " in page("reference/command-line.md") for code in {0, 1, *codes})


def test_the_python_page_has_everything_that_curate_exports():
    names = set(re.findall(r"^::: (\S+)$", page("reference/python.md"), re.MULTILINE))
    exported = {f"curate.{name}" for name in curate.__all__} - {"curate.__version__", "curate.CurateError"}
    assert exported | {"curate.errors"} <= names


def test_every_page_of_the_experiments_begins_with_its_heading():
    for path in generate.experiment_pages():
        assert path.read_text(encoding="utf-8").startswith("# "), path


def test_every_marker_names_a_section_and_every_section_is_used():
    used = {name for path in PAGES for name in generate.MARKER.findall(path.read_text(encoding="utf-8"))}
    assert used == set(generate.SECTIONS)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target, _ in LINK.findall(text):
        if target and "://" not in target:
            copied = (path.parent / target).resolve().relative_to(ROOT)
            there = (path.parent / target).exists() or str(copied.relative_to("docs")) in generate.COPIES
            assert there, f"{path.name}: {target}"


def command_lines():
    """Every command line of curate in a block of code: the file and the words. What was measured once may be gone."""
    for path in (text for text in TEXTS if text.name != "CHANGELOG.md" and text.parent.name != "experiments"):
        for line in re.findall(r"^[^|\n]*.*$", path.read_text(encoding="utf-8"), re.MULTILINE):
            words = re.sub(r"^[^|]+\| (?=curate )", "", re.sub(r"\s+#.*", "", line.strip()))
            if words.startswith("curate "):
                yield path, words.split()


def test_every_command_line_shown_names_commands_and_options_that_exist():
    lines = list(command_lines())
    assert len(lines) > 30
    for path, words in lines:
        name = next((name for n in (3, 2) if (name := " ".join(words[:n])) in COMMANDS), None)
        if name is None:  # prose that begins a line with the program's name
            assert words[1] in ("audits", "is", "COMMAND"), f"{path.name}: {' '.join(words)}"
            continue
        known = {option for one in COMMANDS[name].params for option in (*one.opts, *one.secondary_opts)}
        given = {word.split("=")[0].strip("[]`;,") for word in words if re.match(r"\[?--?[a-z]", word)}
        assert given <= known | {"--help"}, f"{path.name}: {' '.join(words)}"


def test_every_script_shown_is_there():
    for path in (text for text in TEXTS if text.parent.name != "experiments"):
        for script in re.findall(r"examples/\w+/\w+\.py", path.read_text(encoding="utf-8")):
            assert (ROOT / script).is_file(), f"{path.name}: {script}"


class Loaded(HTMLParser):
    """What a page loads when it is opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "link", "object", "video"):
            self.addresses += [values[name] for name in ("src", "href", "data") if values.get(name)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install 'curate-vision[docs]'")
    folder = tmp_path_factory.mktemp("docs") / "site"
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_builds_strictly_and_no_page_loads_anything_from_the_network(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for path in pages:
        loaded = Loaded(path.read_text(encoding="utf-8")).addresses
        assert [address for address in loaded if re.match(r"(https?:)?//", address)] == [], path
    for path in site.rglob("*.css"):
        assert not re.search(r"(@import|url\(\s*[\"']?)(https?:)?//", path.read_text(encoding="utf-8")), path


def test_the_site_has_the_signatures_and_the_docstrings_of_the_python_api(site):
    text = (site / "reference" / "python.html").read_text(encoding="utf-8")
    for name in ("curate.scan", "curate.read_audit", "curate.Audit", "curate.ScanConfig", "curate.errors.UsageError"):
        assert f'id="{name}"' in text, name
    assert "Audit a dataset" in text


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """The folder in which the examples of all docstrings ran, one after another; how many; and what failed.

    The package's own example comes first: it makes the audit that the others read.
    """
    folder = draw_plates(tmp_path_factory.mktemp("examples") / "parts", 24, holes=(3, 11)).parent
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    failures = []
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("CURATE_CACHE", str(folder / "cache"))
        for one in (curate, curate.read_audit, curate.Audit, View, curate.ScanConfig, curate.CurateError, curate.scan):
            test = doctest.DocTestParser().get_doctest(one.__doc__, {"curate": curate}, one.__name__, None, 0)
            runner.run(test, out=failures.append)
    return folder, runner.tries, failures


def test_the_examples_in_docstrings_run(examples):
    _, tries, failures = examples
    assert failures == []
    assert tries >= 10


def test_the_audit_format_page_has_every_key_of_run_json(examples):
    text = page("reference/audit-format.md")
    keys = curate.read_audit(examples[0] / "parts-audit").run
    assert [key for key in keys if f"`{key}`" not in text] == []


def test_the_screen_in_the_quick_start_is_worded_as_the_program_words_it(examples, capsys):
    from curate.cli.screen import show_summary
    from curate.reports.summary import summarise

    summary = summarise(curate.read_audit(examples[0] / "parts-audit"))
    show_summary(summary)
    screen = (ROOT / "examples" / "demo-screen.txt").read_text(encoding="utf-8")
    shown = [line for line in capsys.readouterr().out.splitlines() if re.match(r"[A-Z][a-z]+ [a-z]", line)]
    titles = [line for line in shown if not line.startswith("Look at ")]  # the demo set has no uncertain image
    assert len(titles) >= 2
    words = re.sub(r"\d+", "0", screen)  # how many is another matter
    assert all(re.sub(r"\d+", "0", line) in words for line in titles if str(examples[0]) not in line)
    for worst in summary.worst:
        assert " ".join(worst.reason.split()[:2]) in screen


def test_the_screen_in_the_quick_start_has_the_words_of_the_catalogue():
    screen = (ROOT / "examples" / "demo-screen.txt").read_text(encoding="utf-8")
    shown = re.findall(r"^ ([A-Z]{3,4}\d{3})  \d+ +(.+?)  +(.+)$", screen, re.MULTILINE)
    assert {code for code, _, _ in shown} >= {"LBL001", "DUP001", "IMG003"}
    for code, title, cure in shown:
        text = catalogue()[code]
        assert (title, cure) == (text.title, with_audit(text.cure, "build/demo/audit"))


def test_links_of_a_copied_page_lead_to_pages_or_become_text():
    text = "[a](docs/guides/ci.md#settings) [b](README.md) [c](curate/cli/main.py) ![d](examples/report.jpg) [e](https://f)"
    copied = generate.relinked(text, "CONTRIBUTING.md", "contributing.md")
    assert copied == "[a](guides/ci.md#settings) [b](index.md) c ![d](report.jpg) [e](https://f)"


def test_an_unknown_section_is_an_error():
    with pytest.raises(KeyError):
        generate.filled("<!-- generate: nothing -->")
