// A curve over time: drawn on a canvas, told in a sentence, and to be had as a table.

import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { day, hour } from "../format.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function Curve({ title, labels, series, format, interval }) {
  const [table, setTable] = useState(false);
  const label = interval === "hour" ? hour : day;
  return html`<section class="card">
    <div class="title">
      <h2>${title}</h2>
      <button type="button" aria-pressed=${String(table)} onClick=${() => setTable(!table)}>${table ? "Curve" : "Table"}</button>
    </div>
    ${table
      ? html`<${Rows} labels=${labels.map(label)} series=${series} format=${format} />`
      : html`<${Canvas} title=${title} labels=${labels} series=${series} format=${format} label=${label} />`}
  </section>`;
}

function Rows({ labels, series, format }) {
  return html`<div class="scroll">
    <table>
      <thead><tr><th scope="col">Time</th>${series.map((each) => html`<th scope="col" key=${each.name}>${each.name}</th>`)}</tr></thead>
      <tbody>
        ${labels.map(
          (label, place) => html`<tr key=${place}>
            <th scope="row">${label}</th>
            ${series.map((each) => html`<td key=${each.name}>${format(each.values[place])}</td>`)}
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

function Canvas({ title, labels, series, format, label }) {
  const place = useRef(null);
  const told = `${title}: ${series.map((each) => `${each.name} from ${format(least(each))} to ${format(most(each))}`).join(", ")}`;
  useEffect(() => {
    let plot = draw(place.current, labels, series, format, label);
    const redraw = () => {
      plot.destroy();
      plot = draw(place.current, labels, series, format, label);
    };
    const resized = new ResizeObserver(() => plot.setSize(size(place.current)));
    resized.observe(place.current);
    dark.addEventListener("change", redraw);
    return () => {
      resized.disconnect();
      dark.removeEventListener("change", redraw);
      plot.destroy();
    };
  }, [JSON.stringify([labels, series])]);
  return html`<div class="canvas" ref=${place} role="img" aria-label=${told}></div>`;
}

const known = (each) => each.values.filter((value) => value !== null);
const least = (each) => (known(each).length ? Math.min(...known(each)) : null);
const most = (each) => (known(each).length ? Math.max(...known(each)) : null);
const size = (element) => ({ width: Math.max(element.clientWidth, 120), height: element.clientHeight || 176 });

function draw(element, labels, series, format, label) {
  const axis = { stroke: colour("--quiet"), font: `12px ${colour("--text")}`, ticks: { show: false } };
  const grid = { stroke: colour("--line"), width: 1 };
  const options = {
    ...size(element),
    padding: [8, 18, 0, 0],
    cursor: { y: false, points: { size: 6 } },
    legend: { show: false },
    scales: { x: { time: false }, y: { range: (_, __, high) => [0, high > 0 ? high * 1.08 : 1] } },
    axes: [
      {
        ...axis,
        grid: { show: false },
        space: 56,
        size: 30,
        values: (_, places) => places.map((each) => (Number.isInteger(each) && labels[each] ? label(labels[each]) : "")),
      },
      { ...axis, grid, size: 62, values: (_, values) => values.map((each) => format(each)) },
    ],
    series: [
      {},
      ...series.map((each) => ({
        label: each.name,
        stroke: colour(each.colour),
        fill: each.filled ? `${colour(each.colour)}22` : undefined,
        width: 2,
        // A value without neighbours is no line.
        points: { show: known(each).length < 9, size: 5 },
      })),
    ],
  };
  return new window.uPlot(options, [labels.map((_, each) => each), ...series.map((each) => each.values)], element);
}
