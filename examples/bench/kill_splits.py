"""Kill `curate prune --apply` and `curate restore` at random moments, and check that no image is lost.

    python examples/bench/kill_splits.py --kills 50 [--other-disk /dev/shm]

The script draws a small set in the layout of MVTec AD, with an audit of it. Each round applies the plan in a separate
process, which is killed (SIGKILL) after a random time. Then a coin toss decides whether the apply is finished or
undone; undoing is sometimes killed as well. At the end everything is restored and the tree is compared byte for byte,
with modes and times.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from curate.audit.parquet import Audit, write_audit
from curate.audit.schema import SCHEMA_VERSION, TABLES
from curate.images.sources import list_images
from curate.records import Layout
from curate.splits.files import hash_or_empty

MODES = ("copy", "hardlink", "symlink", "move")
Snapshot = dict[str, tuple[object, ...]]


def draw_set(root: Path, images: int, size_bytes: int = 20_000) -> Path:
    """Write a set in the layout of MVTec AD; random bytes serve as images."""
    rng = random.Random(0)
    for index in range(images):
        part = f"test/hole/{index:03d}.png" if index % 4 == 3 else f"train/good/{index:03d}.png"
        names = [part] + ([f"ground_truth/hole/{index:03d}_mask.png"] if index % 4 == 3 else [])
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(rng.randbytes(size_bytes))
            os.utime(root / name, ns=(10**18 + index, 10**18 + 7 * index))
    (root / "empty" / "folder").mkdir(parents=True)
    return root


def write_fake_audit(folder: Path, root: Path, rejected: set[str], **run: object) -> Path:
    """Write an audit of a dataset that rejects the images with these paths."""
    layout = run.get("layout")
    listing = list_images(root, layout=Layout(str(layout)) if layout else None, split=run.get("split"))  # type: ignore[arg-type]
    hashes = [hash_or_empty(file) for file in listing.files]
    verdicts = ["mislabelled" if path in rejected else "keep" for path in listing.paths]
    columns = {
        "path": listing.paths,
        "sha256": hashes,
        "split": listing.splits,
        "label": listing.labels,
        "group": listing.groups,
        "verdict": ["unreadable" if not value else verdict for value, verdict in zip(hashes, verdicts, strict=True)],
        "skip_reason": ["" if value else "cannot be read" for value in hashes],
        "suggested_label": [""] * len(listing),
    }
    columns = {field.name: columns.get(field.name, [None] * len(listing)) for field in TABLES["images"]}
    tables = {name: schema.empty_table() for name, schema in TABLES.items()}
    tables["images"] = pa.table({name: list(values) for name, values in columns.items()}, schema=TABLES["images"])
    settings = {"split": run.get("split"), "rounds": 1, "min_keep": 2}
    about = {"schema_version": SCHEMA_VERSION, "dataset": str(listing.root), "layout": listing.layout.value}
    folder.mkdir(parents=True)
    write_audit(Audit(tables=tables, run=about | {"settings": settings}), folder)
    return folder


def snapshot(root: Path) -> Snapshot:
    """Return the state of a tree: names, kinds, modes, times, and the hashes of bytes or the targets of links."""
    state: Snapshot = {}
    for folder, inside, files in os.walk(root):
        for name in (".", *inside, *files) if folder == str(root) else (*inside, *files):
            path = Path(folder, name)
            status = os.lstat(path)
            content = os.readlink(path) if path.is_symlink() else ""  # noqa: PTH115
            if path.is_file() and not path.is_symlink():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            state[os.path.relpath(path, root)] = (status.st_mode, status.st_mtime_ns, content)
    return state


def call(*words: str | Path) -> subprocess.Popen[bytes]:
    """Start the command line in a separate process."""
    return subprocess.Popen(
        [sys.executable, "-m", "curate", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish(*words: str | Path) -> None:
    """Run the command line to its end; any exit code but 0 ends this script."""
    process = call(*words)
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"{words}: exit {process.returncode}: {errors.decode()}")


def kill_while_at_work(folder: Path, seconds: float, *words: str | Path) -> bool:
    """Start a command, wait until its journal appears or grows, then kill it after that many seconds.

    Returns:
        Whether it was killed; False if it ended before.
    """
    journal = folder / "journal.jsonl"
    before = _size(journal)
    process = call(*words)
    while process.poll() is None and _size(journal) == before:
        time.sleep(0.0002)
    time.sleep(seconds)
    process.kill()
    process.communicate()
    return process.returncode != 0


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def images_lost(before: Snapshot, *places: Path) -> set[str]:
    """Return the hashes of a set that are in none of the places."""
    present = {str(value[2]) for place in places for value in snapshot(place).values()}
    return {str(value[2]) for value in before.values() if value[2]} - present


def one_round(
    root: Path, audit: Path, output: Path, *, mode: str, rng: random.Random, longest_s: float
) -> dict[str, int]:
    """Kill an apply, and perhaps its undoing; restore at the end."""
    before, words = snapshot(root), ("prune", audit, "-o", output, "--apply", mode, "--quiet")
    killed = kill_while_at_work(output, rng.uniform(0, longest_s), *words)
    lost = len(images_lost(before, root, output))
    if rng.random() < 0.5:
        finish(*words)
        lost += len(images_lost(before, root, output))
    if rng.random() < 0.5:
        killed += kill_while_at_work(output, rng.uniform(0, longest_s), "restore", output)
        lost += len(images_lost(before, root, output))
    finish("restore", output)
    differs = int(snapshot(root) != before)
    left = sum((output / name).exists() for name in ("data", "data.partial", "quarantine", "journal.jsonl"))
    return {"killed": int(killed), "images lost": lost, "trees that differ": differs, "left behind": left}


def measure(
    home: Path, output_home: Path, kills: int, *, images: int, seed: int = 0, longest_s: float = 0.05
) -> dict[str, int]:
    """Repeat rounds until that many processes were killed at work; return the sums of what was counted."""
    rng = random.Random(seed)
    root = draw_set(home / "set", images)
    audit = write_fake_audit(home / "audit", root, {f"train/good/{i:03d}.png" for i in range(0, images, 4)})
    total = {"rounds": 0, "killed": 0, "images lost": 0, "trees that differ": 0, "left behind": 0}
    while total["killed"] < kills:
        mode = MODES[total["rounds"] % len(MODES)]
        if mode == "hardlink" and os.stat(home).st_dev != os.stat(output_home).st_dev:
            mode = "move"
        output = output_home / f"split-{total['rounds']}"
        counts = one_round(root, audit, output, mode=mode, rng=rng, longest_s=longest_s) | {"rounds": 1}
        total = {name: total[name] + counts[name] for name in total}
        shutil.rmtree(output)
    return total


def main() -> None:
    """Print the sums as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=0.05, help="seconds from the first step to the kill, at most")
    parser.add_argument("--other-disk", type=Path, help="a folder on another filesystem, for the splits")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory(dir=args.other_disk or None) as other:
        total = measure(Path(home), Path(other), args.kills, images=args.images, seed=args.seed, longest_s=args.longest)
    sys.stdout.write(json.dumps(total) + "\n")


if __name__ == "__main__":
    main()
