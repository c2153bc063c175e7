// One utterance: its tokens, and both models' supports at the token under the pointer or the focus.
const detail = document.getElementById("detail");

function drawDetail(state) {
  const row = state.rows[state.chosen];
  if (!row) {
    detail.replaceChildren(make("p", { className: "note", textContent: "No utterance matches." }));
    return;
  }
  const facts = [];
  if (row.err) facts.push(`${row.err[0]} errors in ${row.err[1]} ${state.group.errors}`);
  else facts.push("error rate undefined: no reference");
  if (row.mean) {
    facts.push(`means over ${counted(row.use.filter(Boolean).length)} of ${counted(row.tok.length)} positions: overlap |I|/k ${fixed(row.mean.overlap_ratio, 3)}`);
    facts.push(`student's mass on T ${fixed(row.mean.student_mass, 3)}`, `KL ${fixed(row.mean.forward_kl, 3)} nats`);
    if (!row.fin) facts.push("cut off before its end");
  }
  if (row.sec != null) facts.push(`${fixed(row.sec, 1)} s of audio`);
  const parts = [make("h3", { textContent: row.id, dir: "auto" }), make("p", { className: "facts", textContent: facts.join(" · ") })];
  const clip = clipOf(state.run, row.id);
  if (clip) parts.push(make("audio", { controls: true, src: clip, preload: "metadata", "aria-label": `Audio of ${row.id}` }));
  parts.push(make("h4", { textContent: row.tok ? "Transcript, token by token" : "Transcript" }));
  parts.push(row.tok ? drawTokens(state, row) : make("div", { className: "reference", dir: "auto" }, ...compared(row.text ?? "", row.ref)));
  if (row.ref != null) {
    const reference = make("div", { className: "reference", id: "reference", dir: "auto" }, ...compared(row.ref, row.text ?? ""));
    parts.push(make("h4", { textContent: "Reference" }), reference);
  }
  if (row.tok) parts.push(make("div", { id: "panel", "aria-live": "polite" }), make("div", { id: "heat" }));
  detail.replaceChildren(...parts);
  detail.scrollTop = 0;
  if (row.tok?.length) {
    showPosition(state, row, 0);
    drawHeat(state);
  }
}

function drawTokens(state, row) {
  const tokens = make("div", { className: "tokens", dir: "auto", role: "toolbar", "aria-label": "Tokens of the transcript" });
  row.tok.forEach((_, i) => {
    const text = tokenText(row, i);
    const token = make("button", { type: "button", className: "token", textContent: text, tabIndex: i ? -1 : 0, "aria-pressed": "false", "aria-label": `token ${i + 1}: ${text}`, dir: "auto" });
    paint(token, row, i, state.color);
    token.addEventListener("pointerenter", () => showPosition(state, row, i));
    token.addEventListener("focus", () => showPosition(state, row, i));
    tokens.append(token);
  });
  if (!row.tok.length) tokens.append(make("span", { className: "note", textContent: "(empty transcript)" }));
  return tokens;
}

function showPosition(state, row, position) {
  state.position = position;
  document.querySelectorAll("#detail .token").forEach((token, i) => {
    token.setAttribute("aria-pressed", String(i === position));
    token.tabIndex = i === position ? 0 : -1;
  });
  const panel = document.getElementById("panel");
  const title = make("h3", { textContent: `Token ${position + 1} of ${row.tok.length}: ${tokenText(row, position)}` });
  if (!row.use[position]) {
    const why = "This position is not comparable (misaligned, blocked or truncated), so it has no statistics.";
    panel.replaceChildren(title, make("p", { className: "facts", textContent: why }));
    return;
  }
  const said = [
    `overlap |I|/k ${fixed(at(row, "overlap_ratio", position), 3)}`,
    `|U| ${fixed(at(row, "union_size", position), 0)}`,
    `student's mass on T ${fixed(at(row, "student_mass", position), 3)}`,
    `teacher's mass on S ${fixed(at(row, "teacher_mass", position), 3)}`,
    `KL ${fixed(at(row, "forward_kl", position), 3)} nats`,
    `entropy ${fixed(at(row, "student_entropy", position), 2)} and ${fixed(at(row, "teacher_entropy", position), 2)} nats`,
    `teacher's rank of it ${fixed(at(row, "teacher_rank", position), 0)}`,
  ];
  panel.replaceChildren(title, make("p", { className: "facts", textContent: said.join(" · ") }), drawCandidates(row, position));
}

function drawCandidates(row, position) {
  const body = make("tbody");
  const flat = row.top[position] ?? [];
  for (let i = 0; i < flat.length; i += 4) {
    const [token, student, teacher, sets] = flat.slice(i, i + 4);
    const written = token === row.tok[position];
    const where = { 1: "student's only", 2: "teacher's only", 3: "shared" }[sets];
    body.append(
      make(
        "tr",
        { className: written ? "written" : "" },
        make("td", { dir: "auto", textContent: row.strings[token] + (written ? " ◂" : ""), title: written ? "the token in the transcript" : "" }),
        probability("student", student),
        probability("teacher", teacher),
        make("td", {}, make("span", { className: sets === 3 ? "pill shared" : "pill", textContent: where })),
      ),
    );
  }
  const heads = ["token", "student", "teacher", "in the support of"].map((text) => make("th", { textContent: text, scope: "col" }));
  return make("table", { className: "candidates" }, make("thead", {}, make("tr", {}, ...heads)), body);
}

function probability(side, tenThousandths) {
  const p = tenThousandths == null ? null : tenThousandths / 10000;
  const shown = p == null ? "not in its vocabulary" : p === 0 ? "< 0.0001" : p.toFixed(4);
  const cell = make("td", { className: side, textContent: shown });
  if (p != null) {
    const bar = make("span", { className: "bar" });
    bar.style.setProperty("--p", p.toFixed(3));
    cell.append(bar);
  }
  return cell;
}

// Words, those without a counterpart in the other text underlined: a longest common subsequence, whatever the case.
function compared(text, other) {
  const words = text.split(/(\s+)/);
  if (other == null) return [text];
  const own = words.filter((word) => word.trim());
  const others = other.split(/\s+/).filter(Boolean);
  if (own.length * others.length > 250000) return [text];
  const kept = common(own.map(plain), others.map(plain));
  let place = 0;
  return words.map((word) => {
    if (!word.trim()) return word;
    return kept.has(place++) ? word : make("mark", { textContent: word });
  });
}

function plain(word) {
  return word.toLowerCase().replace(/^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu, "");
}

function common(a, b) {
  const best = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      best[i][j] = a[i] === b[j] ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
  const kept = new Set();
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    if (a[i] === b[j]) { kept.add(i); i++; j++; }
    else if (best[i + 1][j] >= best[i][j + 1]) i++;
    else j++;
  }
  return kept;
}
