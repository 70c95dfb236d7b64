"use strict";
// One person's lane of the timeline.

/** Draw one person: name and clip label, probabilities, band of the smoothed labels. */
function drawLane(context, line, person, top) {
  const { analysis, paint, choice, shape } = line;
  const chart = { top: top + shape.title, height: shape.chart };
  const band = { top: chart.top + shape.chart + 3, height: shape.band };
  context.textBaseline = "middle";
  context.fillStyle = paint.ink;
  context.font = `600 13px ${line.font}`;
  const name = `person ${person.id}`;
  context.fillText(name, 0, top + shape.title / 2);
  const left = context.measureText(name).width + 10;
  if (person.clip) {
    context.font = `13px ${line.font}`;
    context.fillStyle = paint.muted;
    context.fillText(person.clip, left, top + shape.title / 2);
  }
  context.fillStyle = paint.gap;
  context.fillRect(0, chart.top, line.width, chart.height);
  context.fillRect(0, band.top, line.width, band.height);
  const columns = columnsInView(line, person);
  if (columns.length) {
    const probs = choice.isRaw ? person.raw : person.smoothed;
    if (choice.emotion < 0) drawStack(context, analysis, probs, columns, chart);
    else drawOne(context, line, probs, columns, chart);
    drawUnseen(context, line, person, columns, chart);
  }
  drawBand(context, line, person, band);
}

/** The person's frames in view, gathered by pixel where there are more of them than pixels. */
function columnsInView(line, person) {
  const { analysis, view } = line;
  const from = Math.max(analysis.frameAt(view.start), person.first) - person.first;
  const to = Math.min(analysis.frameAt(view.end) + 1, person.first + person.numFrames) - person.first;
  const columns = [];
  for (let frame = from; frame < to; ) {
    const x = line.x(analysis.times[person.first + frame]);
    let next = frame + 1;
    if (to - from > line.width) {
      const index = analysis.frameAt(line.seconds(Math.floor(x) + 1)) + 1;
      next = Math.min(Math.max(next, index - person.first), to);
    }
    const end = line.x(analysis.end(person.first + next - 1));
    columns.push({ from: frame, to: next, x: Math.max(x, -1), end: Math.min(end, line.width + 1) });
    frame = next;
  }
  return columns;
}

function drawStack(context, analysis, probs, columns, chart) {
  const sums = new Float32Array(columns.length).fill(0);
  const areas = analysis.labels.map((_, emotion) => {
    columns.forEach((column, i) => (sums[i] += probs.over(emotion, column.from, column.to).mean));
    return sums.slice();
  });
  // From the top down, so that each area covers the foot of the one before and no seams are left.
  for (let emotion = areas.length - 1; emotion >= 0; emotion--) {
    const isLast = emotion === areas.length - 1;
    context.fillStyle = analysis.colours[emotion];
    // Probabilities of 8 bits do not quite sum to 1.
    fillSteps(context, columns, chart, (i) => (isLast ? 1 : Math.min(1, areas[emotion][i] / sums[i])));
  }
}

function drawOne(context, line, probs, columns, chart) {
  const { analysis, choice, paint } = line;
  const values = columns.map((column) => probs.over(choice.emotion, column.from, column.to));
  context.fillStyle = analysis.colours[choice.emotion];
  context.globalAlpha = 0.4;
  fillSteps(context, columns, chart, (i) => values[i].max);
  context.globalAlpha = 1;
  fillSteps(context, columns, chart, (i) => values[i].mean);
  // Yellow on white is hardly seen: the height is drawn in ink besides.
  context.beginPath();
  columns.forEach((column, i) => {
    const y = chart.top + chart.height * (1 - values[i].mean);
    context.lineTo(column.x, y);
    context.lineTo(column.end, y);
  });
  context.strokeStyle = paint.ink;
  context.lineWidth = 1;
  context.stroke();
}

function fillSteps(context, columns, chart, heightOf) {
  const foot = chart.top + chart.height;
  context.beginPath();
  context.moveTo(columns[0].x, foot);
  columns.forEach((column, i) => {
    const y = foot - chart.height * heightOf(i);
    context.lineTo(column.x, y);
    context.lineTo(column.end, y);
  });
  context.lineTo(columns[columns.length - 1].end, foot);
  context.fill();
}

/** Hatch where the face was not found, on most of the frames that fall together in a pixel. */
function drawUnseen(context, line, person, columns, chart) {
  const { paint } = line;
  const hatched = columns.filter(({ from, to }) => person.unseenShare(from, to) > 0.5);
  if (!hatched.length) return;
  context.save();
  context.beginPath();
  for (const { x, end } of hatched) context.rect(x, chart.top, end - x, chart.height);
  context.clip();
  context.fillStyle = paint.card;
  context.globalAlpha = 0.6;
  context.fillRect(0, chart.top, line.width, chart.height);
  context.globalAlpha = 1;
  context.strokeStyle = paint.ink;
  context.lineWidth = 1;
  context.beginPath();
  for (let x = -chart.height; x < line.width; x += 7) {
    context.moveTo(x, chart.top + chart.height);
    context.lineTo(x + chart.height, chart.top);
  }
  context.stroke();
  context.restore();
}

function drawBand(context, line, person, band) {
  const { analysis, paint, choice } = line;
  context.font = `600 ${band.height > 18 ? 12 : 11}px ${line.font}`;
  context.textBaseline = "middle";
  for (const segment of person.segments) {
    const x = Math.max(line.x(segment.onset), -2);
    const end = Math.min(line.x(segment.offset), line.width + 2);
    if (end <= 0 || x >= line.width) continue;
    const isOther = choice.emotion >= 0 && choice.emotion !== segment.emotion;
    context.globalAlpha = isOther ? 0.25 : 1;
    context.fillStyle = analysis.colours[segment.emotion];
    // A hair of the ground between neighbours.
    context.fillRect(x, band.top, Math.max(end - x - (end - x > 3 ? 1 : 0), 0.5), band.height);
    context.globalAlpha = 1;
    const name = analysis.told[segment.emotion];
    const start = Math.max(x, 0);
    if (Math.min(end, line.width) - start < context.measureText(name).width + 12) continue;
    context.fillStyle = isOther ? paint.ink : analysis.text_colours[segment.emotion];
    context.fillText(name, start + 6, band.top + band.height / 2 + 0.5);
  }
}
