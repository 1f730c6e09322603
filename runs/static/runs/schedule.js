// Times by the reader's clock, and a timetable in words as one types it.
const here = Intl.DateTimeFormat().resolvedOptions().timeZone;
const parts = { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };

function local(moment) {
  const date = new Date(moment);
  const year = date.getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" };
  const seconds = date.getSeconds() ? { second: "2-digit" } : {};
  return new Intl.DateTimeFormat("en-GB", { ...parts, ...year, ...seconds }).format(date).replaceAll(",", "");
}

function showTimes() {
  for (const time of document.querySelectorAll("time[data-local]")) {
    time.title = time.textContent;
    time.textContent = local(time.dateTime);
  }
  for (const time of document.querySelectorAll("time[data-title]")) time.title = `${local(time.dateTime)} (${here})`;
  for (const head of document.querySelectorAll("[data-zone]")) head.textContent = `${here} (yours)`;
}

const FIELDS = ["name", "kind", "cron", "every_s", "dates", "time_zone", "starts_at", "ends_at", "jitter_s"];

function follow(box) {
  const inputs = FIELDS.map((name) => document.getElementById(`id_${name}`)).filter(Boolean);
  const part = (name) => box.querySelector(`[data-${name}]`);
  let asked = 0;
  let timer;

  const list = (name, texts) => part(name).replaceChildren(...texts.map((text) => Object.assign(document.createElement("li"), { textContent: text })));

  function tell(answer) {
    part("problem").hidden = !answer.problem;
    part("problem").textContent = answer.problem || "";
    part("ahead").hidden = Boolean(answer.problem);
    part("words").textContent = answer.words || "Not yet a timetable";
    if (answer.problem) return;
    list("fires", answer.next.map((fire) => `${fire.local}  ·  ${local(fire.at)} here`));
    list("slots", answer.slots);
    part("change").textContent = answer.change;
  }

  async function ask() {
    const mine = ++asked;
    const query = new URLSearchParams(inputs.map((input) => [input.name, input.value]));
    try {
      const response = await fetch(`${box.dataset.preview}?${query}`, { headers: { Accept: "application/json" } });
      const answer = await response.json();
      if (mine === asked) tell(answer);
    } catch {
      if (mine === asked) tell({ problem: "The server does not answer." });
    }
  }

  // Only the fields of the chosen kind are shown.
  function choose() {
    const kind = document.getElementById("id_kind")?.value;
    const of = { cron: "cron", every_s: "interval", dates: "dates" };
    for (const [name, wanted] of Object.entries(of)) {
      const row = document.querySelector(`.field-${name}`);
      if (row && kind) row.hidden = kind !== wanted;
      row?.classList.toggle("hidden", Boolean(kind) && kind !== wanted);
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
  showTimes();
  const box = document.querySelector("[data-preview]");
  if (!box) return;
  document.querySelector(".field-jitter_s")?.closest("fieldset")?.after(box);
  follow(box);
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
else start();
