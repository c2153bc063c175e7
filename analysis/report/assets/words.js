// Words that a stage or another run mended and broke: transcripts aligned with their reference.
const PAGE = 30;
const words = { tree: null, shown: PAGE, rows: [] };

async function openWords() {
  const element = document.getElementById("words-data");
  if (!element) return;
  const stream = new Blob([bytesOf(element.textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
  words.tree = JSON.parse(await new Response(stream).text());
  options(control("words-pair"), words.tree.comparisons.map((one, place) => [String(place), one.label]), String(initialPair()));
  control("words-pair").addEventListener("change", () => { words.shown = PAGE; arrangeWords(); });
  control("words-filter").addEventListener("input", () => { words.shown = PAGE; arrangeWords(); });
  control("words-all").addEventListener("change", drawWords);
  control("words-more").addEventListener("click", () => { words.shown += PAGE; drawWords(); });
  control("words-controls").addEventListener("submit", (event) => event.preventDefault());
  arrangeWords();
}

// Of several runs, the last stage that both have; of one run, its last stage.
function initialPair() {
  const several = words.tree.comparisons.filter((one) => one.runs);
  return words.tree.comparisons.indexOf((several.length ? several : words.tree.comparisons).at(-1));
}

function insertedIn(side) {
  return Object.values(side[1]).reduce((sum, text) => sum + text.split(" ").length, 0);
}

function comparedWords(row, [first, second]) {
  const [before, after] = [row.at[first[0]][first[1]], row.at[second[0]][second[1]]];
  if (!before || !after) return null;
  const pairs = before[0].map((word, i) => [word === 1, after[0][i] === 1]);
  const mended = pairs.filter(([then, now]) => !then && now).length;
  const broken = pairs.filter(([then, now]) => then && !now).length;
  return { row, mended, broken, inserted: [insertedIn(before), insertedIn(after)], before, after, n: pairs.length };
}

function arrangeWords() {
  const pair = words.tree.comparisons[Number(control("words-pair").value)];
  const text = control("words-filter").value.trim().toLowerCase();
  const every = words.tree.rows.map((row) => comparedWords(row, pair.ends)).filter(Boolean);
  const differing = every.filter(differs);
  const found = differing.filter((one) => !text || foundIn(one).includes(text));
  words.rows = found.sort((a, b) => difference(b) - difference(a) || (a.row.id < b.row.id ? -1 : 1));
  const sum = (name) => every.reduce((total, one) => total + one[name], 0);
  const inserted = [0, 1].map((side) => every.reduce((total, one) => total + one.inserted[side], 0));
  control("words-status").textContent =
    `${counted(sum("mended"))} mended and ${counted(sum("broken"))} broken of ${counted(sum("n"))} words; inserted words ` +
    `${counted(inserted[0])} → ${counted(inserted[1])}; ${counted(differing.length)} of ${counted(every.length)} utterances differ` +
    (text ? `, ${counted(found.length)} of them match` : "");
  drawWords();
}

function differs(one) {
  return difference(one) > 0 || JSON.stringify(one.before) !== JSON.stringify(one.after);
}
function difference(one) {
  return one.mended + one.broken + Math.abs(one.inserted[1] - one.inserted[0]);
}
function foundIn({ row, before, after }) {
  const said = [before, after].flatMap(([written, extra]) => [...written.filter((word) => word !== 1), ...Object.values(extra)]);
  return [row.id, ...row.ref, ...said].join(" ").toLowerCase();
}

function drawWords() {
  const pair = words.tree.comparisons[Number(control("words-pair").value)];
  const items = words.rows.slice(0, words.shown).map((one) => drawCompared(one, pair));
  control("words-list").replaceChildren(...(items.length ? items : [make("li", { className: "note", textContent: "No utterance differs." })]));
  const left = words.rows.length - words.shown;
  control("words-more").hidden = left <= 0;
  control("words-more").textContent = `Show more (${counted(left)} left)`;
}

function pointName([run, point]) {
  const { name, points } = words.tree.runs[run];
  const where = `${points[point].label}, step ${counted(points[point].step)}`;
  return words.tree.runs.length > 1 ? `${name}: ${where}` : where;
}

function drawCompared(one, pair) {
  const { row } = one;
  const lines = linesOf(pair).map((end) => [end, row.at[end[0]][end[1]]]).filter(([, side]) => side);
  const same = (a, b) => a[0] === b[0] && a[1] === b[1];
  // A column before a word, where some transcript inserts something there.
  const extras = [...row.ref, ""].map((_, i) => lines.some(([, side]) => side[1][i]));
  const cells = (make_) => row.ref.flatMap((word, i) => [...(extras[i] ? [make_(i, true)] : []), make_(i, false)]).concat(extras[row.ref.length] ? [make_(row.ref.length, true)] : []);
  const head = make("tr", {}, make("th", { scope: "row", textContent: "reference" }), ...cells((i, extra) => make("td", { textContent: extra ? "" : row.ref[i], dir: "auto" })));
  const body = lines.map(([end, side]) => {
    const isSecond = same(end, pair.ends[1]);
    const chosen = isSecond || same(end, pair.ends[0]);
    return make("tr", { className: chosen ? "chosen" : "" }, make("th", { scope: "row", textContent: pointName(end), dir: "auto" }), ...cells((i, extra) => drawWord(one, side, i, extra, isSecond)));
  });
  const facts = `${one.mended} mended, ${one.broken} broken, inserted ${one.inserted[0]} → ${one.inserted[1]}`;
  const table = make("table", { className: "aligned" }, make("tbody", {}, head, ...body));
  return make(
    "li",
    { className: "compared-words" },
    make("p", { className: "facts" }, make("b", { textContent: row.id, dir: "auto" }), ` ${facts}`),
    make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": `Words of ${row.id}` }, table),
  );
}

// The two compared checkpoints, or every one of the runs that they are of.
function linesOf(pair) {
  if (!control("words-all").checked) return pair.ends;
  const chosen = [...new Set(pair.ends.map(([run]) => run))];
  return chosen.flatMap((run) => words.tree.runs[run].points.map((_, point) => [run, point]));
}

function drawWord(one, side, i, extra, isSecond) {
  if (extra) return make("td", {}, side[1][i] ? make("span", { className: "w extra", textContent: `+${side[1][i]}`, dir: "auto" }) : "");
  const [was, is] = [one.before[0][i] === 1, one.after[0][i] === 1];
  const right = side[0][i] === 1;
  const kind = isSecond && is && !was ? "mended" : isSecond && was && !is ? "broken" : right ? "right" : "wrong";
  const mark = { mended: "✓ ", broken: "✕ " }[kind] ?? "";
  const text = right ? one.row.ref[i] : side[0][i];
  const gone = !right && text === "";
  const span = make("span", { className: `w ${kind}${gone ? " gone" : ""}`, textContent: `${mark}${gone ? "left out" : text}`, dir: "auto" });
  return make("td", {}, span);
}

openWords();
