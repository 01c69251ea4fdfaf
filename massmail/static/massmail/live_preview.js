"use strict";

// Shows beside the form what becomes of it, shortly after every change, as the chosen recipient gets it.
{
    const PAUSE = 600;
    const DESKTOP = 700;
    const root = document.querySelector("[data-massmail-editor]");
    const part = (name) => root.querySelector(`[data-massmail-${name}]`);

    // What was chosen to look at outlives saving, sending a test and coming back, in this tab.
    class Choice {
        constructor() {
            const page = root.dataset.recipients.replace(/(?:\/\d+)?\/recipients\/$/, "");
            this.key = `massmail:preview:${page}:${root.dataset.owner}`;
            this.restore();
            for (const name of ["input", "change"]) {
                part("person").closest(".massmail-see").addEventListener(name, () => this.keep());
            }
        }

        get views() {
            return [...root.querySelectorAll(".massmail-views > input")];
        }

        restore() {
            let kept;
            try {
                kept = JSON.parse(sessionStorage.getItem(this.key));
            } catch {
                return; // no storage here, or nothing of ours in it
            }
            for (const view of kept ? this.views : []) {
                view.checked = kept.views.includes(view.id);
            }
            const person = part("person");
            if (kept?.person && ![...person.options].some((option) => option.value === kept.person)) {
                person.append(new Option(kept.name, kept.person));
            }
            if (kept?.person) {
                person.value = kept.person;
            }
            this.differs = Boolean(kept?.person) || part("dark").checked;
        }

        keep() {
            const person = part("person");
            const kept = {
                person: person.value,
                name: person.selectedOptions[0]?.text,
                views: this.views.filter((view) => view.checked).map((view) => view.id),
            };
            try {
                sessionStorage.setItem(this.key, JSON.stringify(kept));
            } catch {
                // It works without, until the page is left.
            }
        }
    }

    class Preview {
        constructor({differs}) {
            this.form = root.closest("form");
            this.holder = part("frame");
            this.timer = null;
            this.asked = null;
            this.numbers = 0;
            this.form.addEventListener("input", (event) => this.changed(event));
            this.form.addEventListener("change", (event) => this.changed(event));
            part("person").addEventListener("change", () => this.look());
            part("dark").addEventListener("change", () => this.look());
            new ResizeObserver(() => this.fit()).observe(this.holder);
            if (root.dataset.live) {
                this.look({documentToo: differs || !("fresh" in root.dataset)});
            } else if (differs) {
                this.look();
            }
        }

        changed({target}) {
            if (root.dataset.live && target.name && target.form === this.form && target.type !== "file") {
                clearTimeout(this.timer);
                this.timer = setTimeout(() => this.look(), PAUSE);
            }
        }

        // What is asked for: the form's texts, and as whom.
        question(kind) {
            const data = new FormData(root.dataset.live ? this.form : undefined);
            const question = new URLSearchParams();
            for (const [name, value] of data) {
                if (typeof value === "string") {
                    question.append(name, value);
                }
            }
            question.set("part", kind);
            question.set("recipient", part("person").value);
            question.set("scheme", part("dark").checked ? "dark" : "light");
            return question;
        }

        get isEmpty() {
            const texts = ["subject", "content"].map((name) => this.form.elements[name]).filter(Boolean);
            return Boolean(root.dataset.live) && texts.every((field) => !field.value.trim());
        }

        async look({documentToo = true} = {}) {
            clearTimeout(this.timer);
            if (this.isEmpty) {
                return;
            }
            this.asked?.abort();
            this.asked = new AbortController();
            let facts;
            try {
                const response = await this.ask(this.question("facts"), this.asked.signal);
                if (!response.ok) {
                    return;
                }
                facts = await response.json();
            } catch {
                return; // another question was quicker, or the network is away: the next change asks again
            }
            this.show(facts);
            if ("text" in facts && documentToo) {
                this.load();
            }
        }

        ask(question, signal) {
            const {live, saved} = root.dataset;
            return live
                ? fetch(live, {method: "POST", body: question, signal, redirect: "error"})
                : fetch(`${saved}?${question}`, {signal, redirect: "error"});
        }

        show({problems, remarks, notes, subject, preheader, text}) {
            document.dispatchEvent(new CustomEvent("massmail:problems", {detail: [...problems, ...remarks]}));
            const works = text !== undefined;
            part("stale").hidden = works || !this.holder.childElementCount;
            part("nothing").hidden = works || Boolean(this.holder.childElementCount);
            part("notes").hidden = !notes.length;
            part("notes").replaceChildren(...notes.map((note) => {
                const item = document.createElement("li");
                item.textContent = note;
                return item;
            }));
            if (works) {
                part("text").textContent = text;
                part("subject")?.replaceChildren(subject);
                part("preheader")?.replaceChildren(preheader);
            }
        }

        // A new frame each time: loading another document into the old one would fill the history of the page.
        load() {
            const frame = document.createElement("iframe");
            frame.setAttribute("sandbox", "");
            frame.title = this.holder.dataset.title;
            frame.name = `massmail-preview-${this.numbers += 1}`;
            frame.referrerPolicy = "no-referrer";
            frame.className = "massmail-loading";
            if (part("dark").checked) {
                frame.classList.add("massmail-night");
            }
            const question = this.question("html");
            if (!root.dataset.live) {
                frame.src = `${root.dataset.saved}?${question}`;
            }
            this.holder.append(frame);
            frame.addEventListener("load", () => this.settle(frame));
            if (root.dataset.live) {
                this.post(question, frame.name);
            }
        }

        post(question, target) {
            const form = document.createElement("form");
            Object.assign(form, {method: "post", action: root.dataset.live, target, hidden: true});
            for (const [name, value] of question) {
                const field = document.createElement("textarea");
                field.name = name;
                field.value = value;
                form.append(field);
            }
            document.body.append(form);
            HTMLFormElement.prototype.submit.call(form);
            form.remove();
        }

        settle(frame) {
            for (const other of [...this.holder.children]) {
                if (other === frame) {
                    break;
                }
                other.remove();
            }
            frame.classList.remove("massmail-loading");
            this.fit();
        }

        // A window on a desktop is wider than the column: it is shown smaller.
        fit() {
            const scale = Math.min(1, this.holder.clientWidth / DESKTOP);
            this.holder.style.setProperty("--massmail-scale", scale.toFixed(3));
        }
    }

    class Search {
        constructor() {
            this.field = part("search");
            this.found = part("found");
            this.timer = null;
            this.field.hidden = false;
            this.field.addEventListener("input", () => {
                clearTimeout(this.timer);
                this.timer = setTimeout(() => this.look(), 250);
            });
            this.field.addEventListener("keydown", (event) => {
                if (event.key === "Enter") {
                    event.preventDefault();
                    clearTimeout(this.timer);
                    this.look();
                }
            });
        }

        async look() {
            const text = this.field.value.trim();
            const address = `${root.dataset.recipients}?${new URLSearchParams({q: text})}`;
            let groups;
            try {
                const response = await fetch(address, {redirect: "error"});
                if (!response.ok) {
                    return;
                }
                ({groups} = await response.json());
            } catch {
                return;
            }
            if (text === this.field.value.trim()) {
                this.show(groups, text);
            }
        }

        show(groups, text) {
            const choice = part("person");
            const usual = choice.options[0];
            choice.replaceChildren(usual, ...groups.map(({name, people}) => {
                const group = document.createElement("optgroup");
                group.label = name;
                group.append(...people.map((person) => new Option([person.name, person.address].filter(Boolean).join(", "), person.key)));
                return group;
            }));
            const first = text && choice.options[1];
            (first || usual).selected = true;
            this.found.value = first ? this.found.dataset.some + first.text : text && this.found.dataset.none;
            this.found.classList.toggle("visually-hidden", Boolean(first)); // those who see, see it in the choice
            choice.dispatchEvent(new Event("change"));
        }
    }

    if (root) {
        new Preview(new Choice());
        new Search();
    }
}
