// Keeps a page up to date: loads it again when the watch tells of a change, and puts its parts in place.
"use strict";
(() => {
  const STALE = 45000, PAUSE = 1500;
  let heard = Date.now(), loading = false, again = false;

  const say = (text) => {
    const line = document.getElementById("connection");
    if (line && line.textContent !== text) line.textContent = text;
  };

  const describe = (seconds) => {
    const size = Math.abs(seconds);
    const words = size < 120 ? `${Math.round(size)} s` : size < 7200 ? `${Math.round(size / 60)} min`
      : size < 172800 ? `${Math.round(size / 3600)} h` : `${Math.round(size / 86400)} days`;
    return seconds >= 0 ? `${words} ago` : `in ${words}`;
  };

  const renewTimes = () => {
    for (const one of document.querySelectorAll("time[title]")) {
      const words = describe((Date.now() - Date.parse(one.dateTime)) / 1000);
      one.textContent = "duration" in one.dataset ? words.replace(" ago", "") : words;
    }
    if (Date.now() - heard > STALE) {
      say(`No contact with the watch for ${describe((Date.now() - heard) / 1000).replace(" ago", "")}. What you see may be outdated.`);
    }
  };

  const replaceParts = (fresh) => {
    for (const part of document.querySelectorAll("[data-part]")) {
      const other = fresh.querySelector(`[data-part="${part.dataset.part}"]`);
      // What somebody uses at this moment stays: a list must not move under the hand.
      if (!other || part.contains(document.activeElement) || part.querySelector("details[open]")) continue;
      if (part.innerHTML !== other.innerHTML) part.innerHTML = other.innerHTML;
    }
  };

  const load = async () => {
    if (loading) { again = true; return; }
    loading = true;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "error" });
      if (answer.ok) {
        replaceParts(new DOMParser().parseFromString(await answer.text(), "text/html"));
        heard = Date.now();
        say("");
      }
    } catch { /* the line about the connection tells it */ }
    await new Promise((done) => setTimeout(done, PAUSE));
    loading = false;
    if (again) { again = false; load(); }
  };

  const follow = () => {
    const events = new EventSource("/events");
    events.addEventListener("open", () => { heard = Date.now(); say(""); });
    events.addEventListener("change", load);
    events.addEventListener("error", () => {
      if (events.readyState === EventSource.CLOSED) setTimeout(() => { load(); follow(); }, 30000);
    });
  };

  if (document.querySelector("[data-part]")) follow();
  setInterval(renewTimes, 15000);
})();
