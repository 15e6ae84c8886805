// Keeps the jobs on a page up to date and shows how far an upload is. The site works without it.
"use strict";

const FIRST_LOOK = 400;
const LAST_LOOK = 3000;

function visible() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", resolve, { once: true });
  });
}

// Ask for the job's state until it is final, less and less often, and not in a hidden tab.
async function follow(url, show) {
  for (let pause = FIRST_LOOK; ; pause = Math.min(pause * 1.3, LAST_LOOK)) {
    await new Promise((resolve) => setTimeout(resolve, pause));
    await visible();
    try {
      const response = await fetch(url, { headers: { Accept: "application/json" } });
      if (response.status === 404 || response.status === 403) return null;
      if (!response.ok) continue;
      const job = await response.json();
      await show(job);
      if (job.finished) return job;
    } catch {
      continue; // the network or the site is away: ask again
    }
  }
}

function showProgress(bar, progress) {
  if (!bar || !progress || !progress.total) return;
  bar.value = Math.min(100, Math.floor((100 * progress.done) / progress.total));
}

// Speak of each tenth once: a screen reader that hears every percent hears nothing else.
function speaker(place) {
  let last = "";
  return (job) => {
    const { done, total } = job.progress || {};
    const tenths = total ? `${Math.floor((10 * done) / total) * 10} percent` : "";
    const words = [job.state, job.finished ? "" : tenths].filter(Boolean).join(", ");
    if (words !== last) place.textContent = last = words;
  };
}

async function followPage(section) {
  const say = speaker(document.querySelector("[data-spoken]"));
  let shown = section.dataset.job;
  await follow(section.dataset.statusUrl, async (job) => {
    say(job);
    if (job.state !== shown) {
      section = await redraw(section);
      shown = job.state;
    } else if (job.progress) {
      showProgress(section.querySelector("progress"), job.progress);
      section.querySelector("[data-message]").textContent = job.progress.message;
    }
  });
}

// A new state is drawn by the server: take over its section, leave the rest of the page as it is.
async function redraw(section) {
  const page = await (await fetch(location.href)).text();
  const drawn = new DOMParser().parseFromString(page, "text/html").querySelector("[data-job]");
  if (!drawn) return section;
  const focused = section.contains(document.activeElement);
  const fresh = document.adoptNode(drawn);
  section.replaceWith(fresh);
  if (focused) document.querySelector("main").focus();
  return fresh;
}

function followRow(row) {
  const made = row.querySelector(".made");
  return follow(row.dataset.statusUrl, (job) => {
    const place = row.querySelector(".state");
    place.className = `state ${job.state}`;
    place.textContent = job.state;
    if (job.progress) made.textContent = job.progress.message;
  });
}

// Send the file by script to show how far it is; the answer is 202 with the id of the job.
function send(form) {
  const request = new XMLHttpRequest();
  const bar = form.querySelector("progress");
  const status = form.querySelector(".sending [role=status]");
  const button = form.querySelector("button");
  const again = (words) => {
    status.textContent = words;
    bar.hidden = true;
    button.disabled = false;
  };
  form.querySelector(".sending").hidden = bar.hidden = false;
  button.disabled = true;
  status.textContent = "Sending the file";
  request.upload.addEventListener("progress", (event) => {
    if (event.lengthComputable) bar.value = (100 * event.loaded) / event.total;
  });
  request.addEventListener("load", () => {
    if (request.status === 202) {
      location.assign(`${form.dataset.jobPage}${JSON.parse(request.responseText).id}/`);
    } else if (request.status === 422) {
      const { errors } = JSON.parse(request.responseText);
      again(Object.values(errors).flat().join(" "));
    } else if (request.status === 503) {
      const wait = request.getResponseHeader("Retry-After") || "a few";
      again(`There is a lot to do right now. Try again in ${wait} seconds.`);
    } else {
      again("That did not work. Reload the page and try again.");
    }
  });
  request.addEventListener("error", () => again("The file did not arrive. Try again."));
  request.open("POST", form.action);
  request.setRequestHeader("Accept", "application/json");
  request.send(new FormData(form));
}

document.querySelectorAll("[data-job][data-status-url]").forEach(followPage);
document.querySelectorAll("[data-job-row][data-status-url]").forEach(followRow);
document.querySelectorAll("form[data-upload]").forEach((form) => {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form);
  });
});
document.querySelectorAll("form[data-once]").forEach((form) => {
  form.addEventListener("submit", () => {
    form.querySelector("button:not([type])").disabled = true;
  });
});
