// The list of utterances: only the rows in view exist.
const HEIGHT = 60;
const list = document.getElementById("list");
const rowsElement = document.getElementById("rows");

const SORTS = {
  order: { label: "order of the files", key: (row) => row.place, traced: false },
  errors: { label: "worst error rate", key: (row) => negative(errorRate(row)), traced: false },
  overlap: { label: "lowest overlap", key: (row) => row.mean?.overlap_ratio, traced: true },
  mass: { label: "lowest student's mass on T", key: (row) => row.mean?.student_mass, traced: true },
  kl: { label: "largest KL", key: (row) => negative(row.mean?.forward_kl), traced: true },
  longest: { label: "longest transcript", key: (row) => -(row.text ?? "").length, traced: false },
};
function negative(value) {
  return value == null ? null : -value;
}

// Ascending; undefined values come last, ties keep the order of the files.
function sorted(rows, sort) {
  const key = SORTS[sort].key;
  const keyed = rows.map((row) => [key(row) ?? Infinity, row]);
  keyed.sort((a, b) => (a[0] === b[0] ? a[1].place - b[1].place : a[0] - b[0]));
  return keyed.map(([, row]) => row);
}

function drawList(state) {
  rowsElement.style.height = `${state.rows.length * HEIGHT}px`;
  const first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - 4);
  const last = Math.min(state.rows.length, Math.ceil((list.scrollTop + list.clientHeight) / HEIGHT) + 4);
  const drawn = [];
  for (let place = first; place < last; place++) drawn.push(drawRow(state, place));
  rowsElement.replaceChildren(...drawn);
  if (state.rows.length) list.setAttribute("aria-activedescendant", `row-${state.chosen}`);
  else list.removeAttribute("aria-activedescendant");
}

function drawRow(state, place) {
  const row = state.rows[place];
  const numbers = [make("b", { textContent: row.id, dir: "auto" })];
  if (row.err) numbers.push(make("span", { textContent: `errors ${row.err[0]}/${row.err[1]}` }));
  if (row.mean) {
    numbers.push(make("span", { textContent: `overlap ${fixed(row.mean.overlap_ratio, 2)}` }));
    numbers.push(make("span", { textContent: `KL ${fixed(row.mean.forward_kl, 2)}` }));
  }
  const text = make("div", { className: "text", dir: "auto" });
  if (row.tok) {
    for (let i = 0; i < Math.min(row.tok.length, 120); i++) {
      const token = make("span", { textContent: tokenText(row, i).replace("␣", " ") });
      paint(token, row, i, state.color);
      text.append(token);
    }
  } else text.textContent = row.text || "(empty)";
  return make(
    "div",
    {
      className: "row", id: `row-${place}`, role: "option",
      "aria-selected": String(place === state.chosen), "aria-setsize": state.rows.length, "aria-posinset": place + 1,
      style: `top: ${place * HEIGHT}px`, onclick: () => state.choose(place),
    },
    make("div", { className: "head" }, ...numbers),
    text,
  );
}

function intoView(place) {
  const top = place * HEIGHT;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top + HEIGHT - list.clientHeight;
}
