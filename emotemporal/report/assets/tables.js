"use strict";
// What is said in words and numbers: of the frame that is shown, of the one pointed at, of the segments.

/** Rows that are there at first; of an hour there may be thousands. */
const ROWS_AT_ONCE = 60;
/** People beside the video; of a crowd the others are told of in one line. */
const MAX_CARDS = 5;

/** Make an element; `text` is never taken for markup. */
function make(name, { text, ...attributes } = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
}

function emotionTag(analysis, emotion) {
  const swatch = make("span", { class: "swatch", "data-emotion": emotion, "aria-hidden": "true" });
  return make("span", { class: "emotion" }, swatch, analysis.told[emotion]);
}

/** What everyone in view shows on the frame that is shown. */
class NowPanel {
  constructor(analysis, box) {
    this.analysis = analysis;
    this.box = box;
    this.list = box.querySelector("ul");
    this.empty = box.querySelector(".empty");
    this.cards = new Map();
  }

  show(index, choice) {
    const inView = this.analysis.people.filter((person) => person.frameOf(index) >= 0);
    const wanted = choice.person ? inView.filter((person) => person === choice.person) : inView;
    const shown = wanted.slice(0, MAX_CARDS);
    for (const [person, card] of this.cards) card.item.hidden = !shown.includes(person);
    for (const person of shown) this.#update(person, person.frameOf(index), choice);
    const rest = wanted.length - shown.length;
    this.empty.textContent = !wanted.length ? this.#sayNobody(choice) : `and ${rest} more: choose a person`;
    this.empty.hidden = wanted.length > 0 && rest === 0;
  }

  #sayNobody(choice) {
    if (!this.analysis.people.length) return "No face was found in any frame.";
    return choice.person ? `Person ${choice.person.id} is not in view.` : "Nobody is in view.";
  }

  #update(person, frame, choice) {
    const card = this.cards.get(person) ?? this.#makeCard(person);
    const probs = choice.isRaw ? person.raw : person.smoothed;
    const emotion = choice.isRaw ? person.raw.top(frame) : person.labels[frame];
    card.label.dataset.emotion = emotion;
    card.word.textContent = this.analysis.told[emotion];
    card.share.textContent = percent(probs.shareOf(emotion, frame));
    card.how.textContent = person.status[frame] === 2 ? "face not found here" : "";
    card.bars.forEach(({ bar, value }, place) => {
      const probability = probs.at(place, frame);
      bar.style.setProperty("--share", probability.toFixed(3));
      value.textContent = percent(probability);
    });
  }

  #makeCard(person) {
    const { analysis } = this;
    const word = make("strong");
    const share = make("span", { class: "share" });
    const how = make("span", { class: "how" });
    const label = make("p", { class: "label" }, word, share, how);
    const bars = analysis.labels.map((name, emotion) => {
      const bar = make("span", { class: "bar", "data-emotion": emotion });
      const value = make("span", { class: "value" });
      return { bar, value, row: make("li", {}, make("span", { class: "name", text: name }), bar, value) };
    });
    const rows = make("ul", { class: "bars" }, ...bars.map(({ row }) => row));
    const item = make("li", { class: "card-now" }, make("h3", { text: `person ${person.id}` }), label, rows);
    const after = [...this.cards.keys()].find((other) => other.place > person.place);
    this.list.insertBefore(item, after ? this.cards.get(after).item : null);
    const card = { item, label, word, share, how, bars };
    this.cards.set(person, card);
    return card;
  }

  /** The labels in one sentence, for those who hear the page. */
  sentence(index, choice) {
    const told = this.analysis.people
      .filter((person) => person.frameOf(index) >= 0 && (!choice.person || person === choice.person))
      .map((person) => `person ${person.id} ${this.analysis.told[this.#labelOf(person, index, choice)]}`);
    return told.length ? told.join(", ") : this.#sayNobody(choice);
  }

  #labelOf(person, index, choice) {
    const frame = person.frameOf(index);
    return choice.isRaw ? person.raw.top(frame) : person.labels[frame];
  }
}

/** What is under the pointer on the timeline. */
class Tooltip {
  constructor(analysis, element) {
    this.analysis = analysis;
    this.element = element;
  }

  show(point, choice) {
    this.element.hidden = !point;
    if (!point) return;
    const { analysis } = this;
    const { person, index, x, y } = point;
    const time = `${clock(analysis.times[index])} · frame ${analysis.frameIndex[index]}`;
    const children = [make("p", { class: "time", text: time })];
    const frame = person ? person.frameOf(index) : -1;
    if (person && frame < 0) children.push(make("p", { text: `person ${person.id}: not in view` }));
    if (frame >= 0) {
      const probs = choice.isRaw ? person.raw : person.smoothed;
      const kind = choice.isRaw ? "frame by frame" : "smoothed";
      const how = ["", ", followed", ", face not found"][person.status[frame]];
      children.push(make("p", { text: `person ${person.id}, ${kind}${how}` }));
      const order = analysis.labels.map((_, i) => i).sort((a, b) => probs.at(b, frame) - probs.at(a, frame));
      const rows = order.map((emotion) =>
        make("tr", {}, make("td", {}, emotionTag(analysis, emotion)),
          make("td", { class: "number", text: `${(100 * probs.at(emotion, frame)).toFixed(1)}%` })),
      );
      children.push(make("table", {}, make("tbody", {}, ...rows)));
    }
    this.element.replaceChildren(...children);
    const room = this.element.parentElement.clientWidth - this.element.offsetWidth;
    const isRight = x + 16 > room;
    const left = isRight ? Math.max(0, x - 16 - this.element.offsetWidth) : x + 16;
    this.element.style.setProperty("left", `${left}px`);
    this.element.style.setProperty("top", `${Math.max(0, y - 20)}px`);
  }
}

/** Stretches of time of one emotion; those of the chosen person and emotion. */
class SegmentsTable extends EventTarget {
  constructor(analysis, section) {
    super();
    this.analysis = analysis;
    this.body = section.querySelector("tbody");
    this.count = section.querySelector(".count");
    this.more = section.querySelector("button.more");
    this.all = analysis.people.flatMap((person) => person.segments);
    this.all.sort((a, b) => a.onset - b.onset || a.person.place - b.person.place);
    this.choice = { person: null, emotion: -1 };
    this.current = new Set();
    this.more.addEventListener("click", () => this.#fill(this.chosen.length));
    this.body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (row) this.dispatchEvent(new CustomEvent("seek", { detail: this.chosen[row.rowIndex - 1].index }));
    });
    this.choose({});
  }

  choose(choice) {
    Object.assign(this.choice, choice);
    const { person, emotion } = this.choice;
    this.chosen = this.all.filter(
      (segment) => (!person || segment.person === person) && (emotion < 0 || segment.emotion === emotion),
    );
    this.body.replaceChildren();
    this.current.clear();
    this.#fill(ROWS_AT_ONCE);
  }

  /** All rows, for paper. */
  fillAll() {
    this.#fill(this.chosen.length);
  }

  #fill(count) {
    const present = this.body.rows.length;
    this.body.append(...this.chosen.slice(present, count).map((segment) => this.#makeRow(segment)));
    const all = this.chosen.length;
    const shown = this.body.rows.length;
    const told = all === 1 ? "1 segment" : `${all.toLocaleString("en")} segments`;
    this.count.textContent = shown < all ? `first ${shown} of ${told}` : told;
    this.more.hidden = shown === all;
    this.more.textContent = `Show all ${all.toLocaleString("en")}`;
  }

  #makeRow(segment) {
    const { analysis } = this;
    const onset = clock(segment.onset);
    const told = `Go to ${onset}, person ${segment.person.id} ${analysis.told[segment.emotion]}`;
    const jump = make("button", { type: "button", class: "jump", "aria-label": told, text: onset });
    const number = (text) => make("td", { class: "number", text });
    return make(
      "tr",
      {},
      make("td", { class: "number" }, jump),
      make("th", { scope: "row", text: `person ${segment.person.id}` }),
      make("td", {}, emotionTag(analysis, segment.emotion)),
      number(clock(segment.offset)),
      number(`${(segment.offset - segment.onset).toFixed(3)} s`),
      number(`${(100 * segment.mean).toFixed(1)}%`),
      number(`${(100 * segment.peak).toFixed(1)}% at ${clock(analysis.times[segment.peakFrame], 2)}`),
    );
  }

  /** Mark the rows that hold on the frame that is shown. */
  mark(index) {
    const rows = this.body.rows;
    const now = new Set();
    for (let i = 0; i < rows.length && this.chosen[i].index <= index; i++) {
      if (this.chosen[i].last >= index) now.add(rows[i]);
    }
    for (const row of this.current) if (!now.has(row)) row.removeAttribute("aria-current");
    for (const row of now) row.setAttribute("aria-current", "true");
    this.current = now;
  }

  /** Where the next segment begins, or the one before (`way` −1), as a frame; null where there is none. */
  neighbour(index, way) {
    const onsets = this.chosen.map((segment) => segment.index);
    const found = way > 0 ? onsets.find((onset) => onset > index) : onsets.findLast((onset) => onset < index);
    return found ?? null;
  }
}
