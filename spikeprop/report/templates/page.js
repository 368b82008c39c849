"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const SHOWN = 12; // classes in the list; more would push the page away
  const all = JSON.parse(document.getElementById("data").textContent);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const bit = (packed, i) => (packed[i >> 3] >> (7 - (i & 7))) & 1;
  const make = (name, attributes, text) => {
    const element = document.createElementNS(SVG, name);
    for (const key in attributes) element.setAttribute(key, attributes[key]);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const signed = (value) => (value < 0 ? "\u2212" : "") + Math.abs(value).toFixed(2);
  const colour = (name) => {
    const value = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    return [1, 3, 5].map((i) => parseInt(value.slice(i, i + 2), 16));
  };

  function player(root, run) {
    const part = (name) => root.querySelector(`[data-part="${name}"]`);
    const choice = part("choice"), time = part("time"), play = part("play"), said = part("said");
    const events = part("events"), lines = part("lines"), bars = part("bars");
    const line = run.height === 1; // inputs in a row: they are drawn over time
    let shown, frame, timer = null, paths = [], rows = [], rasters = [];

    run.recordings.forEach((recording, i) => {
      const label = run.classes[recording.label], guess = run.classes[recording.prediction];
      const right = recording.label === recording.prediction;
      const text = right ? `${label}, recognised` : `${label}, taken for ${guess}`;
      choice.add(new Option(`${text} (recording ${recording.index})`, String(i)));
    });
    events.classList.toggle("row", line);
    part("key").innerHTML = run.polarities === 2
      ? '(<span class="key-on">ON</span>, <span class="key-off">OFF</span>)' : "";
    rasters = run.neurons.map((count, i) => {
      const figure = document.createElement("figure"), caption = document.createElement("figcaption");
      const canvas = document.createElement("canvas");
      canvas.setAttribute("role", "img");
      figure.append(caption, canvas);
      part("rasters").append(figure);
      return { count, canvas, caption, name: `Layer ${i + 1}` };
    });

    function choose(i) {
      const recording = run.recordings[i];
      shown = {
        ...recording,
        frames: bytes(recording.frames),
        spikes: recording.spikes.map(bytes),
        count: recording.ends.length,
      };
      time.max = String(shown.count - 1);
      rasters.forEach((raster, layer) => {
        let fired = 0;
        for (let k = 0; k < raster.count * shown.count; k++) fired += bit(shown.spikes[layer], k);
        const words = `${raster.name}: ${raster.count} neurons from top to bottom, ${fired} spikes`;
        raster.caption.textContent = words;
        raster.canvas.setAttribute("aria-label", `Spikes over time. ${words}`);
        raster.canvas.width = shown.count;
        raster.canvas.height = raster.count;
      });
      events.width = line ? shown.count : run.width;
      events.height = line ? run.width : run.height;
      events.setAttribute("aria-label", `Events of a recording of class ${run.classes[shown.label]}`);
      evidenceLines();
      evidenceBars();
      show(shown.count - 1);
    }

    function evidenceLines() {
      const flat = shown.evidence.flat();
      const low = Math.min(0, ...flat), high = Math.max(...flat, low + 1e-9);
      const last = shown.ends[shown.count - 1];
      const x = (step) => 44 + (step / last) * 300;
      const y = (value) => 215 - ((value - low) / (high - low)) * 200;
      lines.replaceChildren();
      lines.append(make("line", { class: "grid", x1: 44, x2: 344, y1: y(0), y2: y(0) }));
      lines.append(make("text", { x: 38, y: y(0) + 4, "text-anchor": "end" }, "0"));
      lines.append(make("text", { x: 38, y: y(high) + 4, "text-anchor": "end" }, signed(high)));
      lines.append(make("text", { x: 194, y: 244, "text-anchor": "middle" }, "time step"));
      for (const step of [0, last]) {
        lines.append(make("text", { x: x(step), y: 230, "text-anchor": "middle" }, String(step)));
      }
      const point = (c) => (row, k) => `${x(shown.ends[k]).toFixed(1)} ${y(row[c]).toFixed(1)}`;
      paths = run.classes.map((name, c) => {
        const kind = c === shown.label ? "line c1" : c === shown.prediction ? "line c2 dashed" : "line other";
        const path = make("path", { class: kind });
        return { path, points: shown.evidence.map(point(c)), c, kind };
      });
      // The others first, so that the two that matter lie above them.
      const order = [...paths].sort((a, b) => Number(b.kind.includes("other")) - Number(a.kind.includes("other")));
      for (const item of order) lines.append(item.path);
      const end = shown.evidence[shown.count - 1];
      const named = new Set([shown.label, shown.prediction]);
      for (const c of named) {
        const other = [...named].find((o) => o !== c);
        let place = y(end[c]) + 4;
        if (other !== undefined && Math.abs(end[c] - end[other]) / (high - low) < 0.08) {
          place += end[c] >= end[other] ? -8 : 8;
        }
        lines.append(make("text", { x: 352, y: place }, run.classes[c].slice(0, 10)));
      }
      lines.append(make("line", { class: "line", x1: 0, x2: 0, y1: 12, y2: 215, "data-now": "" }));
      lines.setAttribute("aria-label",
        `Evidence for every class over time; at the end ${run.classes[shown.prediction]} leads with `
        + `${signed(end[shown.prediction])}`);
      lines.scale = x;
    }

    function evidenceBars() {
      const end = shown.evidence[shown.count - 1];
      let classes = run.classes.map((_, c) => c);
      if (classes.length > SHOWN) {
        const best = [...classes].sort((a, b) => end[b] - end[a]).slice(0, SHOWN);
        if (!best.includes(shown.label)) best[SHOWN - 1] = shown.label;
        classes = best.sort((a, b) => a - b);
      }
      const flat = shown.evidence.flat();
      const low = Math.min(0, ...flat), span = Math.max(...flat, low + 1e-9) - low;
      const zero = (-low / span) * 100;
      rows = classes.map((c) => {
        const item = document.createElement("li"), bar = document.createElement("span");
        const name = document.createElement("span"), value = document.createElement("span");
        const body = document.createElement("i");
        name.textContent = run.classes[c] + (c === shown.label ? " (true)" : "");
        bar.className = "bar";
        bar.style.setProperty("--zero", `${zero}%`);
        bar.append(body);
        item.append(name, bar, value);
        return { item, body, value, c, place: (v) => zero + (v / span) * 100 };
      });
      bars.replaceChildren(...rows.map((row) => row.item));
    }

    function drawEvents() {
      const context = events.getContext("2d");
      const image = context.createImageData(events.width, events.height);
      const cells = run.width * run.height, size = cells * run.polarities;
      const colours = run.polarities === 2 ? [colour("--off"), colour("--on")] : [colour("--text")];
      const paint = (pixel, rgb, strength) => {
        if (image.data[4 * pixel + 3] < 255 * strength) {
          image.data.set([...rgb, 255 * strength], 4 * pixel);
        }
      };
      // What came just before fades, so that one still picture shows the motion, too.
      for (let back = line ? frame : 2; back >= 0; back--) {
        const k = frame - back;
        if (k < 0) continue;
        for (let p = 0; p < run.polarities; p++) {
          for (let i = 0; i < cells; i++) {
            if (!bit(shown.frames, k * size + p * cells + i)) continue;
            if (line) paint(i * events.width + k, colours[p % colours.length], 1);
            else paint(i, colours[p % colours.length], [1, 0.4, 0.15][back]);
          }
        }
      }
      context.putImageData(image, 0, 0);
    }

    function drawRaster(raster, layer) {
      const context = raster.canvas.getContext("2d");
      const image = context.createImageData(shown.count, raster.count);
      const rgb = colour(`--c${(layer % 6) + 1}`), grey = colour("--rule");
      for (let k = 0; k < shown.count; k++) {
        for (let i = 0; i < raster.count; i++) {
          if (!bit(shown.spikes[layer], k * raster.count + i)) continue;
          image.data.set([...(k <= frame ? rgb : grey), 255], 4 * (i * shown.count + k));
        }
      }
      context.putImageData(image, 0, 0);
    }

    function show(k) {
      frame = k;
      time.value = String(k);
      const now = shown.evidence[k], step = shown.ends[k], last = shown.ends[shown.count - 1];
      const leads = now.indexOf(Math.max(...now));
      const clock = run.stepMs ? ` (${Math.round(step * run.stepMs)} ms)` : "";
      const words = `After step ${step} of ${last}${clock}: ${run.classes[leads]} leads`;
      said.textContent = `${words}. The true class is ${run.classes[shown.label]}.`;
      time.setAttribute("aria-valuetext", words);
      for (const { path, points } of paths) {
        path.setAttribute("d", "M" + [`${lines.scale(0).toFixed(1)} ${zeroLine()}`, ...points.slice(0, k + 1)].join("L"));
      }
      const cursor = lines.querySelector("[data-now]");
      cursor.setAttribute("x1", lines.scale(step));
      cursor.setAttribute("x2", lines.scale(step));
      for (const row of rows) {
        const value = now[row.c], place = row.place(value), zero = row.place(0);
        row.value.textContent = signed(value);
        row.body.style.setProperty("--from", `${Math.min(place, zero)}%`);
        row.body.style.setProperty("--size", `${Math.abs(place - zero)}%`);
        row.item.classList.toggle("leads", row.c === leads);
      }
      drawEvents();
      rasters.forEach(drawRaster);
    }

    const zeroLine = () => lines.querySelector("line").getAttribute("y1");

    function stop() {
      clearTimeout(timer);
      timer = null;
      play.textContent = "Play";
    }

    function tick() {
      if (frame + 1 >= shown.count) return stop();
      show(frame + 1);
      // Three seconds a recording; a step at a time for those who asked for less motion.
      timer = setTimeout(tick, calm.matches ? 600 : Math.min(150, Math.max(40, 3000 / shown.count)));
    }

    play.addEventListener("click", () => {
      if (timer !== null) return stop();
      play.textContent = "Pause";
      show(frame + 1 >= shown.count ? 0 : frame);
      timer = setTimeout(tick, calm.matches ? 600 : 150);
    });
    time.addEventListener("input", () => { stop(); show(Number(time.value)); });
    choice.addEventListener("change", () => { stop(); choose(Number(choice.value)); });
    dark.addEventListener("change", () => show(frame));
    choose(0);
  }

  for (const root of document.querySelectorAll("[data-player]")) {
    player(root, all[Number(root.dataset.player)]);
  }
})();
