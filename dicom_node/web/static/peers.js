// A form that takes a while says so and is sent once. Without scripts the forms work all the same.
"use strict";
(() => {
  for (const form of document.querySelectorAll("form[data-busy]")) {
    form.addEventListener("submit", (event) => {
      if (form.getAttribute("aria-busy")) {
        event.preventDefault();
        return;
      }
      form.setAttribute("aria-busy", "true");
      const button = event.submitter;
      if (button) button.textContent = form.dataset.busy + " …";
    });
  }
  // A page that comes back from the browser's memory is not busy any more.
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
})();
