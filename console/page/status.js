// What stands around the views: whether flows come, how many there are, and what is wrong.

import { form, query } from "/filters.js";
import { state } from "/state.js";
import { $, ask, el, span, whole } from "/words.js";

const STATUS_EVERY = 5000;  // ms

const troubles = new Map();
export function trouble(kind, text) {
  if (text) troubles.set(kind, text);
  else troubles.delete(kind);
  const all = [...troubles.values()].join(" ");
  if ($("trouble").textContent !== all) $("trouble").textContent = all;
  $("trouble").hidden = !all;
}

export function show() {
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

export function showLive() {
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

export async function pollStatus() {
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
