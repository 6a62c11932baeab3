// The newest events, as they come.

import { html } from "../vendor/preact.js";
import { moment } from "../format.js";

export function Activity({ realtime }) {
  return html`<section class="card" data-table="activity">
    <div class="title"><h2>Just now</h2></div>
    <ol class="activity">
      ${realtime.activities.map(
        (each, place) => html`<li key=${place}>
          <time class="quiet" datetime=${each.occurred_at}>${moment(each.occurred_at, realtime.time_zone)}</time>
          <span class="what">${each.name} <span class="quiet">${each.properties["http.route"] ?? ""}</span></span>
          <span class="quiet">${each.actor ?? ""}</span>
        </li>`,
      )}
    </ol>
  </section>`;
}
