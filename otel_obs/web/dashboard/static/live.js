// What happens, as it happens: server-sent events, the newest on top.
const list = document.querySelector("[data-live]");
const state = document.querySelector("[data-state]");
const pulse = document.querySelector(".pulse");
const pause = document.querySelector("[data-pause]");
const MOST = 300;
let waiting = [], paused = false, seen = 0;

const make = (tag, name, text) => { const made = document.createElement(tag); made.className = name; made.textContent = text; return made; };
const took = (ms) => ms === null ? "" : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
const money = (cents) => cents === null ? "" : cents >= 100 ? `$${(cents / 100).toFixed(2)}` : `$${(cents / 100).toFixed(4)}`;

function line(event) {
  const made = document.createElement("li");
  if (event.status === "error") made.className = "error";
  const kind = make("span", "kind", "");
  kind.append(make("span", `dot t-${/^[a-z]+$/.test(event.event_type) ? event.event_type : ""}`, ""), event.event_type);
  const name = document.createElement("span");
  const link = make("a", "cut wide", event.model_name ?? event.name);
  const url = new URL(`/traces/${encodeURIComponent(event.trace_id)}`, location.origin);
  const organization = new URL(location).searchParams.get("organization_id");
  if (organization) url.searchParams.set("organization_id", organization);
  url.searchParams.set("event", event.event_id);
  if (event.trace_id) link.href = url;
  name.append(link, make("span", "sub", [event.error_type, event.agent_id, event.user_id, event.workspace_id].filter(Boolean).join(" · ")));
  made.append(make("time", "faint nowrap", event.timestamp.slice(11, 19)), kind, name, make("span", "num", took(event.latency_ms)), make("span", "num cost", money(event.cost_cents)));
  return made;
}

function flush() {
  if (paused || !waiting.length) return;
  document.querySelector("[data-nothing]")?.remove();
  list.prepend(...waiting.splice(0).reverse().slice(0, MOST).map(line));
  while (list.children.length > MOST) list.lastChild.remove();
}
setInterval(flush, 250);

function say(text, kind) { state.textContent = text; pulse.className = `pulse ${kind}`; }
pause.addEventListener("click", () => { paused = !paused; pause.textContent = paused ? "Resume" : "Pause"; pause.setAttribute("aria-pressed", paused); say(paused ? "Paused" : "Listening", paused ? "" : "on"); flush(); });

const source = new EventSource(list.dataset.live);
source.addEventListener("open", () => say("Listening", "on"));
source.addEventListener("error", () => say("Not connected; trying again", "off"));
source.addEventListener("event", (message) => { seen++; waiting.push(JSON.parse(message.data)); if (waiting.length > MOST) waiting.shift(); document.querySelector("[data-seen]").textContent = seen; });
source.addEventListener("gap", () => say("More happened than can be shown", "on"));
source.addEventListener("metrics", (message) => {
  const found = JSON.parse(message.data);
  for (const [name, text] of [["executions", found.executions], ["failed", found.failed], ["calls", found.calls], ["cost", found.calls ? (found.cost_cents === null ? "–" : money(found.cost_cents)) : "$0"], ["p95", found.latency_p95_ms === null ? "–" : took(found.latency_p95_ms)]]) document.querySelector(`[data-figure=${name}]`).textContent = text;
});
