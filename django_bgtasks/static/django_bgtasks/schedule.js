// Says below a form what its times mean while they are typed: in words, with the next of them. The
// server writes all of it; without this script it does so when the form is sent.
//
// #bgtasks-preview has in its data: url, where to ask; fields, the names of those that matter.

const PARTS = ["bgtasks-rule-words", "bgtasks-rule-times"];
const PAUSE = 300; // milliseconds without a key
const box = document.getElementById("bgtasks-preview");
const form = box.closest("form");
const names = box.dataset.fields.split(" ");
let timer;
let asked;

async function show() {
  asked?.abort();
  asked = new AbortController();
  const url = new URL(box.dataset.url, location.href);
  for (const name of names) url.searchParams.set(name, form.elements[name].value);
  const response = await fetch(url, { headers: { Accept: "text/html" }, signal: asked.signal });
  if (!response.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of PARTS) {
    const [old, fresh] = [document.getElementById(part), page.getElementById(part)];
    // A login page has neither.
    if (!fresh) return;
    old.className = fresh.className;
    // What is the same is not read out again.
    if (old.innerHTML !== fresh.innerHTML) old.replaceChildren(...fresh.childNodes);
  }
}

form.addEventListener("input", (event) => {
  if (!names.includes(event.target.name)) return;
  clearTimeout(timer);
  // One that was overtaken, or that the site did not answer: the next one says it, or the form does.
  timer = setTimeout(() => show().catch(() => {}), PAUSE);
});
