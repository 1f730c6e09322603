// What a run's page does besides showing: it asks before it cancels, and filters when a choice is made.
const lines = document.getElementById("lines");

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-confirm]");
  if (button && !window.confirm(button.dataset.confirm)) event.preventDefault();
});

for (const choice of document.querySelectorAll("[data-submits]")) {
  choice.addEventListener("change", () => choice.form.requestSubmit());
}

if (lines && !location.hash.startsWith("#L")) lines.scrollTop = lines.scrollHeight;
