// The utterance browser: what is chosen, and the keys.
const control = (name) => document.getElementById(name);
const state = { run: 0, group: null, all: [], rows: [], chosen: 0, position: 0, color: "overlap", choose };

function options(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, text]) => make("option", { value, textContent: text, selected: value === chosen })));
}

function checkpointKey(group) {
  return JSON.stringify([group.step, group.stage]);
}

function offerCheckpoints(wanted) {
  const keys = new Map();
  for (const group of runs[state.run].groups) keys.set(checkpointKey(group), `step ${counted(group.step)}, ${group.stage}`);
  const last = runs[state.run].groups.findLast((group) => group.what === "student") ?? runs[state.run].groups.at(-1);
  options(control("checkpoint"), [...keys], keys.has(wanted) ? wanted : checkpointKey(last));
  offerTranscripts("student");
}

function offerTranscripts(wanted) {
  const here = runs[state.run].groups.filter((group) => checkpointKey(group) === control("checkpoint").value);
  const chosen = here.some((group) => group.what === wanted) ? wanted : here[0].what;
  const label = (group) => `${group.label} (n = ${counted(group.n)})`;
  options(control("what"), here.map((group) => [group.what, label(group)]), chosen);
}

async function show() {
  const groups = runs[state.run].groups;
  const place = groups.findIndex((group) => checkpointKey(group) === control("checkpoint").value && group.what === control("what").value);
  state.group = groups[place];
  list.setAttribute("aria-busy", "true");
  const rows = await openGroup(state.run, place);
  if (state.group !== groups[place]) return; // another was chosen meanwhile
  state.all = rows;
  const sorts = Object.entries(SORTS).filter(([, sort]) => state.group.traced || !sort.traced);
  const kept = sorts.some(([name]) => name === control("sort").value) ? control("sort").value : "errors";
  options(control("sort"), sorts.map(([name, sort]) => [name, sort.label]), kept);
  control("color").disabled = !state.group.traced;
  arrange();
  list.removeAttribute("aria-busy");
}

function arrange() {
  const before = state.rows[state.chosen]?.id;
  const text = control("filter").value.trim().toLowerCase();
  const found = text ? state.all.filter((row) => row.found.includes(text)) : state.all;
  state.rows = sorted(found, control("sort").value || "errors");
  state.chosen = Math.max(0, state.rows.findIndex((row) => row.id === before));
  const errors = state.rows.reduce((sum, row) => [sum[0] + (row.err?.[0] ?? 0), sum[1] + (row.err?.[1] ?? 0)], [0, 0]);
  const rate = errors[1] ? `; ${counted(errors[0])} errors in ${counted(errors[1])} ${state.group.errors}: ${fixed((100 * errors[0]) / errors[1], 1)} %` : "";
  control("status").textContent = `${counted(state.rows.length)} of ${counted(state.all.length)} utterances${rate}`;
  legend();
  intoView(state.chosen);
  drawList(state);
  drawDetail(state);
}

function legend() {
  const color = COLORS[state.color];
  if (!state.group.traced) {
    control("legend").replaceChildren("Underlined: words without a counterpart in the other text, ignoring case. Errors are counted after normalization.");
    return;
  }
  control("legend").replaceChildren(`Color, ${color.label}: ${color.ends[0]}`, make("span", { className: "swatch" }), `${color.ends[1]}. Dotted: not comparable. ◂ the token in the transcript.`);
}

function choose(place) {
  if (!state.rows.length) return;
  state.chosen = Math.max(0, Math.min(state.rows.length - 1, place));
  intoView(state.chosen);
  drawList(state);
  drawDetail(state);
}

function focusToken(position) {
  const tokens = document.querySelectorAll("#detail .token");
  tokens[Math.max(0, Math.min(tokens.length - 1, position))]?.focus();
}

const page = () => Math.max(1, Math.floor(list.clientHeight / HEIGHT) - 1);
const MOVES = { ArrowDown: () => 1, j: () => 1, ArrowUp: () => -1, k: () => -1, PageDown: page, PageUp: () => -page(), Home: () => -Infinity, End: () => Infinity };

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const { key, target } = event;
  if (key === "Escape" && control("browser").contains(target)) {
    if (target === control("filter") && target.value) { target.value = ""; arrange(); }
    else list.focus();
  } else if (target.matches("input, select, textarea, audio")) return;
  else if (key === "/") control("filter").focus();
  else if (!control("browser").contains(target)) return;
  else if (key === "p" && detail.querySelector("audio")) {
    const audio = detail.querySelector("audio");
    if (audio.paused) audio.play();
    else audio.pause();
  } else if (target.matches(".token")) {
    const steps = { ArrowRight: 1, l: 1, ArrowLeft: -1, h: -1, Home: -Infinity, End: Infinity };
    if (key in steps) focusToken(state.position + steps[key]);
    else if (key in MOVES) { choose(state.chosen + MOVES[key]()); focusToken(0); }
    else return;
  } else if (key in MOVES && target === list) choose(state.chosen + MOVES[key]());
  else if (key === "Enter" && target === list) focusToken(0);
  else return;
  event.preventDefault();
}

function start() {
  const usable = runs.map((run, place) => [String(place), run.run]).filter(([place]) => runs[place].groups.length);
  if (!usable.length) {
    control("empty").hidden = false;
    root.dataset.ready = String(Math.round(performance.now()));
    return;
  }
  state.run = Number(usable[0][0]);
  options(control("run"), usable, usable[0][0]);
  options(control("color"), Object.entries(COLORS).map(([name, color]) => [name, color.label]), state.color);
  control("play-key").hidden = !runs.some((run) => run.clips);
  control("browser").hidden = false;
  offerCheckpoints();
  control("run").addEventListener("change", () => { state.run = Number(control("run").value); offerCheckpoints(); show(); });
  control("checkpoint").addEventListener("change", () => { offerTranscripts(control("what").value); show(); });
  control("what").addEventListener("change", show);
  control("sort").addEventListener("change", () => { state.rows = []; arrange(); });
  control("color").addEventListener("change", () => { state.color = control("color").value; legend(); drawList(state); repaint(); });
  control("filter").addEventListener("input", arrange);
  control("controls").addEventListener("submit", (event) => event.preventDefault());
  list.addEventListener("scroll", () => requestAnimationFrame(() => drawList(state)), { passive: true });
  addEventListener("resize", () => drawList(state));
  document.addEventListener("keydown", onKey);
  show().then(() => { root.dataset.ready = String(Math.round(performance.now())); });
}

function repaint() {
  const row = state.rows[state.chosen];
  document.querySelectorAll("#detail .token").forEach((token, i) => paint(token, row, i, state.color));
}

start();
