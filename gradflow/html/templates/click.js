// The start nearest to the click, distances measured as parts of the window; then its own rows, as they were computed.
const grid = starts.data, all = rows.data;
const wide = plot.x_range.end - plot.x_range.start, high = plot.y_range.end - plot.y_range.start;
let nearest = 0, least = Infinity;
for (let i = 0; i < grid.x.length; i++) {
  const distance = ((grid.x[i] - cb_obj.x) / wide) ** 2 + ((grid.y[i] - cb_obj.y) / high) ** 2;
  if (distance < least) { least = distance; nearest = i; }
}
const from = grid.first[nearest], to = grid.last[nearest];
const part = (name) => Array.from(all[name].slice(from, to));
const x = part("x"), y = part("y"), t = part("t"), loss = part("loss");
const short = (value) => String(Number(Number(value).toPrecision(4)));
path.data = { x: x, y: y, t: t, loss: loss };
chosen.data = { x: [x[0]], y: [y[0]] };
// Flow times beside rows that are not too near to each other on the page.
const shown = [];
for (let i = 1; i < x.length; i++) {
  const apart = shown.concat([0]).every((j) => Math.hypot((x[i] - x[j]) / wide, (y[i] - y[j]) / high) > 0.09);
  if (apart && shown.length < 8) { shown.push(i); }
}
marks.data = { x: shown.map((i) => x[i]), y: shown.map((i) => y[i]), text: shown.map((i) => "t = " + short(t[i])) };
const last = x.length - 1;
const say = (name, text) => { document.getElementById("said-" + name).textContent = text; };
document.getElementById("said-all").hidden = false;
say("how", "The trajectory of the start nearest to where you clicked, as it was computed; nothing is interpolated.");
say("clicked", "(" + short(cb_obj.x) + ", " + short(cb_obj.y) + ")");
say("start", "(" + short(grid.x[nearest]) + ", " + short(grid.y[nearest]) + "), number " + nearest);
const reason = grid.reason[nearest];
say("limit", labels[grid.code[nearest]] + (reason ? ": " + reason : ""));
say("time", "0 to " + short(t[last]) + " along the line");
say("loss", short(loss[0]) + " at the start, " + short(loss[last]) + " at the line's end");
say("rows", x.length + " computed points, joined by straight lines");
say("note", notes[grid.ending[nearest]]);
