// What scrolls sideways on a narrow screen must be reachable without a mouse.
function reach() {
  for (const box of document.querySelectorAll("pre, .table-wrapper, .formula")) {
    if (box.scrollWidth > box.clientWidth) {
      box.tabIndex = 0;
      if (box.tagName !== "PRE") {
        box.setAttribute("role", "region");
        box.setAttribute("aria-label", box.matches(".formula") ? "formula" : "table");
      }
    } else {
      box.removeAttribute("tabindex");
    }
  }
}
addEventListener("load", reach);
addEventListener("resize", reach);
