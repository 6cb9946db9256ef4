"use strict";

// Without this file the page is as it was when it was loaded. Its parts are fetched again one by
// one, so that what somebody reads or has focused stays where it is.

for (const page of document.querySelectorAll("[data-ro-live]")) {
  const stale = document.querySelector("[data-ro-stale]");
  const told = document.querySelector("[data-ro-told]");
  const every = Number(page.dataset.roEvery) * 1000;

  const show = (text) => {
    // Nothing vanishes below a finger, or while somebody copies it.
    if (page.matches(":active") || !getSelection().isCollapsed) return;
    const fetched = new DOMParser().parseFromString(text, "text/html");
    const focused = document.activeElement?.id;
    for (const part of page.querySelectorAll("[data-ro-part]")) {
      const fresh = fetched.querySelector(`[data-ro-part="${part.dataset.roPart}"]`);
      if (fresh && fresh.innerHTML !== part.innerHTML) part.replaceChildren(...fresh.childNodes);
    }
    const top = page.querySelector("[data-ro-word]");
    const { className, dataset } = fetched.querySelector("[data-ro-word]");
    if (top.dataset.roWord !== dataset.roWord) {
      top.dataset.roWord = dataset.roWord;
      top.className = className;
      document.title = document.title.replace(/^[^·]*/, `${dataset.roWord} `);
      told.textContent = top.querySelector(".ro-sentence").innerText;
    }
    if (focused && document.activeElement?.id !== focused) {
      document.getElementById(focused)?.focus({ preventScroll: true });
    }
  };

  const look = async () => {
    try {
      if (document.hidden) return;
      const answer = await fetch(page.dataset.roLive, { redirect: "error", cache: "no-store" });
      stale.hidden = answer.ok;
      if (answer.ok) show(await answer.text());
    } catch {
      stale.hidden = false;
    } finally {
      setTimeout(look, every);
    }
  };

  setTimeout(look, every);
}
