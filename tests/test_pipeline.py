from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import curate
from curate.audit.maps import KEPT_MAPS
from curate.audit.schema import TABLES
from curate.config import ScanConfig
from curate.errors import CouldNotFinish, CurateError, NothingToAudit, UsageError, WriteError
from curate.findings import catalogue
from curate.pipeline import configure
from curate.progress import Progress, Silent
from curate.records import Layout, Listing
from curate.run_facts import recognised
from tests.images.torture import draw_torture_set
from tests.plates import draw_plates


def verdicts(audit: curate.Audit) -> dict[str, str]:
    return dict(zip(audit.images["path"], audit.images["verdict"], strict=True))


def quick(source: Path | str, output: Path, **settings: object) -> curate.Audit:
    """Scan with one view in a single pass: for what has nothing to do with the scores."""
    return curate.scan(source, output, **{"scorers": ("neighbours",), "rounds": 1} | settings)


class Meanwhile(Silent):
    """Remembers the stages, and does something when one of them begins."""

    def __init__(self, stage: str = "", act: Callable[[], object] = lambda: None) -> None:
        self.at, self.act, self.stages = stage, act, list[str]()

    @contextmanager
    def stage(self, title: str, total: int | None) -> Iterator[Progress]:
        self.stages.append(title)
        if title == self.at:
            self.act()
        yield lambda images: None


def test_a_planted_hole_is_flagged_shown_and_explained(plates: Path, tmp_path: Path):
    audit = curate.scan(plates, tmp_path / "audit")
    flagged = {path for path, verdict in verdicts(audit).items() if verdict in ("mislabelled", "near_ood")}
    assert {"03.png", "11.png"} <= flagged
    assert len(flagged) <= 4
    worst = audit.images.sort_values("anomaly_score", ascending=False)["path"].head(2)
    assert set(worst) == {"03.png", "11.png"}
    reasons = audit.findings.query("path == '03.png'").iloc[0]
    assert reasons["score"] > reasons["fence"] == 1
    assert reasons["margin"] == pytest.approx(reasons["score"] - 1)
    drawn = sorted(f"maps/{p.name}" for p in (tmp_path / "audit" / "maps").iterdir())
    assert len(drawn) == len(flagged)
    assert sorted(audit.findings["map"].dropna()) == drawn
    assert reasons["map"] == "maps/0000003.png"
    assert {name: set(views) for name, views in audit.views.items()} == {
        "": {"hybrid", "flow", "student", "neighbours"}
    }
    assert all((view.weight is None) == (name == "hybrid") for name, view in audit.views[""].items())
    assert len(verdicts(audit)) <= KEPT_MAPS  # so each kept image has a map in numbers
    assert sorted(audit.tables["maps"]["path"].to_pylist()) == sorted(verdicts(audit))


def test_two_products_in_one_folder_are_judged_apart_and_the_audit_says_so(tmp_path: Path):
    import numpy as np
    from PIL import Image

    folder = draw_plates(tmp_path / "mixed", 72, holes=(3, 40))
    for index in range(36, 72):  # the other product is a bright ring on black
        pixels = np.asarray(Image.open(folder / f"{index}.png")).astype(int)
        y, x = np.mgrid[0:128, 0:128]
        ring = np.abs(np.hypot(y - 64, x - 64) - 45) < 12
        Image.fromarray(np.where(ring | (pixels < 40), pixels, pixels // 8).astype(np.uint8)).save(
            folder / f"{index}.png"
        )
    audit = quick(folder, tmp_path / "audit")
    sets = {name: sorted(rows["path"]) for name, rows in audit.images.groupby("nominal_set")}
    first = [f"{index:02d}.png" for index in range(36)]
    assert sets["subpopulation 1 of 2"] == first
    assert set(audit.views) == set(sets) == set(audit.tables["rounds"]["nominal_set"].to_pylist())
    assert set(audit.images["label"]) == {""}
    notes = [row for row in audit.tables["findings"].to_pylist() if row["code"] == "SET003"]
    assert len(notes) == 72
    assert {row["score"] for row in notes} == {None}  # a note, also on a flagged image
    assert "2 in the set" in (tmp_path / "audit" / "report.html").read_text(encoding="utf-8")
    as_one = quick(folder, tmp_path / "as-one", subpopulations=False)
    assert set(as_one.images["nominal_set"]) == {""}


def test_an_image_in_another_light_or_out_of_focus_is_flagged_and_said_to_be(tmp_path: Path):
    from PIL import Image, ImageEnhance, ImageFilter

    folder = draw_plates(tmp_path / "lit", 40)
    with Image.open(folder / "05.png") as image:
        ImageEnhance.Brightness(image).enhance(0.5).save(folder / "05.png")
    with Image.open(folder / "17.png") as image:
        image.filter(ImageFilter.GaussianBlur(2)).save(folder / "17.png")
    audit = quick(folder, tmp_path / "audit", planted=False)  # planted defects would flag both by their scores
    blind = quick(folder, tmp_path / "blind", optics=False)
    messages = dict(audit.findings.query("code == 'OOD003'")[["path", "message"]].to_numpy())
    assert set(messages) == {"05.png", "17.png"}
    assert messages["05.png"].startswith("Darker and of less contrast than the set: brightness ")
    assert "ess sharp" in messages["17.png"]
    assert {verdicts(audit)[path] for path in messages} <= {"near_ood", "mislabelled"}
    alone = audit.findings.query("code == 'OOD003' and score == score")
    assert len(alone)
    assert alone["box"].isna().all()  # the light has no place
    assert "OOD003" not in set(blind.findings["code"])
    dark = audit.images.set_index("path").loc["05.png"]
    assert dark["brightness"] < 0.6 * audit.images["brightness"].median()
    assert dark["anomaly_score"] > 1


def test_every_step_that_takes_long_is_a_stage(plates: Path, tmp_path: Path):
    watch = Meanwhile()
    quick(plates, tmp_path / "audit", screen=watch)
    assert watch.stages == ["list", "read headers", "embed", "same part", "plant", "score", "draw", "report"]


def test_the_audit_says_what_of_planted_defects_is_found_and_which_images_are_uncertain(plates: Path, tmp_path: Path):
    audit = quick(plates, tmp_path / "audit")
    power, images = audit.run["power"], audit.images
    assert power["planted"] == sum(row["planted"] for row in power["table"]) == 24
    assert power["found"] == sum(row["found"] for row in power["table"]) > 0
    assert set(power) == {"planted", "found", "table", "like_nominal", "cannot_tell"}
    kept = images["verdict"] == "keep"
    doubtful = (kept & (images["confidence"] < 0.75)) | (~kept & (images["confidence"] > 0.5))
    assert (images["uncertain"].astype(bool) == doubtful).all()
    best = images.nlargest(1, "anomaly_score").iloc[0]
    assert best["expected_precision"] == pytest.approx(1 - best["confidence"])
    least = images.nsmallest(1, "anomaly_score").iloc[0]
    assert least["expected_precision"] == pytest.approx(1 - images["confidence"].mean(), rel=1e-4)


def test_without_planted_defects_the_audit_says_nothing_of_them(plates: Path, tmp_path: Path):
    watch = Meanwhile()
    audit = quick(plates, tmp_path / "audit", planted=False, screen=watch)
    assert "plant" not in watch.stages
    assert audit.run["power"] is None
    assert audit.images["uncertain"].notna().all()


def test_a_flagged_image_that_vanishes_before_it_is_drawn_has_no_map(plates: Path, tmp_path: Path):
    watch = Meanwhile("draw", (plates / "03.png").unlink)
    findings = quick(plates, tmp_path / "audit", screen=watch).tables["findings"].to_pylist()
    maps = {row["path"]: row["map"] for row in findings}
    assert (maps["03.png"], maps["11.png"]) == (None, "maps/0000011.png")
    assert not (tmp_path / "audit" / "maps" / "0000003.png").exists()
    assert (tmp_path / "audit" / "flagged.png").is_file()


def test_the_box_of_a_finding_holds_the_hole(tmp_path: Path):
    import numpy as np
    from PIL import Image

    folder = draw_plates(tmp_path / "plates", 20)
    pixels = np.asarray(Image.open(folder / "07.png")).copy()
    pixels[90:110, 20:40] = 10
    Image.fromarray(pixels).save(folder / "07.png")
    audit = curate.scan(folder, tmp_path / "audit", rounds=1)
    left, top, width, height = audit.findings.query("path == '07.png'").iloc[0]["box"]
    assert left <= 30 <= left + width
    assert top <= 100 <= top + height
    assert width * height < 128 * 128 / 2


def test_same_input_settings_and_seed_give_the_same_bytes_cached_or_not(plates: Path, tmp_path: Path):
    for name, cache in (("a", "one"), ("b", "one"), ("c", "two")):
        curate.scan(plates, tmp_path / name, seed=0, cache=tmp_path / cache)
    a, b, c = ((tmp_path / name / "images.parquet").read_bytes() for name in "abc")
    assert a == b == c


def test_the_seed_matters_and_zero_is_a_seed(plates: Path, tmp_path: Path):
    zero, default, one = (
        curate.scan(plates, tmp_path / name, rounds=1, **seed).images["anomaly_score"]
        for name, seed in (("a", {"seed": 0}), ("b", {}), ("c", {"seed": 1}))
    )
    assert zero.equals(default)
    assert not zero.equals(one)


def test_the_order_in_which_images_are_read_does_not_change_their_scores(plates: Path, tmp_path: Path):
    first = curate.scan(plates, tmp_path / "a", rounds=1).images.set_index("path")["anomaly_score"]
    (tmp_path / "list.csv").write_text("path\n" + "\n".join(sorted((f"plates/{p}" for p in first.index), reverse=True)))
    again = curate.scan(tmp_path / "list.csv", tmp_path / "b", rounds=1).images.set_index("path")["anomaly_score"]
    assert {f"plates/{path}": score for path, score in first.items()} == pytest.approx(dict(again), rel=1e-4)


def test_copies_are_duplicates_and_do_not_vouch_for_one_another(plates: Path, tmp_path: Path):
    alone = curate.scan(plates, tmp_path / "a").images.set_index("path")["score_neighbours"]
    for number in range(5):
        (plates / f"z{number}.png").write_bytes((plates / "03.png").read_bytes())
    audit = curate.scan(plates, tmp_path / "b")
    scores = audit.images.set_index("path")["score_neighbours"]
    assert scores["03.png"] == pytest.approx(alone["03.png"], rel=1e-3)
    assert list(audit.duplicates["duplicate_of"]) == ["03.png"] * 5
    assert all(v in ("duplicate", "mislabelled", "near_ood") for p, v in verdicts(audit).items() if p.startswith("z"))


def test_a_copy_under_another_label_is_a_finding(tmp_path: Path):
    draw_plates(tmp_path / "set" / "good", 12)
    draw_plates(tmp_path / "set" / "bad", 12, seed=9)
    (tmp_path / "set" / "bad" / "copy.png").write_bytes((tmp_path / "set" / "good" / "00.png").read_bytes())
    audit = quick(tmp_path / "set", tmp_path / "audit")
    assert "DUP002" in set(audit.findings["code"])
    assert not audit.duplicates.iloc[0]["same_label"]


def test_every_file_of_the_torture_set_is_a_row_and_none_aborts(tmp_path: Path):
    expected = draw_torture_set(tmp_path / "torture")
    audit = curate.scan(tmp_path / "torture", tmp_path / "audit")
    assert len(expected) >= 40
    assert len(audit.images) >= len(expected)
    assert set(audit.findings["code"]) <= set(catalogue())
    unreadable = audit.images.query("verdict == 'unreadable'")
    assert (unreadable["skip_reason"] != "").all()
    assert set(unreadable["path"]) <= set(audit.findings["path"])
    assert audit.images.query("verdict != 'unreadable'")["anomaly_score"].notna().all()


def test_every_column_has_the_documented_type_and_a_comment(plates: Path, tmp_path: Path):
    quick(plates, tmp_path / "audit")
    for name, schema in TABLES.items():
        written = pq.read_schema(tmp_path / "audit" / f"{name}.parquet")
        assert written.equals(schema)
        assert all(written.field(column).metadata[b"comment"] for column in written.names)


def test_an_audit_reads_back_as_it_was(plates: Path, tmp_path: Path):
    audit = quick(plates, tmp_path / "audit")
    again = curate.read_audit(tmp_path / "audit")
    assert again.images.equals(audit.images)
    assert again.run == json.loads((tmp_path / "audit" / "run.json").read_text())


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_handful_of_images_is_not_judged_and_has_scores(tmp_path: Path, count: int):
    audit = curate.scan(draw_plates(tmp_path / "few", count), tmp_path / "audit")
    assert set(audit.images["verdict"]) == {"not_judged"}
    assert audit.images["anomaly_score"].notna().all()
    assert set(audit.findings["code"]) == {"SET001"}
    evidence = audit.findings[["score", "fence", "margin", "neighbours", "box", "map"]]
    assert evidence.isna().all(axis=None)  # nothing is flagged, so nothing is to be shown


def test_a_group_column_with_one_value_is_named_as_the_cause(plates: Path, tmp_path: Path):
    rows = "".join(f"{file.name},good,A\n" for file in sorted(plates.glob("*.png")))
    (plates / "list.csv").write_text(f"path,label,group\n{rows}")
    audit = quick(plates / "list.csv", tmp_path / "audit")
    assert set(audit.images["verdict"]) == {"not_judged"}
    (message,) = set(audit.findings.query("code == 'SET001'")["message"])
    assert message == (
        "In 'good': all images are of one group, and images of one group are not compared with each other, so none of "
        "them was judged"
    )


def test_folders_of_few_images_each_are_named_as_the_cause(tmp_path: Path):
    for day in ("2024-03-01", "2024-03-02"):
        draw_plates(tmp_path / "good" / day, 5)
    audit = quick(tmp_path / "good", tmp_path / "audit")
    assert "keep" not in set(audit.images["verdict"])
    message = audit.findings.query("code == 'SET001'")["message"].tolist()[0]
    assert message.startswith("In '2024-03-01': 5 images are too few to judge, 8 with different pixels are needed")


def test_of_two_scans_into_one_output_the_second_is_refused_and_the_first_goes_on(plates: Path, tmp_path: Path):
    refused = list[str]()

    def scan_too() -> None:
        with pytest.raises(CouldNotFinish, match="another curate is writing an audit there") as caught:
            quick(plates, tmp_path / "audit", force=True)
        refused.append(str(caught.value))

    audit = quick(plates, tmp_path / "audit", screen=Meanwhile("embed", scan_too))
    assert len(refused) == 1
    assert curate.read_audit(tmp_path / "audit").images.equals(audit.images)
    assert not list(tmp_path.glob(".curate-*"))
    quick(plates, tmp_path / "audit", force=True)  # nothing is left locked


def test_equal_images_are_duplicates_and_nothing_is_flagged(tmp_path: Path):
    folder = draw_plates(tmp_path / "equal", 1)
    for number in range(1, 12):
        (folder / f"{number:02d}.png").write_bytes((folder / "00.png").read_bytes())
    audit = curate.scan(folder, tmp_path / "audit")
    assert sorted(set(audit.images["verdict"])) == ["duplicate", "not_judged"]


def test_a_set_of_unreadable_images_is_refused_with_the_reason(tmp_path: Path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"")
    with pytest.raises(NothingToAudit, match="none of the 1 images can be read"):
        quick(tmp_path / "bad", tmp_path / "audit")
    assert not (tmp_path / "audit").exists()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"image_size": 3}, "--image-size 3"),
        ({"image_sise": 300}, "unknown key 'image_sise'; did you mean 'image_size'\\?"),
        ({"layout": "imagefolder"}, "--layout 'imagefolder'"),
        ({"backbone": "resnot18"}, "did you mean resnet18"),
        ({"weights": "x.safetensors"}, "--weights needs a timm model"),
        ({"device": "tpu"}, "--device 'tpu'"),
        ({"seed": -1}, "--seed -1"),
        ({"split": "auto"}, "there is no split 'auto'"),
        ({"batch_size": "auto"}, "--batch-size 'auto'"),
    ],
)
def test_a_wrong_setting_is_one_sentence(plates: Path, tmp_path: Path, settings: dict[str, object], sentence: str):
    with pytest.raises(UsageError, match=sentence) as caught:
        quick(plates, tmp_path / "audit", **settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "audit").exists()


def test_an_audit_is_replaced_only_with_force_and_other_folders_never(plates: Path, tmp_path: Path):
    quick(plates, tmp_path / "audit")
    with pytest.raises(UsageError, match="add --force"):
        quick(plates, tmp_path / "audit")
    quick(plates, tmp_path / "audit", force=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="never replaced"):
        quick(plates, tmp_path / "other", force=True)
    assert (tmp_path / "other" / "thesis.txt").read_text() == "mine"


def test_force_never_takes_images_or_a_manifest_with_it(plates: Path, tmp_path: Path):
    audit = tmp_path / "audit"
    quick(plates, audit)
    shutil.copytree(plates, audit / "clean")
    (audit / "list.csv").write_text("path\nclean/00.png\n")
    named = io.BytesIO(os.fsencode(audit / "clean" / "00.png"))
    for dataset, stdin in ((audit / "clean", None), (audit / "list.csv", None), ("-", named), (plates, None)):
        with pytest.raises(UsageError, match=r"lies inside and would be replaced|not part of the audit and would be"):
            quick(dataset, audit, force=True, stdin=stdin)
    assert len(list((audit / "clean").iterdir())) == 24


def test_what_comes_to_lie_in_the_old_audit_during_a_scan_is_not_lost(plates: Path, tmp_path: Path):
    audit = tmp_path / "audit"
    quick(plates, audit)
    watch = Meanwhile("draw", lambda: (audit / "notes.txt").write_text("mine"))
    with pytest.raises(UsageError, match=r"notes\.txt is not part of the audit"):
        quick(plates, audit, force=True, screen=watch)
    assert (audit / "notes.txt").read_text() == "mine"


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are Unicode there")
def test_folders_whose_names_are_not_utf8_are_read_and_written(tmp_path: Path):
    folder, output = (tmp_path / os.fsdecode(name) for name in (b"bad\xff", b"out\xff"))
    audit = quick(draw_plates(folder, 3), output)
    assert audit.run["dataset"].endswith("bad\\xff")
    assert curate.read_audit(output).run == json.loads(json.dumps(audit.run))


def test_an_empty_set_or_a_name_too_long_leaves_no_folder_behind(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingToAudit):
        quick(tmp_path / "empty", tmp_path / "p" / "q" / "audit")
    with pytest.raises(UsageError, match="check the path"):
        quick(tmp_path / ("x" * 300), tmp_path / "audit")
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]


def test_at_most_five_splits_are_named():
    names = tuple(f"s{i}" for i in range(7))
    listing = Listing(
        root=Path("/set"),
        layout=Layout.MANIFEST,
        paths=names,
        files=tuple(map(Path, names)),
        labels=("",) * 7,
        splits=names,
        groups=("",) * 7,
    )
    assert recognised(listing).endswith("split s0, s1, s2, s3, s4, 2 more")


def test_an_output_inside_the_dataset_is_refused_also_through_a_link(plates: Path, tmp_path: Path):
    (tmp_path / "door").symlink_to(plates)
    for output in (plates / "audit", tmp_path / "door" / "audit"):
        with pytest.raises(UsageError, match="inside the dataset"):
            quick(plates, output)


def test_a_full_disk_leaves_the_old_audit_and_nothing_half_written(
    plates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    quick(plates, tmp_path / "audit")
    before = (tmp_path / "audit" / "images.parquet").read_bytes()

    def no_space(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", no_space)
    with pytest.raises(WriteError, match="No space left on device"):
        quick(plates, tmp_path / "audit", force=True)
    assert (tmp_path / "audit" / "images.parquet").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_file_that_vanishes_during_the_scan_is_a_row(plates: Path, tmp_path: Path):
    (tmp_path / "list.csv").write_text("path\n" + "\n".join(f"plates/{n:02d}.png" for n in range(26)))
    audit = quick(tmp_path / "list.csv", tmp_path / "audit")
    assert list(audit.images.query("verdict == 'unreadable'")["path"]) == ["plates/24.png", "plates/25.png"]


def test_every_error_has_an_exit_code_and_all_are_of_one_tree():
    assert issubclass(CouldNotFinish, CurateError)
    assert (UsageError.exit_code, CouldNotFinish.exit_code, NothingToAudit.exit_code) == (2, 3, 3)


@pytest.mark.parametrize("make", [configure, lambda settings: ScanConfig(**settings)])
def test_settings_of_earlier_versions_are_read_under_their_present_names(make):
    with pytest.warns(DeprecationWarning, match="is now called"):
        config = make({"fence": "iqr", "kinds": False})
    assert (config.threshold, config.subpopulations) == ("iqr", False)
    with pytest.warns(DeprecationWarning, match="fence: is now called threshold"):
        assert make({"fence": "iqr", "threshold": "mixture"}).threshold == "mixture"
