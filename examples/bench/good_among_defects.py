"""Count the good images that are found among the defects.

    python examples/bench/good_among_defects.py LABELLED_SET... [--share 0.1]

Each set (good/ and defect/<type>/) is copied as links, with a tenth of the images of each defect's folder replaced by
good ones, and scanned with the default settings. Printed for each set: how many of the strayed images are called
mislabelled with `good` suggested, how many of the true defects are called the same, how many of them are called another
defect, and how many good images are flagged.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

import curate

GOOD = "good"


def images_below(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in {".png", ".jpg", ".jpeg", ".bmp"})


def link(files: list[Path], folder: Path, prefix: str) -> None:
    folder.mkdir(exist_ok=True)
    for index, file in enumerate(files):
        (folder / f"{prefix}{index:04d}{file.suffix.lower()}").symlink_to(file.resolve())


def build(source: Path, target: Path, share: float) -> None:
    """Lay out a set: `s...` are strayed good images, `d...` true defects, `g...` good ones."""
    good = images_below(source / "good")
    random.Random(0).shuffle(good)
    for kind in sorted(folder for folder in (source / "defect").iterdir() if folder.is_dir()):
        defects = images_below(kind)
        count = max(1, round(len(defects) * share / (1 - share)))
        link(defects, target / kind.name, "d")
        link(good[:count], target / kind.name, "s")
        good = good[count:]
    link(good, target / GOOD, "g")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--share", type=float, default=0.1, help="of a defect's folder that is really good")
    chosen = parser.parse_args()
    columns = (
        "set",
        "strayed images found",
        "true defects called good",
        "called another defect",
        "good images flagged",
    )
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for source in chosen.sets:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / source.name
            folder.mkdir()
            build(source, folder, chosen.share)
            table = curate.scan(folder, Path(scratch) / "audit").images
        names = table["path"].str.split("/").str[-1].str[0]
        called = (table["verdict"] == "mislabelled") & (table["suggested_label"] == GOOD)
        cells = [f"{int((called & (names == kind)).sum())} of {int((names == kind).sum())}" for kind in "sd"]
        other = (table["suggested_label"] != "") & ~called & (names == "d")
        cells.append(f"{int(other.sum())} of {int((names == 'd').sum())}")
        flagged = table["verdict"].isin(["mislabelled", "near_ood"]) & (names == "g")
        print(f"| {source.name} | {' | '.join(cells)} | {int(flagged.sum())} of {int((names == 'g').sum())} |")


if __name__ == "__main__":
    main()
