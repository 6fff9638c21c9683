// Filters the questions, and puts those that wait as data into the page as they are scrolled to.
// The HTML of a question was escaped when the page was made; passages are set as text.
const AT_ONCE = 40;
const data = JSON.parse(document.getElementById("data").textContent);
const form = document.querySelector(".filters");
const list = document.getElementById("rows");
const further = document.querySelector(".further");
const inPage = [...list.children];
const entries = data.rows.map(([slice, marks, kinds, html], index) => ({ slice, marks, kinds, html, card: inPage[index] }));
let found = entries;
let shown = 0;

const LETTERS = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&#34;": '"', "&#39;": "'" };

// What a question is searched for: question and answers, without the passages.
function textOf(entry) {
  if (entry.text === undefined) {
    const html = entry.html || [...entry.card.children].filter((part) => part.className !== "passages").map((part) => part.outerHTML).join(" ");
    const answers = html.split('<div class="passages">')[0].replace(/<[^>]*>/g, " ");
    entry.text = answers.replace(/&(?:amp|lt|gt|#34|#39);/g, (name) => LETTERS[name]).replace(/\s+/g, " ").toLowerCase();
  }
  return entry.text;
}

function cardOf(entry) {
  if (!entry.card) {
    const template = document.createElement("template");
    template.innerHTML = entry.html;
    entry.card = template.content.firstElementChild;
    for (const place of entry.card.querySelectorAll("[data-passage]")) {
      place.textContent = data.passages[place.dataset.passage];
    }
  }
  return entry.card;
}

function isFound(entry, { slice, arm, mark, kind, text }) {
  if (slice && entry.slice !== slice) return false;
  const some = arm === "every" ? "every" : "some";
  const arms = arm === "" || arm === "every" ? data.arms.map((_, number) => number) : [Number(arm)];
  if (mark === "disagree") {
    if (!entry.marks.includes("right") || !entry.marks.includes("wrong")) return false;
  } else if (mark && !arms[some]((number) => entry.marks[number] === mark)) return false;
  if (kind && !arms[some]((number) => entry.kinds[number] === kind)) return false;
  return !text || textOf(entry).includes(text);
}

function filter() {
  const value = (name) => form.elements[name]?.value ?? "";
  const wanted = Object.fromEntries(["slice", "arm", "mark", "kind"].map((name) => [name, value(name)]));
  wanted.text = value("text").trim().replace(/\s+/g, " ").toLowerCase();
  found = entries.filter((entry) => isFound(entry, wanted));
  list.replaceChildren();
  shown = 0;
  more();
  form.querySelector("output").textContent = `${found.length} of ${entries.length}`;
  document.querySelector(".none").hidden = found.length > 0;
}

function more(number = AT_ONCE) {
  list.append(...found.slice(shown, shown + number).map(cardOf));
  shown = Math.min(shown + number, found.length);
  further.hidden = shown === found.length;
  further.textContent = `Show more (${found.length - shown})`;
}

// On paper everything is there: all that the filters leave, unfolded.
let folded = [];
function unfold() {
  more(found.length);
  for (const details of document.querySelectorAll("details:not([open])")) {
    folded.push(details);
    details.open = true;
  }
}
function fold() {
  for (const details of folded) details.open = false;
  folded = [];
}

form.hidden = false;
document.querySelector(".no-script")?.remove();
let waiting = null;
form.addEventListener("input", (event) => {
  clearTimeout(waiting);
  waiting = setTimeout(filter, event.target.name === "text" ? 120 : 0);
});
form.addEventListener("submit", (event) => event.preventDefault());
further.addEventListener("click", () => more());
new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && more(), { rootMargin: "1200px" }).observe(further);
addEventListener("beforeprint", unfold);
addEventListener("afterprint", fold);
matchMedia("print").addEventListener("change", (event) => (event.matches ? unfold() : fold()));
filter();
