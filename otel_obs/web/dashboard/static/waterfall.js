// A trace in time. Only the rows in view are in the document, however many there are.
const ROW = 30;
const water = document.querySelector("[data-waterfall]");
const rows = water.querySelector(".rows");
const marks = water.querySelector(".marks");
const here = new URL(location);
const chosen = here.searchParams.get("event");
const closed = new Set((here.searchParams.get("closed") ?? "").split(",").filter(Boolean));
let nodes = [], shown = [], total = 1, from = 0, to = 1, at = -1;

const make = (tag, name, text) => { const made = document.createElement(tag); if (name) made.className = name; if (text !== undefined) made.textContent = text; return made; };
const took = (ms) => ms === null ? "–" : ms < 1 ? `${ms > 0 ? "<1" : 0} ms` : ms < 1000 ? `${Math.round(ms)} ms` : ms < 60000 ? `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s` : `${Math.floor(ms / 60000)} m ${String(Math.round((ms % 60000) / 1000)).padStart(2, "0")} s`;
const money = (cents) => { const d = cents / 100; return d === 0 ? "$0" : d >= 1 ? `$${d.toFixed(2)}` : d >= 0.1 ? `$${d.toFixed(3)}` : d >= 0.001 ? `$${d.toFixed(4)}` : d >= 0.000001 ? `$${d.toFixed(6)}` : "<$0.000001"; };

async function load() {
  let cursor = null;
  do {
    const url = new URL(water.dataset.waterfall, location);
    if (cursor) url.searchParams.set("cursor", cursor);
    const answer = await fetch(url, { credentials: "same-origin" });
    if (!answer.ok) throw new Error(answer.status);
    const found = await answer.json();
    nodes = nodes.concat(found.nodes.items);
    total = Math.max(found.duration_ms, 0.001);
    cursor = found.nodes.next_cursor;
  } while (cursor && nodes.length < 50000);
  const known = new Map(nodes.filter((node) => node.event_id === node.span_id).map((node) => [node.span_id, node]));
  const top = [];
  for (const node of nodes) {
    node.below = [];
    const above = known.get(node.parent_span_id);
    const parent = node.event_id === node.span_id ? above : known.get(node.span_id) ?? above;
    node.above = parent === node ? undefined : parent;
  }
  for (const node of nodes) (loops(node) ? top : node.above?.below ?? top).push(node);
  for (const node of top) node.above = undefined;
  nodes.top = top;
  const asked = [Number(here.searchParams.get("from")), Number(here.searchParams.get("to"))];
  [from, to] = asked[1] > asked[0] && asked[1] <= total * 1.01 ? asked : [0, total];
  list();
  if (chosen) { at = shown.findIndex((node) => node.event_id === chosen); reveal(); }
}

function loops(node) { const seen = new Set(); for (let up = node; up; up = up.above) { if (seen.has(up)) return true; seen.add(up); } return false; }

function list() {
  shown = [];
  const waiting = nodes.top.map((node) => [node, 1]).reverse();
  while (waiting.length) {
    const [node, level] = waiting.pop();
    node.level = level;
    shown.push(node);
    if (!closed.has(node.event_id)) for (let i = node.below.length - 1; i >= 0; i--) waiting.push([node.below[i], level + 1]);
  }
  rows.removeAttribute("aria-busy");
  rows.setAttribute("aria-rowcount", shown.length);
  space.style.height = `${shown.length * ROW}px`;
  rows.style.height = `${Math.min(shown.length * ROW, 0.62 * innerHeight)}px`;
  axis();
  draw();
}

const space = make("div", "", "Loading …");
space.setAttribute("role", "presentation");
rows.replaceChildren(space);
rows.setAttribute("aria-busy", "true");

function draw() {
  const first = Math.max(0, Math.floor(rows.scrollTop / ROW) - 4);
  const last = Math.min(shown.length, Math.ceil((rows.scrollTop + rows.clientHeight) / ROW) + 4);
  const made = [];
  for (let i = first; i < last; i++) made.push(row(shown[i], i));
  space.replaceChildren(...made);
  if (at >= 0) rows.setAttribute("aria-activedescendant", `row-${at}`);
}

function row(node, i) {
  const made = make("div", `row${node.event_id === chosen ? " chosen" : ""}${i === at ? " at" : ""}`);
  made.id = `row-${i}`;
  made.style.top = `${i * ROW}px`;
  made.dataset.index = i;
  for (const [name, value] of [["role", "row"], ["aria-level", node.level], ["aria-rowindex", i + 1], ["aria-selected", node.event_id === chosen]]) made.setAttribute(name, value);
  if (node.below.length) made.setAttribute("aria-expanded", !closed.has(node.event_id));
  const name = make("div", "name");
  name.setAttribute("role", "gridcell");
  const turn = make("span", "turn", node.below.length ? (closed.has(node.event_id) ? "▶" : "▼") : "");
  turn.style.marginLeft = `${Math.min(node.level - 1, 12) * 14}px`;
  if (node.below.length) turn.dataset.turn = i;
  name.append(turn, make("span", `dot t-${/^[a-z]+$/.test(node.event_type) ? node.event_type : ""}`), make("span", `text${node.status === "error" ? " bad" : ""}`, node.model_name ?? node.name));
  const extra = [node.cost_cents === null ? "" : money(node.cost_cents), node.cost_state === "duplicate" ? "counted elsewhere" : "", closed.has(node.event_id) ? `+${count(node)}` : ""].filter(Boolean).join("  ");
  if (extra) name.append(make("span", "extra", extra));
  const track = make("div", "track");
  track.setAttribute("role", "gridcell");
  const bar = make("i", `t-${/^[a-z]+$/.test(node.event_type) ? node.event_type : ""}${node.on_critical_path ? " path" : ""}${node.status === "error" ? " error" : ""}`);
  const width = to - from;
  const [starts, ends] = [Math.max(node.offset_ms, from), Math.min(node.offset_ms + (node.latency_ms ?? 0), to)];
  if (ends >= starts) {
    bar.style.left = `${Math.min(99.7, (100 * (starts - from)) / width)}%`;
    bar.style.width = `${(100 * (ends - starts)) / width}%`;
    track.append(bar);
  }
  made.dataset.tip = [`${node.event_type}: ${node.name}`, `starts at ${took(node.offset_ms)}, takes ${took(node.latency_ms)}`, node.input_tokens === null && node.output_tokens === null ? "" : `${node.input_tokens ?? "?"} tokens in, ${node.output_tokens ?? "?"} out`, node.cost_reason ? `no price: ${node.cost_reason}` : "", node.error_type ?? "", node.on_critical_path ? "the trace waited for this" : ""].filter(Boolean).join("\n");
  const last = make("div", "took", took(node.latency_ms));
  last.setAttribute("role", "gridcell");
  made.append(name, track, last);
  return made;
}

function count(node) { let sum = 0; const waiting = [...node.below]; while (waiting.length) { const one = waiting.pop(); sum++; waiting.push(...one.below); } return sum; }

function axis() {
  const step = (to - from) / 4;
  marks.replaceChildren(...[0, 1, 2, 3, 4].map((i) => { const mark = make("span", "", took(from + i * step)); mark.style.left = `${25 * i}%`; return mark; }));
}

function remember() {
  const url = new URL(location);
  const put = (name, value) => value ? url.searchParams.set(name, value) : url.searchParams.delete(name);
  const zoomed = from > 0 || to < total;
  put("from", zoomed ? from.toFixed(2) : "");
  put("to", zoomed ? to.toFixed(2) : "");
  put("closed", [...closed].slice(0, 40).join(","));
  history.replaceState(null, "", url);
}

function zoom(start, end) { from = Math.max(0, start); to = Math.min(total, Math.max(end, from + total / 100000)); axis(); draw(); remember(); }
function turn(i, shut) { const node = shown[i]; if (!node?.below.length || closed.has(node.event_id) === shut) return; shut ? closed.add(node.event_id) : closed.delete(node.event_id); list(); remember(); }
function open(node) { const url = new URL(location); url.searchParams.set("event", node.event_id); url.searchParams.delete("content"); url.hash = "detail"; location.assign(url); }
function reveal() { if (at < 0) return; const y = at * ROW; if (y < rows.scrollTop) rows.scrollTop = y; else if (y + ROW > rows.scrollTop + rows.clientHeight) rows.scrollTop = y + ROW - rows.clientHeight; draw(); }

rows.addEventListener("scroll", draw, { passive: true });
addEventListener("resize", list);
rows.addEventListener("click", (event) => {
  const turned = event.target.closest("[data-turn]");
  if (turned) { turn(Number(turned.dataset.turn), !closed.has(shown[turned.dataset.turn].event_id)); return; }
  const found = event.target.closest("[data-index]");
  if (found) open(shown[found.dataset.index]);
});
rows.addEventListener("keydown", (event) => {
  const moves = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: shown.length - 1, PageDown: at + 15, PageUp: at - 15 };
  if (event.key in moves) at = Math.max(0, Math.min(shown.length - 1, moves[event.key]));
  else if (event.key === "ArrowLeft") { if (shown[at]?.below.length && !closed.has(shown[at].event_id)) turn(at, true); else if (shown[at]?.above) at = shown.indexOf(shown[at].above); }
  else if (event.key === "ArrowRight") turn(at, false);
  else if (event.key === "Enter" && shown[at]) open(shown[at]);
  else return;
  event.preventDefault();
  reveal();
});
const actions = {
  in: () => { const middle = (from + to) / 2, half = (to - from) / 4; zoom(middle - half, middle + half); },
  out: () => { const middle = (from + to) / 2, half = to - from; zoom(middle - half, middle + half); },
  all: () => zoom(0, total),
  left: () => { const by = Math.min((to - from) / 3, from); zoom(from - by, to - by); },
  right: () => { const by = Math.min((to - from) / 3, total - to); zoom(from + by, to + by); },
  close: () => { for (const node of nodes) if (node.below.length && node.above) closed.add(node.event_id); list(); remember(); },
  open: () => { closed.clear(); list(); remember(); },
};
for (const button of document.querySelectorAll("[data-zoom]")) button.addEventListener("click", actions[button.dataset.zoom]);
let dragged = null;
const where = (event) => { const box = marks.getBoundingClientRect(); return from + ((to - from) * Math.max(0, Math.min(1, (event.clientX - box.left) / box.width))); };
marks.addEventListener("pointerdown", (event) => { dragged = where(event); marks.setPointerCapture(event.pointerId); });
marks.addEventListener("pointerup", (event) => { const end = where(event); if (dragged !== null && Math.abs(end - dragged) > (to - from) / 100) zoom(Math.min(dragged, end), Math.max(dragged, end)); dragged = null; });
load().catch(() => { space.textContent = "The trace could not be loaded: reload the page, or read the table below."; });
