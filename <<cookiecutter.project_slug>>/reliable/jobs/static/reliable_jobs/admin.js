"use strict";

// Without this file everything works too: boxes are ticked one by one, and a change of many jobs
// continues when its button is pressed.

for (const all of document.querySelectorAll("[data-rj-all]")) {
  const form = all.closest("form");
  const boxes = [...form.querySelectorAll("input[name=id]")];
  const said = form.querySelector(".rj-ticked");
  const buttons = [...form.querySelectorAll(".rj-bar button")];
  const show = () => {
    const ticked = boxes.filter((box) => box.checked).length;
    all.checked = ticked === boxes.length;
    all.indeterminate = ticked > 0 && ticked < boxes.length;
    said.textContent = ticked ? `${ticked} ticked:` : "Ticked:";
    for (const button of buttons) button.disabled = ticked === 0;
  };
  all.hidden = false;
  all.addEventListener("change", () => {
    for (const box of boxes) box.checked = all.checked;
    show();
  });
  form.addEventListener("change", show);
  // A page that comes back from the browser's history keeps its ticks.
  window.addEventListener("pageshow", show);
  show();
}

for (const form of document.querySelectorAll("form[data-rj-continue]")) {
  // Time to read the number, and to stop it.
  setTimeout(() => form.requestSubmit(), 250);
}
