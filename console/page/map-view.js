// The view of the map: what is asked for, and what is shown of an end or a connection that was picked.

import { address, query } from "/filters.js";
import { actionOf, bytesOf, drawMap, drawTimes } from "/map.js";
import { pill } from "/marks.js";
import { amount, definitions, showDrawn } from "/panel.js";
import { state } from "/state.js";
import { trouble } from "/status.js";
import { $, ask, bytes, clock, dayOf, el, whole } from "/words.js";

const MAP_EVERY = 10000;  // ms

const WORDS = {
  bytes,
  number: (count) => whole.format(count),
  time: (text) => `${dayOf(new Date(text)) ?? ""} ${clock.format(new Date(text))}`.trim(),
  edge: (edge) => showEdge(edge),
  node: (node, number) => showNode(node, number),
};

let surveying = 0;
/** Asks for the map while it is looked at, and again after a while. */
export async function survey() {
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
