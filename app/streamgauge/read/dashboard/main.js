// Starts the page: finds the key, asks every few seconds while somebody looks, draws what came.

import { html, render, useEffect, useRef, useState } from "./vendor/preact.js";
import { Client, Refused } from "./client.js";
import { count, moment } from "./format.js";
import { forgetKey, keepKey, takeKey } from "./key.js";
import { Overview } from "./overview.js";
import { AskForKey, Empty } from "./parts/notices.js";
import { go, place } from "./place.js";
import { load, RANGES } from "./questions.js";

const EVERY = 3_000; // milliseconds between the end of one round and the next
const LONGEST = 60_000;

function Page() {
  const [client, setClient] = useState(() => client_of(takeKey()));
  const [at, setAt] = useState(place);
  const [found, setFound] = useState(null);
  const [trouble, setTrouble] = useState(null);
  const generation = useRef(0);

  useEffect(() => {
    const back = () => setAt(place());
    addEventListener("popstate", back);
    return () => removeEventListener("popstate", back);
  }, []);

  useEffect(() => {
    if (client === null) return undefined;
    const mine = (generation.current += 1);
    let timer = null;
    let failures = 0;
    // One round after the other, never two at once; none while the page is hidden.
    const round = async () => {
      timer = null;
      if (document.hidden) return;
      try {
        const answer = await load(client, at.range, at.route);
        if (mine !== generation.current) return;
        failures = 0;
        setFound(answer);
        setTrouble(null);
      } catch (error) {
        if (mine !== generation.current) return;
        failures += 1;
        setTrouble(error.message);
        if (error instanceof Refused) {
          forgetKey();
          setClient(null);
          return;
        }
      }
      timer = setTimeout(round, Math.min(EVERY * 2 ** failures, LONGEST));
    };
    const seen = () => {
      if (!document.hidden && timer === null) round();
    };
    document.addEventListener("visibilitychange", seen);
    round();
    return () => {
      generation.current += 1;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [client, at.range, at.route]);

  if (client === null) {
    const open = (key) => {
      if (!keepKey(key)) return false;
      setTrouble(null);
      setClient(client_of(takeKey()));
      return true;
    };
    return html`<${AskForKey} why=${trouble} onKey=${open} />`;
  }
  return html`<${Header} at=${at} found=${found} trouble=${trouble} onGo=${(to) => setAt(go(to))} />
    ${at.route !== null && html`<button type="button" class="chip" onClick=${() => setAt(go({ route: null }))}>Route ${at.route} <span aria-hidden="true">×</span><span class="sr">: show all</span></button>`}
    ${found === null ? html`<p class="quiet">${trouble ?? "Loading…"}</p>` : found.empty ? html`<${Empty} />` : html`<${Overview} found=${found} range=${at.range} onRoute=${(route) => setAt(go({ route }))} />`}
    ${found !== null && html`<${Footer} found=${found} />`}`;
}

function Header({ at, found, trouble, onGo }) {
  return html`<header>
    <h1>Streamgauge</h1>
    <p class=${trouble ? "live away" : "live"} role="status">
      ${trouble ? trouble : found && html`<span><strong data-live>${count(found.realtime.actors)}</strong> active in the last 5 minutes</span>`}
    </p>
    <nav aria-label="Range">
      ${Object.entries(RANGES).map(
        ([range, { label }]) => html`<button key=${range} type="button" aria-pressed=${String(at.range === range)} onClick=${() => onGo({ range })}>${label}</button>`,
      )}
    </nav>
  </header>`;
}

function Footer({ found }) {
  const { as_of, time_zone, verification } = found.meta;
  return html`<footer>
    <span>As of ${moment(as_of, time_zone)}</span>
    <span>${time_zone}</span>
    <span>${count(found.realtime.events_today)} events today</span>
    <span>${verification.state === "verified" ? "Verified against the event log" : `Tables: ${verification.state}`}</span>
  </footer>`;
}

function client_of(key) {
  return key === null ? null : new Client(key);
}

render(html`<${Page} />`, document.getElementById("page"));
