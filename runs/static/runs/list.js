// Update the visible rows of a list of runs, and show a link when there are newer runs.
const EVERY_MS = 2000;
const tools = document.querySelector("[data-rows]");
const boxes = () => [...document.querySelectorAll("#result_list input.action-select")];
const idOf = (row) => Number(row.querySelector(".run-number")?.textContent);
const rows = () =>
  [...document.querySelectorAll("#result_list .data-row")].map((row) => [idOf(row), row]).filter(([id]) => id);
const final = new Set();
let newest;

async function look() {
  const shown = rows().filter(([id]) => !final.has(id));
  const answer = await fetch(`${tools.dataset.rows}?ids=${shown.map(([id]) => id).join(",")}`, { redirect: "error" });
  if (!answer.ok) return;
  const list = await answer.json();
  for (const [id, row] of shown) {
    const news = list.rows[id];
    if (!news) continue;
    if (!news.active) final.add(id);
    for (const name of ["chip", "progress", "took"]) {
      const cell = row.querySelector(`.field-${name}`);
      if (cell && cell.innerHTML !== news[name]) cell.innerHTML = news[name]; // of the template that made the row
    }
  }
  newest ??= list.newest;
  tools.querySelector("[data-fresh]").hidden = list.newest <= newest;
}

if (tools) {
  setInterval(() => { if (!document.hidden && !boxes().some((box) => box.checked)) look().catch(() => {}); }, EVERY_MS);
  look().catch(() => {});
}
