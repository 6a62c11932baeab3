// The access key: it comes behind the `#` of the address, which browsers never send, and leaves it at once.

const NAME = "streamgauge.key";
const FORM = /^sg_[0-9a-z]{12}_[A-Za-z0-9_-]{43}$/;

export function takeKey() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given !== null) {
    // sessionStorage ends with the tab: nobody who sits down here later finds it.
    sessionStorage.setItem(NAME, given);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem(NAME);
}

export function keepKey(text) {
  const key = text.trim();
  if (!FORM.test(key)) return false;
  sessionStorage.setItem(NAME, key);
  return true;
}

export function forgetKey() {
  sessionStorage.removeItem(NAME);
}
