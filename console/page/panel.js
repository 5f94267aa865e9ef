// The panel beside a view: its frame, and the lists in it.

import { address, query } from "/filters.js";
import { state } from "/state.js";
import { $, bytes, clock, day, el, whole } from "/words.js";

export function showDrawn(title, sub, fields, json) {
  state.trs.get(state.open)?.classList.remove("open");
  state.open = null;
  $("panel-title").textContent = title;
  $("panel-sub").replaceChildren(...sub);
  $("fields").replaceChildren(...fields);
  $("json-text").textContent = JSON.stringify(json, null, 2);
  revealPanel();
}

export function revealPanel() {
  if (!$("panel").hidden) return;
  $("panel").hidden = false;
  $("stage").classList.add("with-panel");
  $("panel").focus();
}

export function closePanel() {
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

export function filterLink(field, value, text = value) {
  const asked = query();
  asked.set(field, value);
  return el("a", { href: address(asked), title: `Show only flows with ${field} ${value}` }, String(text));
}

/** Terms and values; a value is text, an element or a list, and is left out when there is none. */
export function definitions(title, pairs) {
  const list = el("dl", null);
  for (const [term, value] of pairs) {
    if (value === undefined || value === null || value === "" || (Array.isArray(value) && value.length === 0)) continue;
    const shown = Array.isArray(value) ? el("ul", null, ...value.map((item) => el("li", null, item))) : value;
    list.append(el("dt", null, term), el("dd", null, shown instanceof Node ? shown : String(shown)));
  }
  return list.childElementCount ? [el("h3", null, title), list] : [];
}

export const mono = (text) => (text ? el("span", { class: "mono" }, text) : null);
export const amount = (count, format) => (format === bytes && count >= 1000 ? `${bytes(count)} (${whole.format(count)})` : format(count));
export const time = (text) => text && el("time", { datetime: text, title: text }, `${day.format(new Date(text))}, ${clock.format(new Date(text))}`);

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
