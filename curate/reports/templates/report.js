"use strict";
// All text from the dataset reaches the page as textContent or as an attribute's value, never as markup.
const Report = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const WORDS = { mislabelled: "mislabelled", near_ood: "unlike the set", keep: "kept", not_judged: "not judged", duplicate: "duplicate", unreadable: "unreadable" };
  const PRINTED = 400, FULL = 3; // cards that printing fills; a view's bar ends at three times its threshold
  const SHEET = 12; // cards are laid out and watched by sheets, so that scrolling does not cost more where they are many
  const first = new Map(data.look_first.map((row, at) => [row, at])), others = (some) => some.filter((card) => !first.has(card.row));
  const uncertain = [...data.cards, ...data.kept_to_review].filter((card) => first.has(card.row)).sort((a, b) => first.get(a.row) - first.get(b.row));
  const groups = [[byId("first-cards"), uncertain], [byId("cards"), others(data.cards)], [byId("kept-cards"), others(data.kept_to_review)]].filter(([host]) => host);
  const cards = groups.flatMap(([, ofGroup]) => ofGroup), elements = new Map();
  const hooks = { fill: [], select: [], text: (card) => "", passes: (card) => true };
  let visible = cards.slice(), opacity = 70, currentCard = null; // the one image that keys act on

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name === "class") element.className = value;
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  const short = (value) => {
    if (value === null || value === undefined) return "unknown";
    const size = Math.abs(value);
    return size !== 0 && (size < 0.001 || size >= 100000) ? value.toExponential(1) : String(Number(value.toPrecision(3)));
  };
  // a probability that small is read off a curve, not off images
  const probability = (value) => (value !== null && value < 0.001 ? "under 0.001" : short(value));
  const percent = (value) => (value === null || value === undefined ? "unknown" : value > 0 && value < 0.001 ? "under 0.1 %" : `${Number((100 * value).toPrecision(2))} %`);
  const thumbnail = (row, kind) => data.thumbnails[`${row}-${kind}`];

  // --- one card -------------------------------------------------------------------------------------------------
  function shell(card) {
    const title = make("h3", { id: `card-${card.row}-title` }, make("bdi", {}, card.shown),
      make("span", { class: "score" }, card.score === null ? "" : `score ${card.score.toFixed(2)}`),
      card.decision ? make("span", { class: "decided" }, `decided: ${card.decision}`) : null);
    const element = make("article", { class: `card unfilled ${card.verdict}`, id: `card-${card.row}`, tabindex: "-1", "aria-labelledby": title.id }, title);
    elements.set(card.row, element);
    return element;
  }

  function fill(card) {
    const element = elements.get(card.row);
    if (!element.classList.contains("unfilled")) return element;
    element.classList.remove("unfilled");
    element.append(make("div", { class: "body" }, pictureOf(card), factsOf(card)), ...nearestOf(card));
    for (const hook of hooks.fill) hook(card, element);
    return element;
  }

  function pictureOf(card) {
    const address = thumbnail(card.row, "card");
    if (!address) return make("div", { class: "gap" }, `No picture: ${data.missing[card.row] || "there is none"}`);
    const [width, height] = card.size;
    const photo = make("img", { class: "photo", src: address, alt: `${card.shown}, ${WORDS[card.verdict]}`, loading: "lazy", decoding: "async" });
    const stage = make("div", { class: "stage" }, photo), ratio = (width || 1) / (height || 1);
    stage.style.aspectRatio = String(ratio);
    stage.style.width = `min(100%, ${22 * ratio}rem)`;
    const box = make("div", { class: "box", "aria-hidden": "true" });
    const overlay = card.overlay && !data.gone ? make("img", { class: "overlay", src: card.overlay, alt: "" }) : null;
    if (overlay) stage.append(overlay);
    if (card.box && !data.gone) {
      ["left", "top", "width", "height"].forEach((side, at) => { box.style[side] = `${100 * card.box[at]}%`; });
      stage.append(box);
    }
    const left = make("div", {}, stage);
    if (!overlay) {
      if (card.verdict !== "keep") left.append(make("p", { class: "slide" }, data.gone ? "shown with its heat map" : card.box ? "no heat map: only the most anomalous images have one; the frame marks the anomaly" : "no heat map: the anomaly is not local"));
      return left;
    }
    const slider = make("input", { type: "range", min: "0", max: "100", class: "overlay-slider", "aria-label": `Opacity of the heat map of ${card.shown}` });
    const show = () => { overlay.style.opacity = slider.value / 100; box.hidden = slider.value === "0"; };
    slider.value = opacity;
    slider.addEventListener("input", show);
    show();
    left.append(make("label", { class: "slide" }, make("span", {}, "image"), slider, make("span", {}, card.masked ? "heat map; the line is the mask" : "heat map")));
    return left;
  }

  function factsOf(card) {
    const main = card.reasons.filter((reason) => reason.main), rest = card.reasons.filter((reason) => !reason.main);
    const facts = make("div", { class: "facts" });
    for (const reason of main.length ? main : rest) {
      facts.append(make("p", { class: "why" }, make("strong", {}, `${reason.title} (${reason.code})`), upper(reason.message) + "."));
      if (reason.cure) facts.append(make("p", { class: "cure" }, reason.cure));
    }
    if (card.suggested) facts.append(make("p", { class: "why" }, "Looks like class ", make("strong", { class: "bad" }, make("bdi", {}, card.suggested))));
    const numbers = [["class", card.label], ["nominal set", card.nominal_set === card.label ? "" : card.nominal_set], ["confidence (nominal)", percent(card.confidence)], [`p (${card.p_values})`, probability(card.p)], [`q (${card.p_values})`, probability(card.q)], ["false alarms at this score, at most", card.fdr_bound < 1 ? percent(card.fdr_bound) : null], ["trusted", card.trusted ? "yes" : ""], ["rejected in round", card.round]];
    facts.append(make("dl", { class: "numbers" }, ...numbers.filter(([, value]) => value !== "" && value !== null && value !== "unknown").map(([name, value]) =>
      make("div", {}, make("dt", {}, name), make("dd", {}, make("bdi", {}, String(value)))))));
    if (card.views.length) facts.append(viewsOf(card));
    if (main.length) for (const reason of rest) facts.append(make("p", { class: "cure" }, `Also ${reason.code}: ${reason.message}`));
    const copy = make("button", { type: "button", class: "copy" }, "Copy path", make("span", { class: "hidden" }, ` of ${card.shown}`));
    copy.addEventListener("click", () => copyText(pathOf(card), copy));
    facts.append(make("div", { class: "tools" }, copy));
    return facts;
  }

  function viewsOf(card) {
    const rows = card.views.map((view) => {
      const bar = make("i", { class: view.relative_score > 1 ? "over" : "" });
      bar.style.width = `${100 * Math.max(0, Math.min(1, (view.relative_score || 0) / FULL))}%`;
      const judged = view.abstains ? "abstains" : view.threshold === null ? "no threshold" : short(view.threshold);
      return make("tr", {}, make("th", { scope: "row" }, view.name), make("td", view.reason ? { title: view.reason } : {}, `${short(view.score)} (${judged})`),
        make("td", { class: "track" }, view.relative_score === null ? "" : make("div", { "aria-hidden": "true" }, bar, make("b", {})),
          make("span", { class: "hidden" }, view.relative_score === null ? "" : view.relative_score > 1 ? "above its threshold" : "not above its threshold")));
    });
    return make("table", { class: "views" }, make("caption", {}, "score (threshold) of each view"), make("tbody", {}, ...rows));
  }

  function nearestOf(card) {
    if (!card.nearest.length) return [];
    const items = card.nearest.map(beside);
    return [make("div", { class: "nearest" }, make("p", {}, "Nearest nominal images, nearest first"), make("ul", {}, ...items))];
  }

  function beside(row) {
    const address = thumbnail(row, "near"), image = data.images[row], [width, height] = image.size;
    return make("li", {}, address ? make("img", { src: address, alt: "", loading: "lazy", decoding: "async", width: width, height: height }) : null,
      make("span", {}, make("bdi", {}, image.shown)));
  }

  const upper = (text) => text.charAt(0).toUpperCase() + text.slice(1);
  const pathOf = (card) => `${data.root}/${card.path}`;

  async function copyText(text, button) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = make("textarea", { class: "hidden", "aria-hidden": "true" });
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    const label = button.firstChild, before = button.dataset.label || label.textContent;
    button.dataset.label = before;
    label.textContent = "Copied";
    setTimeout(() => { label.textContent = before; }, 1500);
  }

  // --- filters and order ----------------------------------------------------------------------------------------
  const value = (id) => (byId(id) ? byId(id).value : "");
  const above = (card, name) => card.views.some((view) => view.name === name && view.threshold !== null && view.score > view.threshold);

  function passes(card) {
    const text = value("by-text").trim().toLowerCase(), view = value("by-view"), label = value("by-label");
    if (value("by-verdict") && card.verdict !== value("by-verdict")) return false;
    if (label && card.label !== label.slice(1)) return false;
    if (view.startsWith("only ")) {
      if (!card.views.every((v) => above(card, v.name) === (v.name === view.slice(5)))) return false;
    } else if (view && !above(card, view)) return false;
    if (text && !`${card.shown}\n${card.label}\n${card.suggested}\n${card.reasons.map((r) => `${r.code} ${r.title} ${r.message}`).join("\n")}\n${hooks.text(card)}`.toLowerCase().includes(text)) return false;
    return hooks.passes(card);
  }

  function order(how) {
    const score = (card) => (card.score === null ? -Infinity : card.score);
    if (how === "lowest") return (a, b) => score(a) - score(b);
    if (how === "path") return (a, b) => (a.path < b.path ? -1 : 1);
    if (how === "confidence") return (a, b) => (a.confidence ?? 2) - (b.confidence ?? 2) || score(b) - score(a);
    if (how.startsWith("view ")) {
      const viewScore = (card) => card.views.find((view) => view.name === how.slice(5))?.score ?? -Infinity;
      return (a, b) => viewScore(b) - viewScore(a);
    }
    return (a, b) => score(b) - score(a);
  }

  function refresh(reorder) {
    const matching = new Set(cards.filter(passes));
    visible = [];
    near.disconnect();
    for (const [host, ofGroup] of groups) {
      if (reorder) ofGroup.sort(order(value("sort")));
      const some = ofGroup.filter((card) => matching.has(card));
      host.replaceChildren(...sheets(some));
      visible.push(...some);
    }
    dim(matching);
    if (!visible.includes(currentCard)) select(null); // keys never act on what is not shown
    const all = data.cards.length, some = data.cards.filter((card) => matching.has(card)).length;
    byId("shown").textContent = !all ? "" : `${some === all ? "" : `${some.toLocaleString("en")} of `}${all.toLocaleString("en")} image${all === 1 ? "" : "s"}`;
    byId("nothing").hidden = some > 0 || !all;
  }

  const byElement = new Map();
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      near.unobserve(entry.target);
      for (const element of entry.target.children) fill(byElement.get(element));
    }
  }, { rootMargin: "1200px 0px" });

  function sheets(some) {
    const made = [];
    for (let at = 0; at < some.length; at += SHEET) {
      const sheet = make("div", { class: "sheet" }, ...some.slice(at, at + SHEET).map((card) => elements.get(card.row)));
      near.observe(sheet);
      made.push(sheet);
    }
    return made;
  }

  function build() {
    for (const card of cards) byElement.set(shell(card), card);
    refresh(false);
    let waiting = 0;
    byId("filters").addEventListener("input", (event) => {
      if (event.target.id === "all-overlays") return setOpacity(event.target.value);
      clearTimeout(waiting);
      waiting = setTimeout(() => refresh(event.target.id === "sort"), event.target.id === "by-text" ? 120 : 0);
    });
    byId("filters").addEventListener("reset", () => setTimeout(() => { setOpacity(70); refresh(true); }));
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    addEventListener("beforeprint", () => visible.slice(0, PRINTED).forEach(fill));
  }

  function setOpacity(percentage) {
    opacity = Number(percentage);
    byId("all-overlays").value = opacity;
    for (const slider of [...elements.values()].flatMap((element) => [...element.querySelectorAll(".overlay-slider")])) {
      slider.value = opacity;
      slider.dispatchEvent(new Event("input"));
    }
  }

  // --- keys -----------------------------------------------------------------------------------------------------
  const current = () => currentCard;

  function select(card) {
    if (currentCard) elements.get(currentCard.row).removeAttribute("aria-current");
    currentCard = card;
    if (card) elements.get(card.row).setAttribute("aria-current", "true");
    for (const hook of hooks.select) hook(card);
  }

  function go(card) {
    if (!card) return;
    select(card);
    const element = fill(card);
    element.focus({ preventScroll: true });
    element.scrollIntoView({ block: "start" });
  }

  // Leave a field: the keys act on the current image again.
  function leave(field) {
    field.blur();
    if (currentCard) elements.get(currentCard.row).focus({ preventScroll: true });
  }

  function step(by) {
    const at = visible.indexOf(currentCard);
    go(visible[at < 0 ? (by > 0 ? 0 : visible.length - 1) : Math.max(0, Math.min(visible.length - 1, at + by))]);
  }

  const keys = {
    n: () => step(1),
    p: () => step(-1),
    "/": () => byId("by-text").focus(),
    m: () => {
      const slider = currentCard && elements.get(currentCard.row).querySelector(".overlay-slider");
      if (!slider) return setOpacity(opacity ? 0 : 70);
      slider.value = slider.value === "0" ? (opacity || 70) : 0;
      slider.dispatchEvent(new Event("input"));
    },
    c: () => currentCard && fill(currentCard).querySelector(".copy").click(),
  };

  addEventListener("focusin", (event) => {
    const card = byElement.get(event.target.closest?.(".card"));
    if (card && card !== currentCard) select(card);
  });
  addEventListener("pointerdown", (event) => {
    const card = byElement.get(event.target.closest?.(".card"));
    if (card) select(card);
  });

  addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input:not([type=range]):not([type=checkbox]), select, textarea");
    if (typing && event.key === "Escape" && !event.isComposing) return leave(typing);
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !byId("keys-on")?.checked) return undefined;
    const action = keys[event.key.toLowerCase()];
    if (!action) return undefined;
    event.preventDefault();
    return action(event);
  });

  // --- the map of the set -----------------------------------------------------------------------------------------
  const dots = [...document.querySelectorAll("#dots [data-dot]")], tip = byId("tip");
  let marked = null;

  function dim(matching) {
    if (!dots.length) return;
    const label = value("by-label"), rows = new Set([...matching].map((card) => card.row));
    for (const dot of dots) {
      const row = data.dots[dot.dataset.dot], image = data.images[row];
      const out = elements.has(row) ? !rows.has(row) : label !== "" && image.label !== label.slice(1);
      dot.classList.toggle("dim", out);
    }
  }

  function point(dot) {
    marked?.classList.remove("current");
    marked = dot;
    if (!dot) { tip.hidden = true; return; }
    dot.classList.add("current");
    const row = data.dots[dot.dataset.dot], image = data.images[row], address = thumbnail(row, "dot") || thumbnail(row, "card");
    const words = `${WORDS[image.verdict]}${image.score === null ? "" : `, score ${image.score.toFixed(2)}`}`;
    tip.replaceChildren(...(address ? [make("img", { src: address, alt: "" })] : []), make("bdi", {}, image.shown), make("div", {}, words));
    tip.hidden = false;
    const frame = byId("dots").getBoundingClientRect(), at = dot.getBoundingClientRect();
    const left = Math.min(at.right - frame.left + 10, frame.width - tip.offsetWidth);
    const below = at.bottom - frame.top + 10;
    tip.style.left = `${Math.max(0, left)}px`;
    tip.style.top = `${below + tip.offsetHeight > frame.height ? Math.max(0, at.top - frame.top - tip.offsetHeight - 10) : below}px`;
    byId("dot-words").textContent = `${image.shown}, ${words}`;
  }

  function watchMap() {
    const map = byId("dots");
    const rows = new Set(data.cards.map((card) => card.row)), flagged = (dot) => rows.has(data.dots[dot.dataset.dot]);
    const order = [...dots].sort((a, b) => flagged(b) - flagged(a));
    const open = (dot) => go(byElement.get(elements.get(data.dots[dot?.dataset.dot])));
    map.addEventListener("pointerover", (event) => { if (event.target.dataset?.dot) point(event.target); });
    map.addEventListener("pointerleave", () => point(null));
    map.addEventListener("click", (event) => { if (event.target.dataset?.dot) { point(event.target); open(event.target); } });
    map.addEventListener("blur", () => point(null));
    map.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (by) {
        event.preventDefault();
        point(order[(order.indexOf(marked) + by + order.length) % order.length]);
      } else if (event.key === "Enter") open(marked);
      else if (event.key === "Escape") point(null);
    });
  }

  for (const button of document.querySelectorAll("button[data-copy]")) button.addEventListener("click", () => copyText(button.dataset.copy, button));
  if (cards.length) build();
  if (dots.length) watchMap();
  return { data, cards, elements, hooks, keys, make, byId, fill, go, step, leave, current, refresh, shown: () => visible };
})();
