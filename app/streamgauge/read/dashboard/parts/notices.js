// What is shown instead of figures: no key yet, or nothing recorded yet.

import { html, useState } from "../vendor/preact.js";

export function AskForKey({ why, onKey }) {
  const [wrong, setWrong] = useState(false);
  const submit = (event) => {
    event.preventDefault();
    setWrong(!onKey(new FormData(event.target).get("key")));
  };
  return html`<section class="card notice" data-notice="key">
    <h2>A key opens this page</h2>
    ${why && html`<p class="bad" role="alert">${why}</p>`}
    <p>Each tenant has keys of its own. <code>streamgauge up</code> prints an address that carries one; or make one:</p>
    <pre>streamgauge keys create --tenant NAME --read</pre>
    <form onSubmit=${submit}>
      <label class="sr" for="key">Access key</label>
      <input id="key" name="key" type="password" autocomplete="off" placeholder="sg_…" required />
      <button type="submit">Open</button>
    </form>
    ${wrong && html`<p class="bad" role="alert">That is not a key: it begins with sg_ and has 59 characters.</p>`}
  </section>`;
}

export function Empty() {
  return html`<section class="card notice" data-notice="empty">
    <h2>Nothing was recorded yet</h2>
    <p>Add it to your FastAPI application:</p>
    <pre>${'from streamgauge import Streamgauge\n\nStreamgauge().instrument(app)'}</pre>
    <p>or bring in a log you have:</p>
    <pre>./run import access-log access.log.gz --tenant NAME</pre>
    <p>Should figures be here already, this says what is in their way:</p>
    <pre>./run doctor</pre>
    <p class="quiet">This page looks again by itself.</p>
  </section>`;
}
