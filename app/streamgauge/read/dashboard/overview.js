// The first page: figures, curves, tables, and what happens just now.

import { html } from "./vendor/preact.js";
import { count, milliseconds } from "./format.js";
import { RANGES } from "./questions.js";
import { Activity } from "./parts/activity.js";
import { Curve } from "./parts/curve.js";
import { Figures } from "./parts/figures.js";
import { Events, Routes } from "./parts/tables.js";

export function Overview({ found, range, onRoute }) {
  const { interval } = RANGES[range];
  const { curves } = found;
  const daily = "visitors" in found.meta.metric_warnings;
  const series = (metric, name, colour, filled = false) => ({ name, values: curves[metric], colour, filled });
  return html`<main>
    <${Figures} totals=${found.totals} before=${found.before} dailyVisitors=${daily} />
    <div class="curves">
      <${Curve} title="Requests and errors" labels=${curves.labels} interval=${interval} format=${count}
        series=${[series("requests", "Requests", "--accent", true), series("errors", "Errors", "--bad")]} />
      <${Curve} title="Latency, p50 and p95" labels=${curves.labels} interval=${interval} format=${milliseconds}
        series=${[series("p95_duration", "p95", "--second", true), series("p50_duration", "p50", "--accent")]} />
      <${Curve} title="Visitors" labels=${curves.labels} interval=${interval} format=${count}
        series=${[series("visitors", "Visitors", "--accent", true)]} />
    </div>
    <div class="halves">
      <div><${Routes} rows=${found.routes} onChoose=${onRoute} /></div>
      <div><${Activity} realtime=${found.realtime} /><${Events} rows=${found.events} /></div>
    </div>
  </main>`;
}
