// Groups of utterances, decompressed when they are first shown.
const STEPS = { overlap_ratio: 1e3, student_mass: 1e3, teacher_mass: 1e3, forward_kl: 1e3, student_entropy: 1e2, teacher_entropy: 1e2 };
const runs = JSON.parse(document.getElementById("browser-data").textContent);
const opened = new Map();

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

async function openGroup(run, group) {
  const key = `${run}-${group}`;
  if (!opened.has(key)) {
    const packed = bytesOf(document.getElementById(`chunk-${key}`).textContent);
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const data = JSON.parse(await new Response(stream).text());
    data.rows.forEach((row, place) => {
      row.place = place;
      row.strings = data.strings;
      row.found = `${row.id}\n${row.text ?? ""}\n${row.ref ?? ""}`.toLowerCase();
    });
    opened.set(key, data.rows);
  }
  return opened.get(key);
}

// A statistic at a position, or null where it is undefined.
function at(row, name, position) {
  const value = row[name]?.[position];
  return value == null ? null : value / (STEPS[name] ?? 1);
}

function errorRate(row) {
  return row.err && row.err[1] > 0 ? row.err[0] / row.err[1] : null;
}

const clips = new Map();
function clipOf(run, id) {
  const element = document.getElementById(`audio-${run}`);
  if (!element) return null;
  if (!clips.has(run)) clips.set(run, JSON.parse(element.textContent));
  const base64 = clips.get(run)[id];
  return base64 ? `data:audio/ogg;base64,${base64}` : null;
}

function fixed(value, places) {
  return value == null ? "–" : value.toFixed(places).replace("-", "−");
}

function counted(value) {
  return value.toLocaleString("en-GB");
}

// Elements with text and children; text is never read as HTML.
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

// How a token is colored: 0 as the teacher would have it, 1 furthest from it; null where that is undefined.
const COLORS = {
  overlap: { label: "overlap |I|/k", ends: ["1: same sets", "0: none shared"], heat: (row, i) => inverse(at(row, "overlap_ratio", i)) },
  mass: { label: "student's mass on T", ends: ["1", "0"], heat: (row, i) => inverse(at(row, "student_mass", i)) },
  kl: { label: "forward KL", ends: ["0 nats", "4 nats or more, on a square-root scale"], heat: (row, i) => root4(at(row, "forward_kl", i)) },
  top1: { label: "top-1 agreement", ends: ["same first choice", "another"], heat: (row, i) => inverse(at(row, "top1_agreement", i)) },
};
function inverse(value) {
  return value == null ? null : 1 - value;
}
function root4(value) {
  return value == null ? null : Math.min(1, Math.sqrt(Math.max(0, value) / 4));
}

function paint(element, row, position, color) {
  const heat = COLORS[color].heat(row, position);
  element.classList.toggle("heat", heat != null);
  element.classList.toggle("apart", !row.use[position]);
  if (heat != null) element.style.setProperty("--heat", heat.toFixed(3));
}

function tokenText(row, position) {
  return row.strings[row.tok[position]];
}
