// What the page does: it keeps one value for each code and one seed, and shows what G makes of them.

const $ = (id) => document.getElementById(id);

let model = null; // what the server says of the chosen model: shape, codes, …
let values = {}; // of each code, by its name
let swept = null; // the code in the strip
let file = null; // the person's image
let strip = null; // what the strip shows: the state it was made of

// --- Talking to the server ------------------------------------------------------------------------

async function ask(path, body) {
  let answer;
  try {
    answer = await fetch(`/api/models${path}`, body === undefined ? {} : { method: "POST", body });
  } catch {
    throw new Error("The explorer does not answer: start it again with make explore.");
  }
  if (!answer.ok) {
    throw new Error(`Error: ${(await answer.json()).message}`);
  }
  return answer;
}

function complain(error) {
  $("message").textContent = error ? error.message : "";
  $("message").hidden = !error;
}

function say(text) {
  $("status").textContent = text;
}

// Runs one piece of work at a time. However often it is asked meanwhile, it works once more at the
// end, with the newest values: so dragging never queues up.
function newest(work) {
  let [busy, again] = [false, false];
  return async () => {
    again = true;
    if (busy) return;
    busy = true;
    while (again) {
      again = false;
      try {
        await work();
      } catch (error) {
        complain(error);
      }
    }
    busy = false;
  };
}

// --- Small parts ----------------------------------------------------------------------------------

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// Levels from 0 to 255, (C, H, W), of one or three channels.
function draw(canvas, levels) {
  const [channels, height, width] = model.shape;
  canvas.width = width;
  canvas.height = height;
  canvas.style.aspectRatio = `${width} / ${height}`;
  const size = height * width;
  const pixels = new ImageData(width, height);
  for (let place = 0; place < size; place++) {
    for (let colour = 0; colour < 3; colour++) {
      pixels.data[4 * place + colour] = levels[place + (channels === 3 ? colour * size : 0)];
    }
    pixels.data[4 * place + 3] = 255;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

function levels(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function size() {
  const [channels, height, width] = model.shape;
  return channels * height * width;
}

function codeNamed(name) {
  return model.codes.find((code) => code.name === name);
}

// A number as it is read: a hyphen is no minus, and nothing has none.
function number(value, digits) {
  const text = digits === undefined ? String(value) : value.toFixed(digits);
  return text.replace("-", Number(text) === 0 ? "" : "−");
}

// "3 (class 7)" or "0.50"
function inWords(code, value) {
  if (!code.categories) return number(value, 2);
  return code.classes ? `${value} (${classOf(code, value)})` : String(value);
}

function classOf(code, category) {
  const known = code.classes[category];
  return known === null ? "no class" : `class ${known}`;
}

function beyond(code, value) {
  return !code.categories && (value < code.low || value > code.high);
}

function share(code, value) {
  return (value - code.least) / (code.most - code.least);
}

// --- The picture and the strip --------------------------------------------------------------------

// Of a seed that is being typed, the last that was one.
let lastSeed = 0;
function seed() {
  if ($("seed").validity.valid) lastSeed = $("seed").valueAsNumber;
  return lastSeed;
}

// Everything the strip depends on: not the value of the code it sweeps.
function stripState() {
  return JSON.stringify([model.address, swept, { ...values, [swept]: null }, seed()]);
}

const showPictures = newest(async () => {
  const [asked, wanted, drawn, state] = [model, values, seed(), stripState()];
  const others = state === strip ? [] : codeNamed(swept).strip;
  const rows = [wanted, ...others.map((value) => ({ ...wanted, [swept]: value }))];
  const body = JSON.stringify({ rows, seed: drawn });
  const made = new Uint8Array(await (await ask(`${asked.address}/images`, body)).arrayBuffer());
  if (asked !== model) return;

  complain(null);
  const images = rows.map((_, place) => made.subarray(place * size(), (place + 1) * size()));
  draw($("image"), images[0]);
  describe(wanted, drawn);
  if (others.length && state === stripState()) {
    [...$("strip").children].forEach((tile, place) => draw(tile.firstChild, images[place + 1]));
    strip = state;
  }
});

function describe(wanted, drawn) {
  const words = model.codes.map((code) => `${code.name} ${inWords(code, wanted[code.name])}`);
  const text = [...words, `seed\u00a0${drawn}`].join(", ");
  $("caption").textContent = text;
  $("image").ariaLabel = `What G makes of ${text}`;
}

function buildStrip() {
  const code = codeNamed(swept);
  $("sweep-title").textContent = `What ${code.name} does`;
  $("sweep-note").textContent = code.categories
    ? "One image a category; all else stays as it is. A click chooses."
    : `From ${number(code.least)} to ${number(code.most)}, all else stays as it is; dashed: beyond ` +
      "what was trained. A click chooses.";
  const tiles = code.strip.map((value) => {
    const canvas = make("canvas", { ariaHidden: "true" });
    const tile = make("button", { type: "button", className: "tile" }, canvas, number(value));
    if (code.classes) tile.append(make("small", {}, classOf(code, value)));
    tile.ariaLabel = `${code.name} ${inWords(code, value)}`;
    tile.dataset.value = value;
    tile.classList.toggle("beyond", beyond(code, value));
    tile.addEventListener("click", () => change({ [code.name]: value }));
    return tile;
  });
  // Twenty categories stand in two rows; three do not become giants.
  const columns = tiles.length > 10 ? Math.ceil(tiles.length / 2) : Math.max(tiles.length, 8);
  $("strip").style.setProperty("--columns", columns);
  $("strip").replaceChildren(...tiles);
  strip = null;
}

// --- The codes ------------------------------------------------------------------------------------

function buildCodes() {
  $("codes").replaceChildren(...model.codes.map((code) => {
    const parts = $(code.categories ? "of-categories" : "of-slider").content.cloneNode(true);
    const field = parts.querySelector("fieldset");
    field.dataset.code = code.name;
    const tells = code.tells ? [make("small", { textContent: ` ${code.tells}` })] : [];
    field.querySelector("legend").replaceChildren(code.name, ...tells);
    const radio = field.querySelector(".swept input");
    radio.value = code.name;
    radio.ariaLabel = `${code.name} in the strip`;
    radio.addEventListener("change", () => sweep(code.name));
    (code.categories ? buildCells : buildSlider)(code, field);
    return parts;
  }));
}

function buildCells(code, field) {
  field.querySelector(".cells").append(...code.strip.map((category) => {
    const input = make("input", { type: "radio", name: `code-${code.name}`, value: category });
    input.addEventListener("change", () => turn(code.name, category));
    const words = make("span", {}, String(category));
    if (code.classes) words.append(make("small", {}, classOf(code, category)));
    return make("label", {}, input, words);
  }));
}

function buildSlider(code, field) {
  const input = field.querySelector("input[type=range]");
  Object.assign(input, { min: code.least, max: code.most, step: code.step, ariaLabel: code.name });
  input.style.setProperty("--low", share(code, code.low));
  input.style.setProperty("--high", share(code, code.high));
  input.addEventListener("input", () => turn(code.name, input.valueAsNumber));
  field.querySelector(".scale").append(
    make("span", {}, number(code.least)),
    make("span", {}, `trained from ${number(code.low)} to ${number(code.high)}`),
    make("span", {}, number(code.most)),
  );
}

// A code that is touched is the one to look at.
function turn(name, value) {
  if (swept !== name) sweep(name, false);
  change({ [name]: value });
}

function sweep(name, show = true) {
  swept = name;
  buildStrip();
  if (show) change({});
}

function change(changed) {
  values = { ...values, ...changed };
  for (const code of model.codes) showControl(code, values[code.name]);
  for (const tile of $("strip").children) {
    tile.ariaPressed = String(Number(tile.dataset.value) === values[swept]);
  }
  const codes = Object.entries(values).map(([name, value]) => `${name}=${value}`).join(",");
  say("");
  $("command").textContent =
    `infogan generate --model ${model.uri} --codes ${codes} --seed ${seed()} --out image.png`;
  showPictures();
}

function showControl(code, value) {
  const field = document.querySelector(`[data-code="${code.name}"]`);
  field.querySelector(".swept input").checked = swept === code.name;
  if (code.categories) {
    field.querySelector(`.cells input[value="${value}"]`).checked = true;
    return;
  }
  const input = field.querySelector("input[type=range]");
  input.valueAsNumber = value;
  input.ariaValueText = value.toFixed(2) + (beyond(code, value) ? ", beyond the trained range" : "");
  field.querySelector(".value").textContent = number(value, 2);
}

// --- Noise and command ----------------------------------------------------------------------------

$("seed").addEventListener("input", () => change({}));

$("redraw").addEventListener("click", () => {
  $("seed").value = Math.floor(Math.random() * 1e6);
  change({});
});

$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("command").textContent);
    say("The command is copied.");
  } catch {
    getSelection().selectAllChildren($("command"));
    say("The command is selected: copy it with Ctrl-C.");
  }
});

// --- Your image -----------------------------------------------------------------------------------

$("file").addEventListener("change", () => choose($("file").files[0]));

// A file dropped beside the frame must not replace the page.
for (const kind of ["dragover", "drop"]) {
  window.addEventListener(kind, (event) => event.preventDefault());
}
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  $("yours").addEventListener(kind, (event) => {
    $("yours").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) {
      $("file").value = "";
      choose(event.dataTransfer.files[0]);
    }
  });
}

function choose(chosen) {
  file = chosen ?? null;
  if (file) readImage();
}

const readImage = newest(async () => {
  const [asked, chosen] = [model, file];
  $("reading").replaceChildren();
  say(`Reading ${chosen.name} …`);
  try {
    if (chosen.size > asked.file_limit) {
      const limit = asked.file_limit.toLocaleString("en");
      throw new Error(`Error: ${chosen.name} has more than ${limit} bytes.`);
    }
    const reading = await (await ask(`${asked.address}/read`, chosen)).json();
    if (asked === model && chosen === file) showReading(chosen, reading);
  } catch (error) {
    $("reading").replaceChildren(make("p", { className: "alarm" }, error.message));
  } finally {
    say("");
  }
});

function showReading(chosen, reading) {
  const canvas = make("canvas", { ariaLabel: `${chosen.name} as the model sees it` });
  canvas.setAttribute("role", "img");
  draw(canvas, levels(reading.image));
  const caption = reading.changed ? `${chosen.name} ${reading.changed}.` : chosen.name;
  const seen = make("figure", {}, canvas, make("figcaption", { className: "note" }, caption));

  const continuous = reading.codes.filter((read) => !read.probabilities);
  const found = make("div", {});
  for (const read of reading.codes.filter((each) => each.probabilities)) found.append(...shares(read));
  if (continuous.length) found.append(means(continuous));
  found.append(...nearest(reading));
  $("reading").replaceChildren(seen, found);
}

function shares(read) {
  const code = codeNamed(read.name);
  const title = make("h3", {}, `${read.name}: most likely ${inWords(code, read.value)}`);
  const items = read.probabilities.map((probability, category) => {
    const item = make("li", {}, String(category));
    if (code.classes) item.append(make("small", {}, classOf(code, category)));
    item.append(make("small", {}, percent(probability)));
    item.classList.toggle("likeliest", category === read.value);
    item.style.setProperty("--share", probability);
    return item;
  });
  return [title, make("ul", { className: "shares" }, ...items)];
}

function percent(probability) {
  const few = probability >= 0.0005 && probability < 0.0995;
  return `${(100 * probability).toFixed(few ? 1 : 0)} %`;
}

function means(read) {
  const lines = read.map(({ name, mean, deviation }) =>
    make("div", {},
      make("dt", {}, name),
      make("dd", {}, `${number(mean, 2)} ± ${number(deviation, 2)}`)));
  return make("dl", { className: "readings" }, ...lines);
}

function nearest(reading) {
  const note =
    `Made with these codes and ${model.draws} draws of the noise; the nearest by the root mean ` +
    "square difference of pixels (1: black against white). A click shows it above.";
  const tiles = reading.nearest.map(({ seed: drawn, distance, image }) => {
    const canvas = make("canvas", { ariaHidden: "true" });
    draw(canvas, levels(image));
    const tile = make("button", { type: "button", className: "tile" }, canvas,
      distance.toFixed(3), make("small", {}, `seed ${drawn}`));
    tile.ariaLabel = `Generation at distance ${distance.toFixed(3)}, seed ${drawn}: show it above`;
    tile.addEventListener("click", () => {
      $("seed").value = drawn;
      change(reading.row);
      $("picture").focus();
    });
    return tile;
  });
  return [
    make("h3", {}, "Nearest generations"),
    make("div", { className: "nearest" }, ...tiles),
    make("p", { className: "note" }, note),
  ];
}

// --- Models ---------------------------------------------------------------------------------------

async function listModels() {
  const models = await (await ask("")).json();
  if (!models.length) {
    throw new Error("There is no model in the registry yet: make run trains one.");
  }
  const groups = new Map();
  for (const { name, version, words, run } of models) {
    if (!groups.has(name)) groups.set(name, make("optgroup", { label: name }));
    const facts = [`${name} ${version}`, words.join(", "), run].filter(Boolean);
    groups.get(name).append(make("option", { value: `${name}/${version}` }, facts.join(" · ")));
  }
  $("model").replaceChildren(...groups.values());
  $("model").disabled = false;
}

// Only the last of several choices counts; one that fails leaves the model before it.
const openModel = newest(async () => {
  const chosen = $("model").value;
  const [name, version] = chosen.split("/");
  const address = `/${encodeURIComponent(name)}/${version}`;
  say(`Loading ${name}, version ${version} …`);
  complain(null);
  try {
    const found = await (await ask(address)).json();
    showModel({ ...found, chosen, address, uri: `models:/${name}/${version}` });
  } finally {
    say("");
    if (model && $("model").value === chosen) $("model").value = model.chosen;
  }
});

function showModel(found) {
  const kept = values;
  model = found;
  values = Object.fromEntries(model.codes.map((code) => [code.name, code.start]));
  for (const code of model.codes) {
    if (fits(code, kept[code.name])) values[code.name] = kept[code.name];
  }
  $("main").hidden = false;
  buildCodes();
  sweep(codeNamed(swept) ? swept : model.codes[0].name);
  if (file) readImage();
}

// Two models of one experiment are compared at the same codes.
function fits(code, value) {
  if (value === undefined) return false;
  return code.categories ? code.strip.includes(value) : value >= code.least && value <= code.most;
}

$("model").addEventListener("change", openModel);
try {
  await listModels();
  await openModel();
} catch (error) {
  say("");
  complain(error);
}
