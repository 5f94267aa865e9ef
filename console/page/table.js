// The table of flows, newest first.

import { openPanel, showPanel } from "/details.js";
import { arrival, certainty, pill } from "/marks.js";
import { state } from "/state.js";
import { $, bytes, clock, dayOf, el, span, whole } from "/words.js";

const before = (left, right) => left.time > right.time || (left.time === right.time && left.id > right.id);

export function put(row, fresh) {
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

export function remove(id) {
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
