// The page: flows from the API and then live, and the views of them. Text from outside is only ever set as text.

import { address, filterProblem, prepareFilters, query, showFilters } from "/filters.js";
import { survey } from "/map-view.js";
import { closePanel } from "/panel.js";
import { preparePreview } from "/preview.js";
import { ROWS_MOST, VIEWS, state } from "/state.js";
import { pollStatus, show, showLive, trouble } from "/status.js";
import { put, remove } from "/table.js";
import { $, ask } from "/words.js";

const WAITING_MOST = 2000;  // flows kept while paused

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

/* ---- the views ---- */

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

preparePreview({
  // The flows of one end to the other at a port, in a time.
  flows: (wanted, since, until) => `?${new URLSearchParams({ filter: wanted, since, until, level: "1" })}`,
  clusters: () => state.status?.cluster?.names ?? [],
});
prepareFilters(start);
start();
pollStatus();
