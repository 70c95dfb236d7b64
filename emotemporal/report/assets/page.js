"use strict";
// Brings the parts together: one frame is shown everywhere, one choice of person, emotion and kind holds for all.

const element = (id) => document.getElementById(id);
/** While the video plays, changes of the labels are spoken no more often than this. */
const SPOKEN_EVERY_MS = 2500;

class ReportPage {
  constructor(analysis) {
    this.analysis = analysis;
    this.choice = { person: null, emotion: -1, isRaw: false };
    this.player = new Player(analysis, element("video"), element("picture"));
    this.overlay = new Overlay(analysis, element("overlay"));
    this.now = new NowPanel(analysis, element("now"));
    this.tooltip = new Tooltip(analysis, element("tip"));
    this.segments = new SegmentsTable(analysis, element("segments"));
    this.timeline = new Timeline(analysis, element("lanes"));
    this.#prepare();
    this.#listenToPlayer();
    this.#listenToControls();
    this.#listenToChoices();
    this.#listenToWindow();
    this.player.load(analysis.sources);
    this.#showFrame();
  }

  #prepare() {
    const { analysis } = this;
    element("stage").style.setProperty("aspect-ratio", `${analysis.width} / ${analysis.height}`);
    element("stage").classList.toggle("upright", analysis.height > analysis.width);
    for (const person of analysis.people) {
      element("person").append(make("option", { value: person.place, text: `person ${person.id}` }));
    }
    analysis.labels.forEach((name, emotion) => {
      element("emotion").append(make("option", { value: emotion, text: name }));
    });
    const legend = analysis.told.map((_, label) => make("li", {}, emotionTag(analysis, label)));
    const hatch = make("span", { class: "swatch hatch", "aria-hidden": "true" });
    const gap = make("span", { class: "swatch gap", "aria-hidden": "true" });
    if (analysis.people.some((person) => person.unseenShare(0, person.numFrames))) {
      legend.push(make("li", {}, make("span", { class: "emotion" }, hatch, "face not found")));
    }
    legend.push(make("li", {}, make("span", { class: "emotion" }, gap, "not in view")));
    element("legend").append(...legend);
    for (const name of ["legend", "choices"]) element(name).hidden = !analysis.people.length;
    const isTimeless = analysis.is_still || !analysis.people.length;
    element("controls").hidden = analysis.is_still;
    element("timeline-section").hidden = analysis.is_still;
    element("segments").hidden = isTimeless;
    element("lanes").setAttribute("aria-valuemin", analysis.times[0].toFixed(3));
    element("lanes").setAttribute("aria-valuemax", analysis.times[analysis.num_frames - 1].toFixed(3));
    this.#tellLanes();
  }

  #listenToPlayer() {
    const { player } = this;
    player.addEventListener("frame", () => this.#showFrame());
    player.addEventListener("playing", () => {
      element("play").textContent = player.isPlaying ? "Pause" : "Play";
      this.#showFrame();
    });
    player.addEventListener("ready", () => this.#tellSource());
    player.addEventListener("none", () => this.#tellSource());
  }

  #listenToControls() {
    const { player, timeline } = this;
    const click = (id, act) => element(id).addEventListener("click", act);
    click("play", () => player.toggle());
    click("back", () => player.step(-1));
    click("forward", () => player.step(1));
    click("zoom-in", () => timeline.zoom(2));
    click("zoom-out", () => timeline.zoom(0.5));
    click("zoom-all", () => timeline.lookAtAll());
    element("rate").addEventListener("change", () => player.setRate(Number(element("rate").value)));
    element("sound").addEventListener("change", () => (player.video.muted = !element("sound").checked));
    element("boxes").addEventListener("change", () => this.#drawOverlay());
    element("file").addEventListener("change", () => {
      const [file] = element("file").files;
      if (file) player.load([{ kind: "picked", name: file.name, url: URL.createObjectURL(file) }]);
    });
    timeline.addEventListener("seek", ({ detail }) => player.seekSeconds(detail));
    timeline.addEventListener("point", ({ detail }) => this.tooltip.show(detail, this.choice));
    this.segments.addEventListener("seek", ({ detail }) => {
      player.pause();
      player.seek(detail);
      this.#bringIntoView();
    });
  }

  #listenToChoices() {
    element("person").addEventListener("change", () => {
      const { value } = element("person");
      this.#choose({ person: value === "" ? null : this.analysis.people[value] });
    });
    element("emotion").addEventListener("change", () => this.#choose({ emotion: Number(element("emotion").value) }));
    for (const input of document.querySelectorAll("input[name=kind]")) {
      input.addEventListener("change", () => this.#choose({ isRaw: input.value === "raw" && input.checked }));
    }
  }

  #listenToWindow() {
    document.addEventListener("keydown", (event) => this.#press(event));
    new ResizeObserver(() => this.#drawOverlay()).observe(element("stage"));
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", () => this.#showTheme());
    element("theme").addEventListener("click", () => {
      document.documentElement.dataset.theme = this.#isDark() ? "light" : "dark";
      this.#showTheme();
    });
    this.#showTheme();
    // Paper is white, and has no button for further rows.
    let before;
    addEventListener("beforeprint", () => {
      before = document.documentElement.dataset.theme;
      document.documentElement.dataset.theme = "light";
      this.segments.fillAll();
      this.timeline.draw();
    });
    addEventListener("afterprint", () => {
      if (before) document.documentElement.dataset.theme = before;
      else delete document.documentElement.dataset.theme;
      this.timeline.draw();
    });
  }

  #press(event) {
    const { player, timeline } = this;
    if (event.ctrlKey || event.metaKey || event.altKey || this.analysis.is_still) return;
    if (isOwnKey(event.target, event.key)) return;
    const second = (way) => player.seekSeconds(this.analysis.times[player.index] + way);
    const actions = {
      " ": () => player.toggle(),
      k: () => player.toggle(),
      ",": () => player.step(-1),
      ".": () => player.step(1),
      ArrowLeft: () => (event.shiftKey ? second(-1) : player.step(-1)),
      ArrowRight: () => (event.shiftKey ? second(1) : player.step(1)),
      Home: () => player.seek(0),
      End: () => player.seek(this.analysis.num_frames - 1),
      "[": () => player.seek(this.segments.neighbour(player.index, -1) ?? player.index),
      "]": () => player.seek(this.segments.neighbour(player.index, 1) ?? player.index),
      "+": () => timeline.zoom(2),
      "=": () => timeline.zoom(2),
      "-": () => timeline.zoom(0.5),
      0: () => timeline.lookAtAll(),
      r: () => element("timeline-section").querySelector("input[name=kind]:not(:checked)").click(),
      b: () => element("boxes").click(),
    };
    const act = actions[event.key];
    if (!act) return;
    event.preventDefault();
    act();
    if (!["+", "=", "-", "0", " ", "k", "b", "r"].includes(event.key)) this.#bringIntoView();
  }

  /** Turn the timeline to the shown frame where that lies outside of the view. */
  #bringIntoView() {
    const { timeline, player } = this;
    const seconds = this.analysis.times[player.index];
    const { start, end } = timeline.view;
    if (seconds < start || seconds > end) timeline.look(seconds - (end - start) / 2, end - start);
  }

  #choose(choice) {
    Object.assign(this.choice, choice);
    this.timeline.choose(choice);
    if (!("isRaw" in choice)) this.segments.choose(choice);
    this.#tellLanes();
    this.#showFrame();
  }

  #showFrame() {
    const { player, analysis, choice } = this;
    const { index } = player;
    const told = `${clock(analysis.times[index])} · frame ${analysis.frameIndex[index]}`;
    element("time").textContent = told;
    this.timeline.show(index, player.isPlaying);
    this.now.show(index, choice);
    this.segments.mark(index);
    this.#drawOverlay();
    // While it plays, every frame would be read out.
    if (!player.isPlaying) {
      element("lanes").setAttribute("aria-valuenow", analysis.times[index].toFixed(3));
      element("lanes").setAttribute("aria-valuetext", `${told}: ${this.now.sentence(index, choice)}`);
    }
    this.#speak();
  }

  #drawOverlay() {
    // Its boxes are drawn in the overlay's own picture already.
    this.overlay.isOn = element("boxes").checked && this.player.source?.kind !== "overlay";
    this.overlay.draw(this.player.shown, this.choice);
  }

  /** Say the labels aloud where they have changed, but not every frame of a video that plays. */
  #speak() {
    const told = this.now.sentence(this.player.index, this.choice);
    const now = performance.now();
    if (told === this.spoken || (this.player.isPlaying && now - (this.spokenAt ?? 0) < SPOKEN_EVERY_MS)) return;
    this.spoken = told;
    this.spokenAt = now;
    element("live").textContent = told;
  }

  #tellSource() {
    const { player, analysis } = this;
    const { source } = player;
    const what = analysis.is_still ? "picture" : "video";
    const lines = {
      original: "",
      picked: source?.name ?? "",
      overlay: `The browser cannot show the ${what} itself: this is its overlay, labels drawn in.`,
    };
    let told = source ? lines[source.kind] : this.#sayWhyNothing(what);
    if (source) told = [told, player.mismatch()].filter(Boolean).join(" ");
    element("source").textContent = told;
    element("source").hidden = !told;
    element("file-label").hidden = source?.kind === "original";
    element("sound-label").hidden = !analysis.has_audio || !player.hasVideo;
    element("stage").classList.toggle("empty", !source);
    this.#showFrame();
  }

  #sayWhyNothing(what) {
    const end = "Boxes and labels are shown without it.";
    if (!this.analysis.sources.length) return `${this.analysis.no_source} Choose the ${what} if you have it. ${end}`;
    return (
      `The ${what} cannot be shown: it is not where it was, or the browser does not know its format ` +
      `(many do not know HEVC, ProRes or 10 bits). Choose the file, or one converted to H.264. ${end}`
    );
  }

  #tellLanes() {
    const { people } = this.analysis;
    const shown = this.timeline.lanes.length;
    const isCut = !this.choice.person && shown < people.length;
    element("lanes-note").hidden = !isCut;
    element("lanes-note").textContent = `${shown} of ${people.length} people, those seen longest. Choose a person to see another.`;
  }

  #isDark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  #showTheme() {
    element("theme").textContent = this.#isDark() ? "Light theme" : "Dark theme";
    this.timeline.draw();
  }
}

/** Whether what has the focus does something of its own with a key. */
function isOwnKey(target, key) {
  if (!target.matches) return false;
  if (target.matches("select")) return true;
  if (target.matches("input, .scroll, .inner")) return [" ", "Home", "End"].includes(key) || key.startsWith("Arrow");
  return target.matches("button, summary, a") && key === " ";
}

readAnalysis()
  .then((analysis) => {
    window.report = new ReportPage(analysis);
    document.documentElement.dataset.ready = "true";
  })
  .catch((error) => {
    element("fault").hidden = false;
    element("fault").textContent = `This page cannot be shown (${error.message}); a newer browser may.`;
    throw error;
  });
