// Keeps the worklist fresh while the page is looked at, and leaves the reader where they are. Without scripts the page
// is complete and stands still. htmx asks every few seconds; here it is told when not to, and what not to touch.
"use strict";
(() => {
  const rows = document.getElementById("rows");
  let shown = null;

  rows.addEventListener("htmx:beforeRequest", (event) => {
    // Nobody looks, or somebody marks text to copy it.
    const marked = getSelection();
    const isMarking = marked && !marked.isCollapsed && rows.contains(marked.anchorNode);
    if (document.hidden || isMarking) event.preventDefault();
  });

  rows.addEventListener("htmx:beforeSwap", (event) => {
    const text = event.detail.xhr.responseText;
    if (event.detail.xhr.status === 401) location.reload(); // the session is over: on to the log-in
    if (event.detail.xhr.status !== 200 || text === shown) {
      event.detail.shouldSwap = false;
      return;
    }
    shown = text;
    // How far the table was moved sideways, and which study had the focus.
    const table = rows.querySelector(".scroll");
    const left = table ? table.scrollLeft : 0;
    const focused = rows.contains(document.activeElement) ? document.activeElement.id : "";
    rows.addEventListener(
      "htmx:afterSwap",
      () => {
        const fresh = rows.querySelector(".scroll");
        if (fresh) fresh.scrollLeft = left;
        if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
      },
      { once: true },
    );
  });
})();
