// Where the reader is: range and filter, kept in the address so that it can be shared. The key is not among them.

import { RANGES } from "./questions.js";

export function place() {
  const given = new URLSearchParams(location.search);
  const range = given.get("range");
  return { range: range in RANGES ? range : "24h", route: given.get("route") };
}

export function go(changed) {
  const next = { ...place(), ...changed };
  const shown = new URLSearchParams({ range: next.range });
  if (next.route !== null) shown.set("route", next.route);
  history.pushState(null, "", `${location.pathname}?${shown}`);
  return next;
}
