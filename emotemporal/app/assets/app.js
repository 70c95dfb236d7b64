// The list of videos, kept as the server knows it, and the report that is open.

import { Camera } from "/assets/camera.js";
import { Card, UploadCard, pageOf } from "/assets/cards.js";
import { Gone, change, listVideos, refusal, upload } from "/assets/server.js";

const element = (id) => document.getElementById(id);
const BUSY_MS = 400;
/** Another tab may have added something. */
const IDLE_MS = 4000;

class App {
  constructor() {
    this.cards = new Map();
    this.uploads = [];
    this.isSending = false;
    this.videos = [];
    this.#listenToFiles();
    new Camera((file) => this.#add([file]));
    addEventListener("hashchange", () => this.#showReport());
    element("viewer-frame").addEventListener("load", () => this.#matchTheme());
    element("theme").addEventListener("click", () => {
      document.documentElement.dataset.theme = this.#isDark() ? "light" : "dark";
      this.#showTheme();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#showTheme());
    addEventListener("beforeunload", (event) => this.uploads.some((item) => !item.isOver) && event.preventDefault());
    this.#showTheme();
    this.#poll();
  }

  #listenToFiles() {
    element("files").addEventListener("change", () => {
      this.#add([...element("files").files]);
      element("files").value = ""; // so that the same file can be chosen again
    });
    const drop = element("drop");
    // Anywhere on the page: beside the field, the browser would leave the page for the video.
    const over = (event, isOver) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      drop.classList.toggle("over", isOver);
    };
    addEventListener("dragover", (event) => over(event, true));
    addEventListener("dragleave", (event) => event.relatedTarget ?? over(event, false));
    addEventListener("drop", (event) => {
      over(event, false);
      this.#add([...(event.dataTransfer?.files ?? [])]);
    });
  }

  #add(files) {
    for (const file of files) {
      const item = { file, abort: new AbortController(), isOver: false };
      item.card = new UploadCard(file, () => this.#dropUpload(item));
      this.uploads.push(item);
      element("list").prepend(item.card.element);
      const why = refusal(file);
      if (why) this.#failUpload(item, why);
    }
    this.#tellNothing();
    this.#send();
  }

  /** One after the other, in order. */
  async #send() {
    if (this.isSending) return;
    this.isSending = true;
    for (let item; (item = this.uploads.find((found) => !found.isOver)); ) {
      try {
        await upload(item.file, (share) => item.card.show(share), item.abort.signal);
        this.#dropUpload(item);
        await this.#refresh();
      } catch (error) {
        if (error.name !== "AbortError") this.#failUpload(item, error.message);
      }
    }
    this.isSending = false;
  }

  #failUpload(item, message) {
    item.isOver = true;
    item.card.fail(message, () => this.#dropUpload(item));
    this.#speak(message);
  }

  #dropUpload(item) {
    item.isOver = true;
    item.abort.abort();
    item.card.element.remove();
    this.uploads = this.uploads.filter((found) => found !== item);
    this.#tellNothing();
  }

  async #poll() {
    await this.#refresh();
    const isBusy = this.videos.some(({ labelling, overlay }) =>
      [labelling, overlay].some((task) => ["waiting", "running"].includes(task?.state)),
    );
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#poll(), isBusy || this.isSending ? BUSY_MS : IDLE_MS);
  }

  async #refresh() {
    try {
      this.#show(await listVideos());
      this.#fault("");
    } catch (error) {
      this.#fault(error.message);
    }
  }

  async #act(what, video) {
    try {
      this.#show(await change(video.id, what));
    } catch (error) {
      this.#fault(error.message);
      if (!(error instanceof Gone)) return;
    }
    this.#poll();
  }

  #show(videos) {
    this.videos = videos;
    const list = element("list");
    const ids = new Set(videos.map((video) => video.id));
    for (const [id, card] of this.cards) {
      if (ids.has(id)) continue;
      const hadFocus = card.element.contains(document.activeElement);
      card.element.remove();
      this.cards.delete(id);
      if (hadFocus) element("videos").focus();
    }
    for (const video of [...videos].reverse()) {
      let card = this.cards.get(video.id);
      if (!card) {
        card = new Card(video, (what, of) => this.#act(what, of));
        this.cards.set(video.id, card);
        // Below what is still to be sent, above what came before it.
        const first = [...list.children].find((found) => found.dataset.id);
        card.element.dataset.id = video.id;
        list.insertBefore(card.element, first ?? null);
      }
      this.#speak(card.update(video));
    }
    this.#tellNothing();
    this.#showReport();
  }

  #showReport() {
    const id = location.hash.startsWith("#report/") ? location.hash.slice("#report/".length) : "";
    const video = this.videos.find((found) => found.id === id && found.labelling.state === "done");
    const isOpen = !element("viewer").hidden;
    if (!video) {
      if (!isOpen) return;
      element("viewer").hidden = true;
      element("viewer-frame").removeAttribute("src");
      for (const name of ["top", "home", "footer"]) element(name).inert = false;
      document.title = "emotemporal";
      this.cards.get(this.shown)?.open.focus();
      this.shown = "";
      return;
    }
    if (isOpen && this.shown === id) return;
    this.shown = id;
    element("viewer").hidden = false;
    for (const name of ["top", "home", "footer"]) element(name).inert = true;
    element("viewer-title").textContent = document.title = video.name;
    element("viewer-tab").href = pageOf(video);
    element("viewer-frame").src = pageOf(video);
    element("viewer-back").focus();
  }

  /** The report follows the system; where another theme was chosen here, it is told so by its own button. */
  #matchTheme() {
    const page = element("viewer-frame").contentDocument;
    if (!page?.documentElement.dataset.ready && page?.getElementById("theme")) {
      setTimeout(() => this.#matchTheme(), 50);
      return;
    }
    const button = page?.getElementById("theme");
    if (button && button.textContent !== element("theme").textContent) button.click();
  }

  #tellNothing() {
    element("nothing").hidden = element("list").childElementCount > 0;
  }

  #fault(text) {
    element("fault").textContent = text;
    element("fault").hidden = !text;
  }

  #speak(text) {
    if (text) element("live").textContent = text;
  }

  #isDark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  #showTheme() {
    element("theme").textContent = this.#isDark() ? "Light theme" : "Dark theme";
  }
}

new App();
document.documentElement.dataset.ready = "true";
