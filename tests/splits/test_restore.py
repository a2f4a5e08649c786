"""That what an apply did is undone to the byte, wherever it was cut off, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from bench.kill_splits import draw_set, images_lost, measure, snapshot, write_fake_audit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.errors import CouldNotFinish, CurateError, InputError
from curate.splits import transfer
from curate.splits.modes import Mode
from curate.splits.undo import restore
from tests.plates import ROOT
from tests.splits.pruning import FOLDERS, go, names


@pytest.mark.parametrize("mode", list(Mode))
def test_restore_gives_back_the_tree_to_the_byte(parts: Path, tmp_path: Path, mode: Mode):
    before = snapshot(parts)
    go(tmp_path, mode)
    go(tmp_path, mode)  # once more is no harm
    restore(tmp_path / "split")
    assert snapshot(parts) == before
    assert not {"data", "quarantine", "journal.jsonl"} & {p.name for p in (tmp_path / "split").iterdir()}
    assert restore(tmp_path / "split").mode is None


def test_restore_makes_a_folder_again_that_somebody_cleared_away(parts: Path, tmp_path: Path):
    audit = write_fake_audit(
        tmp_path / "all", parts, {"test/hole/003.png", "test/hole/007.png", "test/hole/011.png"}, split="all"
    )
    before = snapshot(parts)
    go(tmp_path, Mode.MOVE, audit=audit.name)
    (parts / "test" / "hole").rmdir()
    (parts / "ground_truth" / "hole").rmdir()
    restore(tmp_path / "split")
    assert {p: v[2] for p, v in snapshot(parts).items()} == {p: v[2] for p, v in before.items()}


def test_restore_touches_nothing_where_somebody_changed_a_file(parts: Path, tmp_path: Path):
    go(tmp_path, Mode.MOVE)
    (tmp_path / "split/quarantine/train/good/000.png").write_bytes(b"painted")
    before = snapshot(tmp_path)
    with pytest.raises(CouldNotFinish, match=r"quarantine/train/good/000.png: was changed since.*--force"):
        restore(tmp_path / "split")
    assert snapshot(tmp_path) == before
    undone = restore(tmp_path / "split", force=True)
    assert undone.left == ("train/good/000.png",)
    assert (parts / "train/good/004.png").is_file()


def test_restore_does_not_remove_the_last_copy_of_an_image(parts: Path, tmp_path: Path):
    go(tmp_path, Mode.COPY)
    (parts / "train/good/001.png").unlink()
    with pytest.raises(CouldNotFinish, match="is its last copy"):
        restore(tmp_path / "split")
    restore(tmp_path / "split", force=True)
    assert names(tmp_path / "split/data") == {"train/good/001.png"}


def test_what_somebody_put_into_the_data_is_not_removed(parts: Path, tmp_path: Path):
    go(tmp_path, Mode.SYMLINK)
    (tmp_path / "split/data/note.txt").write_text("mine")
    with pytest.raises(CouldNotFinish, match=r"data/note.txt: was added since"):
        restore(tmp_path / "split")
    restore(tmp_path / "split", force=True)
    assert names(tmp_path / "split/data") == {"note.txt"}


@pytest.mark.parametrize("text", ['{"curate_journal": 1}', "", "[]", "\x00"])
def test_a_damaged_journal_is_one_sentence(parts: Path, tmp_path: Path, text: str):
    go(tmp_path)
    (tmp_path / "split/journal.jsonl").write_text(text)
    with pytest.raises(InputError, match="a damaged journal"):
        restore(tmp_path / "split")


def test_a_hostile_journal_moves_nothing_out_of_the_dataset(parts: Path, tmp_path: Path):
    go(tmp_path, Mode.MOVE)
    file = tmp_path / "split/journal.jsonl"
    file.write_text(file.read_text().replace("train/good/000.png", "../victim.png"))
    before = snapshot(tmp_path)
    with pytest.raises(CurateError, match="leads out of the dataset"):
        restore(tmp_path / "split")
    assert snapshot(tmp_path) == before


class Killed(BaseException):
    """Ends a call where it stands, as a kill does: nothing of ours cleans up."""


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    mode=st.sampled_from([*FOLDERS, Mode.MOVE]),
    rejected=st.sets(st.sampled_from([f"train/good/{i:03d}.png" for i in (0, 1, 2, 4, 5, 6)]), max_size=4),
    at=st.integers(0, 14),
    after=st.booleans(),
    then=st.sampled_from(["finish", "undo", "undo twice"]),
)
def test_whatever_step_is_the_last_one_the_apply_can_be_finished_and_undone(
    tmp_path_factory: pytest.TempPathFactory, mode: Mode, rejected: set[str], at: int, after: bool, then: str
):
    home = tmp_path_factory.mktemp("home")
    root = draw_set(home / "set", 8, 50)
    write_fake_audit(home / "audit", root, rejected)
    before = snapshot(root)
    go(home)
    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        patch.setattr("curate.splits.apply.place", _killed_at(at, after, transfer.place))
        go(home, mode)
    assert not images_lost(before, root, home / "split")
    if then == "finish":
        go(home, mode)
        clean = snapshot(root if mode is Mode.MOVE else home / "split" / "data")
        assert {name for name, value in clean.items() if value[2]} == {n for n, v in before.items() if v[2]} - rejected
    if then == "undo twice":
        with pytest.MonkeyPatch.context() as patch, suppress(Killed):
            patch.setattr("curate.splits.undo.move", _killed_at(at // 4, after, transfer.move))
            restore(home / "split")
        assert not images_lost(before, root, home / "split")
    restore(home / "split")
    assert snapshot(root) == before
    assert not {"data", "data.partial", "quarantine"} & {p.name for p in (home / "split").iterdir()}


def _killed_at(at: int, after: bool, call: Callable[..., None]) -> Callable[..., None]:
    """Return a function that ends all with its call number `at`, before or after it did its work."""
    calls = iter(range(10_000))

    def one(*words: object, **more: object) -> None:
        number = next(calls)
        if number == at and not after:
            raise Killed
        call(*words, **more)
        if number == at:
            raise Killed

    return one


def test_processes_killed_at_any_moment_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    counts = measure(tmp_path, tmp_path, kills=3, images=80, seed=1, longest_s=0.02)
    assert {name: counts[name] for name in ("images lost", "trees that differ", "left behind")} == {
        "images lost": 0, "trees that differ": 0, "left behind": 0
    }  # fmt: skip
