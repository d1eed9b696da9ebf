// Fills the plots of a report's interactive part with the numbers beside them, and reacts to choices and clicks.
"use strict";
(async () => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const data = read("interactive-data"), plots = read("interactive-plots");
  const section = document.getElementById("interactive");
  for (const element of [section, document.getElementById("interactive-link")]) element.hidden = false;
  const choice = (name) => document.getElementById(`interactive-${name}`);
  const small = window.matchMedia("(max-width: 700px)").matches;

  // 16-bit integers to numbers: see `packed` in interactive.py.
  const numbers = (packed) => {
    if (!packed.numbers) {
      const bytes = Uint8Array.from(atob(packed.data), (character) => character.charCodeAt(0));
      const view = new DataView(bytes.buffer);
      packed.numbers = Float64Array.from({ length: bytes.length / 2 }, (_, place) => {
        const whole = view.getInt16(2 * place, true);
        return whole === -32768 ? NaN : packed.offset + packed.scale * whole;
      });
    }
    return packed.numbers;
  };
  const text = (value) => (Number.isFinite(value) ? Number(value.toPrecision(3)).toString().replace("-", "−") : "–");
  const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1);
  const options = (select, names) => select.replaceChildren(...names.map((name, place) => new Option(name, place)));

  const draw = async (name) => {
    await Bokeh.embed.embed_item(plots[name], `interactive-${name}`);
    const drawn = Bokeh.documents[Bokeh.documents.length - 1];
    const model = (wanted) => drawn.get_model_by_name(wanted);
    // A finger that moves over a plot scrolls the page.
    if (window.matchMedia("(pointer: coarse)").matches) model("plot").toolbar.gestures.pan.active = null;
    return model;
  };
  const series = await draw("series");
  const map = plots.map ? await draw("map") : null;
  series("legend").ncols = small ? 2 : 4;
  if (small) {
    series("plot").below[0].ticker.desired_num_ticks = 4;
    for (const model of [series, map]) if (model) model("plot").toolbar_location = "below";
  }

  const days = Float64Array.from({ length: data.days }, (_, day) => Date.parse(data.start) + 86400000 * day);
  const absent = new Set();
  const showSeries = () => {
    const place = Number(choice("place").value);
    const variable = data.series[Number(choice("variable").value)];
    const legend = series("legend"), plot = series("plot");
    for (const item of legend.items) {
      const line = item.renderers[0], values = variable.lines[line.name];
      item.visible = values !== undefined;
      if (values === undefined) {
        if (line.visible) absent.add(line.name);
        line.visible = false;
        line.data_source.data = { x: [], y: [] };
        continue;
      }
      if (absent.delete(line.name)) line.visible = true;
      const y = numbers(values).subarray(place * data.days, (place + 1) * data.days);
      const points = line.glyph.type === "Scatter";
      const there = points ? [...y.keys()].filter((day) => Number.isFinite(y[day])) : null;
      line.data_source.data = points
        ? { x: there.map((day) => days[day]), y: there.map((day) => y[day]) }
        : { x: days, y: Float64Array.from(y) };
    }
    plot.title.text = `${sentence(variable.what)} at ${data.places[place].name}`;
    plot.left[0].axis_label = variable.label;
    if (map) {
      const cell = data.places[place].cell;
      map("chosen").data = { x: [data.cells.x[cell]], y: [data.cells.y[cell]] };
    }
  };
  const showMap = () => {
    const variable = data.maps[Number(choice("variable").value)];
    const layer = variable.layers[Number(choice("score").value)];
    const values = numbers(layer.values);
    const low = layer.low && numbers(layer.low), high = layer.high && numbers(layer.high);
    const unit = layer.unit ? ` ${layer.unit}` : "";
    const texts = Array.from(values, (value, cell) => {
      const sure = low && Number.isFinite(low[cell]) ? ` (95 %: ${text(low[cell])} to ${text(high[cell])})` : "";
      return `${layer.name}: ${text(value)}${unit}${sure}`;
    });
    const colours = map("colours");
    colours.setv({
      palette: data.palettes[layer.diverging ? "diverging" : "sequential"],
      low: layer.limits[0],
      high: layer.limits[1],
    });
    const names = data.cells.x.map((x, cell) => {
      const y = data.cells.y[cell];
      return data.names[cell] ?? `${Math.abs(y)}°${y < 0 ? "S" : "N"} ${Math.abs(x)}°${x < 0 ? "W" : "E"}`;
    });
    map("cells").data = { x: data.cells.x, y: data.cells.y, value: values, text: texts, place: names };
    map("plot").title.text = `${sentence(variable.what)}: ${layer.name}${layer.unit ? ` (${layer.unit})` : ""}`;
  };

  options(choice("variable"), data.series.map((one) => one.what));
  options(choice("place"), data.places.map((one) => one.name));
  choice("place").value = Math.max(data.places.findIndex((one) => one.station), 0);
  const chooseVariable = () => {
    if (map) {
      const before = choice("score").selectedOptions[0]?.text;
      const names = data.maps[Number(choice("variable").value)].layers.map((layer) => layer.name);
      options(choice("score"), names);
      choice("score").value = Math.max(names.indexOf(before), 0);
      showMap();
    }
    showSeries();
  };
  choice("variable").addEventListener("change", chooseVariable);
  choice("place").addEventListener("change", showSeries);
  if (map) {
    choice("score").addEventListener("change", showMap);
    map("cells").selected.change.connect(() => {
      const [cell] = map("cells").selected.indices;
      if (cell === undefined) return;
      const distance = ({ cell: other }) =>
        Math.hypot(data.cells.x[cell] - data.cells.x[other], data.cells.y[cell] - data.cells.y[other]);
      const apart = data.places.map(distance);
      choice("place").value = apart.indexOf(Math.min(...apart));
      map("cells").selected.indices = [];
      showSeries();
    });
  }
  chooseVariable();
})();
