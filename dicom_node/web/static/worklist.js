// Keeps the worklist fresh while the page is looked at. Without scripts the page is complete and stands still.
"use strict";
(() => {
  const PERIOD_MS = 5000;
  const rows = document.getElementById("rows");
  let shown = rows.innerHTML;

  async function refresh() {
    // Replacing the table would take the place of somebody who walks through it with the keyboard.
    if (document.hidden || rows.contains(document.activeElement)) return;
    try {
      const answer = await fetch(rows.dataset.refresh);
      if (answer.status === 401) location.reload(); // the session is over: on to the log-in
      if (!answer.ok) return;
      const text = await answer.text();
      if (text !== shown) {
        shown = text;
        rows.innerHTML = text;
      }
    } catch {
      // The node is away for a moment; the next turn tries again.
    }
  }
  setInterval(refresh, PERIOD_MS);
})();
