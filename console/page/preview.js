// What an edit of policies would have done to the connections of the past: the question, and its answer as a table.

import { $, ask, bytes, clock, dayOf, el, whole } from "/words.js";

const ROWS_SHOWN = 1000;
const BODY_MOST = 500000;  // bytes of a question; the console takes little more
const WORDS = { newly_denied: "newly denied", newly_allowed: "newly allowed", unknown: "unknown", unchanged: "unchanged" };
const ACTION = { newly_denied: "deny", newly_allowed: "allow", unknown: "mixed", unchanged: "same" };

const form = $("question");
let host = null;       // what the page gives
let answer = null;     // the last one
let inForce = [];      // policies to pick from
let url = null;        // of the answer to download

/** Begins to listen. `flows(filter, since, until)` is the address of flows, `clusters()` the names that are known. */
export function preparePreview(page) {
  host = page;
  form.addEventListener("submit", (event) => { event.preventDefault(); preview(); });
  form.addEventListener("focusin", listClusters);
  $("files").addEventListener("change", openFiles);
  $("pick").addEventListener("click", loadInForce);
  $("in-force").addEventListener("change", take);
  $("becomes").addEventListener("change", showRows);
  $("with").addEventListener("input", showRows);
}

function listClusters() {
  const names = host.clusters();
  $("clusters").replaceChildren(...names.map((name) => el("option", { value: name })));
  if (!form.elements.cluster.value && names.length === 1) form.elements.cluster.value = names[0];
}

/* ---- the question ---- */

async function openFiles() {
  const texts = await Promise.all([...$("files").files].map((file) => file.text()));
  $("files").value = "";
  put(texts.join("\n---\n"));
}

/** Puts a text under what is there. */
function put(text) {
  const before = $("policies").value.trimEnd();
  $("policies").value = before ? `${before}\n---\n${text}` : text;
  showFaults([]);
}

const title = (policy) => `${policy.kind} ${policy.metadata.namespace ? `${policy.metadata.namespace}/` : ""}${policy.metadata.name}`;

async function loadInForce() {
  listClusters();
  problem(null);
  $("pick").disabled = true;
  try {
    const cluster = form.elements.cluster.value.trim();
    const listed = await ask(`/api/policies?${new URLSearchParams(cluster ? { cluster } : {})}`);
    inForce = listed.policies;
    const more = listed.more ? ` (${whole.format(listed.more)} more are not listed)` : "";
    const head = inForce.length ? `Pick one of ${whole.format(inForce.length)}${more}` : "No policy is in force";
    $("in-force").replaceChildren(el("option", { value: "" }, head),
      ...inForce.map((policy, place) => el("option", { value: place }, title(policy) + (policy.staged ? " (staged)" : ""))));
    $("picked").hidden = false;
  } catch (error) {
    problem(error);
  }
  $("pick").disabled = false;
}

/** Takes the picked policy as a text to edit. */
function take() {
  const policy = inForce[Number($("in-force").value)];
  if ($("in-force").value === "" || !policy) return;
  const { apiVersion, kind, metadata, spec } = policy;
  put(yaml({ apiVersion, kind, metadata, spec }, ""));
  $("in-force").value = "";
  $("policies").focus();
}

/** A value of JSON as YAML that is pleasant to edit; texts are quoted as in JSON where they are not plain. */
function yaml(value, indent) {
  const inline = (item) => item === null || typeof item !== "object" || (Array.isArray(item) ? item : Object.keys(item)).length === 0;
  const scalar = (item) => (typeof item === "string" && /^[A-Za-z][A-Za-z0-9./-]*$/.test(item) && !/^(true|false|null|yes|no|on|off|y|n)$/i.test(item) ? item : JSON.stringify(item));
  if (Array.isArray(value)) {
    return value.map((item) => (inline(item) ? `${indent}- ${scalar(item)}\n` : `${indent}- ${yaml(item, `${indent}  `).trimStart()}`)).join("");
  }
  return Object.entries(value).map(([key, item]) => {
    if (inline(item)) return `${indent}${scalar(key)}: ${scalar(item)}\n`;
    return `${indent}${scalar(key)}:\n${yaml(item, Array.isArray(item) ? indent : `${indent}  `)}`;
  }).join("");
}

function question() {
  const fields = form.elements;
  return {
    policies: fields.policies.value,
    delete: fields.delete.value.split(/[\s,]+/).filter(Boolean),
    since: fields.since.value,
    cluster: fields.cluster.value.trim(),
    cni: fields.cni.value,
    all: fields.all.checked,
  };
}

async function preview() {
  listClusters();
  problem(null);
  showFaults([]);
  const asked = question();
  if (new Blob([JSON.stringify(asked)]).size > BODY_MOST) {
    problem(new Error(`the policies are larger than ${bytes(BODY_MOST)}: use weir policy preview`));
    return;
  }
  $("ask-preview").disabled = true;
  $("preview-count").textContent = "Judging";
  $("preview-answer").classList.add("stale");
  try {
    answer = await ask("/api/preview", asked);
    $("preview-answer").classList.remove("stale");
    showAnswer();
  } catch (error) {
    $("preview-count").textContent = answer ? "What is listed is the answer to an earlier question" : "";
    const faults = error.answered?.faults ?? [];
    if (faults.length) showFaults(faults);
    else problem(error);
  }
  $("ask-preview").disabled = false;
}

function problem(error) {
  const hint = error?.answered?.hint;
  const parameter = error?.answered?.parameter;
  $("question-problem").hidden = !error;
  $("question-problem").textContent = error ? `${parameter ? `${parameter}: ` : ""}${error.message}${hint ? ` (${hint})` : ""}` : "";
}

/** What is wrong in the text; a press leads to the line. */
function showFaults(faults) {
  $("faults").hidden = faults.length === 0;
  if (faults.length) $("policies").setAttribute("aria-invalid", "true");
  else $("policies").removeAttribute("aria-invalid");
  $("faults").replaceChildren(...faults.map((fault) => {
    const text = [fault.policy, fault.field, fault.message].filter(Boolean).join(": ");
    if (!fault.line) return el("li", null, text);
    const line = el("button", { type: "button", class: "quiet" }, `Line ${fault.line}`);
    line.addEventListener("click", () => goTo(fault.line));
    return el("li", null, line, ` ${text}`);
  }));
}

function goTo(line) {
  const area = $("policies");
  const lines = area.value.split("\n");
  const start = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
  area.focus();
  area.setSelectionRange(start, start + (lines[line - 1]?.length ?? 0));
  area.scrollTop = (line - 3) * (area.scrollHeight / Math.max(lines.length, 1));
}

/* ---- the answer ---- */

function showAnswer() {
  const kinds = Object.keys(WORDS);
  const shown = kinds.filter((kind) => answer.rows.some((row) => row.becomes === kind));
  const chosen = $("becomes").value;
  $("becomes").replaceChildren(el("option", { value: "" }, "all"), ...shown.map((kind) => el("option", { value: kind }, WORDS[kind])));
  $("becomes").value = shown.includes(chosen) ? chosen : "";
  $("totals").replaceChildren(...kinds.map((kind) => {
    const { connections, bytes: sum } = answer.totals[kind];
    const amount = sum === null ? "bytes unknown" : bytes(sum);
    return el("li", { class: ACTION[kind] }, el("b", null, whole.format(connections)), ` ${WORDS[kind]}`, el("span", null, amount));
  }));
  const notes = [
    ...answer.missing.map((name) => `There was no ${name} in this time.`),
    answer.kept_from && `Records of level 1 may not be all there${answer.kept_from === "never" ? "" : ` before ${time(answer.kept_from)}`}. The raw topic may go further back: weir policy preview --from raw reads it.`,
    answer.rows_more && `${whole.format(answer.rows_more)} more rows are not listed here: weir policy preview lists all.`,
    answer.rows_left_out && `${whole.format(answer.rows_left_out)} records are in no row: there are too many pairs.`,
    answer.corrections && `${whole.format(answer.corrections)} corrections of a repair were not judged.`,
    answer.undecodable && `${whole.format(answer.undecodable)} records could not be read.`,
  ].filter(Boolean);
  $("preview-note").hidden = notes.length === 0;
  $("preview-note").textContent = notes.join(" ");
  if (url) URL.revokeObjectURL(url);
  url = URL.createObjectURL(new Blob([JSON.stringify(answer, null, 2)], { type: "application/json" }));
  $("download").href = url;
  showRows();
}

const time = (text) => `${dayOf(new Date(text)) ?? ""} ${clock.format(new Date(text))}`.trim();
const port = (row) => (row.port === null ? row.protocol : `${row.protocol}/${row.port}`);

function showRows() {
  if (!answer) return;
  const [kind, word] = [$("becomes").value, $("with").value.trim().toLowerCase()];
  const fits = (row) => (!kind || row.becomes === kind)
    && (!word || [row.src, row.dst, port(row), row.why].some((text) => text.toLowerCase().includes(word)));
  const rows = answer.rows.filter(fits);
  $("preview-rows").replaceChildren(...rows.slice(0, ROWS_SHOWN).map(tableRow));
  const none = answer.rows.length === 0;
  $("preview-answer").hidden = none;
  $("preview-empty").hidden = !none;
  if (none) {
    const unchanged = answer.totals.unchanged.connections;
    const notes = $("preview-note").textContent;
    $("preview-empty").replaceChildren(
      el("h2", null, answer.records ? "Nothing would change" : "There is nothing to judge"),
      el("p", null, answer.records
        ? `${whole.format(unchanged)} connection${unchanged === 1 ? " stays" : "s stay"} as ${unchanged === 1 ? "it is" : "they are"}.`
        : `No record of level 1 of cluster ${answer.cluster} since ${time(answer.since)}.`),
      notes ? el("p", null, notes) : null);
  }
  const span = answer.from ? ` from ${time(answer.from)} to ${time(answer.to)}` : "";
  const listed = rows.length > ROWS_SHOWN ? `the first ${whole.format(ROWS_SHOWN)} of ${whole.format(rows.length)} rows · ` : "";
  $("preview-count").textContent = `${listed}${whole.format(answer.records)} records judged${span}, in ${answer.seconds.toFixed(1)} s`;
}

function tableRow(row) {
  const action = ACTION[row.becomes];
  return el("tr", null,
    el("td", { class: "c-becomes" }, el("span", { class: `pill ${action}` }, WORDS[row.becomes]), row.why ? el("span", { class: "sub" }, row.why) : null),
    el("td", { class: "c-name" }, ...breakable(row.src)),
    el("td", { class: "c-name" }, ...breakable(row.dst)),
    el("td", null, port(row)),
    el("td", { class: "c-number" }, whole.format(row.connections)),
    el("td", { class: "c-number" }, row.bytes === null ? "unknown" : bytes(row.bytes)),
    exampleCell(row, row.first),
    exampleCell(row, row.last));
}

/** A name that may go on in the next line after its slash. */
const breakable = (name) => name.split("/").flatMap((part, place) => (place ? ["/", el("wbr", null), part] : [part]));

function exampleCell(row, example) {
  const term = (side, end) => (end.pod
    ? `${side}.namespace == ${JSON.stringify(end.namespace)} and ${side}.pod == ${JSON.stringify(end.pod)}`
    : end.address ? `${side}.address == ${end.address}` : null);
  const wanted = [term("src", example.source), term("dst", example.destination), row.port === null ? null : `dst.port == ${row.port}`];
  const until = new Date(Date.parse(example.window) + example.window_length).toISOString();
  const href = host.flows(wanted.filter(Boolean).join(" and "), example.window, until);
  return el("td", null, el("a", { href, title: `The flows of ${example.connection} then` }, time(example.time)),
    el("span", { class: "sub", title: example.connection }, example.connection));
}
