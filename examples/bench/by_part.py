"""Draw a contaminated set part by part: all shots of a part, or none.

    curate scan SET --same-part -o AUDIT        SET has good/ and other class folders
    python examples/bench/by_part.py AUDIT OUT --share 0.1 --seed 0

Writes links into OUT/good and the truth, name and 0 or 1, into OUT/truth.csv. Parts with shots in both are left out.
"""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Iterator
from pathlib import Path

from scipy.cluster.hierarchy import DisjointSet

from curate.audit.parquet import Audit, read_audit
from curate.audit.schema import SAME_PART_DIFFERS


def parts(audit: Audit) -> Iterator[list[str]]:
    """Yield the paths of the shots of each part."""
    joined: DisjointSet[str] = DisjointSet(audit.images["path"])
    for row in audit.tables["duplicates"].to_pylist():
        if row["kind"] != SAME_PART_DIFFERS:
            joined.merge(row["path"], row["duplicate_of"])
    for shots in joined.subsets():
        yield sorted(shots)


def drawn(groups: list[list[str]], images: int, chance: random.Random) -> list[str]:
    """Return so many images, or a few less, in whole groups."""
    taken: list[str] = []
    for group in chance.sample(groups, len(groups)):
        if len(taken) + len(group) <= images:
            taken += group
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audit", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    audit, chance = read_audit(options.audit), random.Random(options.seed)
    root, groups = Path(audit.run["dataset"]), sorted(parts(audit))
    defective = round(options.images * options.share)
    good = [g for g in groups if all(path.startswith("good/") for path in g)]
    bad = [g for g in groups if not any(path.startswith("good/") for path in g)]
    (options.out / "good").mkdir(parents=True)
    with (options.out / "truth.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("name", "defective"))
        for wrong, taken in enumerate((drawn(good, options.images - defective, chance), drawn(bad, defective, chance))):
            for path in taken:
                name = path.replace("/", "-")
                (options.out / "good" / name).symlink_to((root / path).resolve())
                rows.writerow((name, wrong))


if __name__ == "__main__":
    main()
