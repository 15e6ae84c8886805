// Keeps a page of the admin up to date: a dashboard, or a job until it is final. The server draws
// everything; this fetches it anew and changes only what differs, so that focus, scrolling, and what
// is open stay. Without it a link on the page, or loading it again, does the same.
//
// #bgtasks-live has in its data: every, the seconds between two looks; lost and gone, what is told
// when the site does not answer; state, of a job; sections, if a request with ?live=1 is answered
// with what is within alone.

const PARTS = ["#bgtasks-live", "#content .object-tools"];
const live = document.querySelector(PARTS[0]);
const news = document.getElementById("bgtasks-news");
const still = document.getElementById("bgtasks-hold-still");
let known = subjects();

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
  // What is open is the reader's choice.
  const names = new Set([...old.getAttributeNames(), ...fresh.getAttributeNames()]);
  names.delete("open");
  for (const name of names) {
    const value = fresh.getAttribute(name);
    if (value === null) old.removeAttribute(name);
    else if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
}

function morphChildren(old, fresh) {
  const wanted = new Set([...fresh.children].map((child) => child.id).filter(Boolean));
  const others = [...old.children];
  let place = old.firstChild;
  for (const node of [...fresh.childNodes]) {
    // What comes further down stays where it is: what is moved loses its focus and scrolling.
    const same = node.id && others.find((child) => child.id === node.id && child.isConnected);
    while (same && place && place !== same) place = removed(place);
    if (!place || (place.id && place !== same && wanted.has(place.id))) {
      old.insertBefore(node, place);
    } else {
      const next = place.nextSibling;
      morph(place, node);
      place = next;
    }
  }
  while (place) place = removed(place);
}

function removed(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
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

// The state of a job, or the problems, each by what it is about: its text has figures that move.
function subjects() {
  const { state } = live.dataset;
  if (state) return new Map([[state, state]]);
  const found = [...live.querySelectorAll("[data-subject]")];
  return new Map(found.map((one) => [one.dataset.subject, one.textContent]));
}

function say(text) {
  if (news.textContent !== text) news.textContent = text;
}

function isHeld() {
  return still?.getAttribute("aria-pressed") === "true";
}

async function fetchPage() {
  const url = new URL(location.href);
  const { sections } = live.dataset;
  if (sections !== undefined) url.searchParams.set("live", "1");
  const response = await fetch(url, { headers: { Accept: "text/html" } });
  const text = await response.text();
  const page = new DOMParser().parseFromString(text, "text/html");
  return { page, isLost: response.status >= 500 };
}

// Returns whether to go on.
async function look() {
  const { page, isLost } = await fetchPage();
  const fresh = page.querySelector(PARTS[0]);
  if (!fresh) {
    // The site has trouble, or this is a login page, or one that says no.
    say(isLost ? live.dataset.lost : live.dataset.gone);
    return isLost;
  }
  if (isHeld()) return true;
  for (const part of PARTS) {
    const [old, now] = [document.querySelector(part), page.querySelector(part)];
    if (old && now) morph(old, now);
  }
  const now = subjects();
  // Only what is new is read out, not each figure that moves.
  say([...now].filter(([subject]) => !known.has(subject)).map(([, text]) => text).join(" "));
  known = now;
  return "every" in live.dataset;
}

async function run() {
  let again = true;
  const start = performance.now();
  if (!document.hidden && !isHeld()) {
    again = await look().catch(() => {
      say(live.dataset.lost);
      return true;
    });
  }
  // A page that takes long is asked for seldom: it may take a tenth of a worker's time at most.
  if (again) wait(10 * (performance.now() - start));
}

function wait(least) {
  setTimeout(run, Math.max(1000 * Number(live.dataset.every), least));
}

if (still) {
  still.hidden = false;
  still.addEventListener("click", () => still.setAttribute("aria-pressed", String(!isHeld())));
}
if ("every" in live.dataset) wait(0);
