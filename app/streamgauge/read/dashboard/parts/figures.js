// The headline: five figures, each with its change against the period before.

import { html } from "../vendor/preact.js";
import { bytes, change, count, fraction, milliseconds } from "../format.js";

const FIGURES = [
  ["requests", "Requests", count, 0],
  ["error_rate", "Error rate", fraction, -1],
  ["p95_duration", "Latency, p95", milliseconds, -1],
  ["visitors", "Visitors", count, 1],
  ["bytes", "Sent", bytes, 0],
];

export function Figures({ totals, before, dailyVisitors }) {
  return html`<dl class="figures">
    ${FIGURES.map(
      ([name, label, format, better]) => html`<div class="card" key=${name} data-metric=${name}>
        <dt>${label}${name === "visitors" && dailyVisitors ? " (sum of days)" : ""}</dt>
        <dd>
          <span class="value">${format(totals[name])}</span>
          <${Change} share=${before && change(totals[name], before[name])} better=${better} />
        </dd>
      </div>`,
    )}
  </dl>`;
}

function Change({ share, better }) {
  if (share === null || share === undefined) return html`<span class="change"></span>`;
  const kind = better === 0 || Math.abs(share) < 0.005 ? "" : share * better > 0 ? "good" : "bad";
  const sign = share > 0 ? "+" : "−";
  return html`<span class="change"><span class=${kind}>${sign}${Math.abs(share * 100).toFixed(0)} %</span> to the period before</span>`;
}
