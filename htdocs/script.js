// Sends the requests that index.html shows, and shows what comes back.

"use strict";

for (const host of document.querySelectorAll(".host")) {
  host.textContent = location.host;
}

for (const exchange of document.querySelectorAll(".exchange")) {
  const button = exchange.querySelector("button");
  button.hidden = false;
  button.addEventListener("click", async () => {
    const [request, response] = exchange.querySelectorAll("pre");
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
  const target = request.textContent.split(" ")[1];
  const tag = request.querySelector("var");
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
