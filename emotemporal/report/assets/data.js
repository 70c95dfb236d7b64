"use strict";
// The analysis as `report/page_data.py` packed it.

/** Steps in which neighbouring values are summed up for drawing: each level holds one of so many below. */
const LEVEL_FACTOR = 8;

/** One person's probabilities of every emotion, 255 for certain. */
class Probabilities {
  /**
   * @param {Uint8Array[]} columns of each emotion, one value for every `together` frames
   * @param {number} together
   */
  constructor(columns, together) {
    this.together = together;
    this.levels = columns.map((mean) => [{ mean, min: mean, max: mean }]);
  }

  /** Probability of an emotion on the person's frame, in [0, 1]. */
  at(emotion, frame) {
    return this.levels[emotion][0].mean[Math.floor(frame / this.together)] / 255;
  }

  /** Of an emotion as `at`; of `uncertain`, which comes after all emotions, that of the most probable one. */
  shareOf(label, frame) {
    return this.at(label < this.levels.length ? label : this.top(frame), frame);
  }

  /** The most probable emotion on the person's frame. */
  top(frame) {
    const place = Math.floor(frame / this.together);
    let best = 0;
    for (let emotion = 1; emotion < this.levels.length; emotion++) {
      if (this.levels[emotion][0].mean[place] > this.levels[best][0].mean[place]) best = emotion;
    }
    return best;
  }

  /** Mean, least and greatest probability over frames `from` to `to`; of many, to their eighth part. */
  over(emotion, from, to) {
    let step = this.together;
    let number = 0;
    while (to - from >= step * LEVEL_FACTOR) {
      step *= LEVEL_FACTOR;
      number++;
    }
    const level = this.#level(emotion, number);
    const first = Math.min(Math.floor(from / step), level.mean.length - 1);
    const last = Math.min(Math.max(first + 1, Math.ceil(to / step)), level.mean.length);
    let sum = 0;
    let min = 255;
    let max = 0;
    for (let i = first; i < last; i++) {
      sum += level.mean[i];
      min = Math.min(min, level.min[i]);
      max = Math.max(max, level.max[i]);
    }
    return { mean: sum / (255 * (last - first)), min: min / 255, max: max / 255 };
  }

  #level(emotion, number) {
    const levels = this.levels[emotion];
    while (levels.length <= number) {
      const below = levels[levels.length - 1];
      const length = Math.ceil(below.mean.length / LEVEL_FACTOR);
      const level = { mean: new Float32Array(length), min: new Uint8Array(length), max: new Uint8Array(length) };
      for (let i = 0; i < length; i++) {
        const start = i * LEVEL_FACTOR;
        const end = Math.min(start + LEVEL_FACTOR, below.mean.length);
        let sum = 0;
        let min = 255;
        let max = 0;
        for (let j = start; j < end; j++) {
          sum += below.mean[j];
          min = Math.min(min, below.min[j]);
          max = Math.max(max, below.max[j]);
        }
        level.mean[i] = sum / (end - start);
        level.min[i] = min;
        level.max[i] = max;
      }
      levels.push(level);
    }
    return levels[number];
  }
}

/** One person: frames are counted from the person's first, `first` is its place among the video's. */
class Person {
  constructor(id, first, numFrames) {
    this.id = id;
    this.first = first;
    this.numFrames = numFrames;
    this.labels = new Uint8Array(numFrames);
    this.segments = [];
  }

  /** The person's frame of one of the video, -1 where the person is not in view. */
  frameOf(index) {
    const frame = index - this.first;
    return frame >= 0 && frame < this.numFrames ? frame : -1;
  }

  /** Left, top, width and height in pixels of the video; between the boxes that are kept, on their line. */
  box(frame) {
    const { values, together, unit } = this.boxes;
    const place = Math.min(Math.floor(frame / together), values[0].length - 1);
    const next = Math.min(place + 1, values[0].length - 1);
    const start = Math.min(place * together, this.numFrames - 1);
    const end = Math.min(next * together, this.numFrames - 1);
    const share = end > start ? (frame - start) / (end - start) : 0;
    return values.map((column) => unit * (column[place] + share * (column[next] - column[place])));
  }

  /** Count the frames on which the face was not found, up to each frame. */
  countUnseen() {
    this.unseenBefore = new Uint32Array(this.numFrames + 1);
    for (let frame = 0; frame < this.numFrames; frame++) {
      this.unseenBefore[frame + 1] = this.unseenBefore[frame] + (this.status[frame] === 2 ? 1 : 0);
    }
  }

  /** The share of frames `from` to `to` on which the face was not found. */
  unseenShare(from, to) {
    return (this.unseenBefore[to] - this.unseenBefore[from]) / (to - from);
  }
}

/** Everything that was found in the video. */
class Analysis {
  /** @param {object} layout @param {Record<string, Uint8Array>} streams inflated */
  constructor(layout, streams) {
    Object.assign(this, layout);
    const frames = new ByteReader(streams.frames);
    const segments = JSON.parse(new TextDecoder().decode(frames.take(layout.text_bytes)));
    const count = layout.num_frames;
    this.times = Float64Array.from(summed(summed(frames.integers(count, 6))), (micros) => micros / 1e6);
    this.frameIndex = summed(summed(frames.integers(count, 6)));
    const readers = {};
    for (const name of ["boxes", "smoothed", "raw"]) readers[name] = new ByteReader(streams[name]);
    this.people = layout.people.map((told, place) => {
      const person = new Person(told.id, told.first, told.num_frames);
      person.place = place;
      person.clip = told.clip;
      person.status = frames.take(told.num_frames);
      person.boxes = this.#readBoxes(readers.boxes, told.num_frames);
      person.smoothed = this.#readProbabilities(readers.smoothed, told.num_frames, layout.together.smoothed);
      person.raw = this.#readProbabilities(readers.raw, told.num_frames, layout.together.raw);
      this.#addSegments(person, segments[place]);
      person.countUnseen();
      return person;
    });
  }

  /** When a frame of the video ends, in seconds. */
  end(index) {
    return index + 1 < this.num_frames ? this.times[index + 1] : this.end_seconds;
  }

  get start_seconds() {
    return this.times[0];
  }

  /** The frame that is shown at a time: the last one that has begun. */
  frameAt(seconds) {
    let low = 0;
    let high = this.num_frames;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.times[middle] <= seconds) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }

  /** The frame whose time is nearest, for times that were rounded. */
  nearestFrame(seconds) {
    const index = this.frameAt(seconds);
    const next = Math.min(index + 1, this.num_frames - 1);
    return Math.abs(this.times[next] - seconds) < Math.abs(this.times[index] - seconds) ? next : index;
  }

  #readBoxes(reader, numFrames) {
    const together = this.together.boxes;
    const count = Math.floor((numFrames - 1) / together) + 1 + ((numFrames - 1) % together ? 1 : 0);
    const values = [0, 1, 2, 3].map(() => summed(reader.integers(count, 2)));
    return { values, together, unit: this.box_step };
  }

  #readProbabilities(reader, numFrames, together) {
    const count = Math.ceil(numFrames / together);
    const columns = this.labels.map(() => {
      const column = reader.take(count).slice();
      for (let i = 1; i < count; i++) column[i] += column[i - 1];
      return column;
    });
    return new Probabilities(columns, together);
  }

  #addSegments(person, rows) {
    let frame = 0;
    for (const [emotion, numFrames, mean, peak, peakFrame] of rows) {
      const last = person.first + frame + numFrames - 1;
      const onset = this.times[person.first + frame];
      const offset = this.end(last);
      person.labels.fill(emotion, frame, frame + numFrames);
      const index = person.first + frame;
      person.segments.push({ person, emotion, index, last, onset, offset, mean, peak, peakFrame });
      frame += numFrames;
    }
  }
}

/** Reads bytes and integers one after the other. */
class ByteReader {
  constructor(bytes) {
    this.bytes = bytes;
    this.place = 0;
  }

  take(count) {
    this.place += count;
    return this.bytes.subarray(this.place - count, this.place);
  }

  /** Integers as lowest bytes of all, next bytes of all and so on; the lowest bit is the sign. */
  integers(count, numBytes) {
    const values = new Float64Array(count);
    for (let k = 0, scale = 1; k < numBytes; k++, scale *= 256) {
      const plane = this.take(count);
      for (let i = 0; i < count; i++) values[i] += scale * plane[i];
    }
    return values.map((value) => (value % 2 ? -(value + 1) / 2 : value / 2));
  }
}

function summed(differences) {
  for (let i = 1; i < differences.length; i++) differences[i] += differences[i - 1];
  return differences;
}

async function inflate(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Read what is embedded in this page. */
async function readAnalysis() {
  const layout = JSON.parse(document.getElementById("layout").textContent);
  const names = ["frames", "boxes", "smoothed", "raw"];
  const texts = names.map((name) => document.getElementById(`stream-${name}`).textContent);
  const streams = await Promise.all(texts.map(inflate));
  return new Analysis(layout, Object.fromEntries(names.map((name, i) => [name, streams[i]])));
}

/** `0:07.480`, or `1:02:07.480` from an hour on. */
function clock(seconds, digits = 3) {
  const scale = 10 ** digits;
  const units = Math.round(Math.abs(seconds) * scale);
  const whole = Math.floor(units / scale);
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  const rest = digits ? `.${String(units % scale).padStart(digits, "0")}` : "";
  const told = hours ? `${hours}:${two(minutes)}` : String(minutes);
  return `${seconds < 0 && units ? "−" : ""}${told}:${two(whole % 60)}${rest}`;
}

const percent = (probability) => `${Math.round(100 * probability)}%`;
