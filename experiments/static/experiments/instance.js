// Choosing an experiment shows what it can be configured with, and fills the configuration while nobody has typed into it.
// Without this script the form works too: what is left out gets its default.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
    const help = document.getElementById("athanor-experiment-help");
    const select = document.getElementById("id_experiment");
    const text = document.getElementById("id_configuration");
    if (!help || !select || !text) {
        return;
    }
    const isEmpty = () => ["", "{}"].includes(text.value.trim());
    let filled = isEmpty() || new URLSearchParams(location.search).has("experiment") ? text.value : null;

    select.addEventListener("change", async () => {
        const chosen = select.value;
        const response = await fetch(`${help.dataset.url}?experiment=${encodeURIComponent(chosen)}`);
        if (!response.ok || select.value !== chosen) {
            return;
        }
        const found = await response.json();
        help.innerHTML = found.help; // rendered, and escaped, by our own template
        if (isEmpty() || text.value === filled) {
            text.value = filled = found.configuration || "{}";
        }
    });
});
