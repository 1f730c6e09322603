// Edit lists without a round trip, filter experiments while typing, and link problems to their fields.
// Without this script the same buttons submit the form, and the server answers with the changed one.

let added = 0;

function add(list) {
    const rows = list.querySelector(":scope > .af-body > .af-rows");
    const template = list.querySelector(":scope > template");
    const toggle = list.querySelector(":scope > legend input[type=checkbox]");
    if (toggle) toggle.checked = true;
    // The server's own markup, with the id of the new item in it.
    const holder = document.createElement("template");
    holder.innerHTML = template.innerHTML.replaceAll(list.dataset.placeholder, `n${Date.now().toString(36)}${added++}`);
    rows.append(holder.content);
    renumber(list);
    rows.lastElementChild.querySelector("input:not([type=hidden]), select, textarea")?.focus();
}

function move(row, where) {
    const list = row.closest("[data-list]");
    const next = row.nextElementSibling ?? row.previousElementSibling;
    const other = where === "up" ? row.previousElementSibling : row.nextElementSibling;
    if (where === "remove") {
        row.remove();
        (next?.querySelector("[data-move=remove]") ?? list.querySelector(":scope > .af-body > [data-add]")).focus();
    } else if (other) {
        if (where === "up") other.before(row); else other.after(row);
        const button = row.querySelector(`:scope > .af-moves [data-move=${where}]`);
        const isVisible = where === "up" ? row.previousElementSibling : row.nextElementSibling;
        const opposite = where === "up" ? "down" : "up";
        (isVisible ? button : row.querySelector(`:scope > .af-moves [data-move=${opposite}]`)).focus();
    }
    renumber(list);
    list.closest("form")?.dispatchEvent(new Event("change", { bubbles: true }));
}

// "Layers 3" is the title of the third item, also after a move.
function renumber(list) {
    const title = list.querySelector(":scope > legend > span").textContent;
    [...list.querySelectorAll(":scope > .af-body > .af-rows > .af-row")].forEach((row, index) => {
        const item = row.querySelector(":scope > .af-item");
        const name = item.querySelector(":scope > fieldset > legend > span, :scope > .af-field > label");
        if (name) name.textContent = `${title} ${index + 1}`;
        for (const button of row.querySelectorAll(":scope > .af-moves button")) {
            const verb = button.dataset.move === "remove" ? "Remove" : "Move";
            const where = button.dataset.move === "remove" ? "" : ` ${button.dataset.move}`;
            button.querySelector(".af-hidden").textContent = `${verb} ${title} ${index + 1}${where}`;
        }
    });
}

document.addEventListener("click", (event) => {
    const adds = event.target.closest("[data-add]");
    const moves = event.target.closest("[data-move]");
    if (!adds && !moves) return;
    event.preventDefault();
    if (adds) add(adds.closest("[data-list]")); else move(moves.closest(".af-row"), moves.dataset.move);
});

// Another experiment: the server renders its form, and keeps the values of fields that both have.
for (const button of document.querySelectorAll("[data-show]")) {
    button.hidden = true;
    button.parentElement.querySelector("select")?.addEventListener("change", () => button.form.requestSubmit(button));
}

// The link of a problem goes to the input itself, and unfolds what hides it.
document.addEventListener("click", (event) => {
    const link = event.target.closest(".af-summary a");
    const target = link && document.getElementById(decodeURIComponent(link.hash.slice(1)));
    if (!target) return;
    event.preventDefault();
    for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    target.focus();
    target.scrollIntoView({ block: "center" });
});

// Focus the first problem as soon as the admin shows the page.
function focusFirst() {
    if (document.documentElement.hasAttribute("x-cloak")) return requestAnimationFrame(focusFirst);
    const first = ["[aria-invalid=true], .af-group.af-wrong", ".af-summary[tabindex]", "[autofocus]"];
    first.map((which) => document.querySelector(which)).find(Boolean)?.focus();
}
focusFirst();

for (const input of document.querySelectorAll("[data-filter]")) {
    const items = [...document.getElementById(input.dataset.filter).querySelectorAll("[data-text]")];
    const count = input.form.querySelector("[data-count]");
    const visible = () => items.filter((item) => !item.hidden);
    input.form.querySelector("[data-without-script]").hidden = true;
    input.addEventListener("input", () => {
        const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
        for (const item of items) item.hidden = !words.every((word) => item.dataset.text.includes(word));
        const left = visible().length;
        count.textContent = `${left} experiment${left === 1 ? "" : "s"}`;
    });
    input.form.addEventListener("submit", (event) => {
        const [only, second] = visible();
        if (only && !second) { event.preventDefault(); location.assign(only.querySelector("a").href); }
    });
    document.addEventListener("keydown", (event) => {
        if (event.key !== "/" || /^(input|textarea|select)$/i.test(event.target.tagName)) return;
        event.preventDefault();
        input.focus();
    });
}
