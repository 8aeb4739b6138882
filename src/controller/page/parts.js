// The parts of the page: cards, tiles, plans, the closer look, the line of time.
import {brief, draw, following, follows, make, picture, places, short, span, tie, tied} from "./draw.js";
import {now, state} from "./state.js";

export const HEALTH = {
  well: {word: "well", sign: "✓"}, busy: {word: "working", sign: "↻"}, single: {word: "one copy", sign: "!"}, down: {word: "no writes", sign: "✕"}, new: {word: "being made", sign: "…"},
};
const PHASES = ["Preflight", "Prepared", "Flipped", "Dissolved", "Complete"];
const KINDS = {Failover: "failover", Switchover: "switchover", PromoteWithDataLoss: "forced"};
const WORDS = {Failover: "failover", Switchover: "switchover", PromoteWithDataLoss: "promoted with data loss"};

export const keyOf = pair => `${pair.namespace}/${pair.name}`;
const ago = at => `${span((now() - Date.parse(at)) / 1_000)} ago`;
/** A time that ages on the page. */
const aging = at => make("time", {datetime: at, "data-ago": at, title: new Date(at).toLocaleString()}, ago(at));
/** Ages every time on the page. */
export function age() {
  for (const element of document.querySelectorAll("[data-ago]")) {
    const text = ago(element.dataset.ago);
    if (element.textContent !== text) element.textContent = text;
  }
}

/** Everything about a pair in a sentence, for who can't see the picture. */
export function words(pair) {
  const member = name => { const m = pair.members.find(m => m.name === name); return m && m.node ? `${name} on ${m.node}` : name; };
  const said = [`${pair.name}: ${HEALTH[pair.health].word}`, pair.primary ? `primary ${member(pair.primary)}` : "no primary yet"];
  said.push(pair.standby ? `standby ${member(pair.standby)} ${following(pair).word}` : "no standby");
  if (pair.moving) said.push(`${WORDS[pair.moving.kind] ?? pair.moving.kind} to ${pair.moving.to} under way`);
  if (pair.split) said.push(`${pair.split.role.toLowerCase()} of a split with ${pair.split.other}, ${pair.split.state}`);
  if (pair.paused) said.push("paused");
  return [...said, pair.reason].join(", ");
}

const state_of = pair => (pair.moving ? `${WORDS[pair.moving.kind] ?? pair.moving.kind} → ${pair.moving.to}` : pair.reason);
const badge = pair => make("span", {class: "badge"}, make("i", {"aria-hidden": "true"}, HEALTH[pair.health].sign), pair.health !== "well" ? HEALTH[pair.health].word : follows(pair) ? "follows" : pair.mode);

/** A pair as a picture. */
export function card(pair) {
  const button = make("button", {type: "button", class: `unit card ${pair.health}${pair.moving ? " moving" : ""}`, "aria-label": words(pair), "data-pair": keyOf(pair), tabindex: "-1"});
  const head = make("span", {class: "head"}, make("b", {title: pair.name}, pair.name), pair.paused ? make("span", {class: "paused"}, "paused") : null, badge(pair));
  const said = pair.health === "well" ? null : make("span", {class: "said"}, make("b", {}, state_of(pair)), pair.message ? `: ${pair.message}` : "");
  button.append(head, ...(said ? [said] : []), picture(pair));
  return button;
}

/** The two pairs of a split in one frame. */
export function frame(parent, child) {
  const plan = state.plans.get(`${parent.namespace}/${parent.split.plan}`);
  const title = make("p", {class: "title"}, make("b", {}, `${parent.name} is split`), plan ? ` by ${plan.name}` : "", make("span", {class: "tied"}, `: ${tied(parent, child)}`));
  return make("div", {class: "frame"}, title, make("div", {class: "two"}, card(parent), card(child)), tie(parent, child));
}

/** A pair as a tile, where there are many. */
export function tile(pair) {
  const {kind, word} = following(pair), sides = places(pair);
  const at = sides.findIndex(m => m.name === pair.primary);
  const pips = make("span", {class: `pips ${kind}`, "aria-hidden": "true"});
  for (const side of [0, 1]) {
    const member = sides[side];
    if (side === 1) pips.append(make("i", {class: "way"}, !pair.standby || kind === "none" ? "" : at === 0 ? "→" : "←"));
    pips.append(make("i", {class: !member ? "pip none" : side === at && !follows(pair) ? `pip ${pair.available ? "open" : "closed"}` : `pip ${pair.redundant ? "second" : "unsafe"}`}));
  }
  // What fits; the rest is in the title.
  const note = pair.moving ? "moving" : pair.health !== "well" ? HEALTH[pair.health].word : kind === "late" ? word.replace("behind", "late") : follows(pair) ? "follows" : "";
  return make("button", {type: "button", class: `unit tile ${pair.health}${pair.moving ? " moving" : ""}`, "aria-label": words(pair), title: words(pair), "data-pair": keyOf(pair), tabindex: "-1"},
    make("span", {class: "row"}, make("b", {}, short(pair.name, 10)), make("i", {class: "sign", "aria-hidden": "true"}, pair.split ? "⑂" : HEALTH[pair.health].sign)),
    make("span", {class: "row"}, pips, make("small", {}, note)));
}

function step(plan, phase, n) {
  const done = PHASES.indexOf(plan.phase), last = PHASES.indexOf(plan.until);
  const kind = n <= done ? "done" : n > last ? "beyond" : n === done + 1 ? (plan.stalled ? "stalled" : "now") : "later";
  const attributes = kind === "now" || kind === "stalled" ? {class: kind, "aria-current": "step"} : {class: kind};
  return make("li", attributes, make("i", {"aria-hidden": "true"}, kind === "done" ? "✓" : kind === "stalled" ? "!" : String(n + 1)), make("span", {}, phase));
}

function splitRow(split) {
  const bar = split.progress;
  const progress = bar ? [make("progress", {max: 100, value: bar.percent, "aria-label": bar.what}), ` ${bar.percent} % ${bar.what}${bar.etaSeconds ? `, ${span(bar.etaSeconds)} left` : ""}`] : [];
  const misrouted = split.misrouted ? make("b", {class: "bad"}, `${split.misrouted} rows written on the wrong side`) : null;
  return make("tr", {}, make("th", {scope: "row"}, `${split.shard} → ${split.shard} + ${split.newShard}`), make("td", {}, split.phase || "begun"),
    make("td", {class: "number"}, split.pauseSeconds === null ? "–" : brief(split.pauseSeconds)), make("td", {}, ...progress), make("td", {}, misrouted, split.message));
}

/** An expansion: its phases, and each shard's progress. */
export function planPanel(plan) {
  const said = plan.message || (plan.complete ? "Complete." : plan.reason);
  const panel = make("section", {class: `plan${plan.stalled ? " stalled" : ""}`, "aria-label": `Expansion ${plan.name}`});
  panel.append(make("h3", {}, plan.name, make("small", {}, `to ${plan.toShards} shards, may go on until ${plan.until}`)), make("ol", {class: "steps"}, ...PHASES.map((phase, n) => step(plan, phase, n))), make("p", {}, said));
  if (plan.refusals.length) panel.append(make("ul", {class: "refusals"}, ...plan.refusals.map(r => make("li", {}, r))));
  if (plan.shards.length) {
    const head = make("thead", {}, make("tr", {}, ...["shard", "done", "keys paused", "progress", ""].map((word, n) => make("th", {scope: "col", class: n === 2 ? "number" : undefined}, word))));
    panel.append(make("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": `Shards of ${plan.name}`}, make("table", {}, head, make("tbody", {}, ...plan.shards.map(splitRow)))));
  }
  return panel;
}

const facts = rows => make("dl", {}, ...rows.filter(([, v]) => v !== null && v !== undefined && v !== "").flatMap(([k, v]) => [make("dt", {}, k), make("dd", {}, v)]));

function memberRow(pair, member) {
  const role = member.name === pair.primary ? "primary" : member.name === pair.standby ? "standby" : "new";
  const lag = member.lagSeconds === null ? "" : member.lagSeconds ? `${span(member.lagSeconds)}` : "none";
  return make("tr", {}, make("th", {scope: "row"}, member.name), make("td", {}, role), make("td", {}, member.node ?? "–"), make("td", {class: "number"}, lag), make("td", {class: "number"}, member.behind === null ? "" : member.behind.toLocaleString("en")));
}

/** A closer look at one pair. */
export function detail(pair, close) {
  const shut = make("button", {type: "button", class: "close", "aria-label": "Close"}, "✕");
  shut.addEventListener("click", close);
  const moves = [...state.moves.values()].filter(m => m.namespace === pair.namespace && m.pair === pair.name).reverse().slice(0, 8);
  const commands = ["explain", "events"].map(verb => make("code", {}, `kubectl shardpair -n ${pair.namespace} ${verb} ${pair.name}`));
  const head = ["member", "role", "node", "lag", "tx behind"].map((word, n) => make("th", {scope: "col", class: n > 2 ? "number" : undefined}, word));
  return [
    make("div", {class: "head"}, make("h2", {}, pair.name), badge(pair), shut),
    make("p", {class: "said"}, make("b", {}, state_of(pair)), pair.message ? `: ${pair.message}` : ""),
    ...(pair.remedy && pair.remedy !== "Nothing." ? [make("p", {class: "remedy"}, make("b", {}, "What to do: "), pair.remedy.replaceAll("`", ""))] : []),
    picture(pair),
    make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...pair.members.map(m => memberRow(pair, m)))),
    facts([
      ["Mode", pair.mode && `${pair.mode}, epoch ${pair.epoch}`], ["Since", pair.since && aging(pair.since)], ["VIP", `${pair.name}.${pair.namespace}.svc:3306`], ["Cluster", `${pair.namespace}/${pair.cluster}, shard ${pair.shard}`],
      ["Under way", pair.moving && `${WORDS[pair.moving.kind] ?? pair.moving.kind} to ${pair.moving.to}: ${pair.moving.reason}`], ["Repair", pair.repair],
      ["Split", pair.split && `${pair.split.role.toLowerCase()} with ${pair.split.other} (${pair.split.plan}): ${pair.split.state}${pair.split.message ? `, ${pair.split.message}` : ""}`],
      ["Keys paused", pair.split && pair.split.pauseSeconds !== null ? brief(pair.split.pauseSeconds) : null],
    ]),
    ...(moves.length ? [make("h3", {}, "Its last moves"), make("ul", {class: "moves"}, ...moves.map(m => make("li", {}, `${WORDS[m.kind] ?? m.kind} ${m.from} → ${m.to}, no writes for ${brief(m.seconds)} (${m.reason}), `, aging(m.at))))] : []),
    make("h3", {}, "In a terminal"), ...commands,
  ];
}

/** A line of the table of moves. */
export const moveRow = move => make("tr", {class: KINDS[move.kind]}, make("td", {}, aging(move.at)), make("td", {}, make("button", {type: "button", class: "link", "data-open": `${move.namespace}/${move.pair}`}, move.pair)),
  make("td", {}, make("i", {class: "mark", "aria-hidden": "true"}), WORDS[move.kind] ?? move.kind), make("td", {}, `${move.from} → ${move.to}`), make("td", {class: "number"}, brief(move.seconds)), make("td", {}, move.reason));

const TICKS = {15: [5, "min"], 60: [15, "min"], 360: [60, "h"], 1440: [240, "h"], 10080: [1440, "d"]};
const SHAPES = {failover: "M0 -6L6 0L0 6L-6 0Z", switchover: "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0", forced: "M0 -6L6 5L-6 5Z"};

/** The last moves along a line of time; those at one place stand on each other. */
export function timeline(svg, minutes) {
  const width = Math.max(300, svg.clientWidth), end = now(), base = 50, long = minutes * 60_000;
  svg.setAttribute("viewBox", `0 0 ${width} 72`);
  const x = time => 8 + (width - 24) * (1 - (end - time) / long);
  const [distance, unit] = TICKS[minutes], per = {min: 1, h: 60, d: 1_440}[unit];
  const parts = [draw("line", {x1: 0, x2: width, y1: base, y2: base, class: "axis"})];
  for (let back = 0; back <= minutes; back += distance) {
    const at = x(end - back * 60_000);
    parts.push(draw("line", {x1: at, x2: at, y1: base, y2: base + 5, class: "axis"}), draw("text", {x: at, y: 68, "text-anchor": back === 0 ? "end" : back === minutes ? "start" : "middle"}, back ? `−${back / per} ${unit}` : "now"));
  }
  const shown = [...state.moves.values()].filter(m => end - Date.parse(m.at) < long), stacks = new Map();
  for (const move of shown) {
    const at = x(Date.parse(move.at)), place = Math.round(at / 13), height = stacks.get(place) ?? 0;
    stacks.set(place, height + 1);
    if (height > 2) continue;
    const kind = KINDS[move.kind] ?? "switchover";
    const mark = draw("path", {d: SHAPES[kind], transform: `translate(${at} ${base - 9 - height * 14})`, class: `mark ${kind}`, "data-open": `${move.namespace}/${move.pair}`});
    mark.append(draw("title", {}, `${move.pair}: ${WORDS[move.kind] ?? move.kind} ${move.from} → ${move.to}, no writes for ${brief(move.seconds)}, ${ago(move.at)}`));
    parts.push(mark);
  }
  for (const [place, height] of stacks) if (height > 3) parts.push(draw("text", {x: place * 13, y: 8, "text-anchor": "middle"}, `+${height - 3}`));
  for (const pair of state.pairs.values()) if (pair.moving) parts.push(draw("circle", {cx: x(end), cy: base - 9, r: 6, class: "mark under-way"}, draw("title", {}, `${pair.name}: ${words(pair)}`)));
  svg.replaceChildren(...parts);
  svg.setAttribute("aria-label", `${shown.length} moves; the table below lists them`);
}
