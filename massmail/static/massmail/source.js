"use strict";

// Makes the plain text fields of templates comfortable: numbered lines, a tab key, marks and jumps to errors, and
// buttons that insert. The text stays in the textarea as typed.
{
    const INDENT = "  ";
    const fields = new Map();
    let latest = null;

    // The only way to write into a textarea that keeps its undo history; deprecated, and without a successor.
    function type(area, text) {
        area.focus();
        if (!document.execCommand("insertText", false, text)) {
            area.setRangeText(text, area.selectionStart, area.selectionEnd, "end");
            area.dispatchEvent(new Event("input", {bubbles: true}));
        }
    }

    // Numbers and marks stand behind the text, in a copy of it that breaks its lines at the same places.
    class Source {
        constructor(area) {
            this.area = area;
            this.bad = new Set();
            this.leaving = false;
            this.mirror = document.createElement("div");
            this.mirror.className = "massmail-mirror";
            this.mirror.setAttribute("aria-hidden", "true");
            const frame = document.createElement("div");
            frame.className = "massmail-source-frame";
            area.before(frame);
            frame.append(this.mirror, area);
            this.describe();
            area.addEventListener("input", () => this.draw());
            area.addEventListener("scroll", () => { this.mirror.scrollTop = area.scrollTop; });
            area.addEventListener("keydown", (event) => this.press(event));
            area.addEventListener("blur", () => { this.leaving = false; });
            this.draw();
        }

        describe() {
            const help = document.querySelector("[data-massmail-source-help]");
            if (help) {
                help.hidden = false;
                const others = this.area.getAttribute("aria-describedby");
                this.area.setAttribute("aria-describedby", others ? `${others} ${help.id}` : help.id);
            }
        }

        draw() {
            const lines = this.area.value.split("\n");
            while (this.mirror.childElementCount > lines.length) {
                this.mirror.lastElementChild.remove();
            }
            while (this.mirror.childElementCount < lines.length) {
                this.mirror.append(document.createElement("div"));
            }
            lines.forEach((line, index) => {
                const row = this.mirror.children[index];
                const text = line || "\u200b"; // an empty line has its height, too
                if (row.textContent !== text) {
                    row.textContent = text;
                }
                row.classList.toggle("massmail-bad", this.bad.has(index + 1));
            });
            this.mirror.scrollTop = this.area.scrollTop;
        }

        mark(lines) {
            this.bad = new Set(lines);
            this.draw();
        }

        press(event) {
            if (event.key === "Escape") {
                this.leaving = true;
            } else if (event.key === "Tab" && !event.altKey && !event.ctrlKey && !event.metaKey) {
                if (!this.leaving) {
                    event.preventDefault();
                    this.indent(event.shiftKey);
                }
            } else if (event.key !== "Shift") {
                this.leaving = false;
            }
        }

        indent(back) {
            const {value, selectionStart, selectionEnd} = this.area;
            if (!back && !value.slice(selectionStart, selectionEnd).includes("\n")) {
                type(this.area, INDENT);
                return;
            }
            const start = value.lastIndexOf("\n", selectionStart - 1) + 1;
            const lines = value.slice(start, selectionEnd).split("\n");
            const moved = lines.map((line) => (back ? line.replace(/^( {1,2}|\t)/, "") : INDENT + line)).join("\n");
            if (moved.length !== selectionEnd - start) {
                this.area.setSelectionRange(start, selectionEnd);
                type(this.area, moved);
                this.area.setSelectionRange(lines.length > 1 ? start : start + moved.length, start + moved.length);
            }
        }

        jump(line, column) {
            const lines = this.area.value.split("\n");
            const number = Math.min(line, lines.length);
            const start = lines.slice(0, number - 1).reduce((sum, text) => sum + text.length + 1, 0);
            this.area.focus();
            this.area.setSelectionRange(start + Math.min(column - 1, lines[number - 1].length), start + lines[number - 1].length);
            this.area.scrollTop = this.mirror.children[number - 1].offsetTop - this.area.clientHeight / 3;
            this.mirror.scrollTop = this.area.scrollTop;
        }
    }

    function jump({field, line, column}) {
        const element = document.getElementById(`id_${field}`);
        if (!element) {
            return;
        }
        element.closest("details")?.setAttribute("open", "");
        const source = fields.get(field);
        if (source && line) {
            source.jump(Number(line), Number(column || 1));
        } else {
            element.focus();
        }
        element.scrollIntoView({block: "nearest"});
    }

    function show(problems) {
        const place = document.querySelector("[data-massmail-problems]");
        for (const [name, source] of fields) {
            source.mark(problems.filter(({field, line, warns}) => field === name && line && !warns).map(({line}) => line));
        }
        if (!place) {
            return;
        }
        const list = document.createElement("ul");
        list.className = "massmail-notices";
        for (const problem of problems) {
            const button = document.createElement("button");
            button.type = "button";
            button.className = "massmail-jump";
            button.textContent = problem.text;
            button.addEventListener("click", () => jump(problem));
            const item = document.createElement("li");
            item.className = problem.warns ? "massmail-warns" : "massmail-stops";
            item.append(button);
            list.append(item);
        }
        place.replaceChildren(...(problems.length ? [list] : []));
    }

    // HTML goes into the source, whatever field was used last; into plain text go the placeholders alone.
    function insert(button) {
        const html = button.dataset.massmailInsert;
        const plain = button.dataset.massmailPlain;
        const content = document.getElementById("id_content");
        const takesHtml = !latest || latest === content;
        const target = takesHtml || (!plain && html.startsWith("<")) ? content : latest;
        type(target, target === content ? html : plain || html);
        const alt = html.indexOf('alt=""');
        if (target === content && alt >= 0) {
            const caret = target.selectionEnd - html.length + alt + 'alt="'.length;
            target.setSelectionRange(caret, caret);
        }
        fields.get("content")?.draw();
    }

    for (const area of document.querySelectorAll("textarea[data-massmail-source]")) {
        fields.set(area.name, new Source(area));
    }
    function remember(element) {
        if (/^id_(subject|preheader|content|plain_text)$/.test(element?.id)) {
            latest = element;
        }
    }

    document.addEventListener("focusin", ({target}) => remember(target));
    remember(document.activeElement); // the first field has the focus before this script runs
    document.addEventListener("click", ({target}) => {
        const button = target.closest("[data-massmail-insert]");
        if (button && document.getElementById("id_content")) {
            insert(button);
        }
    });
    document.addEventListener("massmail:problems", ({detail}) => show(detail));
}
