// The map: who opens connections to whom, as a drawing in columns from left to right, and when, as bars above it.

const SVG = "http://www.w3.org/2000/svg";
const BOX = { width: 178, height: 40 };
const GAP = { across: 116, down: 14 };
const MARGIN = 26;
const SWEEPS = 6;

function svg(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
export const bytesOf = (counts) => counts.forward_bytes + counts.reverse_bytes;

/** What became of flows: a class and a word. */
export function actionOf({ allow, deny, mixed }) {
  if (mixed || (allow && deny)) return "mixed";
  return deny ? "deny" : "allow";
}

/** A hue for a namespace: the same on every page and every day. */
function hue(text) {
  let hash = 2166136261;
  for (const c of text) hash = Math.imul(hash ^ c.codePointAt(0), 16777619);
  return (hash >>> 0) % 360;
}

/* ---- where everything stands ---- */

/** Columns: whoever opens connections stands to the left of whom they go to, but where they go in a circle. */
function ranks(count, edges) {
  const out = Array.from({ length: count }, () => []);
  const into = new Array(count).fill(0);
  for (const { source, destination } of edges) {
    if (source === destination) continue;
    out[source].push(destination);
    into[destination] += 1;
  }
  const order = [...out.keys()].sort((a, b) => into[a] - into[b] || out[b].length - out[a].length || a - b);
  // A walk from those whom nobody calls; an edge to one that is being walked closes a circle and does not count.
  const seen = new Array(count).fill(0);
  const sorted = [];
  const forward = Array.from({ length: count }, () => []);
  for (const root of order) {
    const stack = seen[root] ? [] : [[root, 0]];
    if (stack.length) seen[root] = 1;
    while (stack.length) {
      const top = stack[stack.length - 1];
      const next = out[top[0]][top[1]++];
      if (next === undefined) {
        seen[top[0]] = 2;
        sorted.push(top[0]);
        stack.pop();
      } else if (seen[next] !== 1) {
        forward[top[0]].push(next);
        if (!seen[next]) { seen[next] = 1; stack.push([next, 0]); }
      }
    }
  }
  const rank = new Array(count).fill(0);
  for (const node of sorted.reverse()) for (const next of forward[node]) rank[next] = Math.max(rank[next], rank[node] + 1);
  return rank;
}

/** Places of all ends: columns by rank, and in a column near those to whom an end is connected. */
function layout(nodes, edges) {
  const rank = ranks(nodes.length, edges);
  const columns = [];
  for (const [number, column] of rank.entries()) (columns[column] ??= []).push(number);
  const label = (number) => `${nodes[number].namespace}\u0000${nodes[number].name}`;
  for (const column of columns) column.sort((a, b) => label(a).localeCompare(label(b)));
  const neighbours = nodes.map(() => []);
  for (const { source, destination } of edges) {
    neighbours[source].push(destination);
    neighbours[destination].push(source);
  }
  const place = new Array(nodes.length);
  const settle = () => columns.forEach((column) => column.forEach((number, row) => { place[number] = (row + 0.5) / column.length; }));
  settle();
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    for (const column of sweep % 2 ? [...columns].reverse() : columns) {
      const middle = (number) => {
        const others = neighbours[number];
        return others.length ? others.reduce((sum, other) => sum + place[other], 0) / others.length : place[number];
      };
      const weights = new Map(column.map((number) => [number, middle(number)]));
      column.sort((a, b) => weights.get(a) - weights.get(b) || label(a).localeCompare(label(b)));
      settle();
    }
  }
  const tallest = Math.max(1, ...columns.map((column) => column.length));
  const height = tallest * (BOX.height + GAP.down) - GAP.down;
  const spots = new Array(nodes.length);
  columns.forEach((column, x) => {
    const own = column.length * (BOX.height + GAP.down) - GAP.down;
    column.forEach((number, y) => {
      spots[number] = { x: MARGIN + x * (BOX.width + GAP.across), y: MARGIN + (height - own) / 2 + y * (BOX.height + GAP.down) };
    });
  });
  return { spots, width: 2 * MARGIN + columns.length * (BOX.width + GAP.across) - GAP.across, height: height + 2 * MARGIN };
}

function path(from, to, same) {
  const y1 = from.y + BOX.height / 2;
  const y2 = to.y + BOX.height / 2;
  if (same) {
    const x = from.x + BOX.width;
    return `M ${x} ${y1 - 8} C ${x + 34} ${y1 - 22}, ${x + 34} ${y1 + 22}, ${x + 4} ${y1 + 8}`;
  }
  if (to.x > from.x) {
    const [x1, x2] = [from.x + BOX.width, to.x - 5];
    const bend = Math.min(GAP.across, (x2 - x1) / 2);
    return `M ${x1} ${y1} C ${x1 + bend} ${y1}, ${x2 - bend} ${y2}, ${x2} ${y2}`;
  }
  // Back, or within a column: around the right side.
  const [x1, x2] = [from.x + BOX.width, to.x + BOX.width + 5];
  const out = Math.max(x1, x2) + GAP.across * 0.55;
  return `M ${x1} ${y1} C ${out} ${y1}, ${out} ${y2}, ${x2} ${y2}`;
}

/* ---- the drawing ---- */

const KINDS = { workload: "", pod: "pod", service: "service", process: "process", host: "host", network_set: "network set", namespace: "namespace", scope: "", ambiguous: "one of several" };

function below(node) {
  const kind = KINDS[node.kind] ?? node.kind;
  return [node.namespace, kind].filter(Boolean).join(" · ");
}

function activate(element, act) {
  element.addEventListener("click", act);
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    act();
  });
}

/** Draws a map. `tell` has the words and what happens on a click: bytes, number, node, edge. */
export function drawMap(map, tell) {
  const { spots, width, height } = layout(map.nodes, map.edges);
  const most = Math.max(1, ...map.edges.map((edge) => bytesOf(edge)));
  const thickness = (edge) => 1.2 + 5.5 * (Math.log1p(bytesOf(edge)) / Math.log1p(most)) ** 2;
  const markers = ["allow", "deny", "mixed"].map((action) =>
    svg("marker", { id: `arrow-${action}`, class: `arrow ${action}`, viewBox: "0 0 8 8", refX: 6, refY: 4, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto" },
      svg("path", { d: "M 0 0.5 L 7.5 4 L 0 7.5 z" })));
  const lines = map.edges.map((edge, number) => {
    const action = actionOf(edge);
    const [from, to] = [map.nodes[edge.source], map.nodes[edge.destination]];
    const words = `${from.name} to ${to.name}: ${action}, ${tell.bytes(bytesOf(edge))}, ${tell.number(edge.connections)} connections`;
    const line = path(spots[edge.source], spots[edge.destination], edge.source === edge.destination);
    const group = svg("g", { class: `edge ${action}`, "data-edge": number, role: "button", tabindex: 0, "aria-label": words },
      svg("title", null, words),
      svg("path", { class: "reach", d: line }),
      svg("path", { class: "line", d: line, "stroke-width": thickness(edge).toFixed(2), "marker-end": `url(#arrow-${action})` }));
    activate(group, () => tell.edge(edge));
    return group;
  });
  const boxes = map.nodes.map((node, number) => {
    const { x, y } = spots[number];
    const words = `${node.name}${below(node) ? `, ${below(node)}` : ""}`;
    const group = svg("g", { class: `node ${node.kind}`, "data-node": number, transform: `translate(${x} ${y})`, role: "button", tabindex: 0, "aria-label": words },
      svg("title", null, words),
      svg("rect", { class: "box", width: BOX.width, height: BOX.height, rx: 7 }),
      node.namespace ? svg("rect", { class: "space", x: 0, y: 8, width: 4, height: BOX.height - 16, rx: 2, fill: `hsl(${hue(node.namespace)} 52% 48%)` }) : null,
      svg("text", { class: "name", x: 13, y: below(node) ? 17 : 25 }, cut(node.name, 24)),
      below(node) ? svg("text", { class: "below", x: 13, y: 31 }, cut(below(node), 29)) : null);
    activate(group, () => tell.node(node, number));
    return group;
  });
  const drawing = svg("svg", { class: "map", viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": "Map of who opens connections to whom" },
    svg("defs", null, ...markers), svg("g", null, ...lines), svg("g", null, ...boxes));
  const light = (wanted) => {
    drawing.classList.toggle("choosing", wanted !== null);
    map.edges.forEach((edge, number) => lines[number].classList.toggle("lit", wanted !== null && wanted(edge, number)));
    boxes.forEach((box, number) => box.classList.toggle("lit",
      wanted !== null && map.edges.some((edge, place) => wanted(edge, place) && (edge.source === number || edge.destination === number))));
  };
  const point = (event) => {
    const target = event.target.closest?.("[data-node],[data-edge]");
    if (!target) return light(null);
    if (target.dataset.edge !== undefined) return light((_, number) => number === Number(target.dataset.edge));
    const number = Number(target.dataset.node);
    return light((edge) => edge.source === number || edge.destination === number);
  };
  drawing.addEventListener("pointerover", point);
  drawing.addEventListener("focusin", point);
  drawing.addEventListener("pointerleave", () => light(null));
  drawing.addEventListener("focusout", () => light(null));
  return drawing;
}

/** Draws when the flows were: a bar for each slot, of the records that passed and, on top, those that were dropped. */
export function drawTimes(map, tell) {
  const [width, height, foot] = [960, 74, 16];
  const all = (slot) => slot.allow + slot.deny + slot.mixed;
  const most = Math.max(1, ...map.slots.map(all));
  const step = width / Math.max(1, map.slots.length);
  const bars = map.slots.map((slot, number) => {
    let top = height - foot;
    const parts = ["allow", "mixed", "deny"].filter((action) => slot[action] > 0).map((action) => {
      const tall = Math.max(1.5, (slot[action] / most) * (height - foot - 6));
      top -= tall;
      return svg("rect", { class: action, x: (number * step + step * 0.12).toFixed(1), y: top.toFixed(1), width: Math.min(step * 0.76, 40).toFixed(1), height: tall.toFixed(1), rx: 1 });
    });
    const words = `${tell.time(slot.time)}: ${tell.number(all(slot))} flows, ${tell.bytes(bytesOf(slot))}, ${tell.number(slot.deny + slot.mixed)} of them dropped by policy`;
    return svg("g", { class: "slot" }, svg("title", null, words),
      svg("rect", { class: "reach", x: (number * step).toFixed(1), y: 0, width: step.toFixed(1), height: height - foot }), ...parts);
  });
  const first = map.slots[0];
  const words = first ? `Flows over time, from ${tell.time(map.from)} to ${tell.time(map.to)}` : "Flows over time";
  return svg("svg", { class: "times", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": words },
    svg("line", { x1: 0, x2: width, y1: height - foot, y2: height - foot }), ...bars);
}
