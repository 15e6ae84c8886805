// Keeps the page of a job up to date until the job is final. The server draws everything; this
// fetches the page anew and changes only what differs, so that focus, scrolling, and what is open
// stay. Without it a link on the page does the same.

const PARTS = ["#bgtasks-job", "#content .object-tools"];
const live = document.querySelector(PARTS[0]);
const news = document.getElementById("bgtasks-news");

function morph(old, fresh) {
  if (old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
    old.replaceWith(fresh);
  } else if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
  } else {
    morphAttributes(old, fresh);
    morphChildren(old, fresh);
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

function say(text) {
  if (news.textContent !== text) news.textContent = text;
}

// Returns whether to go on.
async function look() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = page.querySelector(PARTS[0]);
  if (!fresh) {
    // The site has trouble, or this is a login page, or the job is gone.
    say(response.status >= 500 ? live.dataset.lost : live.dataset.gone);
    return response.status >= 500;
  }
  const before = live.dataset.state;
  for (const part of PARTS) {
    const [old, now] = [document.querySelector(part), page.querySelector(part)];
    if (old && now) morph(old, now);
  }
  say(live.dataset.state === before ? "" : live.dataset.state);
  return "every" in live.dataset;
}

async function run() {
  let again = true;
  const start = performance.now();
  if (!document.hidden) {
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

if (live && "every" in live.dataset) wait(0);
