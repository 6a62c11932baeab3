// Tables of names with figures: routes and events.

import { html } from "../vendor/preact.js";
import { bytes, count, fraction, milliseconds } from "../format.js";

const ROUTES = [
  ["requests", "Requests", count],
  ["error_rate", "Errors", fraction],
  ["p50_duration", "p50", milliseconds],
  ["p95_duration", "p95", milliseconds],
  ["bytes", "Sent", bytes],
];
const EVENTS = [
  ["events", "Events", count],
  ["actors", "Actors", count],
];

export const Routes = ({ rows, onChoose }) => html`<${Table} title="Routes" rows=${rows} columns=${ROUTES} onChoose=${onChoose} />`;
export const Events = ({ rows }) => html`<${Table} title="Events" rows=${rows} columns=${EVENTS} />`;

function Table({ title, rows, columns, onChoose }) {
  return html`<section class="card" data-table=${title.toLowerCase()}>
    <div class="title"><h2>${title}</h2></div>
    <div class="scroll">
      <table>
        <thead><tr><th scope="col">Name</th>${columns.map(([name, label]) => html`<th scope="col" key=${name}>${label}</th>`)}</tr></thead>
        <tbody>
          ${rows.map(
            (row) => html`<tr key=${row.name}>
              <th scope="row">
                ${onChoose ? html`<button type="button" title="Show this one alone" onClick=${() => onChoose(row.name)}>${row.name}</button>` : row.name}
              </th>
              ${columns.map(([name, , format]) => html`<td key=${name}>${format(row[name])}</td>`)}
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
    ${rows.length === 0 && html`<p class="quiet">Nothing in this range.</p>`}
  </section>`;
}
