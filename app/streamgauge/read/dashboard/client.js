// Asks the API. Remembers the last answer of every question with its tag, so that an unchanged one is not sent again.

export class Refused extends Error {}
export class Away extends Error {}

const PATIENCE = 15_000; // milliseconds

export class Client {
  constructor(key) {
    this.key = key;
    this.kept = new Map();
  }

  async get(path, parameters = {}) {
    const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null);
    const url = `api/v1/${path}?${new URLSearchParams(given)}`;
    const kept = this.kept.get(url);
    const headers = { Authorization: `Bearer ${this.key}` };
    if (kept) headers["If-None-Match"] = kept.tag;
    let response;
    try {
      response = await fetch(url, { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    } catch {
      throw new Away("The server cannot be reached.");
    }
    if (response.status === 304 && kept) return kept.body;
    if (response.status === 401 || response.status === 403) throw new Refused((await problem(response)).detail);
    if (!response.ok) throw new Away((await problem(response)).detail);
    const body = await response.json();
    const tag = response.headers.get("ETag");
    if (tag) {
      if (this.kept.size > 60) this.kept.clear();
      this.kept.set(url, { tag, body });
    }
    return body;
  }
}

async function problem(response) {
  try {
    return await response.json();
  } catch {
    return { detail: `The server answered ${response.status}.` };
  }
}
