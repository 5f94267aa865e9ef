// All that is known of one flow, in the panel.

import { arrival, certainty, pill } from "/marks.js";
import { amount, definitions, filterLink, mono, revealPanel, time } from "/panel.js";
import { state } from "/state.js";
import { $, bytes, el, span, whole } from "/words.js";

export function openPanel(id) {
  const row = state.rows.get(id);
  if (!row) return;
  state.trs.get(state.open)?.classList.remove("open");
  state.open = id;
  state.trs.get(id).classList.add("open");
  showPanel(row);
  revealPanel();
}

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

export function showPanel(row) {
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
