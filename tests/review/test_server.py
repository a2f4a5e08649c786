"""The review page: served to who knows its address, in the browser, with two tabs open."""

from __future__ import annotations

import http.client
import json
import threading
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import pytest
from playwright.sync_api import expect

from curate.audit.decisions import Decided, Decision, Decisions, Stale
from curate.audit.parquet import Audit, read_audit
from curate.audit.reviewed import decisions_of
from curate.errors import InputError
from curate.review.session import review_session
from curate.splits.plan import Action, judged_rows

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


def ask(address: str, path: str = "", *, method: str = "GET", body: bytes | None = None, **headers: str) -> Any:
    """Return (status, headers, body) of a request below the page's address, or of an absolute path."""
    where = urlsplit(address)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(http.client.HTTPConnection(where.hostname, where.port, timeout=10)) as line:
        line.request(method, path if path.startswith("/") else where.path + path, body, named)
        answer = line.getresponse()
        return answer.status, answer.headers, answer.read()


def change(address: str, **asked: Any) -> tuple[int, Any]:
    body = {"row": 0, "decision": "keep", "note": "", "revision": 0} | asked
    sent = json.dumps(body).encode()
    status, _, answer = ask(address, "decide", method="POST", body=sent, content_type="application/json")
    return status, json.loads(answer)


def test_only_who_knows_the_token_is_answered(address: str):
    assert ask(address)[0] == 200
    token = urlsplit(address).path.strip("/")
    assert len(token) >= 32
    for path in ("/", "/wrong/", f"/{token[:-1]}/", f"/{token}x/decisions", "/wrong/picture/0/card"):
        assert ask(address, path)[0] == 404
    assert ask(address, host="evil.example")[0] == 404
    assert ask(address, origin="https://evil.example")[0] == 404


def test_the_page_comes_with_a_strict_policy_and_is_not_kept(address: str):
    _, headers, _ = ask(address)
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path",
    [
        "picture/../../../etc/passwd",
        "picture/..%2f..%2fetc%2fpasswd/card",
        "picture/99999/card",
        "picture/-1/card",
        "picture/0/near",
        "picture/0/../../secret.png",
        "picture/0/full",
    ],
)
def test_nothing_but_the_pages_own_thumbnails_can_be_asked_for(address: str, path: str):
    assert ask(address, path)[0] == 404
    status, headers, data = ask(address, "picture/0/card")
    assert (status, headers["content-type"], data[8:12]) == (200, "image/webp", b"WEBP")


def test_a_link_that_leads_elsewhere_since_the_scan_shows_nothing(audit: Audit, address: str, tmp_path: Path):
    first = tmp_path / "set" / audit.tables["images"]["path"][1].as_py()
    (tmp_path / "secret.png").write_bytes((tmp_path / "set/cast/00004.png").read_bytes())
    first.unlink()
    first.symlink_to(tmp_path / "secret.png")
    assert ask(address, "picture/1/card")[0] == 404


@pytest.mark.parametrize(
    "asked",
    [
        {"row": 40},
        {"row": "../x"},
        {"decision": "delete"},
        {"revision": "0"},
        {"note": "x" * 2001},
        {"note": "x" * 20_000},
        {"note": None},
    ],
)
def test_a_change_that_the_page_would_not_make_is_refused(address: str, audit: Audit, asked: dict[str, Any]):
    assert change(address, **asked)[0] == 400
    assert not (audit.path / "decisions.parquet").exists()


def test_a_form_of_another_site_cannot_decide(address: str):
    body = b'{"row": 0, "decision": "keep", "note": "", "revision": 0}'
    assert ask(address, "decide", method="POST", body=body, content_type="text/plain")[0] == 400


def test_a_change_that_another_tab_overtook_is_refused_with_the_latest_decision(address: str, audit: Audit):
    assert change(address) == (200, {"decision": "keep", "note": "", "revision": 1})
    assert change(address, decision="reject") == (409, {"decision": "keep", "note": "", "revision": 1})
    assert decisions_of(audit)["cast/00000.png"].decision is Decision.KEEP


def test_many_at_once_lose_nothing(audit: Audit):
    decisions, paths = review_session(audit).decisions, audit.tables["images"]["path"].to_pylist()[:8]
    threads = [
        threading.Thread(target=decisions.decide, args=(p, Decision.REJECT, "n"), kwargs={"seen": 0}) for p in paths
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(decisions_of(audit)) == set(paths)
    assert [f.name for f in audit.path.iterdir() if f.name.startswith(".")] == []


def test_a_decision_ends_with_the_file_it_was_made_on(audit: Audit):
    hashes = {"a.png": "1", "b.png": "2"}
    decisions = Decisions(audit.path, hashes)
    decisions.decide("a.png", Decision.REJECT, "", seen=0)
    with pytest.raises(Stale):
        decisions.decide("a.png", Decision.KEEP, "", seen=0)
    with pytest.raises(InputError, match="not an image of this audit"):
        decisions.decide("c.png", Decision.KEEP, "", seen=0)
    assert Decisions(audit.path, hashes).all() == {"a.png": Decided(decision=Decision.REJECT, revision=1)}
    assert Decisions(audit.path, hashes | {"a.png": "3"}).all() == {}


def test_prune_obeys_what_was_decided_but_not_what_was_withdrawn_or_made_on_another_file(audit: Audit):
    first, second, third = audit.tables["images"]["path"].to_pylist()[:3]
    decisions = review_session(audit).decisions
    for path in (first, second):
        decisions.decide(path, Decision.KEEP, "fine", seen=0)
    decisions.decide(second, Decision.UNDECIDED, "", seen=1)
    Decisions(audit.path, {third: "another file", "gone.png": "0"}).decide(third, Decision.KEEP, "", seen=0)
    Decisions(audit.path, {"gone.png": "0"}).decide("gone.png", Decision.KEEP, "", seen=0)
    assert {path: decided.decision.value for path, decided in decisions_of(audit).items()} == {first: "keep"}


def test_damaged_decisions_are_reported_and_kept(audit: Audit):
    (audit.path / "decisions.parquet").write_text("no parquet")
    with pytest.raises(InputError, match=r"decisions\.parquet: cannot be read"):
        review_session(audit)
    assert (audit.path / "decisions.parquet").read_text() == "no parquet"


def test_keys_decide_undo_takes_back_and_progress_counts(tabs: tuple[Any, Any], audit: Audit):
    page, _ = tabs
    words = page.locator("#progress-words")
    expect(words).to_contain_text("0 of 8 flagged images decided")
    page.keyboard.press("n")
    page.keyboard.press("k")
    expect(words).to_contain_text("1 of 8 flagged images decided: 1 keep")
    page.keyboard.press("r")  # the next undecided image has the focus
    expect(words).to_contain_text("2 of 8 flagged images decided: 1 keep, 1 reject")
    expect(page.locator("#saved")).to_have_text("saved")
    assert {p: d.decision.value for p, d in decisions_of(audit).items()} == {
        "cast/00000.png": "keep",
        "forged/00001.png": "reject",
    }
    page.keyboard.press("z")
    expect(words).to_contain_text("1 of 8 flagged images decided: 1 keep, 0 reject")
    page.keyboard.press("z")
    expect(words).to_contain_text("0 of 8 flagged images decided")
    expect(page.locator("#undo")).to_be_disabled()
    expect(page.locator("#saved")).to_have_text("saved")
    assert decisions_of(audit) == {}


def test_a_kept_image_that_the_page_shows_can_be_rejected_and_the_plan_obeys(tabs: tuple[Any, Any], audit: Audit):
    page, _ = tabs
    card = page.locator("#kept-cards .card").first
    card.scroll_into_view_if_needed()
    card.locator("[data-decision=reject]").click()
    words = page.locator("#progress-words")
    expect(words).to_have_text("0 of 8 flagged images decided: 0 keep, 0 reject, 0 unsure; kept images: 1 reject")
    path = card.locator("h3 bdi").text_content()
    expect(page.locator("#saved")).to_have_text("saved")
    planned = judged_rows(read_audit(audit.path))
    assert [row.path for row in planned if row.reason == "decided by hand"] == [path]
    assert next(row.action for row in planned if row.path == path) is Action.REJECT


def test_a_note_is_kept_and_found_and_the_page_comes_back_as_it_was_left(tabs: tuple[Any, Any], audit: Audit):
    page, _ = tabs
    page.locator("#card-0 .note").fill('<b onclick="x">worn tool</b>')
    page.locator("#card-0 [data-decision=unsure]").click()
    expect(page.locator("#progress-words")).to_contain_text("1 unsure")
    expect(page.locator("#saved")).to_have_text("saved")
    page.reload()
    assert page.locator("#card-0 .note").input_value() == '<b onclick="x">worn tool</b>'
    expect(page.locator("#card-0 [data-decision=unsure]")).to_have_attribute("aria-pressed", "true")
    page.fill("#by-text", "worn TOOL")
    expect(page.locator("#cards .card:visible")).to_have_count(1)
    page.fill("#by-text", "")
    page.select_option("#by-decision", "none")
    expect(page.locator("#cards .card:visible")).to_have_count(7)
    table = pq.read_table(audit.path / "decisions.parquet").to_pylist()
    assert (table[0]["note"], table[0]["decision"]) == ('<b onclick="x">worn tool</b>', "unsure")


def test_two_tabs_do_not_overwrite_each_other_and_see_what_the_other_did(tabs: tuple[Any, Any], audit: Audit):
    first, second = tabs
    first.locator("#card-0 [data-decision=keep]").click()
    expect(first.locator("#progress-words")).to_contain_text("1 of 8")
    expect(second.locator("#progress-words")).to_contain_text("1 of 8")  # within seconds
    second.locator("#card-0 [data-decision=reject]").click()
    expect(second.locator("#card-0 [data-decision=reject]")).to_have_attribute("aria-pressed", "true")
    expect(second.locator("#saved")).to_have_text("saved")
    first.evaluate("Review.saved.get(0).revision = 1")
    first.locator("#card-0 [data-decision=unsure]").click()
    expect(first.locator("#card-0 .clash")).to_contain_text("Changed meanwhile in another tab: reject")
    assert decisions_of(audit)["cast/00000.png"].decision is Decision.REJECT
