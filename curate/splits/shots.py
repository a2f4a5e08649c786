"""Of the shots of one part, which stay in the clean set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from math import inf, isfinite

import pyarrow.compute as pc

from curate.audit.decisions import Decision
from curate.audit.effective_verdicts import DECISION
from curate.audit.parquet import Audit
from curate.audit.shot_clusters import shot_clusters
from curate.splits.modes import KeepShots
from curate.splits.plan import Action, PlanRow


def keep_one_shot(audit: Audit, rows: Sequence[PlanRow], which: KeepShots) -> list[PlanRow]:
    """Return the plan with one shot of each part kept, and the others rejected.

    Shots that a person decided to keep all stay, and stand for their part. Shots under another label are left as they
    are: one of the two labels is wrong, and without the shot nobody would see it.

    Args:
        audit: as read; not trusted.
        rows: a row for every image of the audit, in its order.
        which: the first by path, or the sharpest; of equally sharp ones the first.

    Raises:
        InputError: the audit was made without the search for shots of the same part, or its pairs cannot be used.
    """
    if which is KeepShots.ALL:
        return list(rows)
    images = audit.tables["images"]
    by_hand = set(images.filter(pc.equal(images[DECISION], Decision.KEEP.value))["path"].to_pylist())
    sharpness = images["sharpness"].to_pylist()
    shots = defaultdict[tuple[int, str], list[int]](list)
    for row, cluster in enumerate(shot_clusters(audit).tolist()):
        if rows[row].action is Action.KEEP:
            shots[cluster, rows[row].label].append(row)

    def order(row: int) -> tuple[bool, float, str]:
        value = sharpness[row] if which is KeepShots.SHARPEST else 0.0
        return rows[row].path not in by_hand, -value if value is not None and isfinite(value) else inf, rows[row].path

    planned = list(rows)
    for of_part in shots.values():
        kept, *others = sorted(of_part, key=order)
        for row in others:
            if rows[row].path not in by_hand:
                reason = f"another shot of the same part as {rows[kept].path}, which is kept"
                planned[row] = replace(rows[row], action=Action.REJECT, reason=reason)
    return planned
