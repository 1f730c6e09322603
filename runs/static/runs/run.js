// An open run page, kept true by a stream of events; where there is none, by asking again and again.
// A lost connection goes on from the id of the last event: nothing is shown twice or left out.
import { Lines } from "./lines.js";
import { Charts } from "./charts.js";

const page = document.getElementById("run");
const POLL_MS = 1000;
const POLL_MAX_MS = 15000;
const STREAM_AGAIN_MS = 10000;

const part = (name) => page.querySelector(`[data-part="${name}"]`);
const plots = document.getElementById("charts");
const charts = new Charts(plots);
const lines = new Lines(page, () => open());
let stream, timer, token, failures = 0, ended = !page.dataset.live;

function url(name, extra) {
  const found = new URL(`../${name}/`, location.href);
  found.search = lines.query;
  for (const [key, value] of Object.entries(extra)) found.searchParams.set(key, value);
  return found;
}

// Parts are HTML of the server, by the templates that made the page.
async function fetchParts(only = "parts") {
  const known = [...page.querySelectorAll("[data-part]")].map((node) => node.dataset.token).join(",");
  const answer = await fetch(url("live", { seen: lines.end, known, only }), { headers: { Accept: "application/json" }, redirect: "error" });
  if (answer.status === 403 || answer.status === 404) location.reload();
  if (!answer.ok) throw new Error(answer.statusText);
  const found = await answer.json();
  for (const [name, { html, token: mark }] of Object.entries(found.parts)) {
    const node = part(name);
    const opened = [...node.querySelectorAll("details")].map((details) => details.open);
    node.innerHTML = html;
    node.dataset.token = mark;
    node.querySelectorAll("details").forEach((details, index) => { if (index < opened.length) details.open = opened[index]; });
  }
  if (found.parts.outcome) charts.load();
  return found;
}

function show(state) {
  for (const [name, text] of Object.entries(state)) {
    const node = page.querySelector(`[data-state="${name}"]`);
    if (node && node.textContent !== text) node.textContent = text;
  }
  if (state.width !== null) {
    page.querySelector(".run-fill")?.setAttribute("width", state.width);
    page.querySelector("[role=progressbar]")?.setAttribute("aria-valuenow", Math.floor(state.width));
  }
  if (token !== undefined && token !== state.parts) fetchParts().catch(() => {});
  token = state.parts;
}

function open() {
  stream?.close();
  clearTimeout(timer);
  if (ended) return;
  stream = new EventSource(url("stream", { at: lines.at }));
  const on = (name, act) => stream.addEventListener(name, (event) => {
    if (event.lastEventId) lines.at = event.lastEventId;
    act(JSON.parse(event.data));
  });
  on("lines", (html) => lines.add(html));
  on("points", (points) => charts.add(points));
  on("state", show);
  on("end", async () => {
    ended = true;
    stream.close();
    await fetchParts().catch(() => {});
    charts.load();
    lines.say("The run has ended.", "ended");
  });
  stream.onopen = () => { failures = 0; lines.say("", "live"); };
  stream.onerror = () => {
    lines.say("Connection lost. Reconnecting…", "lost");
    if (stream.readyState === EventSource.CLOSED) timer = setTimeout(poll, POLL_MS);
  };
}

// Without a stream: the same lines and parts, asked for; every while the stream is tried again.
async function poll(since = Date.now()) {
  try {
    const found = await fetchParts("all");
    lines.add(found.lines);
    lines.at = `${found.seen}/${lines.at.split("/")[1] || ""}`;
    failures = 0;
    if (found.done && !found.more) { ended = true; return lines.say("The run has ended.", "ended"); }
    lines.say("", "live");
  } catch {
    failures += 1;
    lines.say("Connection lost. Reconnecting…", "lost");
  }
  if (!failures && Date.now() - since > STREAM_AGAIN_MS) return open();
  timer = setTimeout(poll, Math.min(POLL_MAX_MS, POLL_MS * 2 ** failures), since);
}

function countDown() {
  for (const node of page.querySelectorAll("[data-until]")) {
    const left = Number(node.dataset.until) - Date.now() / 1000;
    node.textContent = left > 0 ? `in ${Math.ceil(left)} s` : "now";
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-confirm]");
  if (button && !window.confirm(button.dataset.confirm)) event.preventDefault();
});
const keys = {
  f: () => lines.toggle(),
  "/": () => document.getElementById("text").focus(),
  c: () => page.querySelector('[data-key="c"]')?.click(),
  "?": () => document.getElementById("run-help").showModal(),
};
const help = page.querySelector("[data-help]");
help.hidden = false;
help.addEventListener("click", keys["?"]);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog[open]")) return;
  const act = keys[event.key];
  if (act) { event.preventDefault(); act(); }
});
window.addEventListener("pagehide", () => stream?.close());
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
setInterval(countDown, 250);
charts.load();
open();
if (ended) lines.say("", "ended");
