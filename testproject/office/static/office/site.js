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

// The component keeps itself up to date and says when the job, or the workflow, has changed.
function followPage(event) {
  const section = event.target.closest("[data-job]");
  if (!section || section.dataset.job === event.detail.state) return;
  const parts = section.querySelector("[data-parts]");
  if (parts && !event.detail.finished) {
    redraw(parts, "[data-parts]");
    return;
  }
  // Outside of what is drawn anew, so that a screen reader hears it.
  document.querySelector("[data-outcome]").textContent = event.detail.label;
  redraw(section, "[data-job]");
}

// A new state is drawn by the server: take over its section, leave the rest of the page as it is.
async function redraw(section, selector) {
  const page = await (await fetch(location.href)).text();
  const drawn = new DOMParser().parseFromString(page, "text/html").querySelector(selector);
  if (!drawn) return;
  const focused = section.contains(document.activeElement);
  const fresh = document.adoptNode(drawn);
  section.replaceWith(fresh);
  if (focused) document.querySelector("main").focus();
}

function followRow(row) {
  const made = row.querySelector(".made");
  return follow(row.dataset.statusUrl, (job) => {
    const place = row.querySelector(".state");
    place.className = `state ${job.state}`;
    place.textContent = job.waits ? "waiting" : job.state;
    made.textContent = job.waits ? job.waits.text : job.progress?.message || "";
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

// Order once, however often the button is pressed or the network fails: one key for one order.
async function order(form, key) {
  const headers = { Accept: "application/json", "Idempotency-Key": `"${key}"` };
  try {
    const response = await fetch(form.action, { method: "POST", headers, body: new FormData(form) });
    if (response.status === 202) {
      location.assign(`${form.dataset.jobPage}${(await response.json()).id}/`);
    }
  } catch {
    // It did not arrive, or its answer did not: the button may be pressed again, with the same key.
  }
}

document.addEventListener("bgtasks-progress", followPage);
// A browser gives keys on https and on this machine only; elsewhere the form is sent as it is.
document.querySelectorAll(crypto.randomUUID ? "form[data-order]" : "none").forEach((form) => {
  let key = crypto.randomUUID();
  addEventListener("pageshow", () => (key = crypto.randomUUID()));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    order(form, key);
  });
});
document.querySelectorAll("[data-job-row][data-status-url]").forEach(followRow);
document.querySelectorAll("form[data-upload]").forEach((form) => {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form);
  });
});
// Who has not chosen a time zone yet probably means the one of this machine.
document.querySelectorAll("select[data-zone]").forEach((select) => {
  const here = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if ([...select.options].some((option) => option.value === here)) select.value = here;
});
document.querySelectorAll("form[data-once]").forEach((form) => {
  form.addEventListener("submit", () => {
    form.querySelector("button:not([type])").disabled = true;
  });
});
