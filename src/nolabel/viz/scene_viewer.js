// A viewer for voxels and points: WebGL 2 and nothing else. Metres; x forward, y left, z up.
"use strict";
(async () => {
  const byId = (id) => document.getElementById(id);
  const root = document.documentElement;
  const fail = (text) => {
    byId("message").textContent = text;
    byId("message").hidden = false;
    root.dataset.state = "failed";
  };

  const scene = JSON.parse(byId("scene").textContent);
  const canvas = byId("canvas");
  const gl = canvas.getContext("webgl2", { antialias: true, alpha: false, preserveDrawingBuffer: true });
  if (!gl) return fail("This browser has no WebGL 2.");

  // ---- data: one deflated block, parts named by the header
  const packed = Uint8Array.from(atob(byId("data").textContent.trim()), (letter) => letter.charCodeAt(0));
  let block;
  try {
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    block = await new Response(stream).arrayBuffer();
  } catch (error) {
    return fail("The data of this page cannot be unpacked: the browser is too old, or the file is cut off.");
  }
  const part = (place, Type = Uint8Array) =>
    place && new Type(block, place[0], place[1] / Type.BYTES_PER_ELEMENT);

  // ---- programs
  const common = `#version 300 es
    precision highp float;
    uniform mat4 look; uniform vec3 eye, offset, scale; uniform vec2 cut; uniform float sight, size;
    in vec3 place; in vec4 colour; in float open;
    out vec3 paint; out vec2 face; out float far;
    const vec4 nowhere = vec4(2.0, 2.0, 2.0, 1.0);
    bool shown(vec3 at) { return colour.a > 0.5 && at.z <= cut.y && at.z >= cut.x; }`;
  const voxelShader = `${common}
    const vec2 corners[6] = vec2[6](vec2(0), vec2(1, 0), vec2(1), vec2(0), vec2(1), vec2(0, 1));
    void main() {
      vec3 centre = offset + scale * (place + 0.5);
      int axis = gl_VertexID / 6;
      face = corners[gl_VertexID % 6];
      vec3 local;
      float side = eye[axis] > centre[axis] ? 0.5 : -0.5;
      local[axis] = side; local[(axis + 1) % 3] = face.x - 0.5; local[(axis + 2) % 3] = face.y - 0.5;
      vec3 at = centre + scale * local;
      gl_Position = shown(centre) ? look * vec4(at, 1.0) : nowhere;
      float light = axis == 2 ? (side > 0.0 ? 1.0 : 0.5) : (axis == 0 ? 0.86 : 0.74);
      paint = colour.rgb * light * mix(0.62, 1.08, smoothstep(0.0, 0.75, open));
      far = distance(at, eye);
    }`;
  const pointShader = `${common}
    void main() {
      vec3 at = offset + scale * place;
      gl_Position = shown(at) ? look * vec4(at, 1.0) : nowhere;
      gl_PointSize = clamp(size * sight / gl_Position.w, 1.0, 48.0);
      paint = colour.rgb; face = vec2(0.5); far = distance(at, eye);
    }`;
  const fragmentShader = `#version 300 es
    precision highp float;
    uniform vec3 air; uniform float reach; uniform int kind;
    in vec3 paint; in vec2 face; in float far; out vec4 result;
    void main() {
      vec3 shade = paint;
      if (kind == 0) {
        vec2 soft = fwidth(face), edge = min(face, 1.0 - face) / max(soft, 1e-4);
        float line = 1.0 - smoothstep(0.4, 1.4, min(edge.x, edge.y));
        shade *= 1.0 - 0.22 * line * (1.0 - smoothstep(0.06, 0.25, max(soft.x, soft.y)));
      } else if (kind == 1) {
        vec2 at = gl_PointCoord - 0.5;
        if (dot(at, at) > 0.25) discard;
      }
      result = vec4(mix(shade, air, 0.55 * smoothstep(0.6 * reach, 2.2 * reach, far)), 1.0);
    }`;
  const compile = (vertex) => {
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragmentShader]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(program, shader);
    }
    ["place", "colour", "open"].forEach((name, slot) => gl.bindAttribLocation(program, slot, name));
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    const uniform = {};
    for (const name of ["look", "eye", "offset", "scale", "cut", "sight", "size", "air", "reach", "kind"])
      uniform[name] = gl.getUniformLocation(program, name);
    return { program, uniform };
  };
  const programs = { voxels: compile(voxelShader), points: compile(pointShader) };
  programs.lines = programs.points;

  // ---- layers
  const upload = (data, slot, size, type, normalised, step) => {
    const buffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(slot);
    gl.vertexAttribPointer(slot, size, type, normalised, 0, 0);
    gl.vertexAttribDivisor(slot, step);
    return buffer;
  };
  const layers = scene.layers.map((layer) => {
    const array = gl.createVertexArray(), step = layer.kind === "voxels" ? 1 : 0;
    gl.bindVertexArray(array);
    const places = part(layer.places, Uint16Array), colours = new Uint8Array(4 * layer.count);
    upload(places, 0, 3, gl.UNSIGNED_SHORT, false, step);
    const buffer = upload(colours, 1, 4, gl.UNSIGNED_BYTE, true, step);
    if (layer.open) upload(part(layer.open), 2, 1, gl.UNSIGNED_BYTE, true, step);
    else gl.vertexAttrib1f(2, 1);
    return { ...layer, array, places, colours, buffer, shown: layer.shown, labels: part(layer.labels),
      paints: Object.fromEntries(Object.entries(layer.paints).map(([name, place]) => [name, part(place)])) };
  });

  const turbo = (t) => [
    34.61 + t * (1172.33 - t * (10793.56 - t * (33300.12 - t * (38394.49 - t * 14825.05)))),
    23.31 + t * (557.33 + t * (1225.33 - t * (3574.96 - t * (1073.77 + t * 707.56)))),
    27.2 + t * (3211.1 - t * (15327.97 - t * (27814 - t * (22569.18 - t * 6838.66)))),
  ].map((value) => Math.max(0, Math.min(255, value)));
  const heat = Array.from({ length: 256 }, (_, index) => turbo(index / 255));

  const state = { colour: scene.colours[0].name, hidden: new Set(), size: 1, cut: scene.heights[1] };
  const repaint = () => {
    const [low, high] = scene.heights;
    for (const layer of layers) {
      const { colours, labels, places } = layer, paint = layer.paints[state.colour];
      for (let index = 0; index < layer.count; index++) {
        let rgb, from = 0;
        if (layer.kind === "lines") rgb = [64, 128, 216];
        else if (state.colour === "height") {
          const z = layer.offset[2] + layer.scale[2] * places[3 * index + 2];
          rgb = heat[Math.max(0, Math.min(255, Math.round((255 * (z - low)) / Math.max(high - low, 1e-6))))];
        } else if (state.colour === "classes" && labels) rgb = scene.palette[labels[index]];
        else if (paint) { rgb = paint; from = 3 * index; }
        else rgb = [150, 160, 175];
        for (let c = 0; c < 3; c++) colours[4 * index + c] = rgb[from + c];
        colours[4 * index + 3] = labels && state.hidden.has(labels[index]) ? 0 : 255;
      }
      gl.bindBuffer(gl.ARRAY_BUFFER, layer.buffer);
      gl.bufferSubData(gl.ARRAY_BUFFER, 0, colours);
    }
    draw();
  };

  // ---- camera: an eye that goes round a target
  const sub = (a, b) => a.map((value, i) => value - b[i]);
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const unit = (a) => { const n = Math.hypot(...a); return a.map((value) => value / n); };
  const orbit = {};
  const place = (name) => { Object.assign(orbit, JSON.parse(JSON.stringify(scene.views[name]))); draw(); };
  const eyeOf = () => {
    const { target, yaw, pitch, range } = orbit, flat = Math.cos(pitch) * range;
    return [target[0] - flat * Math.cos(yaw), target[1] - flat * Math.sin(yaw), target[2] + Math.sin(pitch) * range];
  };
  const axes = () => {
    const forward = unit(sub(orbit.target, eyeOf()));
    const right = [Math.sin(orbit.yaw), -Math.cos(orbit.yaw), 0];
    return { forward, right, up: cross(right, forward) };
  };
  const matrix = (eye, aspect) => {
    const { forward, right, up } = axes();
    const f = 1 / Math.tan(orbit.view / 2), near = Math.max(0.02, orbit.range / 500), far = 500;
    const depth = (far + near) / (near - far), shift = (2 * far * near) / (near - far);
    const panel = byId("panel").getBoundingClientRect(), folded = byId("panel").classList.contains("folded");
    const aside = folded || canvas.clientWidth < 640 ? 0 : panel.right / canvas.clientWidth; // the scene stands beside the panel
    const wide = f / aspect, rows = [right, up, forward.map((value) => -value)];
    const [x, y, z] = rows.map((row) => [...row, -dot(row, eye)]);
    return new Float32Array([0, 1, 2, 3].flatMap((i) => [wide * x[i] - aside * z[i], f * y[i], depth * z[i] + (i === 3 ? shift : 0), -z[i]]));
  };

  let waiting = false;
  const draw = () => {
    if (!waiting) { waiting = true; requestAnimationFrame(render); }
  };
  const air = () => getComputedStyle(root).getPropertyValue("--air").trim().split(" ").map((v) => v / 255);
  const render = () => {
    waiting = false;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    gl.viewport(0, 0, width, height);
    const sky = air(), eye = eyeOf(), look = matrix(eye, width / height);
    gl.clearColor(...sky, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    for (const layer of layers) {
      if (!layer.shown || !layer.count) continue;
      const { program, uniform } = programs[layer.kind], kind = ["voxels", "points", "lines"].indexOf(layer.kind);
      gl.useProgram(program);
      gl.uniformMatrix4fv(uniform.look, false, look);
      gl.uniform3fv(uniform.eye, eye);
      gl.uniform3fv(uniform.offset, layer.offset);
      gl.uniform3fv(uniform.scale, layer.scale);
      gl.uniform2f(uniform.cut, -1e6, kind === 2 ? 1e6 : state.cut + 1e-3);
      gl.uniform1f(uniform.size, state.size * scene.dot);
      gl.uniform1f(uniform.sight, height / (2 * Math.tan(orbit.view / 2)));
      gl.uniform1f(uniform.reach, scene.reach);
      gl.uniform3fv(uniform.air, sky);
      gl.uniform1i(uniform.kind, kind);
      gl.bindVertexArray(layer.array);
      if (kind === 0) gl.drawArraysInstanced(gl.TRIANGLES, 0, 18, layer.count);
      else gl.drawArrays(kind === 1 ? gl.POINTS : gl.LINES, 0, layer.count);
    }
    root.dataset.frames = 1 + Number(root.dataset.frames || 0);
    root.dataset.eye = eye.map((value) => value.toFixed(2)).join(" ");
  };

  // ---- mouse, fingers, keys
  const turn = (dx, dy) => {
    orbit.yaw -= dx * 0.006;
    orbit.pitch = Math.max(-0.4, Math.min(1.55, orbit.pitch + dy * 0.006));
  };
  const slide = (dx, dy) => {
    const { right, up } = axes(), pixel = (2 * Math.tan(orbit.view / 2) * orbit.range) / canvas.clientHeight;
    orbit.target = orbit.target.map((value, i) => value + pixel * (dy * up[i] - dx * right[i]));
  };
  const zoom = (factor) => { orbit.range = Math.max(0.5, Math.min(300, orbit.range * factor)); };
  const fingers = new Map();
  const middle = () => {
    const all = [...fingers.values()], count = all.length;
    const x = all.reduce((sum, p) => sum + p.x, 0) / count, y = all.reduce((sum, p) => sum + p.y, 0) / count;
    return { x, y, spread: count > 1 ? Math.hypot(all[0].x - all[1].x, all[0].y - all[1].y) : 0 };
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY, pan: event.button > 0 || event.shiftKey });
  });
  canvas.addEventListener("pointermove", (event) => {
    const finger = fingers.get(event.pointerId);
    if (!finger) return;
    const before = middle();
    Object.assign(finger, { x: event.clientX, y: event.clientY });
    const after = middle(), dx = after.x - before.x, dy = after.y - before.y;
    if (fingers.size > 1) {
      slide(dx, dy);
      if (before.spread && after.spread) zoom(before.spread / after.spread);
    } else if (finger.pan) slide(dx, dy);
    else turn(dx, dy);
    draw();
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"])
    canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(Math.max(-120, Math.min(120, event.deltaY)) * 0.0015));
    draw();
  }, { passive: false });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("dblclick", () => place("start"));
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-30, 0], ArrowRight: [30, 0], ArrowUp: [0, 30], ArrowDown: [0, -30] }[event.key];
    if (step) (event.shiftKey ? slide : turn)(...step);
    else if (event.key === "+" || event.key === "=") zoom(0.85);
    else if (event.key === "-") zoom(1 / 0.85);
    else return;
    event.preventDefault();
    draw();
  });

  // ---- the panel
  const button = (box, text, title, act) => {
    const made = document.createElement("button");
    Object.assign(made, { type: "button", textContent: text, title });
    made.addEventListener("click", () => act(made));
    byId(box).append(made);
    return made;
  };
  for (const layer of layers.filter((l) => l.title)) {
    const made = button("layers", layer.title, `${layer.count.toLocaleString("en")} ${layer.title.toLowerCase()}`, (self) => {
      layer.shown = !layer.shown;
      self.setAttribute("aria-pressed", layer.shown);
      draw();
    });
    made.setAttribute("aria-pressed", layer.shown);
  }
  const modes = scene.colours.map(({ name, title }) => {
    const made = button("colours", title, "", (self) => {
      state.colour = name;
      for (const other of modes) other.setAttribute("aria-pressed", other === self);
      byId("legend").classList.toggle("faint", name !== "classes");
      repaint();
    });
    made.setAttribute("aria-pressed", name === state.colour);
    return made;
  });
  for (const [name, title] of [["start", "Overview"], ["camera", "Camera"], ["above", "Above"]])
    button("views", title, "", () => place(name));
  const slider = (id, low, high, step, value, act, text) => {
    const input = byId(id);
    Object.assign(input, { min: low, max: high, step });
    input.value = value;
    const update = () => { byId(`${id}-value`).textContent = text(Number(input.value)); act(Number(input.value)); draw(); };
    input.addEventListener("input", update);
    update();
  };
  const [bottom, top] = scene.extent;
  slider("cut", bottom, top, (top - bottom) / 64, top, (v) => { state.cut = v >= top - 1e-6 ? 1e6 : v; }, (v) => `${v.toFixed(1)} m`);
  slider("size", 0.25, 4, 0.25, 1, (v) => { state.size = v; }, (v) => `× ${v}`);
  if (!layers.some((layer) => layer.kind === "points")) byId("size-row").hidden = true;
  for (const { label, name, share } of scene.classes) {
    const row = document.createElement("label"), box = document.createElement("input");
    const patch = document.createElement("span"), text = document.createElement("span"), much = document.createElement("span");
    Object.assign(box, { type: "checkbox", checked: true, name: `class-${label}` });
    patch.className = "patch";
    patch.style.background = `rgb(${scene.palette[label].join(" ")})`;
    Object.assign(text, { textContent: name, className: "name" });
    Object.assign(much, { textContent: share, className: "share" });
    box.addEventListener("change", () => { state.hidden[box.checked ? "delete" : "add"](label); repaint(); });
    row.append(box, patch, text, much);
    byId("legend").append(row);
  }
  byId("fold").addEventListener("click", () => {
    const folded = byId("panel").classList.toggle("folded");
    byId("fold").setAttribute("aria-expanded", !folded);
    draw();
  });
  if (window.innerWidth < 640) byId("fold").click();

  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  place("start");
  repaint();
  requestAnimationFrame(() => requestAnimationFrame(() => { root.dataset.state = "ready"; }));
})().catch((error) => {
  document.documentElement.dataset.state = "failed";
  const box = document.getElementById("message");
  box.textContent = `This page could not be drawn: ${error.message}`;
  box.hidden = false;
});
