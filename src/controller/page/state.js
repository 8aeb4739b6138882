// What the operator tells, kept as maps from `<namespace>/<name>`. Nothing is asked for: it comes.

export const state = {clusters: new Map(), pairs: new Map(), plans: new Map(), moves: new Map(), operator: "", leads: true};
const KINDS = ["clusters", "pairs", "plans", "moves"];
/** A stream that is silent for longer than this, ms, is taken for dead: the operator says something every 5 s. */
const SILENCE = 12_000;
/** Between two tries of a stream that was refused, ms. */
const AGAIN = 3_000;

let skew = 0;
let heard = 0;

/** The operator's clock, ms. */
export const now = () => Date.now() + skew;
/** Since the last word of the operator, ms. */
export const silence = () => (heard ? Date.now() - heard : 0);

/** Takes a message; tells what it changed among the pairs, as [key, before, after]. */
export function take(change) {
  const changed = [];
  const first = change.reset;
  skew = change.now - Date.now();
  state.operator = change.operator;
  state.leads = change.leads;
  if (first) for (const kind of KINDS) for (const key of [...state[kind].keys()]) if (!(key in change[kind])) change[kind][key] = null;
  for (const kind of KINDS) {
    for (const [key, value] of Object.entries(change[kind])) {
      const before = state[kind].get(key);
      if (value === null) state[kind].delete(key);
      else state[kind].set(key, value);
      if (kind === "pairs") changed.push([key, before, value]);
    }
  }
  return changed;
}

/** Calls `changed` after each message, `live` with `live`, `connecting` or `silent` when that changes. */
export function connect(changed, live) {
  let source, was;
  const say = word => { if (word !== was) live(was = word); };
  const hear = () => { heard = Date.now(); say("live"); };
  const open = () => {
    source = new EventSource("/events");
    source.onmessage = event => { const news = take(JSON.parse(event.data)); hear(); changed(news); };
    source.addEventListener("tick", event => { skew = Number(event.data) - Date.now(); hear(); });
    source.onerror = () => {
      say(heard ? "silent" : "connecting");
      // Refused rather than broken: the browser gives up, we don't.
      if (source.readyState === EventSource.CLOSED) setTimeout(open, AGAIN);
    };
  };
  open();
  // A connection that broke without a word.
  setInterval(() => {
    if (was === "live" && silence() > SILENCE) { say("silent"); source.close(); open(); }
  }, 1_000);
}
