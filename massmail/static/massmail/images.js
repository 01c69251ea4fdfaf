"use strict";

// Uploads a picture into the library without leaving the message, and inserts it.
{
    const place = document.querySelector("[data-massmail-upload]");

    function offer({name, tag, thumbnail}) {
        const button = document.createElement("button");
        button.type = "button";
        button.dataset.massmailInsert = tag;
        const picture = new Image();
        picture.src = thumbnail;
        picture.alt = "";
        const label = document.createElement("span");
        label.textContent = name;
        button.append(picture, label);
        const item = document.createElement("li");
        item.append(button);
        document.querySelector("[data-massmail-pictures]").prepend(item);
        return button;
    }

    async function upload(file, said) {
        const data = new FormData();
        data.append("upload", file);
        data.append("csrfmiddlewaretoken", document.querySelector("[name=csrfmiddlewaretoken]").value);
        said.value = said.dataset.wait;
        try {
            const response = await fetch(place.dataset.massmailUpload, {method: "POST", body: data, redirect: "error"});
            const answer = await response.json();
            if (response.ok) {
                offer(answer).click();
                said.value = said.dataset.done;
            } else {
                said.value = answer.errors.join(" ");
            }
        } catch {
            said.value = said.dataset.failed;
        }
    }

    if (place) {
        place.hidden = false;
        const field = place.querySelector("input");
        field.addEventListener("change", async () => {
            if (field.files.length) {
                await upload(field.files[0], place.querySelector("output"));
                field.value = "";
            }
        });
    }
}
