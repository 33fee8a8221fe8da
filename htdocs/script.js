// Shows the server's own address, copies commands, and sends requests.

"use strict";

function show(name, text) {
  for (const element of document.querySelectorAll(name)) {
    element.textContent = text;
  }
}

// Adds an empty element to *parent*, labelled for screen readers.
function add(parent, kind, label) {
  const element = parent.appendChild(document.createElement(kind));
  element.setAttribute("aria-label", label);
  return element;
}

if (location.protocol !== "file:") {
  // Of the folder with this page, which a proxy may show below a prefix.
  const folder = new URL(".", location.origin + location.pathname);
  show(".folder", folder.href.replace(/\$/g, "%24")); // shells expand $
  show(".path", folder.pathname);
  show(".host", folder.host);
}

for (const command of document.querySelectorAll(".command")) {
  const code = command.querySelector("code");
  const status = add(command, "span", "Copying");
  const button = add(command, "button", `Copy ${code.textContent}`);
  status.setAttribute("role", "status");
  button.textContent = "Copy";
  button.addEventListener("click", () => {
    // navigator.clipboard is missing where the page came by plain HTTP from
    // another computer.  A selection can be copied everywhere.
    getSelection().selectAllChildren(code);
    show("[role=status]", "");
    status.textContent = document.execCommand("copy")
      ? "Copied" : "Copy the selected text yourself";
  });
}

for (const request of document.querySelectorAll(".request")) {
  const title = request.parentNode.querySelector("h3").textContent;
  const button = add(request.parentNode, "button", `Send it: ${title}`);
  const response = add(request.parentNode, "pre", `Response: ${title}`);
  button.textContent = "Send it";
  response.setAttribute("role", "status");
  button.addEventListener("click", async () => {
    try {
      response.textContent = await send(request);
    } catch (error) {
      response.textContent = "No answer. Is the server still running?";
    }
  });
}

// Returns the head of the response, and how its content begins.  Of the
// request's fields a browser sets some by itself, Host and Accept-Encoding.
async function send(request) {
  const path = request.textContent.split(" ")[1];
  const target = new URL(path, location.origin);
  const tag = request.querySelector(".tag");
  if (tag) { // that of the copy which the browser gets first
    const copy = await fetch(target, { cache: "no-store" });
    tag.textContent = copy.headers.get("ETag") || "*";
  }
  const fields = request.textContent.split("\n").slice(1);
  const answer = await fetch(target, {
    cache: "no-store",
    headers: fields.map((field) => field.split(": ")),
  });
  const lines = [`HTTP/1.1 ${answer.status} ${answer.statusText}`];
  answer.headers.forEach((value, name) => lines.push(`${name}: ${value}`));
  const content = await answer.text();
  const more = content.length > 60 ? "\u2026" : "";
  return (lines.join("\n") + "\n\n" + content.slice(0, 60) + more).trim();
}
