"use strict";
// The video, the clock that everything follows, and what is drawn upon the picture.

/** Some browsers, when busy, do not tell of the picture that a seek ends with: after so long it is there. */
const SETTLED_MS = 150;
/** How far the picked file's duration may lie from the analysed one's before that is said. */
const DURATION_TOLERANCE_SECONDS = 0.5;

/**
 * Plays the video, or, where there is none that plays, lets time go by without it.
 *
 * `index` is the frame that is asked for, `shown` the one whose picture is on the screen: they differ while
 * the browser seeks. Seconds are those of the analysis; the browser's clock may begin elsewhere, which the
 * time of the first picture tells.
 */
class Player extends EventTarget {
  /** @param {Analysis} analysis @param {HTMLVideoElement} video @param {HTMLImageElement} picture */
  constructor(analysis, video, picture) {
    super();
    this.analysis = analysis;
    this.video = video;
    this.picture = picture;
    this.index = 0;
    this.shown = 0;
    this.target = null;
    this.rate = 1;
    this.source = null;
    this.offset = 0;
    this.isPlaying = this.isReady = false;
    this.hasFrames = "requestVideoFrameCallback" in HTMLVideoElement.prototype;
    video.addEventListener("loadeddata", () => this.#ready());
    video.addEventListener("error", () => this.#fail());
    video.addEventListener("seeked", () => setTimeout(() => this.#arrive(), this.hasFrames ? SETTLED_MS : 0));
    video.addEventListener("pause", () => this.#changePlaying(false));
    video.addEventListener("play", () => this.#changePlaying(true));
    picture.addEventListener("load", () => {
      this.isReady = true;
      this.#tell("ready");
    });
    picture.addEventListener("error", () => this.#fail());
  }

  /** Try sources in turn until one plays. @param {{kind: string, url: string}[]} sources */
  load(sources) {
    this.pause();
    this.waiting = [...sources];
    this.#next();
  }

  get hasVideo() {
    return this.isReady && !this.analysis.is_still;
  }

  #next() {
    this.target = null;
    this.isLoaded = this.isCalibrated = this.isReady = false;
    this.source = this.waiting.shift() ?? null;
    const element = this.analysis.is_still ? this.picture : this.video;
    element.hidden = !this.source;
    if (!this.source) {
      element.removeAttribute("src");
      this.#tell("none");
      return;
    }
    element.src = this.source.url;
    if (!this.analysis.is_still && this.hasFrames) this.#watch(this.source);
  }

  #fail() {
    if (this.source) this.#next();
  }

  #ready() {
    // Of a codec it does not know, a browser may play the sound alone.
    if (!this.video.videoWidth) {
      this.#fail();
      return;
    }
    this.isLoaded = true;
    const source = this.source;
    if (this.hasFrames) setTimeout(() => this.isReady || source !== this.source || this.#guessOffset(), 1500);
    else this.#guessOffset();
    this.#settle();
  }

  /** Nothing is sought before the browser's clock is known: its first picture tells it. */
  #settle() {
    if (!this.isLoaded || !this.isCalibrated || this.isReady) return;
    this.isReady = true;
    this.#tell("ready");
    if (this.index) this.seek(this.index);
  }

  #watch(source) {
    this.video.requestVideoFrameCallback((_, frame) => {
      if (source !== this.source) return;
      if (!this.isCalibrated) {
        // The browser begins with the first picture, whatever its clock says of it.
        const offset = this.analysis.times[0] - frame.mediaTime;
        this.offset = Math.abs(offset) < 1e-3 ? 0 : offset;
        this.isCalibrated = true;
        this.#settle();
      } else {
        this.#present(this.analysis.nearestFrame(frame.mediaTime + this.offset));
      }
      this.#watch(source);
    });
  }

  /** Without the times of pictures: the clock that ends where the video does. */
  #guessOffset() {
    const start = this.analysis.times[0];
    const span = this.analysis.end_seconds - start;
    const fromZero = Math.abs(this.video.duration - span) < Math.abs(this.video.duration - span - start);
    this.offset = fromZero ? start : 0;
    this.isCalibrated = true;
    this.#settle();
  }

  #indexOfClock() {
    return this.analysis.frameAt(this.video.currentTime + this.offset + 1e-4);
  }

  #present(index) {
    this.shown = index;
    if (index === this.target || (this.isPlaying && !this.video.seeking)) this.target = null;
    // On its way to the target a seek may show others.
    if (this.target === null) this.index = index;
    this.#tell("frame");
  }

  #arrive() {
    if (this.target === null || this.video.seeking || !this.hasVideo) return;
    this.target = null;
    this.#present(this.#indexOfClock());
  }

  #changePlaying(isPlaying) {
    this.isPlaying = isPlaying;
    this.#tell("playing");
    if (isPlaying && this.hasVideo && !this.hasFrames) this.#poll();
  }

  #poll() {
    if (!this.isPlaying || !this.hasVideo) return;
    this.#present(this.#indexOfClock());
    requestAnimationFrame(() => this.#poll());
  }

  /** Go to a frame of the video. */
  seek(index) {
    this.index = Math.max(0, Math.min(index, this.analysis.num_frames - 1));
    if (this.hasVideo) {
      // The middle of a frame is sure to show it, its beginning might round to the one before.
      const middle = (this.analysis.times[this.index] + this.analysis.end(this.index)) / 2;
      this.target = this.index;
      this.video.currentTime = Math.max(0, middle - this.offset);
    } else {
      this.shown = this.index;
      this.began = null;
    }
    this.#tell("frame");
  }

  seekSeconds(seconds) {
    this.seek(this.analysis.frameAt(seconds));
  }

  step(count) {
    this.pause();
    this.seek(this.index + count);
  }

  toggle() {
    if (this.isPlaying) this.pause();
    else this.play();
  }

  play() {
    if (this.analysis.is_still) return;
    const isAtEnd = this.index === this.analysis.num_frames - 1;
    if (isAtEnd) this.seek(0);
    if (this.hasVideo) {
      this.video.playbackRate = this.rate;
      this.video.play().catch(() => this.#changePlaying(false));
      return;
    }
    this.began = null;
    this.#changePlaying(true);
    requestAnimationFrame((now) => this.#goOn(now));
  }

  pause() {
    if (this.hasVideo) this.video.pause();
    else if (this.isPlaying) this.#changePlaying(false);
  }

  setRate(rate) {
    this.rate = rate;
    this.video.playbackRate = rate;
    this.began = null;
  }

  /** Time goes by where there is no video. */
  #goOn(now) {
    if (!this.isPlaying || this.hasVideo) return;
    this.began ??= { now, seconds: this.analysis.times[this.index] };
    const seconds = this.began.seconds + (this.rate * (now - this.began.now)) / 1000;
    this.index = this.shown = this.analysis.frameAt(seconds);
    this.#tell("frame");
    if (seconds >= this.analysis.end_seconds) this.pause();
    else requestAnimationFrame((later) => this.#goOn(later));
  }

  /** What of the file that plays is not as it was analysed, in words; empty where all is. */
  mismatch() {
    if (!this.hasVideo) return "";
    const { width, height, end_seconds: end, times } = this.analysis;
    const { videoWidth, videoHeight, duration } = this.video;
    const isTurned = (width - height) * (videoWidth - videoHeight) < 0;
    if (isTurned) return `The browser shows this file as ${videoWidth}×${videoHeight}, not ${width}×${height}.`;
    const span = end - times[0];
    const isAsLong = [span, end].some((told) => Math.abs(told - duration) < DURATION_TOLERANCE_SECONDS);
    if (Number.isFinite(duration) && !isAsLong) {
      return `This file lasts ${clock(duration, 1)}, the analysed one ${clock(span, 1)}.`;
    }
    return "";
  }

  #tell(name) {
    this.dispatchEvent(new Event(name));
  }
}

/** Draws boxes and labels upon the picture. */
class Overlay {
  /** @param {HTMLCanvasElement} canvas over the whole picture */
  constructor(analysis, canvas) {
    this.analysis = analysis;
    this.canvas = canvas;
    this.isOn = true;
    this.slots = new Map();
  }

  /** @param {number} index frame of the video @param {{isRaw: boolean, person: Person | null}} choice */
  draw(index, choice) {
    const { canvas, analysis } = this;
    const scale = devicePixelRatio || 1;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    if (!this.isOn) return;
    const marks = this.#marks(index, choice, width / analysis.width, height / analysis.height);
    for (const mark of marks) drawBox(context, mark);
    const taken = marks.map((mark) => mark.box);
    // The largest face chooses first: its label is the one that is read.
    for (const mark of marks.filter((m) => m.isChosen).sort((a, b) => b.box.width - a.box.width)) {
      this.#drawLabel(context, mark, taken, { width, height });
    }
  }

  #marks(index, choice, scaleX, scaleY) {
    const marks = [];
    for (const person of this.analysis.people) {
      const frame = person.frameOf(index);
      if (frame < 0) continue;
      const emotion = choice.isRaw ? person.raw.top(frame) : person.labels[frame];
      const probs = choice.isRaw ? person.raw : person.smoothed;
      const [x, y, width, height] = person.box(frame);
      marks.push({
        person,
        colour: this.analysis.colours[emotion],
        text: this.analysis.told[emotion],
        share: percent(probs.shareOf(emotion, frame)),
        isDashed: person.status[frame] === 2,
        isChosen: !choice.person || choice.person === person,
        box: { x: x * scaleX, y: y * scaleY, width: width * scaleX, height: height * scaleY },
      });
    }
    return marks;
  }

  #drawLabel(context, mark, taken, size) {
    const isNarrow = mark.box.width < 64;
    const px = isNarrow ? 11 : 13;
    context.font = `600 ${px}px ui-sans-serif, system-ui, sans-serif`;
    const wording = `${isNarrow ? mark.person.id : `person ${mark.person.id}`} · ${mark.text} ${mark.share}`;
    const width = context.measureText(wording).width + 1.6 * px;
    const height = 1.7 * px;
    const { x, y, width: w, height: h } = mark.box;
    const slots = [
      [x, y - height - 3], [x + w - width, y - height - 3], [x, y + h + 3], [x + w - width, y + h + 3],
      [x + w + 3, y], [x - width - 3, y], [x, y],
    ].map(([left, top]) => ({
      x: Math.max(0, Math.min(left, size.width - width)),
      y: Math.max(0, Math.min(top, size.height - height)),
      width,
      height,
    }));
    // A later place costs a little, leaving the last one more, so that labels do not flicker.
    const last = this.slots.get(mark.person.id);
    const costs = slots.map((slot, place) => {
      const covered = taken.reduce((sum, other) => sum + sharedArea(slot, other), 0) / (width * height);
      return covered + 0.01 * place - (place === last ? 0.15 : 0);
    });
    const best = costs.indexOf(Math.min(...costs));
    this.slots.set(mark.person.id, best);
    const slot = slots[best];
    taken.push(slot);
    context.fillStyle = "rgb(20 23 28 / 94%)";
    context.beginPath();
    context.roundRect(slot.x, slot.y, width, height, 3);
    context.fill();
    context.fillStyle = mark.colour;
    context.beginPath();
    context.roundRect(slot.x, slot.y, 0.4 * px, height, [3, 0, 0, 3]);
    context.fill();
    context.fillStyle = "#fff";
    context.textBaseline = "middle";
    context.fillText(wording, slot.x + 0.95 * px, slot.y + height / 2 + 0.5);
  }
}

function drawBox(context, mark) {
  const { x, y, width, height } = mark.box;
  context.globalAlpha = mark.isChosen ? 1 : 0.45;
  for (const [line, colour] of [[4.5, "#14171c"], [2.5, mark.colour]]) {
    context.lineWidth = line;
    context.strokeStyle = colour;
    context.setLineDash(mark.isDashed ? [8, 6] : []);
    context.strokeRect(x, y, width, height);
  }
  context.setLineDash([]);
  context.globalAlpha = 1;
}

function sharedArea(a, b) {
  const width = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x);
  const height = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y);
  return Math.max(0, width) * Math.max(0, height);
}
