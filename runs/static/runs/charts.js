// Curves as charts (Chart.js comes with the admin): one by one or together, smoothed, on a log scale, over steps or time.
const COLOURS = ["#2563eb", "#ea580c", "#16a34a", "#9333ea", "#dc2626", "#0891b2", "#ca8a04", "#db2777", "#6366f1", "#65a30d"];
const POINTS_MAX = 2000;
const DRAW_MS = 250;

export class Charts {
  constructor(box) {
    this.box = box;
    this.curves = new Map(); // label → { key, points: [[step, time, value]] }
    this.charts = new Map();
    this.set = { layout: "each", axis: "step", smooth: 0, log: false };
    if (!box) return;
    for (const input of box.querySelectorAll("[data-set]")) {
      input.addEventListener("input", () => {
        this.set[input.dataset.set] = input.type === "checkbox" ? input.checked : input.value;
        this.draw(true);
      });
    }
    new MutationObserver(() => this.draw(true)).observe(document.documentElement, { attributeFilter: ["class"] });
  }

  async load() {
    if (!this.box || !window.Chart) return;
    try {
      const answer = await fetch(this.box.dataset.charts, { redirect: "error" });
      const found = await answer.json();
      this.curves = new Map(found.curves.map((curve) => [`${curve.run || ""} ${curve.key}`.trim(), curve]));
      this.draw();
    } catch { /* the plain charts stay */ }
  }

  // Points of the stream: [key, kind, step, time, number].
  add(points) {
    for (const [key, kind, step, time, number] of points) {
      if (kind !== "metric") continue;
      const curve = this.curves.get(key) || { key, points: [] };
      const last = curve.points.at(-1);
      if (last && last[1] >= time && last[0] >= (step ?? 0)) continue; // it came with what was loaded
      curve.points.push([step ?? curve.points.length, time, number]);
      if (curve.points.length > POINTS_MAX) curve.points = curve.points.filter((_, index) => index % 2);
      this.curves.set(key, curve);
    }
    this.timer ||= setTimeout(() => { this.timer = 0; this.draw(); }, DRAW_MS);
  }

  groups() {
    const groups = new Map();
    for (const curve of this.curves.values()) {
      const name = this.set.layout === "together" ? "" : curve.key;
      const label = [curve.run, (!name || !curve.run) && curve.key].filter(Boolean).join(" · ");
      groups.set(name, [...(groups.get(name) || []), { label, ...curve }]);
    }
    return groups;
  }

  data({ label, points }, index) {
    const first = Math.min(...[...this.curves.values()].map((curve) => curve.points[0]?.[1] ?? Infinity));
    let mean = 0, weight = 0;
    const smooth = Number(this.set.smooth);
    const data = points.map(([step, time, value]) => {
      if (value !== null) { mean = smooth * mean + (1 - smooth) * value; weight = smooth * weight + 1 - smooth; }
      return { x: this.set.axis === "time" ? time - first : step, y: value === null ? null : mean / weight };
    });
    const colour = COLOURS[index % COLOURS.length];
    return { label, data, borderColor: colour, backgroundColor: colour, borderWidth: 1.75, pointRadius: data.length === 1 ? 3 : 0, pointHitRadius: 8 };
  }

  draw(anew = false) {
    if (!this.box || !window.Chart) return;
    const groups = this.groups();
    this.box.hidden = !groups.size;
    document.querySelectorAll("[data-plain-charts]").forEach((plain) => { plain.hidden = groups.size > 0; });
    for (const [name, chart] of this.charts) {
      if (anew || !groups.has(name)) { chart.canvas.closest("figure").remove(); chart.destroy(); this.charts.delete(name); }
    }
    for (const [name, curves] of groups) {
      const datasets = curves.map((curve, index) => this.data(curve, index));
      const chart = this.charts.get(name);
      if (chart) { chart.data.datasets.forEach((set, index) => Object.assign(set, datasets[index])); chart.data.datasets.push(...datasets.slice(chart.data.datasets.length)); chart.update("none"); }
      else this.charts.set(name, this.make(name, datasets));
    }
  }

  make(name, datasets) {
    const figure = document.createElement("figure");
    figure.className = `run-plotted${name ? "" : " run-wide"}`;
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Chart of ${name || "all metrics"}`);
    figure.append(canvas);
    this.box.querySelector("[data-plots]").append(figure);
    const style = getComputedStyle(this.box);
    const quiet = style.getPropertyValue("--quiet").trim(), line = style.getPropertyValue("--line").trim();
    const axis = { grid: { color: line }, border: { color: line }, ticks: { color: quiet, maxTicksLimit: 6 } };
    return new window.Chart(canvas, {
      type: "line",
      data: { datasets },
      options: {
        animation: false, maintainAspectRatio: false, parsing: false, normalized: true, spanGaps: false,
        interaction: { mode: "nearest", axis: "x", intersect: false },
        scales: { x: { type: "linear", ...axis, title: { display: this.set.axis === "time", text: "seconds", color: quiet } }, y: { type: this.set.log ? "logarithmic" : "linear", ...axis } },
        plugins: { legend: { display: datasets.length > 1, labels: { color: quiet, boxWidth: 12, boxHeight: 2 } }, title: { display: Boolean(name), text: name, align: "start", color: quiet } },
      },
    });
  }
}
