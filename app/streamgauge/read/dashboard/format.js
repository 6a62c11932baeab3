// Numbers and times as people read them. Every function takes null, and answers with a dash.

const DASH = "–";
const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (value) => (value === null ? DASH : Math.abs(value) < 100_000 ? whole.format(value) : short.format(value));

export const fraction = (value) =>
  value === null ? DASH : `${(value * 100).toFixed(value !== 0 && value < 0.1 ? 2 : 1)} %`;

export function milliseconds(value) {
  if (value === null) return DASH;
  if (value >= 10_000) return `${(value / 1000).toFixed(1)} s`;
  return `${value < 10 ? value.toFixed(1) : whole.format(Math.round(value))} ms`;
}

export function bytes(value) {
  if (value === null) return DASH;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let place = 0;
  while (value >= 1000 && place < units.length - 1) {
    value /= 1000;
    place += 1;
  }
  return `${place && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[place]}`;
}

// The API tells times in the tenant's zone: what is written there is shown, whatever zone the reader is in.
export const hour = (iso) => iso.slice(11, 16);
export const day = (iso) => `${iso.slice(8, 10)}.${iso.slice(5, 7)}.`;
export const moment = (iso, zone) =>
  iso === null ? DASH : new Intl.DateTimeFormat("en-GB", { timeZone: zone, timeStyle: "medium" }).format(new Date(iso));

export function change(now, before) {
  if (now === null || before === null || before === 0) return null;
  return (now - before) / before;
}
