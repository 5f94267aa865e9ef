// The marks of a flow that the table and the panel share: what became of it, whether it arrived, and how certain its names are.

import { el } from "/words.js";

const REASONS = {
  outside: "the address is not the cluster's",
  unknown_pod_address: "inside a pod network, but nobody held the address",
  before_history: "the flow is older than what is known of the cluster",
  not_yet_reported: "the pod was reported too late",
  no_cluster: "there is neither a cluster nor manifests",
};

/** Why the name of an end is or is not certain. */
export function certainty(end) {
  if (end.attribution === "exact") {
    if (end.always_valid) return "exact, by manifests that say nothing of time";
    return end.identified_by === "uid" ? "exact, by the pod's UID" : "exact, by the address at that time";
  }
  if (end.attribution === "ambiguous") return `ambiguous: one of ${end.candidates?.join(", ") || "several"}`;
  return `none: ${REASONS[end.reason] || end.reason || "nobody is known"}`;
}

export function pill(action) {
  const sign = { allow: "✓", deny: "✕", mixed: "±" }[action] ?? "?";
  return el("span", { class: `pill ${action}` }, el("span", { "aria-hidden": "true" }, `${sign} `), action);
}

export function arrival(row) {
  if (row.arrival === "never") {
    return el("span", { class: "arrival-never", title: "The source sent, and the other end, which would have seen it, saw nothing" }, "never arrived");
  }
  if (row.arrival === "ok") return el("span", { class: "arrival-ok", title: "Both ends saw it" }, "arrived");
  const why = row.arrival_reason ? row.arrival_reason.replaceAll("_", " ") : "it cannot be told";
  return el("span", { class: "arrival-unknown", title: `Unknown: ${why}` }, "unknown");
}
