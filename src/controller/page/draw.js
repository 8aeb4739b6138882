// Pictures, as SVG. Every text goes in as a text node.

const SVG = "http://www.w3.org/2000/svg";

/** An element of HTML; children that are text become text nodes. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== undefined && value !== null) element.setAttribute(key, value);
  element.append(...children.filter(c => c !== null && c !== undefined));
  return element;
}

/** An element of SVG. */
export function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) if (value !== undefined) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** At most `most` characters: the middle goes, the number at the end stays. */
export function short(text, most) {
  const all = [...text];
  if (all.length <= most) return text;
  const end = Math.ceil((most - 1) / 2);
  return all.slice(0, most - 1 - end).join("") + "…" + all.slice(-end).join("");
}

/** 12 s, 5 min, 3 h, 2 d */
export function span(seconds) {
  const s = Math.max(0, seconds);
  if (s < 120) return `${Math.floor(s)} s`;
  if (s < 7_200) return `${Math.floor(s / 60)} min`;
  if (s < 172_800) return `${Math.floor(s / 3_600)} h`;
  return `${Math.floor(s / 86_400)} d`;
}

/** Short times: 83 ms, 1.2 s */
export const brief = seconds => (seconds < 1 ? `${Math.round(1_000 * seconds)} ms` : seconds < 60 ? `${seconds.toFixed(1)} s` : span(seconds));

const BOX = {width: 116, height: 66, top: 74};
const LEFT = [2, 202];
const WIDE = 320;
const middle = side => LEFT[side] + BOX.width / 2;

/** The members in their places: a member stays where it is when roles change. More than two while one is replaced. */
export function places(pair) {
  const named = pair.members.filter(m => m.name === pair.primary || m.name === pair.standby);
  const others = pair.members.filter(m => !named.includes(m));
  return (named.length ? [...named, ...others] : pair.members).slice(0, 2);
}

/** Where the primary is drawn, 0 to 1 of the picture's width. */
export const primaryAt = pair => middle(Math.max(0, places(pair).findIndex(m => m.name === pair.primary))) / WIDE;

/** The new side of a split before its keys move: it takes no writes of clients yet. */
export const follows = pair => Boolean(pair.split && pair.split.tie === "follows");

/** How the standby follows, in a word and a class. */
export function following(pair) {
  const standby = pair.members.find(m => m.name === pair.standby);
  const lag = standby && standby.lagSeconds ? `${span(standby.lagSeconds)} behind` : "";
  if (!standby) return {word: "no standby", kind: "none"};
  if (pair.repair) return {word: "rebuilding", kind: "repair"};
  if (!pair.redundant) return {word: lag || "not in sync", kind: "broken"};
  return {word: lag || "in sync", kind: lag ? "late" : "flow"};
}

function head(x, y, direction, kind) {
  const [dx, dy] = {right: [-7, 4], left: [7, 4]}[direction] ?? [4, -7];
  const points = direction === "down" ? `${x},${y} ${x - dx},${y + dy} ${x + dx},${y + dy}` : `${x},${y} ${x + dx},${y - dy} ${x + dx},${y + dy}`;
  return draw("polygon", {points, class: `head ${kind}`});
}

function server(pair, member, side) {
  const primary = member.name === pair.primary;
  const taking = pair.moving && pair.moving.to === member.name;
  const role = primary ? (follows(pair) ? "follows" : "primary") : member.name === pair.standby ? "standby" : "new member";
  const kind = taking ? "taking" : primary && !follows(pair) ? (pair.available ? "open" : "closed") : pair.redundant ? "second" : "unsafe";
  const x = LEFT[side], group = draw("g", {class: `server ${kind}`});
  group.append(draw("rect", {x, y: BOX.top, width: BOX.width, height: BOX.height, rx: 9}));
  // A cylinder: what holds the data.
  const cx = x + 17, top = BOX.top + 25;
  group.append(draw("path", {class: "disk", d: `M${cx - 8} ${top}v14a8 3.4 0 0 0 16 0v-14`}), draw("ellipse", {class: "disk", cx, cy: top, rx: 8, ry: 3.4}));
  const words = [
    [draw("text", {x: x + 31, y: BOX.top + 18, class: "role"}), taking ? "takes over" : role],
    [draw("text", {x: x + 31, y: BOX.top + 36, class: "name"}), short(member.name, 10)],
    [draw("text", {x: x + 31, y: BOX.top + 53, class: "node"}), member.node ? short(member.node, 13) : "no node yet"],
  ];
  for (const [text, word] of words) { text.append(word); group.append(text); }
  group.append(draw("title", {}, `${member.name}${member.node ? ` on ${member.node}` : ""}`));
  return group;
}

function replication(pair, sides) {
  const from = sides.findIndex(m => m.name === pair.primary), to = sides.findIndex(m => m.name === pair.standby);
  if (from < 0 || to < 0) return [];
  const {word, kind} = following(pair);
  const y = BOX.top + BOX.height / 2, left = LEFT[0] + BOX.width + 4, right = LEFT[1] - 4;
  const [x1, x2, direction] = from < to ? [left, right, "right"] : [right, left, "left"];
  const standby = sides[to];
  const parts = [draw("path", {d: `M${x1} ${y}H${x2}`, class: `arrow ${kind}`}), head(x2, y, direction, kind), draw("text", {x: (left + right) / 2, y: y - 9, class: `how ${kind}`, "text-anchor": "middle"}, word)];
  if (standby.behind) parts.push(draw("text", {x: (left + right) / 2, y: y + 18, class: "node", "text-anchor": "middle"}, `${standby.behind.toLocaleString("en")}+ tx`));
  return parts;
}

/** One pair: its VIP above, from which clients reach the primary; the arrow between the members is replication. */
export function picture(pair) {
  const svg = draw("svg", {viewBox: `0 0 ${WIDE} 144`, class: "picture", "aria-hidden": "true"});
  const sides = places(pair);
  const at = sides.findIndex(m => m.name === pair.primary);
  if (at >= 0) {
    const x = middle(at), kind = follows(pair) ? "none" : pair.available ? "flow" : "broken";
    svg.append(draw("path", {d: `M160 30C160 56 ${x} 40 ${x} ${BOX.top - 6}`, class: `arrow vip ${kind}`}), head(x, BOX.top - 2, "down", kind));
  }
  const name = short(pair.name, 20), wide = Math.max(96, name.length * 7.4 + 56);
  svg.append(draw("rect", {x: 160 - wide / 2, y: 4, width: wide, height: 26, rx: 13, class: `pill ${pair.available ? "" : "closed"}`}));
  const label = draw("text", {x: 160, y: 21, "text-anchor": "middle", class: "address"}, draw("tspan", {class: "vip"}, "VIP "), name);
  svg.append(label, ...replication(pair, sides), ...sides.map((member, side) => server(pair, member, side)));
  if (pair.mode === "Solo") svg.append(draw("text", {x: 160, y: 58, "text-anchor": "middle", class: "how broken"}, "Solo"));
  return svg;
}

function tieKind(parent, child) {
  const ties = [parent.split.tie, child.split.tie];
  return child.split.tie === "follows" ? "follows" : ties.includes("cut") ? "cut" : ties.includes("linked") ? "linked" : "";
}

/** How the two sides of a split hang together, in words. */
export const tied = (parent, child) => ({follows: `${child.name} follows ${parent.name}`, linked: "linked both ways: the way back is open", cut: "the link is gone", "": "being set up"})[tieKind(parent, child)];

/** What joins the two sides of a split: from primary to primary. */
export function tie(parent, child) {
  const kind = tieKind(parent, child);
  const svg = draw("svg", {viewBox: "0 0 680 46", class: `tie ${kind}`, role: "img"});
  const words = tied(parent, child);
  svg.setAttribute("aria-label", words);
  const x1 = 20 + primaryAt(parent) * 300, x2 = 360 + primaryAt(child) * 300, y = 24;
  const line = kind === "cut" || !kind ? "none" : "flow";
  svg.append(draw("path", {d: `M${x1} 2V${y - 8}q0 8 8 8H${x2 - 8}q8 0 8 -8V8`, class: `arrow ${line}`}));
  const up = x => draw("polygon", {points: `${x},1 ${x - 4.5},9 ${x + 4.5},9`, class: `head ${line}`});
  if (line === "flow") svg.append(up(x2));
  if (kind === "linked") svg.append(up(x1));
  svg.append(draw("text", {x: 340, y: y + 18, "text-anchor": "middle", class: `how ${line}`}, short(words, 90)));
  return svg;
}
