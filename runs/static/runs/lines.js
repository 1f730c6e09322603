// Log lines of a run's page: a window of a few thousand onto what may be millions.
const LINES_MAX = 3000;
const NEAR_PX = 400;
const AT_END_PX = 40;

export class Lines {
  constructor(page, reopen) {
    this.list = document.getElementById("lines");
    this.form = document.getElementById("lines-filter");
    this.page = page;
    this.reopen = reopen;
    this.at = page.dataset.at;
    this.query = page.dataset.query;
    this.links = { older: this.list.dataset.older, newer: this.list.dataset.newer };
    this.attached = Boolean(page.dataset.follows); // the newest line is in the list
    this.following = this.attached;
    this.missed = 0;
    this.busy = false;
    this.button = page.querySelector("[data-follow]");
    this.wrap = page.querySelector("[data-wrap]");
    this.button.hidden = this.wrap.hidden = false;
    if (this.following && !location.hash.startsWith("#L")) this.toEnd();
    this.listen();
    this.showState();
  }

  get end() { return this.at.split("/")[0]; }

  listen() {
    this.list.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.button.addEventListener("click", () => this.toggle());
    this.wrap.addEventListener("click", () => {
      const wraps = this.wrap.getAttribute("aria-pressed") !== "true";
      this.wrap.setAttribute("aria-pressed", wraps);
      this.list.classList.toggle("run-nowrap", !wraps);
    });
    this.page.querySelector(".run-places").addEventListener("click", (event) => {
      const link = event.target.closest("[data-place]");
      if (!link) return;
      event.preventDefault();
      const place = link.dataset.place;
      if (place === "newest") this.follow();
      else this.go(place === "first" ? this.with({ after: "1.0" }) : this.links[place]);
    });
    this.form.addEventListener("submit", (event) => { event.preventDefault(); this.filter(); });
    this.form.addEventListener("change", (event) => { if (event.target.tagName === "SELECT") this.filter(); });
  }

  with(place) {
    const query = new URLSearchParams(this.query);
    for (const [name, value] of Object.entries(place)) query.set(name, value);
    return `?${query}`;
  }

  filter() {
    const data = new FormData(this.form);
    const go = data.get("go").trim();
    data.delete("go");
    this.query = `?${new URLSearchParams([...data].filter(([, value]) => value))}`;
    for (const link of document.querySelectorAll("[data-download]")) link.search = this.query;
    this.form.elements.go.value = "";
    return go ? this.go(this.with({ go })) : this.follow();
  }

  // Only the latest request counts: an earlier one that is still unanswered is aborted.
  async fetch(query) {
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    this.busy = true;
    try {
      const url = new URL(`../lines/${query}`, location.href);
      const response = await fetch(url, { redirect: "error", signal: asking.signal });
      if (!response.ok) throw new Error(response.statusText);
      const page = await response.json();
      return this.asking === asking ? page : undefined;
    } catch {
      if (this.asking === asking) this.announce("The server is not responding.", "lost");
    } finally {
      if (this.asking === asking) this.busy = false;
    }
  }

  // Show the lines from another place.
  async go(query) {
    const page = await this.fetch(query);
    if (!page) return;
    if (page.problem) return this.warn(page.problem); // the page stays where it is
    this.list.innerHTML = page.html; // rendered and escaped by the server
    this.attached = this.following = false;
    this.links = page.links;
    this.shown(page);
    history.replaceState(null, "", query + (page.target ? `#L${page.target}` : ""));
    const target = page.target && document.getElementById(`L${page.target}`);
    if (target) target.scrollIntoView({ block: "center" });
    else this.list.scrollTop = query.includes("before=") ? this.list.scrollHeight : 0;
    this.reopen();
  }

  // Show the newest lines, and those that arrive.
  async follow() {
    const page = await this.fetch(this.query);
    if (!page) return;
    this.list.innerHTML = page.html;
    this.at = `${page.lines}/${this.at.split("/")[1] || ""}`;
    this.links = page.links;
    this.attached = this.following = true;
    this.missed = 0;
    this.shown(page);
    history.replaceState(null, "", this.query === "?" ? location.pathname : this.query);
    this.toEnd();
    this.reopen();
  }

  toggle() {
    if (this.following) { this.following = false; return this.showState(); }
    if (!this.attached) return this.follow();
    this.following = true;
    this.toEnd();
    this.showState();
  }

  shown(page) {
    const empty = this.page.querySelector("[data-empty]");
    empty.textContent = page.empty;
    empty.hidden = this.list.childElementCount > 0;
    this.page.querySelector("[data-matches]").textContent = page.matches;
    this.warn(page.problem || page.notice);
    for (const name of ["older", "newer"]) this.page.querySelector(`[data-place="${name}"]`).hidden = !this.links[name];
    this.showState();
  }

  warn(text) {
    this.page.querySelector("[data-stopped]").textContent = text;
  }

  // The stream sends only lines that match the filter.
  countMatches(count) {
    const node = this.page.querySelector("[data-matches]");
    const total = node.textContent && Number(node.textContent.replace(/[^0-9]/g, "")) + count;
    if (!total) return;
    const text = `${total.toLocaleString("en")} matching line${total === 1 ? "" : "s"}`;
    node.textContent = node.textContent.replace(/[0-9][0-9,]*.*/, text);
  }

  // Insert new lines of the stream in order, each once.
  add(html) {
    const box = document.createElement("template");
    box.innerHTML = html;
    const rows = [...box.content.children].filter((row) => !document.getElementById(row.id));
    if (!rows.length) return;
    this.countMatches(rows.length);
    if (this.movedUp()) this.following = false;
    if (!this.following && this.list.childElementCount + rows.length > LINES_MAX) this.attached = false;
    if (!this.following) this.missed += rows.length;
    if (this.attached) {
      for (const row of rows) this.place(row);
      if (this.following) this.trim("firstElementChild", "older", "before");
      if (this.following) this.toEnd();
      this.page.querySelector("[data-empty]").hidden = true;
    }
    this.showState();
  }

  place(row) {
    const difference = (other, name) => Number(other.dataset[name]) - Number(row.dataset[name]);
    const after = (other) => difference(other, "attempt") || difference(other, "seq");
    let before = this.list.lastElementChild;
    while (before && after(before) > 0) before = before.previousElementSibling;
    before ? before.after(row) : this.list.prepend(row);
  }

  trim(end, link, word) {
    if (this.list.childElementCount <= LINES_MAX) return;
    while (this.list.childElementCount > LINES_MAX) this.list[end].remove();
    this.links[link] = this.with({ [word]: this.list[end].id.slice(1) });
    this.page.querySelector(`[data-place="${link}"]`).hidden = false;
  }

  async scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.list;
    const below = scrollHeight - scrollTop - clientHeight;
    if (this.attached && this.following !== below < AT_END_PX && !this.busy) {
      this.following = below < AT_END_PX;
      if (this.following) this.missed = 0;
      this.showState();
    }
    if (this.busy) return;
    if (scrollTop < NEAR_PX && this.links.older && !this.following) return this.extend("older");
    if (below < NEAR_PX && !this.attached && this.links.newer) return this.extend("newer");
  }

  async extend(way) {
    const page = await this.fetch(this.links[way]);
    if (!page) return;
    const { scrollTop, scrollHeight } = this.list;
    this.list.insertAdjacentHTML(way === "older" ? "afterbegin" : "beforeend", page.html);
    this.links[way] = page.links[way] || "";
    if (way === "older") {
      this.list.scrollTop = scrollTop + this.list.scrollHeight - scrollHeight;
      if (this.list.childElementCount > LINES_MAX) {
        this.trim("lastElementChild", "newer", "after");
        this.attached = false;
      }
    } else {
      this.trim("firstElementChild", "older", "before");
      this.list.scrollTop = scrollTop + this.list.scrollHeight - scrollHeight - (this.list.scrollHeight - scrollHeight);
    }
    this.shown(page);
  }

  toEnd() {
    this.list.scrollTop = this.list.scrollHeight;
    this.bottom = this.list.scrollTop;
  }

  // True once somebody has scrolled up, even if the scroll event is still pending: new lines must not pull them back.
  movedUp() {
    const { scrollTop, scrollHeight, clientHeight } = this.list;
    return this.following && scrollTop < this.bottom && scrollHeight - scrollTop - clientHeight >= AT_END_PX;
  }

  showState() {
    this.button.setAttribute("aria-pressed", this.following);
    const missed = this.missed && !this.following ? ` (${this.missed.toLocaleString("en")} new)` : "";
    this.button.textContent = this.following ? "Following" : `Follow${missed}`;
    this.button.dataset.is = this.state || "";
  }

  // Show the state of the connection, and announce it to screen readers.
  announce(text, state) {
    this.state = state;
    this.page.querySelector("[data-announcement]").textContent = text;
    if (state === "lost") this.warn(text);
    else if (this.wasLost) this.warn("");
    this.wasLost = state === "lost";
    this.showState();
  }
}
