// What the page asks, and what it makes of the answers.

export const RANGES = {
  "24h": { label: "24 hours", interval: "hour" },
  "7d": { label: "7 days", interval: "day" },
  "30d": { label: "30 days", interval: "day" },
};
const TOTALS = ["requests", "error_rate", "p95_duration", "visitors", "bytes"];
const CURVES = ["requests", "errors", "p50_duration", "p95_duration", "visitors"];
const ROUTES = ["requests", "error_rate", "p50_duration", "p95_duration", "bytes"];

export async function load(client, range, route) {
  const filters = route === null ? undefined : JSON.stringify([["is", "http.route", [route]]]);
  const about = { date_range: range, filters };
  const totals = await client.get("aggregate", { metrics: TOTALS.join(), ...about });
  const [before, curves, routes, events, realtime] = await Promise.all([
    previous(client, totals, filters),
    client.get("timeseries", { metrics: CURVES.join(), interval: RANGES[range].interval, ...about }),
    client.get("breakdown", { dimension: "http.route", metrics: ROUTES.join(), limit: 12, ...about }),
    client.get("breakdown", { dimension: "event.name", metrics: "events,actors", limit: 12, date_range: range }),
    client.get("realtime"),
  ]);
  return {
    totals: named(totals.results[0], totals),
    before: before && named(before.results[0], before),
    curves: columns(curves),
    routes: routes.results.map((row) => ({ name: row.dimensions[0], ...named(row, routes) })),
    events: events.results.map((row) => ({ name: row.dimensions[0], ...named(row, events) })),
    realtime,
    meta: totals.meta,
    empty: realtime.activities.length === 0 && events.results.length === 0,
  };
}

// The period before, as long as this one. Where the clock was changed by half an hour there is none.
async function previous(client, totals, filters) {
  const [start, end] = totals.query.date_range.map((text) => new Date(text).getTime());
  const [from, to] = [2 * start - end, start].map((time) => new Date(time).toISOString().replace(".000", ""));
  try {
    return await client.get("aggregate", { metrics: TOTALS.join(), from, to, filters });
  } catch {
    return null;
  }
}

// A metric may be answered by another one, such as daily visitors added up; the answer says so.
function named(row, answer) {
  const found = {};
  answer.query.metrics.forEach((metric, place) => {
    found[asked(metric, answer)] = row ? row.metrics[place] : null;
  });
  return found;
}

function asked(metric, answer) {
  const replaced = Object.keys(answer.meta.metric_warnings).find((name) => `sum_daily_${name}` === metric);
  return replaced ?? metric;
}

function columns(answer) {
  const found = { labels: answer.results.map((row) => row.dimensions[0]) };
  answer.query.metrics.forEach((metric, place) => {
    found[asked(metric, answer)] = answer.results.map((row) => row.metrics[place]);
  });
  return found;
}
