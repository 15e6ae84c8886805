// Keeps the dashboard up to date. The server draws everything; this fetches the sections anew and
// changes in the page only what differs, so that focus, scrolling and open tables stay.

const live = document.getElementById("bgtasks-live");
const news = document.getElementById("bgtasks-news");
const still = document.getElementById("bgtasks-hold-still");
const every = 1000 * Number(live.dataset.every);
let known = problems(live);

// By what each is about: its text has figures that move.
function problems(root) {
  const found = [...root.querySelectorAll(".bgtasks-problem b")];
  return new Map(found.map((b) => [b.dataset.subject, b.textContent]));
}

function morph(old, fresh) {
  if (old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
    old.replaceWith(fresh);
  } else if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
  } else {
    morphAttributes(old, fresh);
    if (old.dataset.keyed === undefined) morphChildren(old, fresh);
    else morphRows(old, fresh);
  }
}

function morphAttributes(old, fresh) {
  for (const { name, value } of fresh.attributes) {
    // Whether a table is open is the reader's choice.
    if (name === "open") continue;
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
}

function morphChildren(old, fresh) {
  const [before, after] = [[...old.childNodes], [...fresh.childNodes]];
  after.forEach((node, place) => {
    if (place < before.length) morph(before[place], node);
    else old.append(node);
  });
  before.slice(after.length).forEach((node) => node.remove());
}

// Rows change their places: each stays itself, and none moves under a pointer or the focus.
function morphRows(old, fresh) {
  const rows = new Map([...old.children].map((row) => [row.dataset.key, row]));
  const isInUse = old.matches(":hover, :focus-within");
  for (const node of [...fresh.children]) {
    const row = rows.get(node.dataset.key);
    rows.delete(node.dataset.key);
    if (row) morph(row, node);
    if (!row || !isInUse) old.append(row ?? node);
  }
  rows.forEach((row) => row.remove());
}

function say(text) {
  if (news.textContent !== text) news.textContent = text;
}

// Returns whether to go on.
async function look() {
  const url = new URL(location.href);
  url.searchParams.set("live", "1");
  const response = await fetch(url, { headers: { Accept: "text/html" } });
  // Within an element, for at the start of a body a parser drops the white space.
  const text = `<div>${await response.text()}</div>`;
  const fresh = new DOMParser().parseFromString(text, "text/html").body.firstElementChild;
  if (!fresh.querySelector("#bgtasks-as-of")) {
    // A login page, or one that says no.
    say(response.status >= 500 ? live.dataset.lost : live.dataset.gone);
    return response.status >= 500;
  }
  if (still.getAttribute("aria-pressed") === "true") return true;
  morphChildren(live, fresh);
  const now = problems(live);
  // Only what is new is read out, not each figure that moves.
  say([...now].filter(([subject]) => !known.has(subject)).map(([, text]) => text).join(" "));
  known = now;
  return true;
}

async function run() {
  let again = true;
  const start = performance.now();
  if (!document.hidden && still.getAttribute("aria-pressed") !== "true") {
    again = await look().catch(() => {
      say(live.dataset.lost);
      return true;
    });
  }
  // A page that takes long is asked for seldom: it may take a tenth of a worker's time at most.
  if (again) setTimeout(run, Math.max(every, 10 * (performance.now() - start)));
}

still.hidden = false;
still.addEventListener("click", () => {
  still.setAttribute("aria-pressed", String(still.getAttribute("aria-pressed") !== "true"));
});
setTimeout(run, every);
