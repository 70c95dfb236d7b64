// The cards of the list, one for each video: made once and then kept up to date, so that the focus stays.

import { settings } from "/assets/server.js";

const STAGES = { opening: "Opening", faces: "Following faces", writing: "Writing results", overlay: "Drawing the overlay" };

/** @param {string} tag @param {object} properties @param {...(Node | string)} children */
export function make(tag, properties = {}, ...children) {
  const found = Object.assign(document.createElement(tag), properties);
  found.append(...children);
  return found;
}

export function percent(share) {
  return `${Math.round(100 * share)}%`;
}

/** @returns {string} as `about 3 minutes left`, coarse on purpose */
function timeLeft(seconds) {
  if (seconds == null) return "";
  if (seconds < 1.5) return "about a second left";
  if (seconds < 60) return `about ${Math.ceil(seconds)} seconds left`;
  const minutes = Math.round(seconds / 60);
  return minutes < 2 ? "about a minute left" : `about ${minutes} minutes left`;
}

function sizeTold(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

function lengthTold(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

/** What is being done, in words, and how much of it is done (null where nobody knows). */
function progressOf(task) {
  const stage = STAGES[task.stage] ?? "Beginning";
  const share = task.share == null ? "" : percent(task.share);
  return [stage, share, timeLeft(task.seconds_left)].filter(Boolean).join(" · ");
}

const urlOf = (video, rest) => `/videos/${encodeURIComponent(video.id)}/${rest}`;

export const pageOf = (video) => urlOf(video, `report/${settings.page}`);

/** A video in the list, and what can be done with it. */
export class Card {
  /** @param {(what: "cancel" | "forget" | "overlay", video: object) => void} act */
  constructor(video, act) {
    this.name = make("h3", { textContent: video.name, id: `name-${video.id}` });
    this.size = make("span", { className: "size" });
    this.state = make("p", { className: "state" });
    this.bar = make("progress", { max: 1, hidden: true });
    this.bar.setAttribute("aria-labelledby", this.name.id);
    this.people = make("ul", { className: "people", hidden: true });
    this.warned = make("ul", { className: "warned", hidden: true });
    this.open = make("a", { className: "button primary", textContent: "Open the report", href: `#report/${video.id}` });
    this.cancel = this.#button("Cancel", () => act("cancel", this.video));
    this.overlay = this.#button("Make the overlay video", () => act("overlay", this.video));
    this.forget = this.#button("Forget", () => act("forget", this.video), "quiet");
    this.forget.title = "Remove this video and its results";
    this.links = make("ul", { className: "downloads", id: `downloads-${video.id}`, hidden: true });
    this.downloads = this.#button("Downloads", () => this.#toggleDownloads(), "more-below");
    this.downloads.setAttribute("aria-controls", this.links.id);
    this.downloads.ariaExpanded = "false";
    const actions = make("div", { className: "actions" });
    actions.append(this.open, this.downloads, this.overlay, this.cancel, this.forget);
    const head = make("div", { className: "head" }, this.name, this.size);
    this.element = make("li", {}, head, this.state, this.bar, this.people, this.warned, actions, this.links);
    this.said = "";
  }

  #button(text, onclick, className = "") {
    const button = make("button", { type: "button", textContent: text, onclick, className });
    button.setAttribute("aria-describedby", this.name.id);
    return button;
  }

  #toggleDownloads() {
    this.links.hidden = !this.links.hidden;
    this.downloads.ariaExpanded = String(!this.links.hidden);
  }

  /** @returns {string} what has changed and should be spoken; empty where it is only progress */
  update(video) {
    this.video = video;
    const { labelling, overlay } = video;
    const isDone = labelling.state === "done";
    const task = isDone ? overlay : labelling;
    const isOpen = task != null && ["waiting", "running"].includes(task.state);
    this.element.className = `item ${labelling.state}`;
    this.size.textContent = [sizeTold(video.size_bytes), video.seconds ? lengthTold(video.seconds) : ""].filter(Boolean).join(" · ");
    this.state.textContent = this.#stateOf(video, task);
    this.state.hidden = !this.state.textContent;
    this.state.classList.toggle("fault", task?.state === "failed");
    this.#showBar(task, isOpen);
    if (isDone && !this.people.childElementCount) this.#showResults(video);
    this.open.hidden = this.downloads.hidden = !isDone;
    this.cancel.hidden = !isOpen;
    this.forget.hidden = isOpen;
    this.overlay.hidden = !isDone || isOpen || overlay?.state === "done";
    this.overlay.textContent = video.is_still ? "Make the overlay picture" : "Make the overlay video";
    this.#showOverlayLink(video);
    const said = isOpen && task.state === "running" ? "" : this.#spoken(video, task);
    const isNew = said && said !== this.said;
    if (said) this.said = said;
    return isNew ? said : "";
  }

  #stateOf(video, task) {
    if (task == null || task.state === "done") return this.#found(video);
    if (task.state === "waiting") return task.place > 1 ? `Waiting · ${task.place - 1} before it` : "Waiting · next in line";
    if (task.state === "running") return progressOf(task);
    if (task.state === "failed") return task.message;
    return task === video.overlay ? "The overlay was cancelled" : "Cancelled";
  }

  #found(video) {
    const count = video.people.length;
    if (!count) return "No face was found";
    return count === 1 ? "1 person" : `${count} people`;
  }

  #spoken(video, task) {
    if (task == null || task.state === "done") return `${video.name}: done, ${this.#found(video)}`;
    if (task.state === "failed") return task.message;
    return `${video.name}: ${this.#stateOf(video, task)}`;
  }

  #showBar(task, isOpen) {
    this.bar.hidden = !isOpen || task.state !== "running";
    if (this.bar.hidden) return;
    if (task.share == null) this.bar.removeAttribute("value");
    else this.bar.value = task.share;
  }

  #showResults(video) {
    for (const person of video.people) {
      const swatch = make("span", { className: "swatch", ariaHidden: "true" });
      swatch.style.setProperty("--emotion", person.colour);
      const what = make("b", { textContent: person.emotion });
      const who = make("span", { className: "who", textContent: `person ${person.id}` });
      const tag = make("span", { className: "emotion" }, swatch, who, what, percent(person.confidence));
      this.people.append(make("li", {}, tag));
    }
    this.people.hidden = !video.people.length;
    this.warned.replaceChildren(...video.warnings.map((text) => make("li", { textContent: text })));
    this.warned.hidden = !video.warnings.length;
    const link = (key, textContent, className = "") =>
      make("li", {}, make("a", { href: urlOf(video, `download/${key}`), download: "", textContent, className }));
    const links = video.downloads.map(({ key, title }) => link(key, title));
    this.overlayLink = link("overlay", video.is_still ? "Overlay (PNG)" : "Overlay (MP4)");
    this.links.replaceChildren(link("zip", "Everything (ZIP)", "whole"), link("report", "This report (HTML)"), ...links, this.overlayLink);
  }

  #showOverlayLink(video) {
    if (this.overlayLink) this.overlayLink.hidden = video.overlay?.state !== "done";
  }
}

/** A file on its way to the server. */
export class UploadCard {
  constructor(file, onCancel) {
    this.state = make("p", { className: "state", textContent: "Waiting to be sent" });
    this.bar = make("progress", { max: 1, value: 0 });
    this.bar.setAttribute("aria-label", file.name);
    this.button = make("button", { type: "button", textContent: "Cancel", onclick: onCancel });
    const head = make("div", { className: "head" }, make("h3", { textContent: file.name }), make("span", { className: "size", textContent: sizeTold(file.size) }));
    this.element = make("li", { className: "item waiting" }, head, this.state, this.bar, make("div", { className: "actions" }, this.button));
  }

  show(share) {
    this.element.className = "item running";
    this.state.textContent = `Copying · ${percent(share)}`;
    this.bar.value = share;
  }

  fail(message, onForget) {
    this.element.className = "item failed";
    this.state.textContent = message;
    this.bar.hidden = true;
    this.button.textContent = "Forget";
    this.button.className = "quiet";
    this.button.onclick = onForget;
  }
}
