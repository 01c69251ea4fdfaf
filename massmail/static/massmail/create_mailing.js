"use strict";

// Counts while filters are being chosen, and finds options by typing. Without this, the buttons do the same.
{
    const PAUSE = 400;
    const form = document.querySelector("[data-massmail-create]");

    // Of several requests for the same thing only the last one counts: the others are called off.
    function latest() {
        let current = null;
        return async (url, options = {}) => {
            current?.abort();
            current = new AbortController();
            const response = await fetch(url, {...options, signal: current.signal, redirect: "error"});
            if (!response.ok) {
                throw new Error(response.statusText);
            }
            return response;
        };
    }

    function debounced(work) {
        let timer = null;
        return () => {
            clearTimeout(timer);
            timer = setTimeout(work, PAUSE);
        };
    }

    const called = (error) => error.name === "AbortError";

    function counter() {
        const panel = form.querySelector("[data-massmail-count]");
        const status = form.querySelector("[data-massmail-status]");
        const broken = form.querySelector("[data-massmail-broken]");
        const request = latest();
        return async () => {
            panel.setAttribute("aria-busy", "true");
            try {
                const response = await request(form.dataset.countUrl, {method: "POST", body: new FormData(form)});
                panel.innerHTML = await response.text();
                status.textContent = panel.querySelector("dl, .massmail-count-error, [data-massmail-nobody]")?.innerText ?? "";
                broken.hidden = true;
            } catch (error) {
                if (called(error)) {
                    return;
                }
                broken.hidden = false;
            }
            panel.removeAttribute("aria-busy");
        };
    }

    function row(name, option) {
        const item = document.createElement("li");
        const label = item.appendChild(document.createElement("label"));
        const box = label.appendChild(document.createElement("input"));
        Object.assign(box, {type: "checkbox", name, value: option.value});
        label.append(" ");
        label.appendChild(document.createElement("span")).textContent = option.label;
        return item;
    }

    function finder(fieldset, field) {
        const list = fieldset.querySelector(".massmail-boxes");
        const note = fieldset.querySelector("[data-massmail-more]");
        const none = fieldset.querySelector("[data-massmail-none]");
        const name = `f-${fieldset.dataset.massmailFilter}`;
        const request = latest();
        return async () => {
            const query = new URLSearchParams(
                {type: form.dataset.type, filter: fieldset.dataset.massmailFilter, q: field.value}
            );
            let found;
            try {
                found = await (await request(`${form.dataset.optionsUrl}?${query}`)).json();
            } catch (error) {
                if (!called(error)) {
                    none.hidden = false;
                }
                return;
            }
            const kept = Array.from(list.querySelectorAll("input:checked"), (box) => box.closest("li"));
            const chosen = new Set(kept.map((item) => item.querySelector("input").value));
            const others = found.options.filter((option) => !chosen.has(option.value));
            list.replaceChildren(...kept, ...others.map((option) => row(name, option)));
            note.hidden = !found.more;
            none.hidden = found.options.length > 0;
        };
    }

    if (form) {
        const count = counter();
        const soon = debounced(count);
        form.querySelectorAll("[data-massmail-unneeded]").forEach((button) => button.remove());
        form.addEventListener("input", (event) => {
            if (!event.target.name.startsWith("q-") && event.target.name !== "name") {
                soon();
            }
        });
        form.querySelectorAll("[data-massmail-filter]").forEach((fieldset) => {
            const field = fieldset.querySelector("input[type=search]");
            if (field) {
                const find = finder(fieldset, field);
                field.addEventListener("input", debounced(find));
                field.addEventListener("keydown", (event) => {
                    if (event.key === "Enter") {
                        event.preventDefault();
                        find();
                    }
                });
            }
        });
        form.addEventListener("submit", (event) => {
            if (event.submitter?.name === "_count") {
                event.preventDefault();
                count();
            }
        });
        window.addEventListener("pageshow", count);
    }
}
