"""How the views of an audit are read: from its table, or from the run of an older audit that has none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curate.audit.parquet import Audit, read_audit
from curate.audit.schema import SCHEMA_VERSION
from curate.audit.views import View, views_of_older_run
from curate.errors import InputError
from curate.scorers import HYBRID
from tests.audit.drawn_audit import LABELS, WEIGHTS, draw_audit

OLDER_RUN: dict[str, Any] = {
    "schema_version": SCHEMA_VERSION,
    "fences": {
        "cast": {"hybrid": {"value": 1.5, "note": ""}, "flow": {"value": 40.25, "note": ""}},
        "forged": {"hybrid": {"value": 2.0, "note": "fewer than 8 images"}},
    },
    "votes": {"cast": {"flow": 0.75}},
    "scorers": {
        "flow": {"cast": {"mute": ""}, "forged": {}},
        "student": {"cast": {"mute": "too few patches"}, "forged": {"mute": "too few patches"}},
    },
}


def as_older(audit: Audit, run: object) -> Path:
    """Turn an audit into one of a version that had no views.parquet."""
    assert audit.path is not None
    (audit.path / "views.parquet").unlink()
    (audit.path / "run.json").write_text(json.dumps(run))
    return audit.path


def test_views_are_read_from_their_table(tmp_path: Path):
    audit = draw_audit(tmp_path)
    views = read_audit(tmp_path / "audit").views
    assert views == audit.views
    assert set(views) == set(LABELS)
    for by_view in views.values():
        assert {name: view.weight for name, view in by_view.items()} == pytest.approx({HYBRID: None} | WEIGHTS)
        assert {view.threshold for view in by_view.values()} == {1.0}


def test_an_older_audit_gives_thresholds_weights_and_who_abstains_why(tmp_path: Path):
    views = read_audit(as_older(draw_audit(tmp_path), OLDER_RUN)).views
    abstaining = View(name="student", threshold=None, weight=None, abstains=True, reason="too few patches")
    assert views == {
        "cast": {
            HYBRID: View(name=HYBRID, threshold=1.5, weight=None, abstains=False, reason=""),
            "flow": View(name="flow", threshold=40.25, weight=0.75, abstains=False, reason=""),
            "student": abstaining,
        },
        "forged": {
            HYBRID: View(name=HYBRID, threshold=2.0, weight=None, abstains=False, reason="fewer than 8 images"),
            "student": abstaining,
        },
    }


def test_where_there_is_a_table_the_run_is_not_asked(tmp_path: Path):
    audit = draw_audit(tmp_path)
    (tmp_path / "audit" / "run.json").write_text(json.dumps({**audit.run, **OLDER_RUN}))
    assert read_audit(tmp_path / "audit").views == audit.views


def test_a_damaged_table_of_views_is_one_sentence_also_in_an_older_audit(tmp_path: Path):
    draw_audit(tmp_path)
    (tmp_path / "audit" / "views.parquet").write_bytes(b"PAR1 no parquet")
    (tmp_path / "audit" / "run.json").write_text(json.dumps(OLDER_RUN))
    with pytest.raises(InputError, match=r"^[^\n]*a damaged audit [^\n]*scan the dataset again$"):
        read_audit(tmp_path / "audit")


HOSTILE = (None, 3, "text", "", [], [1, "a"], {}, {"a": None}, {"a": [1]}, {"": {"": {}}}, float("nan"), True)


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
@pytest.mark.parametrize(
    "where", ["fences", "fences cast", "fences cast flow", "fences cast flow value", "fences cast flow note",
              "votes", "votes cast", "votes cast flow",
              "scorers", "scorers student", "scorers student cast", "scorers student cast mute"]
)  # fmt: skip
def test_a_run_with_anything_in_it_is_read(where: str, value: object):
    run: dict[str, Any] = json.loads(json.dumps(OLDER_RUN))
    *above, last = where.split()
    inside = run
    for key in above:
        inside = inside[key]
    inside[last] = value
    views = Audit(tables={"views": views_of_older_run(run)}).views
    for view in (view for by_view in views.values() for view in by_view.values()):
        assert view.threshold is None or view.threshold == view.threshold  # not NaN
        assert isinstance(view.reason, str)


@pytest.mark.parametrize("number", ["NaN", "1e999", "-Infinity", "1" + "0" * 400, '"1.5"', "true", "null"])
def test_a_number_that_is_none_stops_nothing(tmp_path: Path, number: str):
    folder = as_older(draw_audit(tmp_path), OLDER_RUN)
    run = (folder / "run.json").read_text()
    (folder / "run.json").write_text(run.replace("40.25", number).replace("0.75", number))
    flow = read_audit(folder).views["cast"]["flow"]
    assert flow.threshold in (None, float("inf"), -float("inf"))
    assert flow.threshold == flow.weight


def test_half_a_surrogate_pair_stops_nothing(tmp_path: Path):
    folder = as_older(draw_audit(tmp_path), OLDER_RUN)
    run = (folder / "run.json").read_text()
    (folder / "run.json").write_text(run.replace('"cast"', '"\\ud800"').replace("too few", "\\udfff"))
    assert set(read_audit(folder).views) == {"?", "forged"}
