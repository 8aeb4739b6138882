// Puts the parts together, and keeps what is on the page while it changes: a part is made anew only when it differs.
import {make} from "./draw.js";
import {HEALTH, age, card, detail, frame, keyOf, moveRow, planPanel, tile, timeline} from "./parts.js";
import {connect, silence, state} from "./state.js";

/** More pairs than this are drawn as tiles; those that aren't well as pictures beside. */
const MANY = 24;
const SEEN = 100;
const ROWS = 50;
const byId = id => document.getElementById(id);
const only = new Set();
let chosen = null;
let here = null;
let asked = 0;

/** Makes the children of `parent` those of `parts` ({key, sign, build}), keeping each whose sign is the same, and the focus. */
function keep(parent, parts) {
  const focused = document.activeElement?.dataset?.pair, old = new Map([...parent.children].map(c => [c.dataset.key, c]));
  let next = parent.firstElementChild;
  for (const {key, sign, build} of parts) {
    let element = old.get(key);
    if (!element || element.sign !== sign) {
      const fresh = build();
      if (element) { if (next === element) next = element.nextElementSibling; element.remove(); fresh.classList.add("changed"); }
      element = fresh;
      [element.dataset.key, element.sign] = [key, sign];
    }
    old.delete(key);
    if (element === next) next = next.nextElementSibling;
    else parent.insertBefore(element, next);
  }
  for (const gone of old.values()) gone.remove();
  if (focused && document.activeElement?.dataset?.pair !== focused) document.querySelector(`[data-pair="${CSS.escape(focused)}"]`)?.focus();
}

const group = pair => (pair.health === "new" ? "busy" : pair.health);

function wanted(pair) {
  if (only.size && !only.has(group(pair))) return false;
  const find = byId("find").value.trim().toLowerCase();
  return !find || [pair.namespace, pair.name, pair.reason, ...pair.members.flatMap(m => [m.name, m.node])].some(t => t && t.toLowerCase().includes(find));
}

/** Pictures; the two sides of a split in one frame. */
function pictures(pairs) {
  const shown = new Set(pairs), parts = [];
  for (const pair of pairs) {
    const other = pair.split && state.pairs.get(`${pair.namespace}/${pair.split.other}`);
    const framed = other && other.split && shown.has(other);
    if (framed && pair.split.role === "Child") continue;
    if (framed) parts.push({key: `${keyOf(pair)} split`, sign: JSON.stringify([pair, other]), build: () => make("li", {class: "wide"}, frame(pair, other))});
    else parts.push({key: keyOf(pair), sign: JSON.stringify(pair), build: () => make("li", {}, card(pair))});
  }
  return parts;
}
const tiles = pairs => pairs.map(pair => ({key: keyOf(pair), sign: JSON.stringify(pair), build: () => make("li", {}, tile(pair))}));

function shell(name, title, extra) {
  return make("section", {class: `cluster ${extra}`, "aria-label": name}, make("h2", {}), make("div", {class: "plans"}), make("ul", {class: `grid ${extra}`}));
}

function heading(cluster, pairs) {
  const count = `${pairs.length} pair${pairs.length === 1 ? "" : "s"}, by ${cluster.strategy}`;
  const said = cluster.ready || !cluster.message ? null : make("small", {class: "said"}, `${cluster.reason}: ${cluster.message}`);
  return [make("span", {}, make("span", {class: "dim"}, `${cluster.namespace}/`), cluster.name), make("small", {}, count), said].filter(Boolean);
}

function render() {
  const all = [...state.pairs.values()].sort((a, b) => a.namespace.localeCompare(b.namespace) || a.cluster.localeCompare(b.cluster) || a.shard - b.shard);
  const shown = all.filter(wanted), view = byId("view").value;
  const small = view === "tiles" || (!view && shown.length > MANY);
  const parts = [];
  const trouble = shown.filter(p => p.health === "down" || p.health === "single" || p.moving);
  if (small && trouble.length) parts.push({key: "!", sign: "", build: () => shell("What needs a look", "", "trouble"), pairs: trouble.slice(0, MANY)});
  for (const [key, cluster] of state.clusters) {
    const own = shown.filter(p => p.namespace === cluster.namespace && p.cluster === cluster.name);
    const whole = !only.size && !byId("find").value.trim();
    if (own.length || whole) parts.push({key, sign: String(small), build: () => shell(key, key, small ? "small" : "large"), pairs: own, cluster});
  }
  keep(byId("pairs"), parts);
  for (const {key, pairs, cluster} of parts) {
    const section = byId("pairs").querySelector(`:scope > [data-key="${CSS.escape(key)}"]`), [title, plans, grid] = section.children;
    title.replaceChildren(...(cluster ? heading(cluster, pairs) : ["Needs a look"]));
    keep(grid, small && cluster ? tiles(pairs) : pictures(pairs));
    const own = cluster ? [...state.plans.values()].filter(p => p.namespace === cluster.namespace && p.cluster === cluster.name && !p.complete) : [];
    keep(plans, own.map(p => ({key: p.name, sign: JSON.stringify(p), build: () => planPanel(p)})));
  }
  if (!parts.length) byId("pairs").replaceChildren(make("p", {class: "empty"}, state.clusters.size ? "No pair is as asked for." : "There is no ShardCluster yet: kubectl apply -f examples/shardcluster.yaml"));
  counts(all);
  reachable();
  look();
  moves();
  live(heard);
  document.title = titleOf(all);
}

function titleOf(all) {
  const bad = all.filter(p => p.health === "down").length, single = all.filter(p => p.health === "single").length;
  return [bad && `${bad} without writes`, single && `${single} with one copy`].filter(Boolean).join(", ") + (bad || single ? " – " : "") + "shardpair";
}

function counts(all) {
  const kinds = [["down", "no writes"], ["single", "one copy"], ["busy", "working"], ["well", "well"]];
  keep(byId("counts"), kinds.map(([kind, word]) => {
    const many = all.filter(p => group(p) === kind).length;
    const build = () => {
      const button = make("button", {type: "button", class: `count ${kind}${many ? "" : " zero"}`, "aria-pressed": String(only.has(kind))}, make("i", {"aria-hidden": "true"}, HEALTH[kind].sign), make("b", {}, String(many)), ` ${word}`);
      button.addEventListener("click", () => { only.has(kind) ? only.delete(kind) : only.add(kind); render(); byId("counts").querySelector(`.${kind}`).focus(); });
      return button;
    };
    return {key: kind, sign: `${many} ${only.has(kind)}`, build};
  }));
}

/** One stop of the Tab key for all pairs; arrows go on from there. */
function reachable() {
  const units = [...document.querySelectorAll(".unit")];
  const at = units.find(u => u.dataset.pair === here) ?? units[0];
  for (const unit of units) {
    unit.tabIndex = unit === at ? 0 : -1;
    unit.setAttribute("aria-expanded", String(unit.dataset.pair === chosen));
  }
}

/** The chosen pair, closer. */
function look() {
  const pair = chosen && state.pairs.get(chosen), panel = byId("detail");
  if (!pair) { chosen = null; panel.hidden = true; panel.replaceChildren(); return; }
  panel.hidden = false;
  panel.className = pair.health;
  keep(panel, [{key: chosen, sign: JSON.stringify([pair, state.moves.size]), build: () => make("div", {class: "inner"}, ...detail(pair, () => choose(null)))}]);
}

function choose(key) {
  const before = chosen;
  chosen = key === chosen ? null : key;
  look();
  reachable();
  const back = document.querySelector(`.unit[data-pair="${CSS.escape(chosen ?? before ?? "")}"]`);
  back?.focus({preventScroll: !chosen});
}

function moves() {
  timeline(byId("line"), Number(byId("range").value));
  const last = [...state.moves.entries()].reverse().slice(0, ROWS);
  keep(byId("moves"), last.length ? last.map(([key, move]) => ({key, sign: "", build: () => moveRow(move)})) : [{key: "none", sign: "", build: () => make("tr", {}, make("td", {colspan: 6, class: "dim"}, "None that is remembered."))}]);
}

/** What this page saw change. */
function tell(changed) {
  for (const [key, before, pair] of changed) {
    if (!before || !pair) continue;
    const said = [];
    if (pair.moving && !before.moving) said.push(`${pair.moving.kind} to ${pair.moving.to} begins: ${pair.moving.reason}`);
    if (before.primary !== pair.primary) said.push(`primary ${before.primary || "none"} → ${pair.primary}`);
    if (before.mode !== pair.mode && pair.mode) said.push(pair.mode);
    if (before.split?.state !== pair.split?.state && pair.split) said.push(`split: ${pair.split.state}`);
    if (before.reason !== pair.reason) said.push(pair.reason);
    if (!said.length) continue;
    byId("seen").prepend(make("li", {class: pair.health}, make("time", {}, new Date().toLocaleTimeString()), " ", make("b", {}, key), ` ${said.join(", ")}`));
    while (byId("seen").children.length > SEEN) byId("seen").lastChild.remove();
  }
}

let heard = "connecting";
function live(word) {
  heard = word;
  const words = {live: state.leads ? `live, from ${state.operator}` : `live, from ${state.operator}, which stands by`, connecting: "connecting…", silent: "no answer"};
  byId("live").className = word;
  byId("live").querySelector("span").textContent = words[word];
  document.body.classList.toggle("old", word === "silent");
  byId("old").hidden = word !== "silent";
  byId("old").textContent = "The operator doesn't answer: what is below may be old. Trying again; is kubectl shardpair dashboard still running?";
}

function draws() {
  if (asked) return;
  asked = requestAnimationFrame(() => { asked = 0; render(); });
}

/** The unit beside, above or below. */
function neighbour(unit, key) {
  const units = [...document.querySelectorAll(".unit")], at = units.indexOf(unit);
  if (key === "ArrowRight") return units[at + 1];
  if (key === "ArrowLeft") return units[at - 1];
  if (key === "Home") return units[0];
  if (key === "End") return units.at(-1);
  const place = u => u.getBoundingClientRect(), from = place(unit), down = key === "ArrowDown";
  const beyond = units.filter(u => (down ? place(u).top >= from.bottom - 2 : place(u).bottom <= from.top + 2));
  const cost = u => Math.abs(place(u).top - from.top) * 4 + Math.abs(place(u).left - from.left);
  return beyond.reduce((best, u) => (!best || cost(u) < cost(best) ? u : best), undefined);
}

function keys(event) {
  const typing = event.target.matches("input, select");
  const unit = event.target.closest?.(".unit");
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && event.target === byId("find") && byId("find").value) { byId("find").value = ""; render(); return; }
  if (event.key === "Escape" && chosen) return choose(chosen);
  if (typing) return;
  if (event.key === "/") { event.preventDefault(); byId("find").focus(); }
  if (event.key === "n") {
    const units = [...document.querySelectorAll(".grid:not(.trouble) .unit")], at = units.findIndex(u => u.dataset.pair === here);
    const next = [...units.slice(at + 1), ...units.slice(0, at + 1)].find(u => !u.classList.contains("well"));
    next?.focus();
  }
  if (unit && /^(Arrow|Home$|End$)/.test(event.key)) { event.preventDefault(); neighbour(unit, event.key)?.focus(); }
}

document.addEventListener("keydown", keys);
document.addEventListener("click", event => {
  const key = event.target.closest?.("[data-pair], [data-open]");
  if (key) choose(key.dataset.pair ?? key.dataset.open);
});
document.addEventListener("focusin", event => {
  const unit = event.target.closest?.(".unit");
  if (unit) { here = unit.dataset.pair; reachable(); }
});
for (const id of ["find", "view", "range"]) byId(id).addEventListener("input", render);
new ResizeObserver(draws).observe(byId("line"));
setInterval(() => { age(); timeline(byId("line"), Number(byId("range").value)); if (document.body.classList.contains("old")) byId("live").querySelector("span").textContent = `no answer for ${Math.round(silence() / 1_000)} s`; }, 2_000);
connect(changed => { tell(changed); draws(); }, live);
