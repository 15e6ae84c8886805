// <bgtasks-progress>: follows a job by Server-Sent Events, or else by long-polling.
// Whatever it shows is set as text. On each change it dispatches "bgtasks-progress", which bubbles
// and has the job's JSON as its detail.

const WAIT = 20; // seconds that the server may take to answer
const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 15000;
const LOST = 3; // streams that broke before they said anything
const SILENCE = 5000; // a stream begins with an event at once, unless somebody on its way holds it back

class BgtasksProgress extends HTMLElement {
  connectedCallback() {
    this.form?.addEventListener("submit", this);
    document.addEventListener("visibilitychange", this);
    this.follow();
  }

  disconnectedCallback() {
    document.removeEventListener("visibilitychange", this);
    this.rest();
  }

  get form() {
    return this.querySelector("form");
  }

  handleEvent(event) {
    if (event.type === "submit") {
      event.preventDefault();
      this.cancel();
    } else if (document.hidden) {
      // A browser has few connections for a site: a tab that nobody sees gives its own back.
      this.rest();
    } else {
      this.follow();
    }
  }

  get finished() {
    return ["succeeded", "failed", "cancelled"].includes(this.dataset.state);
  }

  follow() {
    this.rest();
    if (this.finished || document.hidden) return;
    this.resting = new AbortController();
    if (this.dataset.events) this.listen();
    else this.poll(this.resting.signal);
  }

  rest() {
    this.resting?.abort();
    this.stream?.close();
    this.stream = null;
  }

  listen() {
    let broken = 0;
    const stream = (this.stream = new EventSource(this.dataset.events));
    const silence = setTimeout(() => this.giveUp(stream), SILENCE);
    stream.addEventListener("message", (event) => {
      clearTimeout(silence);
      broken = 0;
      this.show(JSON.parse(event.data));
      if (this.finished) stream.close();
    });
    stream.addEventListener("error", () => {
      broken += 1;
      if (stream.readyState !== EventSource.CLOSED && broken < LOST) return;
      clearTimeout(silence);
      this.giveUp(stream);
    });
  }

  giveUp(stream) {
    stream.close();
    if (this.stream !== stream) return;
    this.stream = null;
    this.poll(this.resting.signal);
  }

  async poll(signal) {
    let pause = FIRST_PAUSE;
    while (!signal.aborted && !this.finished) {
      try {
        const response = await fetch(this.address(), { headers: { Accept: "application/json" }, signal });
        if ([401, 403, 404].includes(response.status)) return this.lose();
        if (!response.ok) throw new Error(response.status);
        this.show(await response.json());
        pause = FIRST_PAUSE;
      } catch {
        // The network or the site is away, or the element has gone: the loop knows which.
        await new Promise((resolve) => setTimeout(resolve, pause));
        pause = Math.min(2 * pause, LONGEST_PAUSE);
      }
    }
  }

  address() {
    const url = new URL(this.dataset.url, location.href);
    url.searchParams.set("wait", WAIT);
    url.searchParams.set("seen", this.dataset.version);
    return url;
  }

  show(job) {
    if (job.version === this.dataset.version) return;
    this.dataset.version = job.version;
    this.dataset.state = job.state;
    this.part("label").textContent = job.label;
    this.part("message").textContent = this.words(job);
    this.draw(job);
    if (job.finished) this.end(job);
    this.dispatchEvent(new CustomEvent("bgtasks-progress", { bubbles: true, detail: job }));
  }

  // What there is to read; the template tag says the same. A job that runs may have the error of an
  // earlier attempt.
  words(job) {
    if (job.waits) return job.waits.text;
    if (job.error && job.state !== "running") return job.error;
    return typeof job.result === "string" ? job.result : job.progress?.message || "";
  }

  draw(job) {
    const bar = this.querySelector("progress");
    const { done, total } = job.progress || {};
    const [value, max] = job.finished ? [Number(job.state === "succeeded"), 1] : [done, total];
    if (max) {
      bar.max = max;
      bar.value = value;
    } else {
      bar.removeAttribute("value");
    }
    const share = (100 * value) / max + 1e-9; // 0.29 of 1.0 is a little less than 29 of 100
    const percent = max && !job.finished ? Math.max(0, Math.min(100, Math.floor(share))) : null;
    this.part("share").textContent = percent === null ? "" : `${percent} %`;
    this.say(job, percent);
  }

  // Each tenth once: a screen reader that hears every percent hears nothing else.
  say(job, percent) {
    const tenth = percent === null ? "" : `${10 * Math.floor(percent / 10)} %`;
    const words = [job.label, job.finished ? this.words(job) : tenth].filter(Boolean).join(", ");
    if (words !== this.part("spoken").textContent) this.part("spoken").textContent = words;
  }

  end(job) {
    const link = this.part("result");
    if (link) link.hidden = job.state !== "succeeded";
    const form = this.form;
    if (!form) return;
    if (form.contains(document.activeElement)) this.focus();
    form.hidden = true;
  }

  lose() {
    this.part("gone").hidden = false;
  }

  async cancel() {
    const form = this.form;
    const button = form.querySelector("button");
    const body = new FormData(form);
    body.delete("next");
    const words = button.textContent;
    button.textContent = button.dataset.busy;
    button.setAttribute("aria-disabled", "true");
    try {
      const response = await fetch(form.action, { method: "POST", body, headers: { Accept: "application/json" } });
      if (response.ok || response.status === 409) return;
    } catch {
      // It did not arrive: the button may be pressed again.
    }
    button.textContent = words;
    button.removeAttribute("aria-disabled");
  }

  part(name) {
    return this.querySelector(`[data-${name}]`);
  }
}

customElements.define("bgtasks-progress", BgtasksProgress);
