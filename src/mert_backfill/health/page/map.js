// The map of the library: Vega draws it; here are its pan and zoom, its search and its colours.
"use strict";

(() => {
  const LISTED = 8;
  const REACH = 16; // pixels from a point at which it counts as meant
  const data = JSON.parse(document.getElementById("map-data").textContent);
  const part = (name) => document.getElementById(`map-${name}`);
  const [box, hint, search, found, colour, legend, track] =
    ["view", "hint", "search", "found", "colour", "legend", "track"].map(part);
  const count = data.names.length;
  const width = count ? data.near.length / count : 0; // neighbours of each
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const folder = (index) => data.folders[data.folder[index]];
  const shade = (name) => getComputedStyle(document.body).getPropertyValue(`--${name}`).trim();

  const element = (name, classes, ...children) => {
    const made = document.createElement(name);
    made.className = classes;
    made.append(...children);
    return made;
  };
  const button = (classes, action, ...children) => {
    const made = element("button", classes, ...children);
    made.type = "button";
    made.addEventListener("click", action);
    return made;
  };
  const described = (index) => [element("span", "file", data.names[index]),
    element("span", "folder", folder(index))];

  // what is in view: its centre, and how much of the map lies below a pixel
  const [[left, right], [bottom, top]] = [data.x, data.y].map((values) =>
    values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)],
      [Infinity, -Infinity]));
  let centre, scale, view, chosen = -1, only = -1, groups;
  let words; // of each track, made when first searched

  const fit = () => 1.08 * Math.max((right - left) / box.clientWidth,
    (top - bottom) / box.clientHeight, 1e-6);
  const whole = () => {
    centre = [(left + right) / 2, (bottom + top) / 2];
    scale = fit();
  };
  const domains = () => [0, 1].map((axis) => {
    const half = scale * (axis ? box.clientHeight : box.clientWidth) / 2;
    return [centre[axis] - half, centre[axis] + half];
  });
  const onMap = (event) => {
    const place = box.getBoundingClientRect();
    return [centre[0] + (event.clientX - place.left - place.width / 2) * scale,
      centre[1] - (event.clientY - place.top - place.height / 2) * scale];
  };
  const show = () => {
    const [across, up] = domains();
    return view.signal("across", across).signal("up", up)
      .signal("size", Math.min(80, Math.max(12, 26000 / count) * Math.max(1, fit() / scale)))
      .runAsync();
  };
  const zoom = (factor, about = centre) => {
    scale *= factor;
    centre = centre.map((value, axis) => about[axis] + (value - about[axis]) * factor);
    show();
  };

  const nearest = (event) => {
    const [x, y] = onMap(event);
    let best = -1, least = (REACH * scale) ** 2;
    for (let index = 0; index < count; index += 1) {
      const far = (data.x[index] - x) ** 2 + (data.y[index] - y) ** 2;
      if (far < least && (only < 0 || groups.of[index] === only)) [best, least] = [index, far];
    }
    return best;
  };

  // brings tracks into view, and close enough to tell them apart
  function frame(tracks) {
    const needed = [0, 1].map((axis) => {
      const values = tracks.map((other) => [data.x, data.y][axis][other]);
      centre[axis] = (Math.min(...values) + Math.max(...values)) / 2;
      return (Math.max(...values) - Math.min(...values))
        / (axis ? box.clientHeight : box.clientWidth);
    });
    scale = Math.max(1.5 * Math.max(...needed), fit() / 14);
  }

  function choose(index, come = false) {
    chosen = index;
    const near = data.near.slice(index * width, (index + 1) * width);
    const point = (other, rank) => ({ x: data.x[other], y: data.y[other], rank,
      fromX: data.x[index], fromY: data.y[index], group: groups.of[other] });
    view.data("lit", [...near.map((other, rank) => point(other, rank + 1)).reverse(), point(index, 0)]);
    if (come) frame([index, ...near]);
    view.signal("dimmed", true);
    show();
    const list = element("ol", "near", ...near.map((other, rank) => {
      const cosine = (data.cosine[index * width + rank] / 1000).toFixed(3);
      const item = element("li", "", button("", () => choose(other, true), ...described(other)),
        element("span", "cosine", cosine));
      item.dataset.track = data.ids[other];
      return item;
    }));
    track.dataset.track = data.ids[index];
    track.replaceChildren(element("p", "chosen", ...described(index)),
      element("p", "quiet", near.length ? "Sounds most like it, with cosine:" : ""), list,
      button("plain", unchoose, "Back to all"));
  }

  const welcome = [...track.childNodes];
  function unchoose() {
    chosen = -1;
    view.data("lit", []);
    view.signal("dimmed", only >= 0);
    delete track.dataset.track;
    track.replaceChildren(...welcome);
    show();
  }

  function list() {
    const phrase = plain(search.value).trim();
    words ??= data.names.map((name, index) =>
      plain(`${name}\n${folder(index)}/${data.files[index]}`));
    const wanted = phrase.split(/\s+/).filter(Boolean);
    // those that hold it as it was typed come first, the shortest of them before
    const rank = (index) => words[index].indexOf("\n") + (words[index].includes(phrase) ? 0 : 1e6);
    const hits = !wanted.length ? [] : [...words.keys()]
      .filter((index) => wanted.every((word) => words[index].includes(word)))
      .sort((one, two) => rank(one) - rank(two)).slice(0, LISTED);
    found.replaceChildren(...hits.map((index) => element("li", "", button("", () => {
      found.hidden = true;
      choose(index, true);
    }, ...described(index)))));
    if (wanted.length && !hits.length) found.append(element("li", "quiet", "No track is called so."));
    found.hidden = !wanted.length;
  }

  function paint() {
    groups = data.groups[colour.value];
    only = -1;
    view.data("tracks", data.names.map((_, index) =>
      ({ x: data.x[index], y: data.y[index], group: groups.of[index] })));
    view.signal("only", only);
    if (chosen < 0) unchoose();
    else choose(chosen);
    legend.replaceChildren(...groups.labels.map((label, group) => {
      const dot = element("span", "dot");
      dot.style.background = data.colours[group];
      return element("li", "", button("", (event) => {
        only = only === group ? -1 : group;
        for (const other of legend.querySelectorAll("button")) other.ariaPressed = "false";
        event.currentTarget.ariaPressed = String(only === group);
        view.signal("only", only).signal("dimmed", chosen >= 0);
        show();
      }, dot, label));
    }));
  }

  function listen() {
    const fingers = new Map();
    let moved = 0;
    const spread = () => {
      const [one, two] = [...fingers.values()];
      return { clientX: (one.clientX + two.clientX) / 2, clientY: (one.clientY + two.clientY) / 2,
        far: Math.hypot(one.clientX - two.clientX, one.clientY - two.clientY) };
    };
    box.addEventListener("wheel", (event) => {
      event.preventDefault();
      zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) / 250), onMap(event));
    }, { passive: false });
    box.addEventListener("pointerdown", (event) => {
      fingers.set(event.pointerId, event);
      moved = 0;
    });
    box.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return point(event);
      const was = fingers.size === 2 ? spread() : before;
      fingers.set(event.pointerId, event);
      const is = fingers.size === 2 ? spread() : event;
      moved += Math.abs(is.clientX - was.clientX) + Math.abs(is.clientY - was.clientY);
      if (moved > 4) {
        box.setPointerCapture(event.pointerId);
        hint.hidden = true;
        centre = [centre[0] - (is.clientX - was.clientX) * scale,
          centre[1] + (is.clientY - was.clientY) * scale];
        zoom(fingers.size === 2 ? was.far / is.far : 1, onMap(is));
      }
    });
    for (const name of ["pointerup", "pointercancel"]) {
      box.addEventListener(name, (event) => {
        if (fingers.delete(event.pointerId) && name === "pointerup" && moved <= 4) {
          const index = nearest(event);
          if (index >= 0) choose(index);
        }
      });
    }
    box.addEventListener("pointerleave", () => { hint.hidden = true; });
    search.addEventListener("input", list);
    search.addEventListener("keydown", (event) => {
      if (event.key === "Enter") found.querySelector("button")?.click();
      if (event.key === "Escape") found.hidden = true;
    });
    colour.addEventListener("change", paint);
    const [closer, farther, all] = part("zoom").querySelectorAll("button");
    closer.addEventListener("click", () => zoom(1 / 1.6));
    farther.addEventListener("click", () => zoom(1.6));
    all.addEventListener("click", () => { whole(); show(); });
    new ResizeObserver(() => {
      view.width(box.clientWidth).height(box.clientHeight);
      show();
    }).observe(box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      view.signal("ink", shade("text")).runAsync();
    });
  }

  function point(event) {
    const index = nearest(event);
    hint.hidden = index < 0;
    box.classList.toggle("over", index >= 0);
    if (index < 0) return;
    const place = box.getBoundingClientRect();
    hint.replaceChildren(...described(index));
    const x = event.clientX - place.left;
    hint.classList.toggle("to-left", x > place.width / 2);
    hint.style.left = `${x}px`;
    hint.style.top = `${event.clientY - place.top}px`;
  }

  const colours = { name: "colour", type: "ordinal", domain: data.colours.map((_, i) => i),
    range: data.colours };
  const linear = (name, domain, range) => ({ name, type: "linear", zero: false, nice: false, range,
    domain: { signal: domain } });
  const at = (name, field = name) => ({ scale: name, field });
  const spec = {
    $schema: "https://vega.github.io/schema/vega/v6.json",
    autosize: "none", padding: 0, width: box.clientWidth, height: box.clientHeight,
    signals: [{ name: "across", value: [0, 1] }, { name: "up", value: [0, 1] },
      { name: "size", value: 20 }, { name: "only", value: -1 }, { name: "dimmed", value: false },
      { name: "ink", value: shade("text") }],
    data: [{ name: "tracks", values: [] }, { name: "lit", values: [] }],
    scales: [linear("x", "across", "width"), linear("y", "up", "height"), colours],
    marks: [
      { type: "symbol", from: { data: "tracks" }, interactive: false, encode: {
        enter: { fill: at("colour", "group") },
        update: { x: at("x"), y: at("y"), size: { signal: "size" }, fillOpacity: { signal:
          "only >= 0 && datum.group !== only ? 0.05 : dimmed ? 0.18 : 0.7" } } } },
      { type: "rule", from: { data: "lit" }, interactive: false, encode: { update: {
        x: at("x", "fromX"), y: at("y", "fromY"), x2: at("x"), y2: at("y"),
        stroke: { signal: "ink" }, strokeOpacity: { value: 0.25 } } } },
      { type: "symbol", from: { data: "lit" }, interactive: false, encode: { update: {
        x: at("x"), y: at("y"), stroke: { signal: "ink" }, strokeWidth: { value: 1.5 },
        fill: [{ test: "datum.rank", ...at("colour", "group") }, { value: "#b9563f" }],
        size: { signal: "datum.rank ? 90 : 220" } } } },
      { type: "text", from: { data: "lit" }, interactive: false, encode: { update: {
        x: at("x"), y: at("y"), dx: { value: 8 }, dy: { value: -6 }, fill: { signal: "ink" },
        fontSize: { value: 11 }, text: { signal: "datum.rank ? datum.rank : ''" } } } },
    ],
  };

  for (const name of Object.keys(data.groups)) colour.append(new Option(name, name));
  vegaEmbed(box.querySelector(".drawing"), spec, { mode: "vega", ast: true, actions: false,
    renderer: "canvas", tooltip: false, defaultStyle: false }).then((result) => {
    view = result.view;
    whole();
    paint();
    listen();
    document.getElementById("map").dataset.ready = Math.round(performance.now());
  });
})();
