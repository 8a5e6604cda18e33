"use strict";
// A line chart with linear or logarithmic scales, whose values can be read by pointer or keys.

const NAMESPACE = "http://www.w3.org/2000/svg";
const RIGHT = 18;
const DIGITS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

function shape(parent, name, attributes, text) {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function element(parent, name, properties) {
  const made = Object.assign(document.createElement(name), properties);
  parent.append(made);
  return made;
}

function powerOfTen(exponent) {
  const digits = [...String(Math.abs(exponent))].map((digit) => DIGITS[digit]).join("");
  return `10${exponent < 0 ? "⁻" : ""}${digits}`;
}

// A number as text: short, and exact for ticks.
function told(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e-3 && size < 1e5) return Number(value.toPrecision(6)).toLocaleString("en-GB", { maximumFractionDigits: 6 });
  const exponent = Math.floor(Math.log10(size) + 1e-9);
  const factor = Number((value / 10 ** exponent).toPrecision(4));
  return factor === 1 ? powerOfTen(exponent) : `${factor}·${powerOfTen(exponent)}`;
}

// If one decade must be written as a power of ten, all are.
function ticksTold(values) {
  const decades = values.every((value) => value > 0 && Math.abs(Math.log10(value) % 1) < 1e-9);
  if (!decades || values.every((value) => value >= 1e-3 && value < 1e5)) return values.map(told);
  return values.map((value) => powerOfTen(Math.round(Math.log10(value))));
}

function evenTicks(low, high, most) {
  const rough = (high - low) / most;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 5, 10].find((factor) => unit * factor >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}

function decadeTicks(low, high, most) {
  const span = Math.log10(high / low);
  if (span < 0.65) return evenTicks(low, high, most).filter((value) => value > 0);
  const factors = 3 * span < most + 3 ? [1, 2, 5] : [1];
  const stride = Math.ceil(span / most);
  const ticks = [];
  for (let exponent = Math.floor(Math.log10(low)); 10 ** exponent <= high; exponent += 1) {
    if (exponent % stride) continue;
    for (const factor of factors) ticks.push(Number((factor * 10 ** exponent).toPrecision(3)));
  }
  return ticks.filter((value) => value >= low * 0.9999 && value <= high * 1.0001);
}

// A linear or logarithmic scale from values to pixels.
function makeScale(log, low, high, from, to) {
  const see = log ? Math.log10 : (value) => value;
  const [start, end] = [see(low), see(high)];
  const scale = (value) => from + ((see(value) - start) / (end - start)) * (to - from);
  scale.ticks = (most) => (log ? decadeTicks(low, high, most) : evenTicks(low, high, most));
  return scale;
}

function range(values, log) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value === null || (log && value <= 0)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return null;
  if (low < high) return [low, high];
  if (log) return [low / 2, high * 2];
  return [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
}

function padded([low, high], log) {
  if (log) return [low / (high / low) ** 0.04, high * (high / low) ** 0.04];
  return [low - (high - low) * 0.04, high + (high - low) * 0.04];
}

// The range of the bulk of the values. The chart reports how many outliers it cuts off.
function bulk(values) {
  const sorted = values.filter((value) => value !== null).sort((a, b) => a - b);
  if (!sorted.length) return null;
  const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
  return [at(0.02), at(0.98)];
}

// The path of a line. If there are more points than pixels, each group of points is drawn by its
// least and greatest value.
function pathOf(series, x, y, drawable, width) {
  const groups = Math.max(1, Math.ceil(series.x.length / (2 * width)));
  let [path, pen] = ["", "M"];
  const to = (index) => {
    path += `${pen}${x(series.x[index]).toFixed(1)} ${y(series.y[index]).toFixed(1)}`;
    pen = "L";
  };
  for (let start = 0; start < series.x.length; start += groups) {
    let [least, most] = [-1, -1];
    for (let index = start; index < Math.min(start + groups, series.x.length); index += 1) {
      if (!drawable(series.x[index], series.y[index])) continue;
      if (least < 0 || series.y[index] < series.y[least]) least = index;
      if (most < 0 || series.y[index] > series.y[most]) most = index;
    }
    if (least < 0) pen = "M";
    else for (const index of new Set([Math.min(least, most), Math.max(least, most)])) to(index);
  }
  return path;
}

function nearest(values, wanted) {
  let best = -1;
  for (let index = 0; index < values.length; index += 1) {
    if (best < 0 || Math.abs(values[index] - wanted) < Math.abs(values[best] - wanted)) best = index;
  }
  return best;
}

// The properties of a chart are title, note, xTitle, yTitle, logX, log, robust, reference, height
// and draw(), which returns its series. The properties of a series are label, name (the class of
// its colour), x, y, faint, soft, dashed, dots and quiet.
class Chart {
  constructor(parent, chart) {
    this.chart = chart;
    this.figure = element(parent, "figure", { tabIndex: 0 });
    this.figure.setAttribute("role", "group");
    const caption = element(this.figure, "figcaption", { textContent: chart.title });
    this.note = element(caption, "small", { textContent: chart.note ?? "" });
    this.svg = shape(this.figure, "svg", { role: "img" });
    this.reading = element(this.figure, "div", { className: "reading", hidden: true });
    this.reading.setAttribute("aria-live", "polite");
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.hide());
    this.figure.addEventListener("keydown", (event) => this.press(event));
    this.figure.addEventListener("blur", () => this.hide());
    new ResizeObserver(() => Chart.printing || this.redraw()).observe(this.figure);
  }

  redraw() {
    const width = Chart.printing ? (this.chart.printed ?? 330) : Math.max(220, Math.round(this.figure.clientWidth - 24));
    this.series = this.chart.draw();
    this.hide();
    this.svg.replaceChildren();
    this.size = [width, this.chart.height ?? 230];
    this.svg.setAttribute("viewBox", `0 0 ${this.size.join(" ")}`);
    if (!this.scales()) {
      shape(this.svg, "text", { x: width / 2, y: 80, "text-anchor": "middle" }, "no values");
      return;
    }
    this.axes();
    this.lines();
    this.svg.setAttribute("aria-label", this.summary());
  }

  scales() {
    const { log, logX, robust } = this.chart;
    const all = (key) => this.series.flatMap((one) => one[key]);
    const across = range(all("x"), logX);
    let up = robust ? bulk(all("y")) : range(all("y"), log);
    if (!across || !up) return false;
    if (this.chart.reference !== undefined) up = [Math.min(up[0], 0), Math.max(up[1], this.chart.reference)];
    up = padded(up[0] < up[1] ? up : range(up, log), log);
    const outside = robust ? all("y").filter((value) => value !== null && (value < up[0] || value > up[1])).length : 0;
    this.note.textContent = outside ? `${told(outside)} outliers cut off` : (this.chart.note ?? "");
    const [width, height] = this.size;
    const trial = makeScale(log, up[0], up[1], height - 34, 20);
    this.yTicks = trial.ticks(Math.max(3, Math.floor(height / 42)));
    this.yTold = ticksTold(this.yTicks);
    const widest = Math.max(...this.yTold.map((text) => text.length), 2);
    this.left = 12 + 6.3 * widest;
    this.x = makeScale(logX, across[0], across[1], this.left, width - RIGHT);
    this.y = trial;
    this.drawable = (a, b) => a !== null && b !== null && (!log || b > 0) && (!logX || a > 0);
    this.limits = up;
    return true;
  }

  axes() {
    const [width, height] = this.size;
    const bottom = height - 34;
    for (const [index, value] of this.yTicks.entries()) {
      const at = this.y(value).toFixed(1);
      shape(this.svg, "line", { class: "gridline", x1: this.left, x2: width - RIGHT, y1: at, y2: at });
      shape(this.svg, "text", { x: this.left - 6, y: Number(at) + 4, "text-anchor": "end" }, this.yTold[index]);
    }
    let free = -Infinity;
    for (const value of this.x.ticks(Math.max(2, Math.floor(width / 75)))) {
      const at = this.x(value);
      const half = 3.2 * told(value).length;
      shape(this.svg, "line", { class: "axis", x1: at, x2: at, y1: bottom, y2: bottom + 4 });
      if (at - half < free) continue;
      free = at + half + 8;
      shape(this.svg, "text", { x: Math.min(at, width - half), y: bottom + 16, "text-anchor": "middle" }, told(value));
    }
    shape(this.svg, "line", { class: "axis", x1: this.left, x2: width - RIGHT, y1: bottom, y2: bottom });
    shape(this.svg, "text", { x: 0, y: 11 }, this.chart.yTitle);
    shape(this.svg, "text", { x: width - RIGHT, y: height - 3, "text-anchor": "end" }, this.chart.xTitle());
    if (this.chart.reference !== undefined) {
      const at = this.y(this.chart.reference);
      shape(this.svg, "line", { class: "reference", x1: this.left, x2: width - RIGHT, y1: at, y2: at });
    }
  }

  lines() {
    const [width, height] = this.size;
    const clip = `clip${Chart.count += 1}`;
    const area = { x: this.left - 3, y: 14, width: width - RIGHT - this.left + 8, height: height - 34 - 12 };
    shape(shape(this.svg, "clipPath", { id: clip }), "rect", area);
    const inside = shape(this.svg, "g", { "clip-path": `url(#${clip})` });
    for (const one of this.series) {
      const path = pathOf(one, this.x, this.y, this.drawable, width);
      const kinds = ["line", one.name, one.faint && "faint", one.soft && "soft", one.dashed && "dashed", one.again && "again"];
      const line = shape(inside, "path", { class: kinds.filter(Boolean).join(" "), d: path });
      if (one.stroke) line.style.stroke = one.stroke;
      if (one.dots) this.dots(inside, one);
    }
  }

  dots(inside, one) {
    one.x.forEach((value, index) => {
      if (!this.drawable(value, one.y[index])) return;
      const [cx, cy] = [this.x(value), this.y(one.y[index])];
      const dot = shape(inside, "circle", { class: one.name ?? "", r: 3, cx, cy });
      if (one.stroke) dot.style.fill = one.stroke;
    });
  }

  summary() {
    const parts = this.series.filter((one) => !one.faint).map((one) => {
      const last = one.y.findLast((value) => value !== null);
      return `${one.label} ends at ${last === undefined ? "no value" : told(last)}`;
    });
    return `${this.chart.title}. ${parts.join("; ")}.`;
  }

  point(event) {
    const box = this.svg.getBoundingClientRect();
    this.read(((event.clientX - box.left) / box.width) * this.size[0]);
  }

  press(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (event.key === "Escape") this.hide();
    if (!(event.key in steps) || !this.x) return;
    event.preventDefault();
    const step = steps[event.key] * Math.max(4, this.size[0] / 60);
    const from = this.at ?? (step < 0 ? this.size[0] : this.left);
    this.read(Math.min(this.size[0] - RIGHT, Math.max(this.left, from + step)));
  }

  // Show the value of each line at the point nearest to a horizontal position.
  read(pixel) {
    if (!this.x) return;
    this.hide();
    this.at = pixel;
    const found = [];
    for (const one of this.series) {
      if (one.quiet) continue;
      const index = nearest(one.x.map((value) => (value === null ? NaN : this.x(value))), pixel);
      if (index >= 0 && one.y[index] !== null) found.push([one, index]);
    }
    if (!found.length) return;
    const place = found[0][0].x[found[0][1]];
    const at = this.x(place);
    this.cursor = shape(this.svg, "line", { class: "cursor", x1: at, x2: at, y1: 14, y2: this.size[1] - 34 });
    const lines = [`${this.chart.xTitle()} ${told(place)}`];
    for (const [one, index] of found) lines.push(`${one.label}: ${told(Number(one.y[index].toPrecision(4)))}`);
    this.reading.replaceChildren(...lines.map((textContent) => Object.assign(document.createElement("div"), { textContent })));
    this.reading.hidden = false;
    this.reading.style.right = at > this.size[0] / 2 ? "auto" : "0.6rem";
    this.reading.style.left = at > this.size[0] / 2 ? "0.6rem" : "auto";
  }

  hide() {
    this.cursor?.remove();
    this.cursor = undefined;
    this.at = undefined;
    this.reading.hidden = true;
  }
}
Chart.count = 0;
Chart.printing = false;
