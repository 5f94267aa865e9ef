// The page: a table of flows, newest first, from the API and then live, and a map of them. Text from outside is only ever
// set as text.

import { actionOf, bytesOf, drawMap, drawTimes } from "/map.js";
import { preparePreview } from "/preview.js";
import { $, ask, bytes, clock, day, dayOf, el, span, whole } from "/words.js";

const FIELDS = ["filter", "namespace", "pod", "address", "port", "action", "policy", "since", "until", "level"];
const VIEWS = ["flows", "map", "preview"];
const ROWS_MOST = 500;      // rows kept while live; loading older flows raises it
const WAITING_MOST = 2000;  // flows kept while paused
const STATUS_EVERY = 5000;  // ms
const MAP_EVERY = 10000;    // ms

const form = $("filters");

const state = {
  rows: new Map(),      // id -> row
  trs: new Map(),       // id -> table row
  most: ROWS_MOST,
  next: null,           // cursor of older flows
  trimmed: false,       // whether rows were taken off the end, so that older flows begin at the last row
  waiting: [],          // events that came while paused, or since the last frame
  lost: 0,              // flows that were not shown because there were too many
  paused: false,
  connected: false,
  loaded: false,
  refused: false,       // whether the filters make no sense
  status: null,
  open: null,           // id of the flow in the panel
  stream: null,
  asked: 0,             // number of the last question, so that late answers are ignored
  view: "flows",        // or another of VIEWS
  map: null,            // the last answer of the map
};

const REASONS = {
  outside: "the address is not the cluster's",
  unknown_pod_address: "inside a pod network, but nobody held the address",
  before_history: "the flow is older than what is known of the cluster",
  not_yet_reported: "the pod was reported too late",
  no_cluster: "there is neither a cluster nor manifests",
};

/** Why the name of an end is or is not certain. */
function certainty(end) {
  if (end.attribution === "exact") {
    if (end.always_valid) return "exact, by manifests that say nothing of time";
    return end.identified_by === "uid" ? "exact, by the pod's UID" : "exact, by the address at that time";
  }
  if (end.attribution === "ambiguous") return `ambiguous: one of ${end.candidates?.join(", ") || "several"}`;
  return `none: ${REASONS[end.reason] || end.reason || "nobody is known"}`;
}

/* ---- filters ---- */

function filtersFromUrl() {
  const asked = new URLSearchParams(location.search);
  state.view = VIEWS.includes(asked.get("view")) ? asked.get("view") : "flows";
  for (const field of FIELDS) {
    const input = form.elements[field];
    const value = asked.get(field) ?? "";
    if (input.tagName === "SELECT" && value && ![...input.options].some((option) => option.value === value)) {
      input.append(el("option", { value }, value));
    }
    input.value = value;
  }
}

function query() {
  const asked = new URLSearchParams();
  for (const field of FIELDS) {
    const value = form.elements[field].value.trim();
    if (value) asked.set(field, value);
  }
  return asked;
}

/** The page's own address: the filters, and the view if it is not the table. */
function address(asked = query(), view = state.view) {
  if (view !== "flows") asked.set("view", view);
  return asked.size ? `?${asked}` : location.pathname;
}

function showFilters() {
  const asked = query();
  for (const field of FIELDS) form.elements[field].classList.toggle("set", asked.has(field));
  $("clear").hidden = asked.size === 0;
  $("until").hidden = !asked.has("until");
}

function filtersChanged() {
  const wanted = new URL(address(), location.href);
  if (wanted.search === location.search) return;
  history.replaceState(null, "", wanted);
  start();
}

let typing = 0;
form.addEventListener("input", (event) => {
  clearTimeout(typing);
  // Half an expression is a mistake: it is read when it is finished.
  if (event.target.name === "filter") return;
  typing = setTimeout(filtersChanged, 350);
});
form.addEventListener("change", (event) => {
  if (event.target.name === "filter") filtersChanged();
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(typing);
  filtersChanged();
});
form.addEventListener("reset", () => setTimeout(() => {
  for (const field of FIELDS) form.elements[field].value = "";
  filtersChanged();
}));
addEventListener("popstate", () => { filtersFromUrl(); start(); });

function filterProblem(problem) {
  for (const field of FIELDS) form.elements[field].removeAttribute("aria-invalid");
  $("filter-problem").hidden = !problem;
  if (!problem) return;
  $("filter-problem").textContent = problem.parameter ? `${problem.parameter}: ${problem.error}` : problem.error;
  form.elements[problem.parameter]?.setAttribute("aria-invalid", "true");
}

/* ---- asking ---- */

/** Begins anew with the filters as they are. */
async function start() {
  const asked = ++state.asked;
  state.stream?.close();
  state.rows.clear();
  state.trs.clear();
  $("rows").replaceChildren();
  Object.assign(state, { most: ROWS_MOST, next: null, trimmed: false, waiting: [], lost: 0, loaded: false, connected: false, refused: false });
  showFilters();
  showView();
  filterProblem(null);
  trouble("flows", null);
  trouble("map", null);
  show();
  survey();
  // The stream first: what arrives while the search runs waits and is not missed.
  listen();
  await load(asked, query());
}

async function load(asked, parameters) {
  try {
    const page = await ask(`/api/flows?${parameters}`);
    if (asked !== state.asked) return;
    state.next = page.next;
    for (const row of page.rows) put(row, false);
    trouble("flows", null);
  } catch (error) {
    if (asked !== state.asked) return;
    if (error.status === 400) {
      filterProblem(error.answered);
      state.refused = true;
      state.stream?.close();
    } else {
      const hint = error.answered?.hint ? ` (${error.answered.hint})` : "";
      trouble("flows", `Stored flows cannot be read: ${error.message}${hint}. Live flows still appear.`);
      setTimeout(() => asked === state.asked && load(asked, parameters), 5000);
    }
  }
  state.loaded = true;
  show();
}

$("older").addEventListener("click", async () => {
  const parameters = query();
  if (state.trimmed) {
    // The last row's own window comes again; rows are known by their id.
    const last = state.rows.get($("rows").lastElementChild.dataset.id);
    parameters.set("until", new Date(Date.parse(last.time) + 1).toISOString());
    state.trimmed = false;
  } else {
    parameters.set("cursor", state.next);
  }
  state.most += 100;
  $("older").disabled = true;
  await load(state.asked, parameters);
  $("older").disabled = false;
});

function listen() {
  const stream = new EventSource(`/api/flows/stream?${query()}`);
  state.stream = stream;
  stream.addEventListener("open", () => { state.connected = true; showLive(); });
  stream.addEventListener("error", () => { state.connected = false; showLive(); });
  const take = (change) => {
    if (state.waiting.length >= WAITING_MOST) {
      state.waiting.shift();
      state.lost += 1;
    }
    state.waiting.push(change);
    if (state.paused) showLive();
    else requestFrame();
  };
  stream.addEventListener("flow", (event) => { const row = JSON.parse(event.data); take({ row }); });
  stream.addEventListener("delete", (event) => { const gone = JSON.parse(event.data).id; take({ gone }); });
  stream.addEventListener("dropped", (event) => { state.lost += JSON.parse(event.data).dropped; show(); });
}

let frame = 0;
function requestFrame() {
  // A timer and not an animation frame: a page in the background must not collect without end.
  if (!frame) frame = setTimeout(applyWaiting, 120);
}

function applyWaiting() {
  frame = 0;
  if (state.paused) return;
  for (const { row, gone } of state.waiting.splice(0)) {
    if (row) put(row, true);
    else remove(gone);
  }
  show();
}

$("pause").addEventListener("click", () => {
  state.paused = !state.paused;
  $("pause").setAttribute("aria-pressed", String(state.paused));
  $("pause").textContent = state.paused ? "Resume" : "Pause";
  applyWaiting();
  showLive();
});

/* ---- the table ---- */

const before = (left, right) => left.time > right.time || (left.time === right.time && left.id > right.id);

function put(row, fresh) {
  const present = state.rows.get(row.id);
  if (present && present.correction > row.correction) return;
  const tr = tableRow(row);
  if (present) {
    const hadFocus = state.trs.get(row.id).contains(document.activeElement);
    state.trs.get(row.id).replaceWith(tr);
    if (hadFocus) tr.querySelector("button").focus();
  } else {
    const body = $("rows");
    // New flows belong near the top and older ones at the end, so look from the nearer side.
    let next = body.firstElementChild;
    const last = body.lastElementChild;
    if (last && before(state.rows.get(last.dataset.id), row)) next = null;
    else while (next && before(state.rows.get(next.dataset.id), row)) next = next.nextElementSibling;
    body.insertBefore(tr, next);
    if (fresh) tr.classList.add("fresh");
  }
  state.rows.set(row.id, row);
  state.trs.set(row.id, tr);
  if (state.open === row.id) { tr.classList.add("open"); showPanel(row); }
  while (state.rows.size > state.most) {
    remove($("rows").lastElementChild.dataset.id);
    state.trimmed = true;
  }
}

function remove(id) {
  state.rows.delete(id);
  state.trs.get(id)?.remove();
  state.trs.delete(id);
}

function tableRow(row) {
  const date = new Date(row.time);
  const open = el("button", { type: "button", class: "row-open", "aria-label": `Details: ${clock.format(date)}, ${row.source.name} to ${row.destination.name}, ${row.action}` },
    el("time", { datetime: row.time, title: `${row.time}, window of ${span(row.window_length)}` }, clock.format(date)));
  const totals = row.totals;
  return el("tr", { "data-id": row.id, class: row.action === "allow" ? null : row.action },
    el("td", { class: "c-time" }, open, el("span", { class: "sub" }, dayOf(date) ?? `${span(row.window_length)} window`)),
    endCell(row.source),
    endCell(row.destination),
    portCell(row),
    el("td", { class: "c-action" }, pill(row.action)),
    numberCell(totals.forward_bytes, bytes, "c-bytes"),
    numberCell(totals.reverse_bytes, bytes, "c-bytes"),
    el("td", { class: "c-number c-packets" }, `${whole.format(totals.forward_packets)} / ${whole.format(totals.reverse_packets)}`),
    numberCell(totals.started, whole.format, "c-conns"),
    el("td", { class: "c-names" }, ...attribution(row)),
    el("td", { class: "c-arrival" }, arrival(row)));
}

function endCell(end) {
  const detail = el("span", { class: "detail", title: end.detail || null }, end.detail ?? "");
  if (end.service && end.kind !== "service") {
    if (end.detail) detail.append(" · ");
    detail.append(el("span", { class: "via" }, `svc ${end.service}`));
  }
  const isAddress = end.kind === "address" ? " address" : "";
  return el("td", { class: "c-end" }, el("span", { class: `name${isAddress}`, title: end.name }, end.name), detail);
}

function portCell(row) {
  const port = row.destination.port;
  return el("td", { class: "c-port" }, port === undefined ? "–" : String(port), el("span", { class: "sub" }, row.protocol));
}

function numberCell(count, format, kind) {
  return el("td", { class: `c-number ${kind}${count === 0 ? " zero" : ""}`, title: whole.format(count) }, format(count));
}

function pill(action) {
  const sign = { allow: "✓", deny: "✕", mixed: "±" }[action] ?? "?";
  return el("span", { class: `pill ${action}` }, el("span", { "aria-hidden": "true" }, `${sign} `), action);
}

function badge(which, end) {
  return el("span", { class: `badge ${end.attribution}`, title: `${which}: ${certainty(end)}` },
    el("span", { class: "hidden" }, `${which} `), end.attribution);
}

/** One badge when both ends are certain, which they mostly are; else one for each. */
function attribution({ source, destination }) {
  if (source.attribution === "exact" && destination.attribution === "exact") {
    const title = `Source: ${certainty(source)}. Destination: ${certainty(destination)}`;
    return [el("span", { class: "badge exact", title }, "exact")];
  }
  return [badge("Source", source), el("span", { class: "to", "aria-hidden": "true" }, "→"), badge("Destination", destination)];
}

function arrival(row) {
  if (row.arrival === "never") {
    return el("span", { class: "arrival-never", title: "The source sent, and the other end, which would have seen it, saw nothing" }, "never arrived");
  }
  if (row.arrival === "ok") return el("span", { class: "arrival-ok", title: "Both ends saw it" }, "arrived");
  const why = row.arrival_reason ? row.arrival_reason.replaceAll("_", " ") : "it cannot be told";
  return el("span", { class: "arrival-unknown", title: `Unknown: ${why}` }, "unknown");
}

$("rows").addEventListener("click", (event) => {
  const tr = event.target.closest("tr");
  // A click that ends a selection of text is no click.
  if (tr && (event.target.closest("button") || !String(getSelection()))) openPanel(tr.dataset.id);
});
$("rows").addEventListener("keydown", (event) => {
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  const tr = step && event.target.closest("tr")?.[step];
  if (!tr) return;
  event.preventDefault();
  tr.querySelector("button").focus();
  if (state.open) openPanel(tr.dataset.id);
});

/* ---- what is around the table ---- */

const troubles = new Map();
function trouble(kind, text) {
  if (text) troubles.set(kind, text);
  else troubles.delete(kind);
  const all = [...troubles.values()].join(" ");
  if ($("trouble").textContent !== all) $("trouble").textContent = all;
  $("trouble").hidden = !all;
}

function show() {
  const count = state.rows.size;
  const lost = state.lost ? ` · ${whole.format(state.lost)} not shown, because they came faster than this page reads` : "";
  const level = query().get("level") ?? state.status?.level;
  const detail = level === undefined ? "" : ` · detail level ${level}`;
  const age = state.status?.live.age_seconds ?? null;
  const newest = age === null ? "" : ` · newest window ended ${span(age * 1000)} ago`;
  $("count").textContent = state.loaded ? `${whole.format(count)} flow${count === 1 ? "" : "s"}, newest first${detail}${newest}${lost}` : "Loading";
  $("older").hidden = count === 0 || !(state.next || state.trimmed);
  showEmpty();
  showLabel();
  showCluster();
  showLive();
}

function showEmpty() {
  const empty = $("empty");
  const wanted = state.loaded && !state.refused && state.rows.size === 0;
  empty.hidden = !wanted;
  if (!wanted) { delete empty.dataset.kind; return; }
  const kind = query().size > 0 ? "filtered" : "nothing";
  const down = !state.connected || state.status?.live.connected === false;
  if (empty.dataset.kind === kind + down) return;
  empty.dataset.kind = kind + down;
  if (kind === "filtered") {
    const clear = el("button", { type: "button" }, "Clear filters");
    clear.addEventListener("click", () => form.reset());
    empty.replaceChildren(
      el("h2", null, "No flow matches these filters"),
      el("p", null, "New flows that match appear here by themselves."), clear);
    return;
  }
  empty.replaceChildren(
    el("h2", null, "No flows yet"),
    el("p", null, down
      ? "Weir does not receive live flows at the moment. They appear here as soon as it does."
      : "Weir is watching. A flow appears here one window after its first packet: seconds with weir up, a minute or two in a cluster."),
    el("ol", null,
      el("li", null, el("span", null, "Make some traffic on a machine that an agent watches, for example ", el("code", null, "curl https://example.com"), ".")),
      el("li", null, el("span", null, "Nothing to watch? ", el("code", null, "weir up --demo"), " shows a small simulated cluster.")),
      el("li", null, el("span", null, "Still nothing? ", "docs/troubleshoot.md goes along the data path."))));
}

function showCluster() {
  const names = new Set(state.status?.cluster?.names);
  for (const row of state.rows.values()) names.add(row.cluster);
  const text = [...names].sort().join(", ");
  $("cluster").hidden = !text;
  if ($("cluster").dataset.names === text) return;
  $("cluster").dataset.names = text;
  $("cluster").replaceChildren(names.size > 1 ? "Clusters " : "Cluster ", el("b", null, text));
}

function showLabel() {
  const origins = new Set((state.status?.label ?? "").split(" and ").filter(Boolean));
  for (const row of state.rows.values()) if (row.origin !== "ebpf") origins.add(row.origin);
  const texts = [];
  if (origins.has("demo")) texts.push([el("b", null, "Demo data."), " These flows come from a simulated cluster; no packet of them was ever sent. "]);
  if (origins.has("capture")) texts.push([el("b", null, "Capture file."), " These flows were read from a packet capture, not from live nodes. "]);
  if (state.status?.cluster.known === false) texts.push([el("b", null, "No Kubernetes names."), " There is no cluster to ask, so ends are named by container, process, host or address."]);
  $("label").hidden = texts.length === 0;
  const key = texts.map(([head]) => head.textContent).join();
  if ($("label").dataset.key !== key) {
    $("label").dataset.key = key;
    $("label").replaceChildren(...texts.flat());
  }
}

function showLive() {
  const live = state.status?.live;
  let [kind, text] = ["wait", "Connecting"];
  if (state.refused) {
    text = "Waiting for a filter that makes sense";
  } else if (state.paused) {
    const count = state.waiting.length;
    [kind, text] = ["paused", count ? `Paused · ${whole.format(count)} new` : "Paused"];
  } else if (state.status === false || (!state.connected && state.loaded)) {
    [kind, text] = ["down", "Reconnecting"];
  } else if (live && !live.connected) {
    [kind, text] = ["down", "No live flows"];
  } else if (state.connected) {
    const late = live?.lag_records > 1000 ? ` · ${whole.format(live.lag_records)} records behind` : "";
    [kind, text] = ["live", `Live${late}`];
  }
  $("live").dataset.state = kind;
  if ($("live-text").textContent !== text) $("live-text").textContent = text;
  $("live").title = live?.error ?? "";
}

async function pollStatus() {
  try {
    state.status = await ask("/api/status");
    trouble("live", state.status.live.error ? `Live flows do not arrive: ${state.status.live.error}.` : null);
    trouble("console", null);
  } catch (error) {
    state.status = false;
    trouble("console", "The console does not answer; it may have been stopped.");
  }
  show();
  setTimeout(pollStatus, STATUS_EVERY);
}

/* ---- the map ---- */

function showView() {
  for (const view of VIEWS) {
    $(view).hidden = view !== state.view;
    const link = $(`view-${view}`);
    link.href = address(query(), view);
    if (view === state.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  // A preview has its own question.
  $("filters").hidden = state.view === "preview";
  document.title = { flows: "Weir · Flows", map: "Weir · Map", preview: "Weir · Preview" }[state.view];
}

document.querySelector(".views").addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (state.view === link.dataset.view) return;
  closePanel();
  state.view = link.dataset.view;
  history.pushState(null, "", address());
  showView();
  survey();
});

const WORDS = {
  bytes,
  number: (count) => whole.format(count),
  time: (text) => `${dayOf(new Date(text)) ?? ""} ${clock.format(new Date(text))}`.trim(),
  edge: (edge) => showEdge(edge),
  node: (node, number) => showNode(node, number),
};

let surveying = 0;
/** Asks for the map while it is looked at, and again after a while. */
async function survey() {
  clearTimeout(surveying);
  const asked = state.asked;
  if (state.view !== "map" || state.refused) return;
  if (!document.hidden && !(state.paused && state.map)) {
    try {
      const map = await ask(`/api/map?${query()}`);
      if (asked !== state.asked || state.view !== "map") return;
      trouble("map", null);
      showMap(map);
    } catch (error) {
      if (asked !== state.asked) return;
      // What is wrong with the filters is said by the table's own question.
      if (error.status !== 400) trouble("map", `The map cannot be drawn: ${error.message}.`);
    }
  }
  surveying = setTimeout(survey, MAP_EVERY);
}

function showMap(map) {
  const same = state.map && JSON.stringify(state.map) === JSON.stringify(map) && $("map-drawing").firstChild;
  state.map = map;
  const none = map.records === 0;
  $("map-drawing").hidden = none;
  $("times").hidden = none;
  $("map-empty").hidden = !none;
  const more = [
    map.nodes_more && `${whole.format(map.nodes_more)} ends`,
    map.edges_more && `${whole.format(map.edges_more)} connections between ends`,
  ].filter(Boolean);
  $("map-count").textContent = [
    `${whole.format(map.records)} flow${map.records === 1 ? "" : "s"} of detail level ${map.level}`,
    map.more && "older ones are left out: choose a shorter time",
    more.length > 0 && `not drawn: ${more.join(" and ")} with the fewest bytes`,
  ].filter(Boolean).join(" · ");
  if (none) {
    $("map-empty").replaceChildren(
      el("h2", null, query().size > 0 ? "No flow matches these filters" : "No flows yet"),
      el("p", null, "The map is drawn from stored flows, a few seconds after the first of them."));
    return;
  }
  if (same) return;
  const focused = document.activeElement?.closest?.("[data-node],[data-edge]")?.getAttribute("aria-label");
  $("times-from").textContent = WORDS.time(map.from);
  $("times-to").textContent = WORDS.time(map.to);
  $("times-bars").replaceChildren(drawTimes(map, WORDS));
  $("map-drawing").replaceChildren(drawMap(map, WORDS));
  if (focused) [...document.querySelectorAll("[data-node],[data-edge]")].find((it) => it.getAttribute("aria-label") === focused)?.focus();
}

/** The expression by which the flows of an end are found. */
const expression = (side, node) => node.terms.map(({ field, value }) =>
  (value === null ? `not has(${side}.${field})` : `${side}.${field} == ${value}`)).join(" and ");

function flowsLink(wanted, text) {
  const asked = query();
  const before = asked.get("filter");
  asked.set("filter", before ? `(${before}) and ${wanted}` : wanted);
  return el("a", { href: address(asked, "flows") }, text);
}

const countsOf = (counts) => [
  ["Bytes →", amount(counts.forward_bytes, bytes)],
  ["← Bytes", amount(counts.reverse_bytes, bytes)],
  ["Packets", whole.format(counts.packets)],
  ["Connections", `${whole.format(counts.connections)} opened`],
  ["Flows", `${whole.format(counts.allow)} passed, ${whole.format(counts.deny)} dropped, ${whole.format(counts.mixed)} in part`],
];

function showDrawn(title, sub, fields, json) {
  state.trs.get(state.open)?.classList.remove("open");
  state.open = null;
  $("panel-title").textContent = title;
  $("panel-sub").replaceChildren(...sub);
  $("fields").replaceChildren(...fields);
  $("json-text").textContent = JSON.stringify(json, null, 2);
  revealPanel();
}

function showEdge(edge) {
  const [from, to] = [state.map.nodes[edge.source], state.map.nodes[edge.destination]];
  const ports = edge.ports.map((port) => el("span", null, pill(actionOf(port)),
    ` ${port.protocol}${port.port === undefined ? "" : ` ${port.port}`} · ${bytes(bytesOf(port))} · ${whole.format(port.connections)} connections`));
  if (edge.ports_more) ports.push(`and ${whole.format(edge.ports_more)} more`);
  showDrawn(`${from.name} → ${to.name}`, [pill(actionOf(edge)), ` ${bytes(bytesOf(edge))}`], [
    el("p", { class: "show-flows" }, flowsLink(`${expression("src", from)} and ${expression("dst", to)}`, "Show these flows")),
    ...definitions("Connections", countsOf(edge)),
    ...definitions("Ports", [["Of the destination", ports]]),
    ...definitions("Source", [["Name", from.name], ["Namespace", from.namespace], ["Cluster", from.cluster]]),
    ...definitions("Destination", [["Name", to.name], ["Namespace", to.namespace], ["Cluster", to.cluster]]),
  ], { source: from, destination: to, ...edge });
}

function showNode(node, number) {
  const { nodes, edges } = state.map;
  const listed = (side, other, arrow) => edges.filter((edge) => edge[side] === number).map((edge) => {
    const open = el("button", { type: "button", class: "row-open" }, `${arrow} ${nodes[edge[other]].name}`);
    open.addEventListener("click", () => showEdge(edge));
    return el("span", null, open, ` ${bytes(bytesOf(edge))} `, actionOf(edge) === "allow" ? null : pill(actionOf(edge)));
  });
  showDrawn(node.name, [[node.namespace, node.kind.replaceAll("_", " ")].filter(Boolean).join(" · ")], [
    el("p", { class: "show-flows" }, flowsLink(`(${["src", "dst"].filter((side) => !node.role || node.role.startsWith(side[0])).map((side) => expression(side, node)).join(" or ")})`, "Show its flows")),
    ...definitions("Opens connections to", [["", listed("source", "destination", "→")]]),
    ...definitions("Is connected to by", [["", listed("destination", "source", "←")]]),
  ], { ...node, edges: edges.filter((edge) => edge.source === number || edge.destination === number) });
}

/* ---- the panel ---- */

function revealPanel() {
  if (!$("panel").hidden) return;
  $("panel").hidden = false;
  $("stage").classList.add("with-panel");
  $("panel").focus();
}

function openPanel(id) {
  const row = state.rows.get(id);
  if (!row) return;
  state.trs.get(state.open)?.classList.remove("open");
  state.open = id;
  state.trs.get(id).classList.add("open");
  showPanel(row);
  revealPanel();
}

function closePanel() {
  if ($("panel").hidden) return;
  const tr = state.trs.get(state.open);
  tr?.classList.remove("open");
  state.open = null;
  $("panel").hidden = true;
  $("stage").classList.remove("with-panel");
  (tr?.querySelector("button") ?? $(state.view)).focus();
}

$("panel-close").addEventListener("click", closePanel);
addEventListener("keydown", (event) => { if (event.key === "Escape") closePanel(); });

function filterLink(field, value, text = value) {
  const asked = query();
  asked.set(field, value);
  return el("a", { href: address(asked), title: `Show only flows with ${field} ${value}` }, String(text));
}

/** Terms and values; a value is text, an element or a list, and is left out when there is none. */
function definitions(title, pairs) {
  const list = el("dl", null);
  for (const [term, value] of pairs) {
    if (value === undefined || value === null || value === "" || (Array.isArray(value) && value.length === 0)) continue;
    const shown = Array.isArray(value) ? el("ul", null, ...value.map((item) => el("li", null, item))) : value;
    list.append(el("dt", null, term), el("dd", null, shown instanceof Node ? shown : String(shown)));
  }
  return list.childElementCount ? [el("h3", null, title), list] : [];
}

const mono = (text) => (text ? el("span", { class: "mono" }, text) : null);
const amount = (count, format) => (format === bytes && count >= 1000 ? `${bytes(count)} (${whole.format(count)})` : format(count));
const time = (text) => text && el("time", { datetime: text, title: text }, `${day.format(new Date(text))}, ${clock.format(new Date(text))}`);
const yes = (flag, text) => (flag ? text : null);

function end(title, side) {
  const listed = (items, more) => (more ? [...(items ?? []), `and ${whole.format(more)} more`] : items);
  return definitions(title, [
    ["Name", side.name],
    ["Attribution", certainty(side)],
    ["Candidates", side.candidates],
    ["Namespace", side.namespace && filterLink("namespace", side.namespace)],
    ["Pod", side.pod && filterLink("pod", side.pod)],
    ["Pod UID", mono(side.pod_uid)],
    ["Pods", listed(side.pods, side.pods_more)],
    ["Workload", side.workload && filterLink("pod", side.workload, side.workload_kind ? `${side.workload_kind}/${side.workload}` : side.workload)],
    ["Service", side.service],
    ["Service account", side.service_account],
    ["Labels", side.labels?.map(mono)],
    ["Address", side.address && filterLink("address", side.address)],
    ["Addresses", listed(side.addresses?.map((address) => filterLink("address", address)), side.addresses_more)],
    ["Port", side.port !== undefined && side.port !== null ? filterLink("port", side.port) : null],
    ["Scope", side.scope?.replaceAll("_", " ")],
    ["Network set", side.network_set],
    ["Process", side.process],
    ["Host", side.host],
    ["Node", side.node && (side.zone ? `${side.node} (${side.zone})` : side.node)],
    ["Container", mono(side.container)],
  ]);
}

function report({ reporter, counters, ...rest }) {
  const micros = (value) => (value < 1000 ? `${value} µs` : `${(value / 1000).toFixed(1)} ms`);
  const trip = rest.round_trip;
  return definitions(reporter === "initiator" ? "Seen at the source" : "Seen at the destination", [
    ["Bytes", `${bytes(counters.forward_bytes)} → / ← ${bytes(counters.reverse_bytes)}`],
    ["Packets", `${whole.format(counters.forward_packets)} → / ← ${whole.format(counters.reverse_packets)}`],
    ["Connections", `${whole.format(counters.started)} opened, ${whole.format(counters.ended)} closed`],
    ["Retransmits", rest.retransmits && whole.format(rest.retransmits)],
    ["Round trip", trip && `${micros(trip.mean)} mean, ${micros(trip.min)} to ${micros(trip.max)}, ${whole.format(trip.count)} measured`],
    ["Last sent", time(rest.last_forward)],
    ["Drops", rest.drops?.map((drop) => `${drop.reason} (${drop.class}): ${whole.format(drop.forward_packets)} → / ← ${whole.format(drop.reverse_packets)} packets`)],
    ["Sampling", rest.sampling > 1 ? `1 in ${whole.format(rest.sampling)}` : null],
  ]);
}

const EXPLANATIONS = {
  as_judged: "the packets went as policies say",
  mismatch: "mismatch: at least three attempts went otherwise",
  unexplained: "something went otherwise, but too little of it, or too soon after a change, to say more",
  unknown: "it is not known whether the packets went as policies say",
};
const ACTIONS = { allow: "allows", deny: "denies", pass: "leaves it to the next tier", unknown: "may decide it" };

/** A step of a trace, `index|tier|policy|action|rule`, in words. */
function step(entry) {
  const [, tier, policy, action, rule] = entry.split("|");
  if (tier === "__PROFILE__") return `no policy decides (${policy.replace("__PROFILE__.kns.", "")}): allowed`;
  const which = rule >= 0 ? ` rule ${rule}` : "";
  return `${tier}: ${policy}${which} ${ACTIONS[action] ?? action}`;
}

/** What policies said: each answer with its trace. */
function policyOf(row) {
  const policy = row.policy;
  if (!policy) return [];
  const links = policy.verdict.map((verdict) => filterLink("policy", verdict));
  const answers = (policy.answers ?? []).flatMap((answer) => {
    const pending = answer.pending;
    return definitions(`Policies: ${answer.verdict}`, [
      ["Because", answer.trace.map(step)],
      ["Unknown", answer.reason || null],
      ["Selected by", answer.selecting?.length ? answer.selecting : null],
      ["Samples", whole.format(answer.samples)],
      ["Otherwise", answer.otherwise ? `${whole.format(answer.otherwise)} samples, ${whole.format(answer.against)} settled attempts` : null],
      ["With staged", pending ? [pending.verdict, ...pending.trace.map(step), pending.reason].filter(Boolean) : null],
    ]);
  });
  return [
    ...definitions("Policies", [
      ["Verdict", el("span", null, ...links.flatMap((link, place) => (place ? [", ", link] : [link])))],
      ["Packets", EXPLANATIONS[policy.explanation] ?? policy.explanation],
      ["Decided by", policy.rules ?? null],
      ["More answers", policy.answers_more ? whole.format(policy.answers_more) : null],
    ]),
    ...answers,
  ];
}

function showPanel(row) {
  const totals = row.totals;
  $("panel-title").textContent = `${row.source.name} → ${row.destination.name}`;
  const port = row.destination.port;
  $("panel-sub").replaceChildren(pill(row.action), ` ${row.protocol}${port === undefined ? "" : ` ${port}`} · ${bytes(totals.forward_bytes + totals.reverse_bytes)}`);
  $("fields").replaceChildren(
    ...definitions("Flow", [
      ["Window", el("span", null, time(row.time), `, ${span(row.window_length)}`)],
      ["First packet", time(row.first_seen)],
      ["Last packet", time(row.last_seen)],
      ["Action", filterLink("action", row.action)],
      ["Drop reasons", row.drop_reasons],
      ["Arrival", arrival(row)],
      ["Bytes →", amount(totals.forward_bytes, bytes)],
      ["← Bytes", amount(totals.reverse_bytes, bytes)],
      ["Packets →", whole.format(totals.forward_packets)],
      ["← Packets", whole.format(totals.reverse_packets)],
      ["Connections", `${whole.format(totals.started)} opened, ${whole.format(totals.ended)} closed`],
      ["TCP flags →", row.tcp_flags?.forward.join(" ")],
      ["← TCP flags", row.tcp_flags?.reverse.join(" ")],
    ]),
    ...policyOf(row),
    ...end("Source", row.source),
    ...end("Destination", row.destination),
    ...row.reports.flatMap(report),
    ...definitions("Record", [
      ["Id", mono(row.id)],
      ["Cluster", row.cluster_known ? row.cluster : `${row.cluster} (no Kubernetes names)`],
      ["Origin", row.origin],
      ["Detail level", row.level],
      ["Samples", whole.format(row.samples)],
      ["Written late", row.generation > row.time ? time(row.generation) : null],
      ["Correction", row.correction || null],
      ["Orientation", yes(row.orientation_guessed, "guessed by port: nobody saw the connection open")],
      ["Translation", yes(row.untranslated, "an address translation was unknown, so the two ends' reports may not have met")],
      ["Limits", yes(row.coarsened, "coarsened by a limit")],
    ]));
  $("json-text").textContent = JSON.stringify(row, null, 2);
}

const tabs = [$("tab-fields"), $("tab-json")];
function select(tab) {
  for (const other of tabs) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", String(chosen));
    other.tabIndex = chosen ? 0 : -1;
    $(other.getAttribute("aria-controls")).hidden = !chosen;
  }
}
for (const tab of tabs) {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = tabs.find((candidate) => candidate !== tab);
    select(other);
    other.focus();
  });
}
$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("json-text").textContent);
    $("copy").textContent = "Copied";
  } catch {
    $("copy").textContent = "Select and copy by hand";
  }
  setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
});

preparePreview({
  // The flows of one end to the other at a port, in a time.
  flows: (wanted, since, until) => `?${new URLSearchParams({ filter: wanted, since, until, level: "1" })}`,
  clusters: () => state.status?.cluster?.names ?? [],
});
filtersFromUrl();
start();
pollStatus();
