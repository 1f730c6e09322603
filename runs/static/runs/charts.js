// Charts of metrics with Chart.js, which comes with the admin: one by one or together, smoothed, on a log scale,
// over steps or time.
const COLOURS = [
  "#2563eb", "#ea580c", "#16a34a", "#9333ea", "#dc2626", "#0891b2", "#ca8a04", "#db2777", "#6366f1", "#65a30d",
];
const POINTS_MAX = 2000;
const DRAW_MS = 250;

function lesser(one, two) {
  if (one === null) return two;
  return two === null ? one : Math.min(one, two);
}

// Half as many points, each with the lowest and the highest of two: no spike is lost.
const least = (values) => values.reduce(lesser, null);
function halved(points) {
  const half = [];
  for (let at = 0; at < points.length; at += 2) {
    const [one, two = points[at]] = points.slice(at, at + 2);
    const high = least([one[4], two[4]].map((value) => (value === null ? null : -value)));
    const gaps = at + 1 < points.length ? one[5] + two[5] : one[5];
    half.push([two[0], two[1], two[2], least([one[3], two[3]]), high === null ? null : -high, gaps]);
  }
  return half;
}

export class Charts {
  constructor(box) {
    this.box = box;
    this.curves = new Map(); // label → { key, points: [[step, time, last, low, high, not finite]] }
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
      const response = await fetch(this.box.dataset.charts, { redirect: "error" });
      const { curves } = await response.json();
      this.curves = new Map(curves.map((curve) => [`${curve.run || ""} ${curve.key}`.trim(), curve]));
      this.draw();
    } catch { /* the plain charts stay */ }
  }

  // Points of the stream: [key, kind, step, time, number].
  add(points) {
    for (const [key, kind, step, time, number] of points) {
      if (kind !== "metric") continue;
      const curve = this.curves.get(key) || { key, points: [] };
      const last = curve.points.at(-1);
      if (last && last[1] >= time && last[0] >= (step ?? 0)) continue; // already loaded
      curve.points.push([step ?? curve.points.length, time, number, number, number, number === null ? 1 : 0]);
      if (curve.points.length > POINTS_MAX) curve.points = halved(curve.points);
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

  // The line of the last values, the band between lowest and highest, and a cross where values are not finite.
  data({ label, points }, index) {
    const first = Math.min(...[...this.curves.values()].map((curve) => curve.points[0]?.[1] ?? Infinity));
    let mean = 0, weight = 0;
    const smooth = Number(this.set.smooth);
    const data = points.map(([step, time, value]) => {
      if (value !== null) { mean = smooth * mean + (1 - smooth) * value; weight = smooth * weight + 1 - smooth; }
      return { x: this.set.axis === "time" ? time - first : step, y: value === null ? null : mean / weight };
    });
    const colour = COLOURS[index % COLOURS.length];
    const line = {
      label, data, borderColor: colour, backgroundColor: colour, borderWidth: 1.75,
      pointRadius: data.length === 1 ? 3 : 0, pointHitRadius: 8,
    };
    const band = (which) => data.map(({ x }, at) => ({ x, y: points[at][which] ?? null }));
    const plain = { borderWidth: 0, pointRadius: 0, pointHitRadius: 0, backgroundColor: `${colour}33`, isExtra: true };
    const hasBand = points.some(([, , , low, high]) => low !== high);
    const lowest = Math.min(...points.map(([, , value, low]) => low ?? value).filter((value) => value !== null));
    const gaps = data.filter((_, at) => points[at][5]).map(({ x }) => ({ x, y: Number.isFinite(lowest) ? lowest : 0 }));
    return [
      line,
      { ...plain, label: `${label} highest`, data: hasBand ? band(4) : [], fill: "+1" },
      { ...plain, label: `${label} lowest`, data: hasBand ? band(3) : [] },
      {
        ...plain, label: `${label} NaN or infinite`, data: gaps, showLine: false, pointRadius: 5,
        pointStyle: "crossRot", borderWidth: 2, borderColor: "#dc2626", pointHitRadius: 8,
      },
    ];
  }

  nonfinite(key) {
    const points = [...this.curves.values()].filter((curve) => curve.key === key).flatMap((curve) => curve.points);
    const count = points.reduce((sum, point) => sum + (point[5] || 0), 0);
    return count ? ` (${count.toLocaleString("en")} value${count === 1 ? " is" : "s are"} NaN or infinite)` : "";
  }

  draw(anew = false) {
    if (!this.box || !window.Chart) return;
    const groups = this.groups();
    this.box.hidden = !groups.size;
    document.querySelectorAll("[data-plain-charts]").forEach((plain) => { plain.hidden = groups.size > 0; });
    for (const [name, chart] of this.charts) {
      if (!anew && groups.has(name)) continue;
      chart.canvas.closest("figure").remove();
      chart.destroy();
      this.charts.delete(name);
    }
    for (const [name, curves] of groups) {
      const datasets = curves.flatMap((curve, index) => this.data(curve, index));
      const chart = this.charts.get(name);
      if (chart) this.update(name, chart, datasets);
      else this.charts.set(name, this.make(name, datasets));
    }
  }

  update(name, chart, datasets) {
    chart.data.datasets.forEach((set, index) => Object.assign(set, datasets[index]));
    chart.data.datasets.push(...datasets.slice(chart.data.datasets.length));
    chart.options.plugins.title.text = name + this.nonfinite(name);
    chart.update("none");
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
        scales: {
          x: { type: "linear", ...axis, title: { display: this.set.axis === "time", text: "seconds", color: quiet } },
          y: { type: this.set.log ? "logarithmic" : "linear", ...axis },
        },
        plugins: {
          legend: {
            display: datasets.filter((set) => !set.isExtra).length > 1,
            labels: {
              color: quiet, boxWidth: 12, boxHeight: 2,
              filter: ({ datasetIndex }) => !datasets[datasetIndex].isExtra,
            },
          },
          title: { display: Boolean(name), text: name + this.nonfinite(name), align: "start", color: quiet },
        },
      },
    });
  }
}
