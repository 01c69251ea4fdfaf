"use strict";

// Keeps the numbers of mailings current, as long as one of them is active and somebody looks at the page.
{
    const PAUSE = 3000;
    const root = document.querySelector("[data-massmail-progress]");
    let timer = null;

    const activeIds = () => new Set(
        Array.from(document.querySelectorAll("[data-moving]"), (element) => element.dataset.mailing)
    );

    function announce(element, state) {
        const output = document.querySelector("[data-massmail-announce]");
        output.textContent = `${element.dataset.name}: ${state}`;
    }

    function showStatus(element, standing) {
        element.toggleAttribute("data-moving", standing.moving);
        element.classList.replace(`massmail-state-${element.dataset.look}`, `massmail-state-${standing.look}`);
        element.dataset.look = standing.look;
        if (element.dataset.status === standing.status) {
            return;
        }
        element.dataset.status = standing.status;
        announce(element, standing.state);
        // On a mailing's own page other buttons are possible now.
        if ("massmailPage" in root.dataset && !document.querySelector("form[data-massmail-changed]")) {
            location.reload();
        }
    }

    function show(id, standing) {
        for (const element of document.querySelectorAll(`[data-mailing="${id}"]`)) {
            const value = standing[element.dataset.field];
            if (value === undefined) {
                continue;  // a figure that only a fresh page tells
            }
            if (element.localName === "progress") {
                element.max = standing.total || 1;
                element.value = value;
            } else {
                element.textContent = standing.shown[element.dataset.field] ?? value;
            }
            if (element.dataset.field === "state") {
                showStatus(element, standing);
            }
        }
    }

    async function look() {
        timer = null;
        const query = new URLSearchParams(Array.from(activeIds(), (id) => ["id", id]));
        let response;
        try {
            response = await fetch(`${root.dataset.massmailProgress}?${query}`, {redirect: "error"});
        } catch {
            return schedule();
        }
        if (!response.ok) {
            return;
        }
        const {mailings} = await response.json();
        Object.entries(mailings).forEach(([id, standing]) => show(id, standing));
        schedule();
    }

    function schedule() {
        if (timer === null && !document.hidden && activeIds().size) {
            timer = setTimeout(look, PAUSE);
        }
    }

    if (root) {
        document.addEventListener("visibilitychange", schedule);
        schedule();
    }
}

// A button of a mailing acts on what is saved: while the form has other values, it waits.
{
    const form = document.getElementById("mailing_form");
    if (form) {
        form.addEventListener("input", () => {
            form.dataset.massmailChanged = "";
            document.querySelectorAll(".massmail-buttons button").forEach((button) => { button.disabled = true; });
            document.querySelectorAll(".massmail-unsaved").forEach((note) => { note.hidden = false; });
        });
    }
}
