"use strict";

// Shows a mailing as another recipient reads it without leaving the page, and offers recipients while one types.
{
    const form = document.querySelector("form[data-massmail-recipients]");
    const PATIENCE = 250;

    async function ask(parameters) {
        const query = new URLSearchParams(parameters);
        const response = await fetch(`${form.dataset.massmailRecipients}?${query}`, {redirect: "error"});
        return response.ok ? response.json() : {};
    }

    function offer(list, recipients) {
        list.replaceChildren(...recipients.map(({address, name}) => {
            const option = document.createElement("option");
            option.value = address;
            option.label = name ? `${name} <${address}>` : address;
            return option;
        }));
    }

    function show({recipient, subject, address}) {
        const section = form.closest("section");
        form.querySelector("[role=status]").textContent = address ? "" : form.dataset.massmailNone;
        if (address) {
            section.querySelector("[data-massmail-to]").textContent = recipient;
            section.querySelector("[data-massmail-subject]").textContent = subject;
            section.querySelectorAll("[data-massmail-as]").forEach((each) => { each.value = form.elements.as.value; });
            section.querySelector(".massmail-html").src = address;
            section.querySelector(".massmail-plain").src = `${address}&part=text`;
        }
    }

    if (form && form.closest("section").querySelector("[data-massmail-to]")) {
        const field = form.elements.as;
        let timer = null;
        field.addEventListener("input", () => {
            clearTimeout(timer);
            timer = setTimeout(async () => offer(field.list, (await ask({q: field.value})).recipients || []), PATIENCE);
        });
        form.addEventListener("submit", async (event) => {
            if (field.value.trim()) {
                event.preventDefault();
                show(await ask({as: field.value}));
            }
        });
    }
}
