"use strict";

// Fills in an account's servers and tries them without leaving the form.
{
    const fill = document.querySelector("[data-massmail-fill]");
    const test = document.querySelector("[data-massmail-test-connection]");
    const PASSWORDS = ["new_smtp_password", "new_imap_password"];

    function ask(address, form, {passwords, accept}) {
        const question = new URLSearchParams();
        for (const [name, value] of new FormData(form)) {
            if (passwords || !PASSWORDS.includes(name)) {
                question.append(name, value);
            }
        }
        return fetch(address, {method: "POST", body: question, headers: {Accept: accept}, redirect: "error"});
    }

    // Fields that change are marked, in a part of the form that is open.
    function write(form, values) {
        for (const [name, value] of Object.entries(values)) {
            const field = form.elements[name];
            if (field) {
                field.value = value;
                field.classList.add("massmail-filled");
                field.addEventListener("input", () => field.classList.remove("massmail-filled"), {once: true});
                field.closest("details")?.setAttribute("open", "");
            }
        }
    }

    async function fillIn() {
        const {form} = fill;
        const place = document.querySelector("[data-massmail-provider]");
        try {
            const response = await ask(fill.dataset.massmailFill, form, {accept: "application/json"});
            const {values, preset, help} = response.ok ? await response.json() : {};
            place.innerHTML = help; // a template of ours
            write(form, values);
            if (preset) {
                const before = JSON.parse(form.elements.filled_in.value || "{}");
                form.elements.filled_in.value = JSON.stringify({...before, ...values});
                form.elements.provider.value = preset;
            }
        } catch {
            place.textContent = fill.dataset.failed;
        }
    }

    async function tryOut() {
        const place = document.querySelector("[data-massmail-trial]");
        test.disabled = true;
        place.textContent = test.dataset.busy;
        try {
            const response = await ask(test.dataset.massmailTestConnection, test.form, {passwords: true, accept: "text/html"});
            if (!response.ok) {
                throw new Error(response.statusText);
            }
            place.innerHTML = await response.text(); // a template of ours
        } catch {
            place.textContent = test.dataset.failed;
        }
        test.disabled = false;
        place.scrollIntoView({block: "nearest"});
    }

    for (const [button, press] of [[fill, fillIn], [test, tryOut]]) {
        if (button) {
            button.type = "button"; // the Enter key saves
            button.addEventListener("click", press);
        }
    }
}
