// What all views share: elements, words for numbers and times, and asking. Text from outside is only ever set as text.

export const $ = (id) => document.getElementById(id);

export function el(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
export const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
export const whole = new Intl.NumberFormat();

export function bytes(count) {
  if (count < 1000) return `${count} B`;
  let value = count;
  for (const unit of ["kB", "MB", "GB", "TB", "PB"]) {
    value /= 1000;
    if (value < 999.5) return `${value.toFixed(value < 9.95 ? 1 : 0)} ${unit}`;
  }
  return `${value.toFixed(0)} EB`;
}

export function span(millis) {
  const seconds = Math.round(millis / 1000);
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

export function dayOf(date) {
  return date.toDateString() === new Date().toDateString() ? null : day.format(date);
}

/** Asks the console; an answer that is an error is thrown, with what was answered. */
export async function ask(path, question) {
  const headers = { accept: "application/json" };
  const post = question === undefined ? {} : { method: "POST", body: JSON.stringify(question) };
  if (post.body) headers["content-type"] = "application/json";
  const answer = await fetch(path, { headers, ...post });
  const body = await answer.json().catch(() => ({ error: `the console answered ${answer.status}` }));
  if (!answer.ok) throw Object.assign(new Error(body.error), { answered: body, status: answer.status });
  return body;
}
