"""Decisions by key at speed: every key does what a person expects, and none is lost or made by accident."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import expect

from curate.audit.decisions import Decisions
from curate.audit.parquet import Audit
from curate.audit.reviewed import decisions_of, hashes_of

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

FLAGGED = 8
WORDS = {"k": "keep", "r": "reject", "u": "unsure"}


def press(page: Any, *keys: str) -> None:
    """Press keys as fast as the browser takes them, then wait until everything is saved."""
    for key in keys:
        page.keyboard.press(key)
    saved(page)


def saved(page: Any) -> None:
    expect(page.locator("#saved")).not_to_have_text("saving")


def decided(audit: Audit) -> dict[str, str]:
    return {path: one.decision.value for path, one in decisions_of(audit).items()}


def flagged_paths(page: Any) -> list[str]:
    paths: list[str] = page.evaluate("Report.data.cards.map((card) => card.path)")
    return paths


def test_the_first_key_decides_on_the_first_image_and_goes_on_to_the_next(tabs: tuple[Any, Any], audit: Audit):
    page, _ = tabs
    first, second, third, *_ = flagged_paths(page)
    press(page, "k", "r", "u")
    assert decided(audit) == {first: "keep", second: "reject", third: "unsure"}


def test_quick_keys_end_at_the_last_flagged_image_and_the_page_says_so(tabs: tuple[Any, Any], audit: Audit):
    page, _ = tabs
    press(page, *"r" * 20)
    assert decided(audit) == dict.fromkeys(flagged_paths(page), "reject")
    expect(page.locator("#notice")).to_contain_text("All flagged images shown here are decided")
    expect(page.locator("#notice")).to_be_in_viewport()
    press(page, "n", "p", "k")  # on purpose: another word for the last one
    assert sorted(decided(audit).values()) == ["keep", *["reject"] * (FLAGGED - 1)]


@pytest.mark.parametrize("key", ["Enter", "Escape"])
def test_a_note_ends_with_enter_or_escape_and_the_next_key_is_of_its_image(
    tabs: tuple[Any, Any], audit: Audit, key: str
):
    page, _ = tabs
    press(page, "n", "n", "t", *"worn", key, "r", "k")
    _, second, third, *_ = flagged_paths(page)
    assert decided(audit) == {second: "reject", third: "keep"}
    assert decisions_of(audit)[second].note == "worn"


def test_a_field_that_is_left_by_escape_gives_the_keys_back_to_the_current_image(tabs: tuple[Any, Any], audit: Audit):
    page, _ = tabs
    press(page, "n", "n", "/", "Escape", "Escape", "k")
    assert decided(audit) == {flagged_paths(page)[1]: "keep"}


def test_a_click_beside_the_cards_leaves_the_current_image_current(tabs: tuple[Any, Any], audit: Audit):
    page, _ = tabs
    press(page, "n", "n")
    page.locator("#progress-words").click()
    press(page, "k")
    assert decided(audit) == {flagged_paths(page)[1]: "keep"}


def test_a_key_that_is_held_down_decides_once(tabs: tuple[Any, Any], audit: Audit):
    page, _ = tabs
    for _ in range(5):
        page.keyboard.down("r")
    page.keyboard.up("r")
    saved(page)
    assert decided(audit) == {flagged_paths(page)[0]: "reject"}


def test_a_note_that_is_being_written_is_saved_when_the_page_is_left(tabs: tuple[Any, Any]):
    page, _ = tabs
    page.on("dialog", lambda dialog: dialog.accept())
    for key in ("n", "t", *"worn"):
        page.keyboard.press(key)
    page.reload()
    page.keyboard.press("n")  # its card is filled in
    expect(page.locator("#card-0 .note")).to_have_value("worn")


def test_a_decision_that_cannot_be_saved_is_not_shown_as_made(chromium: Any, address: str):
    page = chromium.new_page()
    page.goto(address + "#flagged")
    page.context.set_offline(True)
    press(page, "k", "r")
    expect(page.locator("#notice")).to_contain_text("Not saved: the server does not answer")
    expect(page.locator("#progress-words")).to_contain_text("0 of 8 flagged images decided")
    expect(page.locator("#undo")).to_be_disabled()
    page.close()


@dataclass
class Reference:
    """What should be decided, in the plainest words: images are numbers, the flagged ones come first."""

    images: int
    current: int | None = None
    ended: bool = False
    decisions: dict[int, str] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)
    history: list[tuple[int, str, str]] = field(default_factory=list)

    def go(self, image: int) -> None:
        self.current, self.ended = image, False

    def change(self, image: int, decision: str, note: str, *, undone: bool = False) -> None:
        before = (self.decisions.get(image, ""), self.notes.get(image, ""))
        if before != (decision, note):
            if not undone:
                self.history.append((image, *before))
            self.decisions[image], self.notes[image] = decision, note

    def toggle(self, image: int, word: str) -> None:
        before = self.decisions.get(image, "")
        self.change(image, "" if before == word else word, self.notes.get(image, ""))

    def undecided(self, image: int | None) -> int | None:
        """The next undecided image of the same kind behind one, or else from the start."""
        kept = image is not None and image >= FLAGGED
        kind = list(range(FLAGGED, self.images) if kept else range(FLAGGED))
        behind = [other for other in kind if image is None or other > image]
        before = [other for other in kind if image is not None and other < image]
        return next((other for other in (*behind, *before) if not self.decisions.get(other)), None)

    def decide(self, word: str) -> None:
        if self.ended:
            return
        image = self.undecided(None) if self.current is None else self.current
        if image is None:
            self.ended = True
            return
        again = self.decisions.get(image, "") == word
        self.toggle(image, word)
        following = image if again else self.undecided(image)
        self.go(image if following is None else following)
        self.ended = following is None

    def press(self, key: str) -> None:
        match key:
            case "n":
                self.go(0 if self.current is None else min(self.current + 1, self.images - 1))
            case "p":
                self.go(self.images - 1 if self.current is None else max(self.current - 1, 0))
            case "z":
                if self.history:
                    image, *before = self.history.pop()
                    self.go(image)
                    self.change(image, *before, undone=True)
            case _ if key in WORDS:
                self.decide(WORDS[key])

    def note(self, text: str) -> None:
        if self.current is not None:
            self.go(self.current)
            self.change(self.current, self.decisions.get(self.current, ""), text)

    def as_decided(self) -> dict[int, tuple[str, str]]:
        both = {image: (self.decisions[image], self.notes[image]) for image in self.decisions}
        return {image: one for image, one in both.items() if any(one)}


def act(page: Any, reference: Reference, chance: random.Random) -> None:
    """Do one thing, in the page and in the reference."""
    action = chance.choices(["decide", "move", "undo", "note", "search", "click"], [12, 5, 4, 2, 1, 1])[0]
    if action in ("decide", "move", "undo"):
        key = chance.choice({"decide": "kkrrru", "move": "nnnp", "undo": "z"}[action])
        page.keyboard.press(key)
        reference.press(key)
    elif action == "note" and reference.current is not None:
        text = chance.choice(("", "k", "worn"))
        for key in ("t", "Control+a", "Delete", *text, chance.choice(("Enter", "Escape"))):
            page.keyboard.press(key)
        reference.note(text)
    elif action == "search":
        page.keyboard.press("/")
        page.keyboard.press("Escape")
    elif action == "click" and reference.current is not None:
        word = chance.choice(("keep", "reject"))
        page.locator(f".card[aria-current] [data-decision={word}]").click()
        reference.go(reference.current)
        reference.toggle(reference.current, word)


@pytest.mark.parametrize("seed", range(3))
def test_random_keys_at_speed_decide_what_a_plain_reference_says(tabs: tuple[Any, Any], audit: Audit, seed: int):
    page, other = tabs
    other.close()
    slow = {"offline": False, "latency": 150, "downloadThroughput": -1, "uploadThroughput": -1}
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", slow)  # answers lag behind the keys
    paths = page.evaluate("Report.cards.map((card) => card.path)")
    reference, chance = Reference(len(paths)), random.Random(seed)
    for _ in range(5):
        for _ in range(16):
            act(page, reference, chance)
        shown = page.evaluate("Report.cards.indexOf(Report.current())")
        assert (None if shown < 0 else shown) == reference.current
        assert bool(page.locator("#notice").text_content()) == reference.ended
    saved(page)
    written = Decisions(audit.path, hashes_of(audit)).all().items()
    on_disk = {paths.index(path): (one.decision.value, one.note) for path, one in written}
    assert {image: one for image, one in on_disk.items() if any(one)} == reference.as_decided()
