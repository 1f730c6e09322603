// Keeps an open run page true: asks the server what is new, puts new lines where they belong, replaces changed parts.
// Each line has its address as its id, so that none is shown twice, whatever is asked again after a lost connection.
const LOOK_MS = 1000;
const RETRY_MAX_MS = 15000;
const LINES_MAX = 5000;

const page = document.getElementById("run");
const lines = document.getElementById("lines");
const empty = document.querySelector("[data-empty]");
const following = document.querySelector("[data-following]");
let seen = page.dataset.seen;
let failures = 0;

function tokens() {
  return [...page.querySelectorAll("[data-part]")].map((part) => part.dataset.token).join(",");
}

function isBefore(row, attempt, seq) {
  const other = Number(row.dataset.attempt);
  return other < attempt || (other === attempt && Number(row.dataset.seq) < seq);
}

function place(html, id) {
  if (document.getElementById(`L${id}`)) return;
  const box = document.createElement("template");
  box.innerHTML = html.trim(); // rendered and escaped by the server, by the template that made the page
  const row = box.content.firstElementChild;
  let before = lines.lastElementChild;
  while (before && !isBefore(before, Number(row.dataset.attempt), Number(row.dataset.seq))) before = before.previousElementSibling;
  before ? before.after(row) : lines.prepend(row);
}

function show(look) {
  const atEnd = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 40;
  for (const line of look.lines) place(line.html, line.place);
  if (atEnd) {
    while (lines.childElementCount > LINES_MAX) lines.firstElementChild.remove();
    lines.scrollTop = lines.scrollHeight;
  }
  if (lines.childElementCount) empty.hidden = true;
  for (const [name, part] of Object.entries(look.parts)) {
    const node = page.querySelector(`[data-part="${name}"]`);
    const open = [...node.querySelectorAll("details")].map((details) => details.open);
    node.innerHTML = part.html;
    node.dataset.token = part.token;
    node.querySelectorAll("details").forEach((details, index) => { if (index < open.length) details.open = open[index]; });
  }
  seen = look.seen;
}

function say(text) {
  if (following && following.textContent !== text) following.textContent = text;
}

async function look() {
  const url = new URL(page.dataset.live, location.href);
  url.search = page.dataset.query;
  url.searchParams.set("seen", seen);
  url.searchParams.set("known", tokens());
  const answer = await fetch(url, { headers: { Accept: "application/json" }, redirect: "error" });
  if (answer.status === 403 || answer.status === 404) return location.reload();
  if (!answer.ok) throw new Error(answer.statusText);
  const found = await answer.json();
  show(found);
  return found;
}

async function follow() {
  let wait = LOOK_MS;
  try {
    const found = await look();
    failures = 0;
    if (!found) return;
    if (found.done && !found.more) return say("ended");
    say("following");
    wait = found.more ? 0 : document.hidden ? 5 * LOOK_MS : LOOK_MS;
  } catch {
    failures += 1;
    wait = Math.min(RETRY_MAX_MS, LOOK_MS * 2 ** failures);
    say("connection lost, trying again");
  }
  setTimeout(follow, wait);
}

setTimeout(follow, LOOK_MS);
