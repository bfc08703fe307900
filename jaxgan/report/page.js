"use strict";

// What the page holds is data: it is set as text and attributes, never as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 560, HEIGHT = 260, LEFT = 58, RIGHT = 24, TOP = 8, BOTTOM = 26;
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "5 2 2 2 2 2", "12 4"];

function element(name, attributes = {}, text = "") {
  const made = name in { svg: 1, path: 1, line: 1, rect: 1, text: 1, g: 1 }
    ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

function short(value) {
  if (value === null || value === undefined) return "none";
  if (value !== 0 && (Math.abs(value) >= 1e6 || Math.abs(value) < 1e-3)) return value.toExponential(2);
  return Number(value.toPrecision(4)).toLocaleString("en", { maximumFractionDigits: 6 });
}

// Exponential moving average, debiased as in Adam; a gap stays one.
function smoothed(values, weight) {
  let mean = 0, seen = 0;
  return values.map((value) => {
    if (value === null) return null;
    mean = weight * mean + (1 - weight) * value;
    seen = weight * seen + (1 - weight);
    return mean / seen;
  });
}

// Round numbers between two, about `count` of them.
function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((each) => each * power >= raw);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) found.push(n * step);
  return found;
}

// 1, 2 and 5 times powers of ten between those of two exponents.
function powers(low, high) {
  const found = [];
  for (let n = Math.floor(low); n <= high; n++) found.push(...[1, 2, 5].map((each) => each * 10 ** n));
  const inside = found.filter((value) => Math.log10(value) >= low && Math.log10(value) <= high);
  return inside.length > 1 ? inside : ticks(low, high, 3).map((place) => 10 ** place);
}

const charts = [];
const steps = data.charts.flatMap((chart) => chart.series.flatMap((each) => each.steps));
let whole = [0, 1];
if (steps.length) {
  whole = [steps.reduce((a, b) => Math.min(a, b)), steps.reduce((a, b) => Math.max(a, b))];
  if (whole[0] === whole[1]) whole = [whole[0] - 1, whole[1] + 1];
}
let shown = [...whole], weight = 0;

// One range of steps for all charts; at least a thousandth of the whole.
function zoom(low, high) {
  const least = (whole[1] - whole[0]) / 1000, size = Math.max(high - low, least);
  if (size >= whole[1] - whole[0]) shown = [...whole];
  else {
    const start = Math.min(Math.max(low, whole[0]), whole[1] - size);
    shown = [start, start + size];
  }
  charts.forEach((chart) => chart.draw());
}
const scaled = (factor, at) => zoom(at - (at - shown[0]) * factor, at + (shown[1] - at) * factor);

class Chart {
  constructor(figure, spec) {
    this.spec = spec;
    this.hidden = new Set();
    this.at = null;
    this.legend = element("div", { class: "legend", role: "group", "aria-label": "Curves shown" });
    this.svg = element("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`, tabindex: 0, role: "application",
      "aria-label": `${spec.title} against the step. Left and right: values. Plus and minus: zoom. `
        + "Shift with left and right: move. 0: whole range.",
    });
    this.told = element("output", { class: "at quiet", "aria-live": "polite" });
    figure.append(this.legend, this.svg, this.told);
    this.buttons = spec.series.map((series, n) => {
      const button = element("button", { type: "button", "aria-pressed": "true" });
      const key = element("svg", { viewBox: "0 0 26 8", "aria-hidden": "true" });
      key.append(element("path", {
        class: `s${series.colour % 6}`, d: "M0 4H26", "stroke-width": 2,
        "stroke-dasharray": DASHES[series.dash % 6],
      }));
      button.append(key, element("span", {}, series.label));
      button.addEventListener("click", () => {
        if (!this.hidden.delete(n)) this.hidden.add(n);
        button.setAttribute("aria-pressed", String(!this.hidden.has(n)));
        this.draw();
      });
      this.legend.append(button);
      return button;
    });
    this.listen();
  }

  listen() {
    const svg = this.svg;
    let from = null;
    const where = (event) => {
      const box = svg.getBoundingClientRect();
      const share = ((event.clientX - box.left) * WIDTH / box.width - LEFT) / (WIDTH - LEFT - RIGHT);
      return shown[0] + Math.min(Math.max(share, 0), 1) * (shown[1] - shown[0]);
    };
    svg.addEventListener("pointerdown", (event) => {
      if (event.button === 0 && event.pointerType !== "touch") {
        from = where(event);
        svg.setPointerCapture(event.pointerId);
      } else this.point(where(event));
    });
    svg.addEventListener("pointermove", (event) => {
      this.brush = from === null ? null : [from, where(event)];
      this.point(where(event));
    });
    svg.addEventListener("pointerup", (event) => {
      const to = where(event), start = from;
      from = this.brush = null;
      if (start !== null && Math.abs(to - start) > (shown[1] - shown[0]) / 50) {
        zoom(Math.min(start, to), Math.max(start, to));
      } else this.draw();
    });
    svg.addEventListener("pointercancel", () => { from = this.brush = null; this.draw(); });
    svg.addEventListener("pointerleave", () => { if (from === null) this.point(null); });
    svg.addEventListener("dblclick", () => zoom(...whole));
    svg.addEventListener("wheel", (event) => {
      // A page is to scroll past a chart: it zooms where it has the focus, or with Ctrl.
      if (document.activeElement !== svg && !event.ctrlKey) return;
      event.preventDefault();
      scaled(event.deltaY > 0 ? 1.25 : 0.8, where(event));
    }, { passive: false });
    svg.addEventListener("keydown", (event) => this.key(event));
    svg.addEventListener("blur", () => this.point(null));
  }

  key(event) {
    const middle = this.at ?? (shown[0] + shown[1]) / 2;
    const side = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (side && event.shiftKey) {
      const by = side * (shown[1] - shown[0]) / 5;
      zoom(shown[0] + by, shown[1] + by);
    } else if (side) this.point(this.next(side));
    else if (event.key === "+" || event.key === "=") scaled(0.7, middle);
    else if (event.key === "-") scaled(1 / 0.7, middle);
    else if (event.key === "0" || event.key === "Escape") zoom(...whole);
    else return;
    event.preventDefault();
  }

  next(side) {
    const known = this.spec.series.filter((_, n) => !this.hidden.has(n)).flatMap((s) => s.steps)
      .filter((step) => step >= shown[0] && step <= shown[1]);
    if (!known.length) return null;
    known.sort((a, b) => a - b);
    if (this.at === null) return known[side > 0 ? 0 : known.length - 1];
    const beyond = known.filter((step) => (side > 0 ? step > this.at : step < this.at));
    return beyond.length ? beyond[side > 0 ? 0 : beyond.length - 1] : this.at;
  }

  point(step) {
    this.at = step;
    this.draw();
  }

  range(curves) {
    let values = curves.flatMap(({ series, values }) => series.steps.flatMap((step, n) => {
      if (step < shown[0] || step > shown[1]) return [];
      return [values[n], series.low?.[n], series.high?.[n]];
    })).filter((value) => typeof value === "number");
    this.log = this.spec.log && values.length > 0 && values.every((value) => value > 0);
    if (this.log) values = values.map(Math.log10);
    if (!values.length) return [0, 1];
    const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
    const size = Math.max(Math.abs(low), Math.abs(high));
    const flat = high - low < 1e-9 * size || high === low; // but for rounding
    const margin = flat ? size * 0.1 || 1 : (high - low) * 0.06;
    return [low - margin, high + margin];
  }

  draw() {
    const curves = this.spec.series.map((series, n) => ({
      series, n, values: smoothed(series.values, weight),
    })).filter(({ n }) => !this.hidden.has(n));
    const [low, high] = this.range(curves);
    const x = (step) => LEFT + (step - shown[0]) / (shown[1] - shown[0]) * (WIDTH - LEFT - RIGHT);
    const y = (value) => {
      const place = this.log ? Math.log10(value) : value;
      return HEIGHT - BOTTOM - (place - low) / (high - low) * (HEIGHT - TOP - BOTTOM);
    };
    this.svg.replaceChildren();
    this.axes(x, y, low, high);
    const clip = element("svg", {
      x: LEFT, y: TOP, width: WIDTH - LEFT - RIGHT, height: HEIGHT - TOP - BOTTOM,
      viewBox: `${LEFT} ${TOP} ${WIDTH - LEFT - RIGHT} ${HEIGHT - TOP - BOTTOM}`,
    });
    for (const { series, values } of curves) {
      if (series.low) clip.append(element("path", {
        class: `band s${series.colour % 6}`, d: this.band(series, x, y),
      }));
      clip.append(element("path", {
        class: `curve s${series.colour % 6}`, d: this.line(series.steps, values, x, y),
        "stroke-dasharray": DASHES[series.dash % 6],
      }));
    }
    this.svg.append(clip);
    if (this.brush) {
      const [a, b] = this.brush.map(x).sort((p, q) => p - q);
      this.svg.append(element("rect", {
        class: "brush", x: a, y: TOP, width: b - a, height: HEIGHT - TOP - BOTTOM,
      }));
    }
    this.tell(curves, x);
  }

  axes(x, y, low, high) {
    this.svg.dataset.range = shown.join(" ");
    for (const step of ticks(shown[0], shown[1], 5)) {
      this.svg.append(element("text", { x: x(step), y: HEIGHT - 8, "text-anchor": "middle" }, short(step)));
    }
    for (const value of this.log ? powers(low, high) : ticks(low, high, 5)) {
      this.svg.append(
        element("path", { class: "grid", d: `M${LEFT} ${y(value)}H${WIDTH - RIGHT}` }),
        element("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, short(value)),
      );
    }
  }

  line(steps, values, x, y) {
    let path = "", gap = true;
    steps.forEach((step, n) => {
      if (values[n] === null || (this.log && values[n] <= 0)) { gap = true; return; }
      const alone = gap && (n + 1 === steps.length || values[n + 1] === null);
      path += `${gap ? "M" : "L"}${x(step).toFixed(1)} ${y(values[n]).toFixed(1)}${alone ? "h1" : ""}`;
      gap = false;
    });
    return path;
  }

  band(series, x, y) {
    const there = series.steps.map((_, n) => n).filter((n) => {
      return series.low[n] !== null && (!this.log || series.low[n] > 0);
    });
    const edge = (values, n) => `${x(series.steps[n]).toFixed(1)} ${y(values[n]).toFixed(1)}`;
    const up = there.map((n) => edge(series.high, n));
    const down = there.map((n) => edge(series.low, n)).reverse();
    return up.length ? `M${[...up, ...down].join("L")}Z` : "";
  }

  // The values of the points nearest to the cursor.
  tell(curves, x) {
    this.told.textContent = "";
    if (this.at === null || !curves.length) return;
    const nearest = curves.map(({ series }) => series.steps.reduce(
      (best, step, n) => (Math.abs(step - this.at) < Math.abs(series.steps[best] - this.at) ? n : best), 0));
    const step = curves[0].series.steps[nearest[0]];
    this.svg.append(element("path", { class: "cursor", d: `M${x(this.at)} ${TOP}V${HEIGHT - BOTTOM}` }));
    const each = curves.map(({ series, values }, k) => `${series.label} ${short(values[nearest[k]])}`);
    this.told.textContent = `step ${short(step)}: ${each.join(", ")}`;
  }
}

document.querySelectorAll("[data-chart]").forEach((figure) => {
  charts.push(new Chart(figure, data.charts[Number(figure.dataset.chart)]));
});
charts.forEach((chart) => chart.draw());

const smoothing = document.getElementById("smoothing");
if (smoothing) {
  smoothing.addEventListener("input", () => {
    weight = Number(smoothing.value);
    document.getElementById("smoothing-value").textContent = weight.toFixed(2);
    charts.forEach((chart) => chart.draw());
  });
  document.getElementById("reset").addEventListener("click", () => zoom(...whole));
}

// The samples of all runs at one step: of each the last picture up to it.
const slider = document.getElementById("sample-step");
if (slider) {
  const tracks = data.tracks.map((track, n) => {
    const image = document.getElementById(`track-${n}`);
    return { ...track, image, pictures: [...track.pictures, image.src] };
  });
  const all = [...new Set(tracks.flatMap((track) => track.steps))].sort((a, b) => a - b);
  const play = document.getElementById("play");
  const told = document.getElementById("sample-told");
  let timer = null;
  const show = () => {
    const step = all[Number(slider.value)];
    for (const { image, pictures, steps, label } of tracks) {
      const n = Math.max(steps.findLastIndex((each) => each <= step), 0);
      image.src = pictures[n];
      image.alt = `Samples of ${label} at step ${short(steps[n])}`;
    }
    told.textContent = `step ${short(step)}`;
    slider.setAttribute("aria-valuetext", told.textContent);
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  };
  slider.max = all.length - 1;
  slider.value = slider.max;
  show();
  slider.addEventListener("input", () => { stop(); show(); });
  play.addEventListener("click", () => {
    if (timer !== null) { stop(); return; }
    if (slider.value === slider.max) slider.value = 0;
    show();
    play.textContent = "Pause";
    const pause = matchMedia("(prefers-reduced-motion: reduce)").matches ? 1500 : 400;
    timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      show();
      if (slider.value === slider.max) stop();
    }, pause);
  });
}
