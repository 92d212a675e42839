// Keeps a study page fresh until the study has come to rest: where it stands, what may be done, and why. What a reader is
// at stays: the slices, a verdict half given, what has the focus or is marked, attempts that were opened. Without scripts
// the page is complete and stands still.
"use strict";
(() => {
  const EVERY_MS = 3000;
  const PARTS = ["standing", "finding", "record"];
  const address = document.getElementById("standing").dataset.address;

  function isInUse(part) {
    const marked = getSelection();
    const isMarking = marked && !marked.isCollapsed && part.contains(marked.anchorNode);
    return isMarking || part.contains(document.activeElement) || part.querySelector("details[open]") !== null;
  }

  function renew(id, fresh) {
    const shown = document.getElementById(id);
    const now = fresh.getElementById(id);
    if (shown.innerHTML === now.innerHTML) return true;
    if (isInUse(shown)) return false;
    shown.replaceChildren(...now.childNodes);
    return true;
  }

  const hasImages = (page) => page.getElementById("images") !== null;

  async function look() {
    let answer;
    try {
      answer = await fetch(address, { headers: { Accept: "text/html" } });
    } catch {
      return false; // the node is away; it may be there at the next look
    }
    if (answer.status === 401 || answer.redirected) location.reload(); // the session is over: on to the log-in
    if (!answer.ok) return false;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (hasImages(fresh) !== hasImages(document)) {
      location.replace(address.split("?")[0]);
      return true;
    }
    const isAllShown = PARTS.map((id) => renew(id, fresh)).every(Boolean);
    return isAllShown && !fresh.getElementById("standing").dataset.address;
  }

  async function keepLooking() {
    const isAtRest = !document.hidden && (await look());
    if (!isAtRest) setTimeout(keepLooking, EVERY_MS);
  }

  setTimeout(keepLooking, EVERY_MS);
})();
