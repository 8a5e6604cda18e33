// The charts of the page: losses, other measures and spectra, and the controls above them.

const DATA = JSON.parse(document.getElementById("data").textContent);
const RUNS = DATA.runs.map((run, index) => ({ ...run, name: `run${index % 8}`, again: index >= 8, shown: true }));
const find = (id) => document.getElementById(id);
const state = { span: 1, against: "update", late: true };
const charts = [];
let factors = [];

const MEASURES = [
  { key: "damping", title: "Damping λ", yTitle: "λ", log: true, steady: true },
  { key: "gamma", title: "Factored damping γ", yTitle: "γ", log: true, steady: true },
  { key: "step_scale", title: "Step length α", yTitle: "α of the first group of layers", log: false, robust: true },
  { key: "momentum", title: "Momentum μ", yTitle: "μ, weight of the last update", log: false, robust: true },
  { key: "reduction_ratio", title: "Reduction ratio ρ, last measured", yTitle: "ρ, actual / predicted; ideally 1", log: false, robust: true, reference: 1 },
  { key: "update_norm", title: "Norm of the update", yTitle: "‖δ‖, in the parameters' units", log: true },
  { key: "gradient_norm", title: "Norm of the gradient", yTitle: "‖∇‖, loss per parameter unit", log: true },
];

const shown = () => RUNS.filter((run) => run.shown);
const named = { update: "updates", seconds: "seconds" };

// The horizontal positions of a run's updates or evaluations. With `late` they are null before the
// end of the first update.
function places(run, table, against) {
  const found = table[against];
  if (against !== "seconds" || !state.late || !run.updates.seconds) return found;
  const begun = run.updates.seconds[0];
  return found.map((value) => (value === null || value < begun ? null : value - begun));
}

// An exponential moving average with normalised weights; null values stay null.
function smoothed(values, span) {
  if (span <= 1) return values;
  const keep = 1 - 1 / span;
  let [sum, weight] = [0, 0];
  return values.map((value) => {
    if (value === null) return null;
    sum = sum * keep + value;
    weight = weight * keep + 1;
    return sum / weight;
  });
}

function aboveFloor(run, values) {
  return values.map((value) => (value === null ? null : value - run.floor));
}

function batchLines(run, x, y, label, steady = false) {
  const common = { name: run.name, again: run.again, x };
  const soft = steady ? y : smoothed(y, state.span / run.stride);
  if (soft === y) return [{ ...common, label, y }];
  return [{ ...common, label, y, faint: true, quiet: true }, { ...common, label, y: soft }];
}

function lossLines(run, against) {
  const made = [];
  const { updates, evaluations } = run;
  if (updates.loss) made.push(...batchLines(run, places(run, updates, against), aboveFloor(run, updates.loss), `${run.label}, batches`));
  for (const one of made) one.soft = true;
  for (const [key, label, dashed] of [["averaged_loss", "averaged iterates", true], ["loss", "training set", false]]) {
    if (!evaluations[key]) continue;
    const y = aboveFloor(run, evaluations[key]);
    made.push({ label: `${run.label}, ${label}`, name: run.name, again: run.again, dashed, dots: !dashed, x: places(run, evaluations, against), y });
  }
  return made;
}

function lossChart(against) {
  const positive = RUNS.every((run) => (run.evaluations.loss ?? []).every((value) => value === null || value > run.floor));
  const floors = [...new Set(RUNS.map((run) => run.floor))];
  const raised = floors.some((floor) => floor > 0);
  const unit = RUNS.every((run) => run.unit === RUNS[0].unit) ? RUNS[0].unit : "";
  const floor = floors.length === 1 ? ` (${told(Number(floors[0].toPrecision(5)))})` : "";
  return {
    title: `Loss against ${named[against]}`,
    note: "Dots: full training set. Thin lines: batches, before their update.",
    yTitle: `loss${raised ? ` above the lowest possible${floor}` : ""}${unit && `, ${unit}`}`,
    xTitle: () => named[against],
    log: positive,
    height: 300,
    draw: () => shown().flatMap((run) => lossLines(run, against)),
  };
}

function measureChart(measure) {
  return {
    ...measure,
    xTitle: () => named[state.against],
    draw: () =>
      shown()
        .filter((run) => run.updates[measure.key])
        .flatMap((run) => batchLines(run, places(run, run.updates, state.against), run.updates[measure.key], run.label, measure.steady)),
  };
}

function accuracyChart() {
  return {
    title: "Accuracy",
    note: "On the full training set.",
    yTitle: "fraction correct",
    xTitle: () => named[state.against],
    draw: () =>
      shown()
        .filter((run) => run.evaluations.accuracy)
        .map((run) => ({ label: run.label, name: run.name, again: run.again, dots: true, x: places(run, run.evaluations, state.against), y: run.evaluations.accuracy })),
  };
}

function drawCurves() {
  for (const against of ["update", "seconds"]) charts.push(new Chart(find("losses"), lossChart(against)));
  if (RUNS.some((run) => run.evaluations.accuracy)) charts.push(new Chart(find("measures"), accuracyChart()));
  for (const measure of MEASURES) {
    if (RUNS.some((run) => run.updates[measure.key])) charts.push(new Chart(find("measures"), measureChart(measure)));
  }
}

function factorChart(run, layer, factor) {
  const sets = run.spectra.filter((set) => set.factors.some((one) => one.layer === layer && one.factor === factor));
  const share = (index) => (sets.length > 1 ? (100 * index) / (sets.length - 1) : 100);
  return {
    title: `${layer}, ${factor}`,
    note: "",
    yTitle: "eigenvalue",
    xTitle: () => "rank",
    log: true,
    logX: true,
    height: 190,
    printed: 210,
    draw: () =>
      sets.map((set, index) => {
        const one = set.factors.find((found) => found.layer === layer && found.factor === factor);
        const stroke = `color-mix(in srgb, var(--new) ${share(index)}%, var(--old))`;
        return { label: `update ${told(set.update)}`, x: one.ranks, y: cut(one.values), stroke, quiet: index > 0 && index < sets.length - 1 };
      }),
  };
}

// Eigenvalues below the rounding error of the largest are not shown.
function cut(values) {
  const least = 1e-7 * Math.max(...values);
  return values.map((value) => (value !== null && value > least ? value : null));
}

function drawSpectra(run) {
  const last = run.spectra.at(-1);
  find("factors").replaceChildren();
  factors = last.factors.map((one) => new Chart(find("factors"), factorChart(run, one.layer, one.factor)));
  for (const chart of factors) chart.redraw();
  const [first, end] = [run.spectra[0].update, last.update];
  const ends = [`update ${told(first)}`, document.createElement("i"), `update ${told(end)}`];
  find("shades").replaceChildren(...(first === end ? ends.slice(0, 1) : ends));
}

function offerSpectra() {
  const having = RUNS.filter((run) => run.spectra.length);
  if (!having.length) return;
  find("spectra").hidden = false;
  for (const run of having) element(find("which"), "option", { textContent: run.label });
  find("choice").hidden = having.length < 2;
  find("which").addEventListener("change", () => drawSpectra(having[find("which").selectedIndex]));
  drawSpectra(having[0]);
}

function offerRuns() {
  for (const run of RUNS) {
    const button = element(find("legend"), "button", { type: "button" });
    button.setAttribute("aria-pressed", "true");
    element(button, "span", { className: `chip ${run.name}` });
    button.append(run.label);
    button.addEventListener("click", () => {
      run.shown = !run.shown;
      button.setAttribute("aria-pressed", String(run.shown));
      redraw();
    });
  }
}

// The slider sets the logarithm of the span, from one update to a quarter of the longest run.
function readSpan() {
  const longest = Math.max(...RUNS.map((run) => (run.updates.update ?? [0]).at(-1)));
  state.span = Math.round(Math.max(1, longest / 4) ** (find("smoothing").value / 100));
  find("span").textContent = state.span <= 1 ? "off" : `${told(state.span)} updates`;
}

function redraw() {
  for (const chart of charts) chart.redraw();
}

function begin() {
  find("controls").hidden = find("hint").hidden = false;
  offerRuns();
  readSpan();
  drawCurves();
  redraw();
  offerSpectra();
  find("smoothing").addEventListener("input", () => {
    readSpan();
    redraw();
  });
  for (const radio of document.querySelectorAll("input[name=against]")) {
    radio.addEventListener("change", () => {
      state.against = radio.value;
      redraw();
    });
  }
  find("first").addEventListener("change", () => {
    state.late = find("first").checked;
    redraw();
  });
  preparePrint();
}

// In print, all sections are open, and charts have the width of their columns.
function preparePrint() {
  let closed = [];
  window.addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const part of closed) part.open = true;
    Chart.printing = true;
    for (const chart of [...charts, ...factors]) chart.redraw();
  });
  window.addEventListener("afterprint", () => {
    for (const part of closed) part.open = false;
    Chart.printing = false;
    for (const chart of [...charts, ...factors]) chart.redraw();
  });
}

begin();
