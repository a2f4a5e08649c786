"use strict";
// A decision holds on the page at once, and is sent with the revision it was made on; the server refuses it if another
// tab was first. What the page shows is `shown`, what the server has confirmed is `saved`.
const Review = (() => {
  const { cards, byId, make, elements, hooks, keys, go, leave, current, refresh, data } = Report;
  if (!cards.length) return {};
  const NAMES = ["keep", "reject", "unsure"], POLL_MS = 4000;
  const what = ({ decision, note }) => ({ decision, note });
  const same = (one, other) => one.decision === other.decision && one.note === other.note;
  const flagged = new Set(data.cards), history = [], queues = new Map();
  const saved = new Map(), shown = new Map(), refusals = new Map();
  let pending = 0, troubled = null, ended = false; // ended: the last image was decided, and no key decides again before the person moves
  for (const card of cards) {
    saved.set(card.row, { decision: "", note: "", revision: 0, ...(data.review.decisions[card.row] || {}) });
    shown.set(card.row, what(saved.get(card.row)));
  }

  hooks.text = (card) => shown.get(card.row).note;
  hooks.passes = (card) => {
    const wanted = byId("by-decision").value, decision = shown.get(card.row).decision;
    return !wanted || decision === (wanted === "none" ? "" : wanted);
  };
  hooks.select.push(() => { if (ended) say(""); });
  hooks.fill.push((card, element) => {
    const buttons = NAMES.map((name) => {
      const button = make("button", { type: "button", "data-decision": name, "aria-pressed": "false" }, name, " ", make("kbd", {}, name[0].toUpperCase()));
      button.addEventListener("click", () => toggle(card, name));
      return button;
    });
    const note = make("input", { type: "text", class: "note", maxlength: "2000", placeholder: "note", "aria-label": `Note on ${card.shown}` });
    note.addEventListener("change", () => change(card, { note: note.value }));
    note.addEventListener("keydown", (event) => { if (event.key === "Enter" && !event.isComposing) leave(note); });
    element.append(make("div", { class: "decide", role: "group", "aria-label": `Decision on ${card.shown}` }, ...buttons, note, make("span", { class: "clash", role: "status" })));
    paint(card);
  });

  function paint(card) {
    const element = elements.get(card.row), now = shown.get(card.row);
    element.dataset.decision = now.decision;
    for (const button of element.querySelectorAll(".decide button")) button.setAttribute("aria-pressed", String(button.dataset.decision === now.decision));
    const note = element.querySelector(".note");
    if (note && document.activeElement !== note) note.value = now.note;
  }

  function progress() {
    const count = (some, name) => some.filter((card) => shown.get(card.row).decision === name).length;
    const words = (some, names) => names.map((name) => `${count(some, name)} ${name}`).join(", ");
    const asked = data.cards, done = asked.length - count(asked, ""), kept = NAMES.filter((name) => count(data.kept_to_review, name));
    byId("progress").value = done;
    byId("progress-words").textContent = `${done} of ${asked.length} flagged image${asked.length === 1 ? "" : "s"} decided: ${words(asked, NAMES)}${kept.length ? `; kept images: ${words(data.kept_to_review, kept)}` : ""}`;
    byId("undo").disabled = history.length === 0;
  }

  const toggle = (card, name) => change(card, { decision: shown.get(card.row).decision === name ? "" : name });

  // Changes of one image wait for each other, so that each is sent with the revision that the last one gave.
  function change(card, wanted, undoing) {
    const before = shown.get(card.row), next = { ...before, ...wanted };
    if (same(before, next)) return;
    const entry = { card, to: before }, refused = refusals.get(card.row) || 0;
    if (!undoing) history.push(entry);
    shown.set(card.row, next);
    pending += 1;
    byId("saved").textContent = "saving";
    show(card, "");
    if (troubled === card) say("");
    paint(card);
    progress();
    queues.set(card.row, (queues.get(card.row) || Promise.resolve()).then(() => send(card, next, entry, refused)));
  }

  async function send(card, next, entry, refused) {
    // what was to follow a change that was refused does not stand on it
    const trouble = refused === (refusals.get(card.row) || 0) ? await sent(card, next) : "";
    pending -= 1;
    if (trouble) {
      refusals.set(card.row, refused + 1);
      shown.set(card.row, what(saved.get(card.row)));
      show(card, trouble);
      say(`${card.shown}: ${trouble}`);
      troubled = card;
    }
    if (refused !== (refusals.get(card.row) || 0) && history.includes(entry)) history.splice(history.indexOf(entry), 1);
    byId("saved").textContent = trouble || (pending ? "saving" : "saved");
    paint(card);
    progress();
  }

  // Send one change; return why it was not made, "" if it was.
  async function sent(card, next) {
    const body = JSON.stringify({ row: card.row, ...next, revision: saved.get(card.row).revision });
    let answer, now;
    try {
      answer = await fetch("decide", { method: "POST", headers: { "content-type": "application/json" }, body, keepalive: true });
      now = await answer.json();
    } catch {
      return "Not saved: the server does not answer. Check that curate review is still running.";
    }
    if (answer.status !== 200 && answer.status !== 409) return `Not saved: ${now.error || answer.status}`;
    saved.set(card.row, now);
    return answer.status === 409 ? `Changed meanwhile in another tab: ${now.decision || "undecided"}. Your change was not made.` : "";
  }

  function show(card, words) {
    const place = elements.get(card.row).querySelector(".clash");
    if (place) place.textContent = words;
  }

  // Say what must not be missed, wherever the page is scrolled to.
  function say(words, atTheEnd = false) {
    [ended, troubled] = [atTheEnd, null];
    byId("notice").textContent = words;
  }

  function undo() {
    const last = history.pop();
    if (!last) return;
    go(last.card);
    change(last.card, last.to, true);
  }

  // The next undecided image behind one, or from the start; flagged images and kept ones are gone through apart.
  function next(card) {
    const among = Report.shown().filter((other) => flagged.has(other) === (!card || flagged.has(card))), at = among.indexOf(card);
    return [...among.slice(at + 1), ...among.slice(0, Math.max(0, at))].find((other) => !shown.get(other.row).decision);
  }

  function atEnd(card) {
    const kind = card && !flagged.has(card) ? "kept" : "flagged";
    say(`All ${kind} images shown here are decided. To change one, go there with N, P or a click; Z takes the last change back.`, true);
  }

  function decideByKey(name) {
    if (ended) return;
    const card = current() || next(null);
    if (!card) return atEnd(null);
    const settled = shown.get(card.row).decision === name;
    toggle(card, name);
    const following = settled ? card : next(card);
    go(following || card);
    if (!following) atEnd(card);
  }

  function writeNote() {
    if (!current()) return;
    go(current());
    elements.get(current().row).querySelector(".note").focus();
  }

  const unlessHeld = (action) => (event) => event.repeat || action(); // a key that is held down decides once

  Object.assign(keys, {
    k: unlessHeld(() => decideByKey("keep")),
    r: unlessHeld(() => decideByKey("reject")),
    u: unlessHeld(() => decideByKey("unsure")),
    z: unlessHeld(undo),
    t: writeNote,
  });
  byId("undo").addEventListener("click", undo);
  addEventListener("beforeunload", (event) => {
    document.activeElement?.blur(); // a note that is still being written counts
    if (pending) event.preventDefault();
  });

  async function poll() {
    if (document.hidden) return;
    const answer = await fetch("decisions").catch(() => null);
    if (!answer?.ok) return;
    const decisions = await answer.json();
    for (const card of cards) {
      const latest = decisions[card.row];
      const waiting = !same(shown.get(card.row), saved.get(card.row)); // the answer will tell
      if (latest && !waiting && latest.revision > saved.get(card.row).revision) {
        saved.set(card.row, latest);
        shown.set(card.row, what(latest));
        paint(card);
      }
    }
    progress();
  }
  setInterval(poll, POLL_MS);
  addEventListener("focus", poll);
  cards.forEach(paint);
  progress();
  refresh(false);
  return { saved, poll };
})();
