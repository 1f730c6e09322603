// Reload parts of a page every few seconds while the page is visible.
const EVERY_MS = 3000;

async function refresh(node) {
  if (document.hidden || node.contains(document.activeElement)) return;
  try {
    const answer = await fetch(node.dataset.refresh, { redirect: "error" });
    if (answer.ok) {
      const html = await answer.text();
      if (html !== node.shown) node.innerHTML = node.shown = html; // of the template that made the page
    }
  } catch { /* the next request may succeed */ }
}

for (const node of document.querySelectorAll("[data-refresh]")) setInterval(() => refresh(node), EVERY_MS);
