"use strict";
// Each decision is sent at once with the revision it was made on; the server refuses it if another tab was first.
const Review = (() => {
  const { cards, byId, make, elements, hooks, keys, go, current, refresh, shown, data } = Report;
  if (!cards.length) return {};
  const NAMES = ["keep", "reject", "unsure"], POLL_MS = 4000;
  const state = new Map(), history = [], queues = new Map();
  for (const card of cards) state.set(card.row, { decision: "", note: "", revision: 0, ...(data.review.decisions[card.row] || {}) });

  hooks.text = (card) => state.get(card.row).note;
  hooks.passes = (card) => {
    const wanted = byId("by-decision").value, decision = state.get(card.row).decision;
    return !wanted || decision === (wanted === "none" ? "" : wanted);
  };
  hooks.fill.push((card, element) => {
    const buttons = NAMES.map((name) => {
      const button = make("button", { type: "button", "data-decision": name, "aria-pressed": "false" }, name, " ", make("kbd", {}, name[0].toUpperCase()));
      button.addEventListener("click", () => toggle(card, name));
      return button;
    });
    const note = make("input", { type: "text", class: "note", maxlength: "2000", placeholder: "note", "aria-label": `Note on ${card.shown}` });
    note.addEventListener("change", () => change(card, { note: note.value }));
    element.append(make("div", { class: "decide", role: "group", "aria-label": `Decision on ${card.shown}` }, ...buttons, note, make("span", { class: "clash", role: "status" })));
    paint(card);
  });

  function paint(card) {
    const element = elements.get(card.row), now = state.get(card.row);
    element.dataset.decision = now.decision;
    for (const button of element.querySelectorAll(".decide button")) button.setAttribute("aria-pressed", String(button.dataset.decision === now.decision));
    const note = element.querySelector(".note");
    if (note && document.activeElement !== note) note.value = now.note;
  }

  function progress() {
    const count = (some, name) => some.filter((card) => state.get(card.row).decision === name).length;
    const words = (some, names) => names.map((name) => `${count(some, name)} ${name}`).join(", ");
    const flagged = data.cards, done = flagged.length - count(flagged, ""), kept = NAMES.filter((name) => count(data.kept_to_review, name));
    byId("progress").value = done;
    byId("progress-words").textContent = `${done} of ${flagged.length} flagged image${flagged.length === 1 ? "" : "s"} decided: ${words(flagged, NAMES)}${kept.length ? `; kept images: ${words(data.kept_to_review, kept)}` : ""}`;
    byId("undo").disabled = history.length === 0;
  }

  const toggle = (card, name) => change(card, { decision: state.get(card.row).decision === name ? "" : name });

  // Changes of one image wait for each other, so that each is sent with the revision that the last one gave.
  function change(card, wanted, undoing) {
    const job = (queues.get(card.row) || Promise.resolve()).then(() => send(card, wanted, undoing));
    queues.set(card.row, job.catch(() => {}));
    return job;
  }

  async function send(card, wanted, undoing) {
    const before = { ...state.get(card.row) }, next = { ...before, ...wanted };
    if (next.decision === before.decision && next.note === before.note) return;
    byId("saved").textContent = "saving";
    let answer;
    try {
      answer = await fetch("decide", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ row: card.row, ...next }) });
    } catch {
      return failed(card, "Not saved: the server does not answer. Check that curate review is still running.");
    }
    if (answer.status !== 200 && answer.status !== 409) {
      const body = await answer.json().catch(() => ({}));
      return failed(card, `Not saved: ${body.error || answer.status}`);
    }
    const now = await answer.json();
    state.set(card.row, now);
    if (answer.status === 409) show(card, `Changed meanwhile in another tab: ${now.decision || "undecided"}. Your change was not made.`);
    else {
      show(card, "");
      if (!undoing) history.push({ card, to: { decision: before.decision, note: before.note } });
    }
    byId("saved").textContent = answer.status === 409 ? "" : "saved";
    paint(card);
    progress();
  }

  function failed(card, why) {
    byId("saved").textContent = why;
    show(card, why);
    paint(card);
  }

  function show(card, words) {
    const place = elements.get(card.row).querySelector(".clash");
    if (place) place.textContent = words;
  }

  function undo() {
    const last = history.pop();
    if (!last) return;
    go(last.card);
    change(last.card, last.to, true);
  }

  function decideByKey(name) {
    const card = current() || shown()[0];
    if (!card) return;
    const at = shown().indexOf(card), settled = state.get(card.row).decision === name;
    toggle(card, name);
    const next = [...shown().slice(at + 1), ...shown().slice(0, at)].find((other) => !state.get(other.row).decision);
    if (!settled && current() && next) go(next);
    else go(card);
  }

  Object.assign(keys, {
    k: () => decideByKey("keep"),
    r: () => decideByKey("reject"),
    u: () => decideByKey("unsure"),
    z: undo,
    t: () => current() && elements.get(current().row).querySelector(".note").focus(),
  });
  byId("undo").addEventListener("click", undo);

  async function poll() {
    if (document.hidden) return;
    const answer = await fetch("decisions").catch(() => null);
    if (!answer?.ok) return;
    const decisions = await answer.json();
    for (const card of cards) {
      const latest = decisions[card.row];
      if (latest && latest.revision > state.get(card.row).revision) {
        state.set(card.row, latest);
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
  return { state, poll };
})();
