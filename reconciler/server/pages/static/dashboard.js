// Keeps a page up to date: loads it again when the watch tells of a change, and puts its parts in place.
"use strict";
(() => {
  const STALE = 45000, PAUSE = 1500;
  let heard = Date.now(), loading = false, again = false, lost = false, events = null;

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
    if (!document.hidden && Date.now() - heard > STALE) {
      lost = true;
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

  const describeRefusal = (status) => status === 401 || status === 403
    ? "Your login has ended, or you may no longer look at this. What you see is outdated: load the page again."
    : status === 404 ? "This is no longer there. What you see is outdated: load the page again."
    : "The watch cannot show this page now. What you see may be outdated.";

  const load = async () => {
    if (loading) { again = true; return; }
    loading = true;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "error" });
      heard = Date.now();
      if (answer.ok) replaceParts(new DOMParser().parseFromString(await answer.text(), "text/html"));
      say(answer.ok ? "" : describeRefusal(answer.status));
    } catch { /* the line about the connection tells it */ }
    await new Promise((done) => setTimeout(done, PAUSE));
    loading = false;
    if (again) { again = false; load(); }
  };

  const follow = () => {
    if (events || document.hidden) return;
    events = new EventSource(`/events?after=${document.body.dataset.change}`);
    events.addEventListener("open", () => {
      heard = Date.now();
      if (lost) { lost = false; load(); }
    });
    events.addEventListener("change", load);
    events.addEventListener("error", (event) => {
      if (event.target.readyState !== EventSource.CLOSED || event.target !== events) return;
      events = null;
      load();
      setTimeout(follow, 30000);
    });
  };

  // A browser has few connections to one server: pages that nobody sees hold none.
  const pause = () => {
    if (document.hidden) {
      if (events) events.close();
      events = null;
      return;
    }
    heard = Date.now();
    load();
    follow();
  };

  if (document.querySelector("[data-part]")) {
    follow();
    document.addEventListener("visibilitychange", pause);
  }
  setInterval(renewTimes, 15000);
})();
