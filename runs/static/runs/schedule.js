// Times in the reader's time zone, a page that updates itself, and a description of a timetable while it is typed.
const EVERY_MS = 5000;
const here = Intl.DateTimeFormat().resolvedOptions().timeZone;
const parts = {
  weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23",
};

function local(moment) {
  const date = new Date(moment);
  const year = date.getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" };
  const seconds = date.getSeconds() ? { second: "2-digit" } : {};
  return new Intl.DateTimeFormat("en-GB", { ...parts, ...year, ...seconds }).format(date).replaceAll(",", "");
}

function showTimes(root) {
  for (const time of root.querySelectorAll("time[data-local]")) {
    time.title = time.textContent;
    time.textContent = local(time.dateTime);
  }
  for (const time of root.querySelectorAll("time[data-title]")) time.title = `${local(time.dateTime)} (${here})`;
  for (const head of root.querySelectorAll("[data-zone]")) head.textContent = `${here} (yours)`;
}

// Replace the parts of the page that have changed, except one that has the focus.
async function renew() {
  const answer = await fetch(`${location.pathname}?bare`, { redirect: "error" });
  if (!answer.ok) return;
  const news = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const now = news.getElementById(part.id);
    if (!now || part.contains(document.activeElement)) continue;
    showTimes(now);
    if (part.innerHTML !== now.innerHTML) part.innerHTML = now.innerHTML; // from the template that made the page
  }
}

const FIELDS = ["name", "kind", "cron", "every_s", "dates", "time_zone", "starts_at", "ends_at", "jitter_s"];
const MAIN = { cron: "cron", interval: "every_s", dates: "dates" };
const NONE_LEFT = "None: all scheduled times have passed.";
const made = (tag, textContent, className = "") =>
  Object.assign(document.createElement(tag), { textContent, className });

// Show below a field the description of its timetable, or what is wrong with it.
function annotate(field, text, isWrong) {
  document.querySelector(".sched-note")?.remove();
  for (const input of document.querySelectorAll("[data-wrong]")) {
    input.removeAttribute("aria-invalid");
    delete input.dataset.wrong;
  }
  const input = document.getElementById(`id_${field}`);
  const row = input?.closest(`.field-${field}`);
  if (!row || !text || (isWrong && row.textContent.includes(text))) return; // the server shows it already
  const line = made("p", text, isWrong ? "sched-note sched-wrong" : "sched-note");
  line.setAttribute("aria-live", "polite");
  input.after(line);
  if (isWrong) input.setAttribute("aria-invalid", (input.dataset.wrong = "true"));
}

function follow(box) {
  const inputs = FIELDS.map((name) => document.getElementById(`id_${name}`)).filter(Boolean);
  const part = (name) => box.querySelector(`[data-${name}]`);
  const main = () => document.getElementById(`id_${MAIN[document.getElementById("id_kind")?.value]}`);
  let latest = 0;
  let timer;

  function fires(answer) {
    part("of").textContent = answer.zone;
    const rows = answer.next.map((fire) => {
      const row = document.createElement("tr");
      row.append(made("td", fire.local), made("td", local(fire.at)));
      return row;
    });
    part("fires").replaceChildren(...(rows.length ? rows : [made("tr", NONE_LEFT)]));
  }

  function render(answer) {
    part("ahead").hidden = !answer.words;
    part("words").textContent = answer.words || "Enter a valid schedule";
    part("problem").hidden = !answer.problem;
    part("problem").textContent = answer.problem || "";
    if (answer.problem) return annotate(answer.field, answer.problem, true);
    annotate(main()?.name, answer.words, false);
    if (!answer.words) return;
    fires(answer);
    part("slots").replaceChildren(...answer.slots.map((slot) => made("li", slot)));
    part("change").textContent = answer.change;
  }

  async function ask() {
    const mine = ++latest;
    if (!main()?.value.trim()) return render({});
    const query = new URLSearchParams([["key", box.dataset.key], ...inputs.map((input) => [input.name, input.value])]);
    try {
      const response = await fetch(`${box.dataset.preview}?${query}`, { headers: { Accept: "application/json" } });
      const answer = await response.json();
      if (mine === latest) render(answer);
    } catch {
      if (mine === latest) render({ problem: "The server is not responding." });
    }
  }

  // Only the field of the chosen kind is shown.
  function choose() {
    const kind = document.getElementById("id_kind")?.value;
    for (const [wanted, name] of Object.entries(MAIN)) {
      document.querySelector(`.field-${name}`)?.classList.toggle("hidden", Boolean(kind) && kind !== wanted);
    }
  }

  for (const input of inputs) {
    for (const event of ["input", "change"]) {
      input.addEventListener(event, () => {
        choose();
        clearTimeout(timer);
        timer = setTimeout(ask, 200);
      });
    }
  }
  choose();
  ask();
}

function start() {
  showTimes(document);
  if (document.querySelector("[data-live]")) {
    setInterval(() => {
      if (!document.hidden) renew().catch(() => { /* the next request may succeed */ });
    }, EVERY_MS);
  }
  const box = document.querySelector("[data-preview]");
  if (!box) return;
  document.querySelector(".field-jitter_s")?.closest("fieldset")?.after(box);
  follow(box);
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
else start();
