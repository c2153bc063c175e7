// KL beside overlap for every token of one utterance, a row for each traced checkpoint on the same kind of states.
// Samples of cividis, which is perceptually uniform and the same to readers who do not tell red from green.
const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"];
const LONGEST = 8; // characters of a token in a cell; its title has all
const MAPS = [
  { name: "forward_kl", title: "Forward KL", heat: (row, i) => root4(at(row, "forward_kl", i)), ends: ["0", "≥ 4 nats, square-root scale"], digits: 3 },
  { name: "overlap_ratio", title: "Overlap |I|/k", heat: (row, i) => inverse(at(row, "overlap_ratio", i)), ends: ["1", "0"], digits: 3 },
];

// The color of a share from 0 to 1, and the ink that is legible on it.
function cividis(share) {
  const place = share * (CIVIDIS.length - 1);
  const low = Math.min(CIVIDIS.length - 2, Math.floor(place));
  const parts = [1, 3, 5].map((start) => {
    const [a, b] = [CIVIDIS[low], CIVIDIS[low + 1]].map((color) => parseInt(color.slice(start, start + 2), 16));
    return Math.round(a + (b - a) * (place - low));
  });
  const [red, green, blue] = parts.map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  const luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue; // after WCAG; at 0.179 white and black contrast alike
  return [`rgb(${parts.join(" ")})`, luminance < 0.179 ? "#ffffff" : "#000000"];
}

async function drawHeat(state) {
  const row = state.rows[state.chosen];
  const panel = document.getElementById("heat");
  if (!panel || !row?.tok?.length) return;
  const { groups } = runs[state.run];
  const traced = groups.map((group, place) => [group, place]).filter(([group]) => group.traced && group.what === state.group.what);
  const found = [];
  for (const [group, place] of traced) {
    const other = (await openGroup(state.run, place)).find((one) => one.id === row.id);
    if (other?.tok?.length) found.push([group, other]);
  }
  if (state.rows[state.chosen] !== row || document.getElementById("heat") !== panel) return; // another was chosen meanwhile
  panel.replaceChildren(
    make("h4", { textContent: "Token by token through the stages: light where the models are apart" }),
    ...MAPS.map((map) => drawMap(map, joined(found), state.group)),
  );
}

// The end of a stage and the start of the next have the same weights: one row where their numbers are the same.
function joined(found) {
  const rows = [];
  for (const [group, row] of found) {
    const last = rows.at(-1);
    const same = last && last.step === group.step && JSON.stringify([last.row.forward_kl, last.row.tok]) === JSON.stringify([row.forward_kl, row.tok]);
    if (same) last.stages.push(group.stage);
    else rows.push({ step: group.step, stages: [group.stage], row });
  }
  return rows;
}

function drawMap(map, rows, group) {
  const known = rows.some(({ row }) => row[map.name]?.some((value) => value != null));
  const legend = make("span", { className: "ramp" });
  legend.style.background = `linear-gradient(90deg, ${CIVIDIS.join(", ")})`;
  const title = make("p", { className: "note ramp-line" }, make("b", { textContent: map.title }), ` ${map.ends[0]} `, legend, ` ${map.ends[1]}; hatched: not comparable`);
  if (!known) return make("div", {}, title, make("p", { className: "note", textContent: "not traced in this run" }));
  const lines = rows.map(({ step, stages, row }) => {
    const name = `step ${counted(step)}, ${[...new Set(stages)].join(" → ")}`;
    const cells = row.tok.map((_, i) => drawCell(map, row, i, name));
    return make("tr", {}, make("th", { scope: "row", textContent: name, dir: "auto" }), ...cells);
  });
  const table = make("table", { className: "heatmap", "aria-label": `${map.title}, ${group.label}` }, make("tbody", {}, ...lines));
  return make("div", {}, title, make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": map.title }, table));
}

function drawCell(map, row, i, where) {
  const share = row.use[i] ? map.heat(row, i) : null;
  const text = tokenText(row, i);
  const said = `${text}: ${map.title} ${fixed(row.use[i] ? at(row, map.name, i) : null, map.digits)} (${where}, token ${i + 1})`;
  const cell = make("td", { textContent: text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text, title: said, dir: "auto" });
  if (share == null) cell.className = "unused";
  else [cell.style.backgroundColor, cell.style.color] = cividis(share);
  return cell;
}
