"use strict";

// What is written and not saved is not lost by a slip, and a test mail is of what is saved.
{
    const form = document.querySelector("[data-massmail-editor]")?.closest("form");
    let unsaved = false;

    if (form && document.querySelector("[data-live]:not([data-live=''])")) {
        form.addEventListener("input", ({target}) => {
            if (target.form !== form) {
                return;
            }
            unsaved = true;
            document.querySelectorAll("[data-massmail-test]").forEach((button) => { button.disabled = true; });
            document.querySelectorAll(".massmail-unsaved").forEach((note) => { note.hidden = false; });
        });
        form.addEventListener("submit", () => { unsaved = false; });
        window.addEventListener("beforeunload", (event) => {
            if (unsaved) {
                event.preventDefault();
            }
        });
    }
}
