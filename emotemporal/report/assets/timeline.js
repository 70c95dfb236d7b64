"use strict";
// Everyone's probabilities over time: drawn for the stretch in view, moved through by pointer, wheel and keys.

const AXIS_HEIGHT = 28;
const OVERVIEW_HEIGHT = 14;
/** Pixels of a lane, from its name down; the second form is for many people. */
const LANES = [
  { title: 26, chart: 72, band: 22, gap: 18 },
  { title: 22, chart: 36, band: 16, gap: 10 },
];
const MANY_LANES = 4;
const MAX_LANES = 12;
/** The narrowest stretch of time that can be looked at. */
const MIN_FRAMES_IN_VIEW = 12;

class Timeline extends EventTarget {
  /**
   * @param {Analysis} analysis
   * @param {HTMLElement} box holds the two canvases: what changes with the view, and the marks above it
   */
  constructor(analysis, box) {
    super();
    this.analysis = analysis;
    this.box = box;
    this.base = box.querySelector("canvas.base");
    this.marks = box.querySelector("canvas.marks");
    this.whole = { start: analysis.times[0], end: Math.max(analysis.end_seconds, analysis.times[0] + 1e-3) };
    this.view = { ...this.whole };
    this.choice = { person: null, emotion: -1, isRaw: false };
    this.index = 0;
    this.hover = null;
    this.#listen();
    new ResizeObserver(() => this.draw()).observe(box);
  }

  /** Those who have a lane: the chosen one, or of all at most twelve, who are seen longest. */
  get lanes() {
    if (this.choice.person) return [this.choice.person];
    if (this.analysis.people.length <= MAX_LANES) return this.analysis.people;
    const longest = [...this.analysis.people].sort((a, b) => b.numFrames - a.numFrames).slice(0, MAX_LANES);
    return longest.sort((a, b) => a.place - b.place);
  }

  get shape() {
    return LANES[this.lanes.length > MANY_LANES ? 1 : 0];
  }

  choose(choice) {
    Object.assign(this.choice, choice);
    this.draw();
  }

  show(index, isPlaying) {
    this.index = index;
    const seconds = this.analysis.times[index];
    const span = this.view.end - this.view.start;
    // While it plays, the view turns over like a page.
    if (isPlaying && (seconds > this.view.end || seconds < this.view.start)) this.look(seconds, span);
    else this.drawMarks();
  }

  /** Look at a stretch that begins at `start`. */
  look(start, span) {
    const all = this.whole.end - this.whole.start;
    const frame = all / this.analysis.num_frames;
    const kept = Math.min(all, Math.max(span, MIN_FRAMES_IN_VIEW * frame));
    const from = Math.max(this.whole.start, Math.min(start, this.whole.end - kept));
    this.view = { start: from, end: from + kept };
    this.draw();
    this.dispatchEvent(new Event("view"));
  }

  lookAtAll() {
    this.look(this.whole.start, this.whole.end - this.whole.start);
  }

  /** Magnify about a time, by default the frame that is shown. */
  zoom(factor, seconds = this.analysis.times[this.index]) {
    const { start, end } = this.view;
    const about = Math.max(start, Math.min(seconds, end));
    this.look(about - (about - start) / factor, (end - start) / factor);
  }

  get isWhole() {
    return this.view.end - this.view.start >= this.whole.end - this.whole.start - 1e-9;
  }

  x(seconds) {
    return ((seconds - this.view.start) / (this.view.end - this.view.start)) * this.width;
  }

  seconds(x) {
    return this.view.start + (x / this.width) * (this.view.end - this.view.start);
  }

  top(place) {
    const { title, chart, band, gap } = this.shape;
    return AXIS_HEIGHT + place * (title + chart + band + 3 + gap);
  }

  draw() {
    const style = getComputedStyle(this.box);
    this.paint = Object.fromEntries(
      ["ink", "muted", "line", "gap", "card"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]),
    );
    this.font = style.fontFamily;
    this.width = this.box.clientWidth;
    // Without a lane there is room for the words that say so.
    this.height = this.top(this.lanes.length || 0.3) + OVERVIEW_HEIGHT;
    const scale = Math.min(devicePixelRatio || 1, 2);
    for (const canvas of [this.base, this.marks]) {
      canvas.width = Math.round(this.width * scale);
      canvas.height = Math.round(this.height * scale);
      canvas.style.height = `${this.height}px`;
      canvas.getContext("2d").setTransform(scale, 0, 0, scale, 0, 0);
    }
    const context = this.base.getContext("2d");
    context.fillStyle = this.paint.card;
    context.fillRect(0, 0, this.width, this.height);
    this.#drawAxis(context);
    this.lanes.forEach((person, place) => drawLane(context, this, person, this.top(place)));
    if (!this.lanes.length) {
      context.fillStyle = this.paint.muted;
      context.font = `13px ${this.font}`;
      context.fillText("No face was found in any frame.", 0, AXIS_HEIGHT + 14);
    }
    this.#drawOverview(context);
    this.drawMarks();
  }

  /** Draw the line of the shown frame, and that under the pointer. */
  drawMarks() {
    const context = this.marks.getContext("2d");
    context.clearRect(0, 0, this.width, this.height);
    const bottom = this.height - OVERVIEW_HEIGHT - 4;
    if (this.hover !== null) {
      context.fillStyle = this.paint.muted;
      context.fillRect(Math.round(this.hover.x), AXIS_HEIGHT, 1, bottom - AXIS_HEIGHT);
    }
    const seconds = this.analysis.times[this.index];
    const told = clock(seconds, 2);
    if (seconds < this.view.start || seconds > this.view.end) return;
    // Whole at the edges, too.
    const x = Math.max(1, Math.min(Math.round(this.x(seconds)), this.width - 1));
    const { title, chart, band } = this.shape;
    this.lanes.forEach((_, place) => {
      for (const [colour, half] of [[this.paint.card, 2], [this.paint.ink, 1]]) {
        context.fillStyle = colour;
        context.fillRect(x - half, this.top(place) + title - 2, 2 * half, chart + band + 7);
      }
    });
    context.fillStyle = this.paint.ink;
    context.fillRect(x - 1, 18, 2, AXIS_HEIGHT - 18);
    context.font = `600 11px ${this.font}`;
    const width = context.measureText(told).width + 12;
    const left = Math.max(0, Math.min(x - width / 2, this.width - width));
    context.beginPath();
    context.roundRect(left, 0, width, 19, 4);
    context.fill();
    context.fillStyle = this.paint.card;
    context.textBaseline = "middle";
    context.fillText(told, left + 6, 10);
  }

  #drawAxis(context) {
    const span = this.view.end - this.view.start;
    const steps = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 18000];
    const step = steps.find((s) => (s / span) * this.width > 72) ?? 36000;
    const digits = step < 0.1 ? 2 : step < 1 ? 1 : 0;
    context.font = `11px ${this.font}`;
    context.textBaseline = "middle";
    for (let n = Math.ceil(this.view.start / step - 1e-9); n * step <= this.view.end; n++) {
      const x = this.x(n * step);
      context.fillStyle = this.paint.line;
      context.fillRect(Math.round(x), AXIS_HEIGHT - 7, 1, this.height - AXIS_HEIGHT - OVERVIEW_HEIGHT);
      context.fillStyle = this.paint.muted;
      const told = clock(n * step, digits);
      const width = context.measureText(told).width;
      context.fillText(told, Math.max(0, Math.min(x - width / 2, this.width - width)), 10);
    }
  }

  /** Below all lanes: which part of the whole is in view. */
  #drawOverview(context) {
    const all = this.whole.end - this.whole.start;
    const y = this.height - 7;
    context.fillStyle = this.paint.gap;
    context.beginPath();
    context.roundRect(0, y, this.width, 6, 3);
    context.fill();
    if (this.isWhole) return;
    const from = ((this.view.start - this.whole.start) / all) * this.width;
    const width = ((this.view.end - this.view.start) / all) * this.width;
    context.fillStyle = this.paint.muted;
    context.beginPath();
    context.roundRect(Math.min(from, this.width - 8), y, Math.max(8, width), 6, 3);
    context.fill();
  }

  #listen() {
    const place = (event) => {
      const bounds = this.box.getBoundingClientRect();
      const x = Math.max(0, Math.min(event.clientX - bounds.left, this.width));
      return { x, y: event.clientY - bounds.top };
    };
    const isOverview = (y) => y > this.height - OVERVIEW_HEIGHT;
    const seek = (x) => {
      this.dispatchEvent(new CustomEvent("seek", { detail: this.seconds(x) }));
    };
    const pan = (x) => {
      const span = this.view.end - this.view.start;
      const middle = this.whole.start + (x / this.width) * (this.whole.end - this.whole.start);
      this.look(middle - span / 2, span);
    };
    let drag = null;
    this.box.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      const { x, y } = place(event);
      drag = isOverview(y) ? pan : seek;
      this.box.setPointerCapture(event.pointerId);
      drag(x);
    });
    this.box.addEventListener("pointermove", (event) => {
      const { x, y } = place(event);
      drag?.(x);
      this.#point(isOverview(y) ? null : { x, y });
    });
    for (const name of ["pointerup", "pointercancel"]) this.box.addEventListener(name, () => (drag = null));
    this.box.addEventListener("pointerleave", () => this.#point(null));
    this.box.addEventListener("wheel", (event) => this.#wheel(event, place(event).x), { passive: false });
  }

  #wheel(event, x) {
    const isAcross = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
    const span = this.view.end - this.view.start;
    if (isAcross) {
      if (this.isWhole) return;
      event.preventDefault();
      const pixels = Math.abs(event.deltaX) > Math.abs(event.deltaY) ? event.deltaX : event.deltaY;
      this.look(this.view.start + (pixels / this.width) * span, span);
      return;
    }
    // What cannot be zoomed out any further lets the page scroll on.
    if (event.deltaY > 0 && this.isWhole) return;
    event.preventDefault();
    this.zoom(Math.exp(-Math.max(-240, Math.min(event.deltaY, 240)) / 300), this.seconds(x));
  }

  #point(where) {
    this.hover = where;
    this.drawMarks();
    let detail = null;
    if (where) {
      const { title, chart, band, gap } = this.shape;
      const lane = Math.floor((where.y - AXIS_HEIGHT) / (title + chart + band + 3 + gap));
      const index = this.analysis.frameAt(this.seconds(where.x));
      detail = { ...where, index, person: this.lanes[lane] ?? null };
    }
    this.dispatchEvent(new CustomEvent("point", { detail }));
  }
}
