// The filters above every view of flows, and the page's own address, which holds them.

import { VIEWS, state } from "/state.js";
import { $, el } from "/words.js";

const FIELDS = ["filter", "namespace", "pod", "address", "port", "action", "policy", "since", "until", "level"];

export const form = $("filters");
let changed = null;  // what to do when others are set

/** Takes the filters from the page's address, and begins to listen. */
export function prepareFilters(begin) {
  changed = begin;
  filtersFromUrl();
}

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

export function query() {
  const asked = new URLSearchParams();
  for (const field of FIELDS) {
    const value = form.elements[field].value.trim();
    if (value) asked.set(field, value);
  }
  return asked;
}

/** The page's own address: the filters, and the view if it is not the table. */
export function address(asked = query(), view = state.view) {
  if (view !== "flows") asked.set("view", view);
  return asked.size ? `?${asked}` : location.pathname;
}

export function showFilters() {
  const asked = query();
  for (const field of FIELDS) form.elements[field].classList.toggle("set", asked.has(field));
  $("clear").hidden = asked.size === 0;
  $("until").hidden = !asked.has("until");
}

function filtersChanged() {
  const wanted = new URL(address(), location.href);
  if (wanted.search === location.search) return;
  history.replaceState(null, "", wanted);
  changed();
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
addEventListener("popstate", () => { filtersFromUrl(); changed(); });

export function filterProblem(problem) {
  for (const field of FIELDS) form.elements[field].removeAttribute("aria-invalid");
  $("filter-problem").hidden = !problem;
  if (!problem) return;
  $("filter-problem").textContent = problem.parameter ? `${problem.parameter}: ${problem.error}` : problem.error;
  form.elements[problem.parameter]?.setAttribute("aria-invalid", "true");
}
