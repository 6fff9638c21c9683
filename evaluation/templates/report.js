const form = document.querySelector(".filters");
const cards = [...document.querySelectorAll(".question")].map((card) => ({
  card,
  slice: card.dataset.slice,
  marks: card.dataset.marks.trim().split(" "),
  text: card.textContent.toLowerCase(),
}));

function isShown({ slice, marks, text }) {
  const wanted = form.elements.show.value;
  const kinds = new Set(marks.map((mark) => mark.split(":")[1]));
  if (form.elements.slice.value && slice !== form.elements.slice.value) return false;
  if (!text.includes(form.elements.text.value.trim().toLowerCase())) return false;
  if (wanted === "disagree") return kinds.has("right") && kinds.has("wrong");
  if (wanted === "failed") return kinds.has("failed");
  if (wanted === "right" || wanted === "wrong") return kinds.size === 1 && kinds.has(wanted);
  return !wanted || marks.includes(wanted);
}

function filter() {
  let shown = 0;
  for (const entry of cards) {
    entry.card.hidden = !isShown(entry);
    shown += !entry.card.hidden;
  }
  form.querySelector("output").textContent = `${shown} of ${cards.length}`;
  document.querySelector(".none").hidden = shown > 0;
}

form.hidden = false;
form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());
filter();
