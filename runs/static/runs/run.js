// Keep an open run page up to date: from a stream of events, or by polling where there is none.
// A lost connection resumes at the id of the last event: nothing is shown twice or left out.
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
  const address = new URL(`../${name}/`, location.href);
  address.search = lines.query;
  for (const [key, value] of Object.entries(extra)) address.searchParams.set(key, value);
  return address;
}

// Parts are HTML of the server, from the same templates as the page.
async function fetchParts(only = "parts") {
  const known = [...page.querySelectorAll("[data-part]")].map((node) => node.dataset.token).join(",");
  const address = url("live", { seen: lines.end, known, only });
  const answer = await fetch(address, { headers: { Accept: "application/json" }, redirect: "manual" });
  const isLoggedOut = answer.type === "opaqueredirect";
  if (isLoggedOut || answer.status === 403 || answer.status === 404) location.reload();
  if (!answer.ok) throw new Error(answer.statusText);
  const news = await answer.json();
  for (const [name, { html, token: mark }] of Object.entries(news.parts)) {
    const node = part(name);
    const opened = [...node.querySelectorAll("details")].map((details) => details.open);
    node.innerHTML = html;
    node.dataset.token = mark;
    [...node.querySelectorAll("details")].slice(0, opened.length).forEach((details, index) => {
      details.open = opened[index];
    });
  }
  if (news.parts.outcome) charts.load();
  return news;
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
    lines.announce("The run has ended.", "ended");
  });
  stream.onopen = () => { failures = 0; lines.announce("", "live"); };
  stream.onerror = () => {
    lines.announce("Connection lost. Reconnecting…", "lost");
    if (stream.readyState === EventSource.CLOSED) timer = setTimeout(poll, POLL_MS);
  };
}

// Without a stream: poll for the same lines and parts, and try the stream again from time to time.
async function poll(since = Date.now()) {
  try {
    const news = await fetchParts("all");
    lines.add(news.lines);
    lines.at = `${news.seen}/${lines.at.split("/")[1] || ""}`;
    failures = 0;
    if (news.done && !news.more) { ended = true; return lines.announce("The run has ended.", "ended"); }
    lines.announce("", "live");
  } catch {
    failures += 1;
    lines.announce("Connection lost. Reconnecting…", "lost");
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
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea, dialog[open]")) return;
  const act = keys[event.key];
  if (act) { event.preventDefault(); act(); }
});
window.addEventListener("pagehide", () => stream?.close());
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
setInterval(countDown, 250);
charts.load();
open();
if (ended) lines.announce("", "ended");
