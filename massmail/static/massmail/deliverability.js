"use strict";

// Waits for an account's test mail, as long as somebody looks at the page; and copies records to publish.
{
    const PAUSE = 3000;
    const place = document.querySelector("[data-massmail-deliverability]");
    const output = document.querySelector("[data-massmail-announce]");
    let timer = null;

    const waiting = () => place.querySelector("[data-massmail-waiting]") !== null;

    async function look() {
        timer = null;
        let response;
        try {
            response = await fetch(place.dataset.massmailDeliverability, {redirect: "error"});
        } catch {
            return schedule();
        }
        if (!response.ok) {
            return;
        }
        const fresh = document.createElement("div");
        fresh.innerHTML = await response.text(); // a template of ours
        if (fresh.querySelector("[data-massmail-waiting]") === null) {
            place.replaceChildren(...fresh.childNodes);
            addButtons();
            output.textContent = place.querySelector("[data-massmail-light]").textContent;
        }
        schedule();
    }

    function schedule() {
        if (timer === null && !document.hidden && waiting()) {
            timer = setTimeout(look, PAUSE);
        }
    }

    function addButtons() {
        if (!navigator.clipboard) {
            return; // only on pages that came by https; a click into a value selects it whole
        }
        for (const term of place.querySelectorAll(".massmail-record dd")) {
            const button = document.createElement("button");
            button.type = "button";
            button.className = "button massmail-copy";
            button.textContent = place.dataset.copy;
            const label = `${place.dataset.copy}: ${term.previousElementSibling.textContent}`;
            button.setAttribute("aria-label", label);
            button.addEventListener("click", async () => {
                await navigator.clipboard.writeText(term.querySelector("code").textContent);
                button.textContent = output.textContent = place.dataset.copied;
            });
            term.append(button);
        }
    }

    document.addEventListener("visibilitychange", schedule);
    addButtons();
    schedule();
}
