"use strict";
(() => {
  const byId = (id) => document.getElementById(id);

  /* Tables: a click on a heading sorts by it, a second click reverses the order; equal rows keep their order. */
  for (const table of document.querySelectorAll("table.sortable")) {
    const headings = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    headings.forEach((heading, column) => {
      heading.querySelector("button").addEventListener("click", () => {
        const descending = heading.getAttribute("aria-sort") === "ascending";
        headings.forEach((other) => other.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => (descending ? -1 : 1) * compare(key(a.cells[column]), key(b.cells[column])));
        const empty = rows.filter((row) => Number.isNaN(key(row.cells[column])));
        table.tBodies[0].append(...rows.filter((row) => !empty.includes(row)), ...empty);
      });
    });
  }
  function key(cell) {
    if (!("value" in cell.dataset)) return cell.textContent.trim();
    const number = Number(cell.dataset.value);
    return Number.isNaN(number) && cell.dataset.value !== "nan" ? cell.dataset.value : number;
  }
  function compare(a, b) {
    return typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
  }

  /* The slice browser. */
  if (!byId("browser")) return;
  const { cases, colours, errors } = JSON.parse(byId("browser-data").textContent);
  /* A pixel of a colour as one number, in this machine's byte order; 0 is transparent. */
  const pixel = (hex) => {
    const channels = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    return new Uint32Array(new Uint8Array([...channels, 255]).buffer)[0];
  };
  const labelPixels = new Uint32Array(256);
  for (const { label, colour } of colours) labelPixels[label] = pixel(colour);
  const errorPixels = errors.map(({ colour }) => pixel(colour));
  const visible = new Map(); // by layer name, so that a choice is kept when the case changes
  let current = null; // the case that is shown, with its label maps unpacked and its sprites loaded
  let loading = 0;

  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  async function picture(source) {
    const image = new Image();
    image.src = source;
    await image.decode();
    return image;
  }

  async function open(data) {
    const turn = ++loading;
    const [sprites, layers] = await Promise.all([
      Promise.all(data.channels.map((channel) => picture(channel.sprite))),
      Promise.all(data.layers.map(async (layer) => ({ ...layer, voxels: await unpacked(layer.labels) }))),
    ]);
    if (turn !== loading) return; // another case was chosen meanwhile
    current = { ...data, sprites, layers };
    fill(byId("channel"), data.channels.map((channel) => channel.name));
    byId("slice").max = data.slices - 1;
    byId("slice").value = data.start;
    byId("panels").replaceChildren(...layers.map(panel));
    drawProfile();
    draw();
    byId("browser").dataset.ready = data.case;
  }

  function fill(select, names) {
    const before = select.value;
    select.replaceChildren(...names.map((name) => new Option(name)));
    select.value = names.includes(before) ? before : names[0];
  }

  function panel(layer, number) {
    const scale = Math.max(2, Math.ceil(420 / current.width));
    const canvas = document.createElement("canvas");
    canvas.width = current.width * scale;
    canvas.height = Math.round(current.height * scale * current.aspect);
    canvas.setAttribute("role", "img");
    const tick = document.createElement("input");
    tick.type = "checkbox";
    tick.checked = visible.get(layer.name) ?? true;
    tick.addEventListener("change", () => {
      visible.set(layer.name, tick.checked);
      draw();
    });
    const label = document.createElement("label");
    label.append(tick, " ", layer.name);
    const score = document.createElement("span");
    score.textContent = layer.score;
    const caption = document.createElement("figcaption");
    caption.append(label, score);
    const figure = document.createElement("figure");
    figure.dataset.layer = number;
    figure.append(canvas, caption);
    return figure;
  }

  function draw() {
    const slice = Number(byId("slice").value);
    const kind = byId("shown").value;
    const { width, height, columns, slices, first } = current;
    const sprite = current.sprites[byId("channel").selectedIndex];
    const [left, top] = [(slice % columns) * width, Math.floor(slice / columns) * height];
    for (const figure of byId("panels").children) {
      const layer = current.layers[figure.dataset.layer];
      const canvas = figure.querySelector("canvas");
      const context = canvas.getContext("2d");
      context.imageSmoothingEnabled = true;
      context.imageSmoothingQuality = "high";
      context.globalAlpha = 1;
      context.drawImage(sprite, left, top, width, height, 0, 0, canvas.width, canvas.height);
      const on = figure.querySelector("input").checked;
      if (on) {
        context.imageSmoothingEnabled = false;
        context.globalAlpha = Number(byId("opacity").value) / 100;
        context.drawImage(overlay(layer, slice, kind), 0, 0, canvas.width, canvas.height);
      }
      canvas.dataset.slice = slice;
      canvas.setAttribute("aria-label", `${layer.name}, slice ${slice + first}, ${on ? kind : "no overlay"}`);
    }
    byId("position").textContent = `${slice + first} (${slice + 1} of ${slices})`;
    byId("slice").setAttribute("aria-valuetext", `slice ${slice + first}`);
    const shown = kind === "labels" ? colours : errors;
    byId("legend").replaceChildren(...shown.map(({ name, colour }) => {
      const entry = document.createElement("li");
      const swatch = document.createElement("i");
      swatch.className = "swatch";
      swatch.style.background = colour;
      entry.append(swatch, name);
      return entry;
    }));
  }

  function overlay(layer, slice, kind) {
    const { width, height, layers } = current;
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(width, height);
    const painted = new Uint32Array(pixels.data.buffer);
    const start = slice * width * height;
    for (let i = 0; i < width * height; i++) {
      const label = layer.voxels[start + i];
      const truth = layers[0].voxels[start + i];
      painted[i] = kind === "labels" ? labelPixels[label] : errorPixels[errorKind(truth, label)] ?? 0;
    }
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  /* The place in the list of errors, in the order of nndistill.reporting.voxel_errors; -1 if the label is right. */
  function errorKind(truth, label) {
    if (truth === label) return -1;
    if (label === 0) return 0;
    return truth === 0 ? 1 : 2;
  }

  /* Bars: how many voxels the worst model gets wrong in each slice. */
  function drawProfile() {
    const { width, height, slices, layers } = current;
    const size = width * height;
    const worst = Array.from({ length: slices }, (_, slice) => Math.max(0, ...layers.slice(1).map((layer) => {
      let wrong = 0;
      for (let i = slice * size; i < (slice + 1) * size; i++) wrong += layer.voxels[i] !== layers[0].voxels[i];
      return wrong;
    })));
    const canvas = byId("profile");
    const context = canvas.getContext("2d");
    const step = canvas.width / slices;
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.fillStyle = "#d55e00";
    worst.forEach((count, slice) => {
      const tall = (canvas.height * count) / Math.max(1, ...worst);
      context.fillRect(slice * step, canvas.height - tall, Math.max(1, step - 1), tall);
    });
  }

  fill(byId("case"), cases.map((data) => data.case));
  byId("case").addEventListener("change", () => open(cases[byId("case").selectedIndex]));
  for (const id of ["channel", "shown", "opacity", "slice"]) byId(id).addEventListener("input", draw);
  byId("overlays").addEventListener("change", () => {
    for (const tick of byId("panels").querySelectorAll("input")) {
      tick.checked = byId("overlays").checked;
      visible.set(current.layers[tick.closest("figure").dataset.layer].name, tick.checked);
    }
    draw();
  });
  open(cases[0]);
})();
