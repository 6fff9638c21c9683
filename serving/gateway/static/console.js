// The endpoint's own page: asks it as any client would. Whatever comes from a model or a document is set as text.

const at = (id) => document.getElementById(id);
const conversations = new Map();
let asking = null;

function made(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

async function called(path, options = {}) {
  const key = at("key").value.trim();
  const headers = { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
  const answer = await fetch(path, { ...options, headers });
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => null);
  throw new Error(body?.error?.message ?? `The endpoint answered ${answer.status}.`);
}

// Server-sent events as objects, as they come.
async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const lines = text.split("\n\n");
    text = lines.pop();
    for (const line of lines) {
      // A proxy may put comments between, to keep the connection open.
      if (!line.startsWith("data: ")) continue;
      const data = line.slice("data: ".length);
      if (data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

async function ask(model, question, column, signal) {
  const turns = conversations.get(model) ?? [];
  const article = made("article");
  const text = made("div", "answer");
  article.append(made("div", "question", question), text);
  column.prepend(article);
  const started = performance.now();
  let answer = "", first = null, last = {};
  const facts = (more) => article.append(made("div", more ? "error" : "facts", more ?? told(last, first, started)));
  try {
    const body = { model, stream: true, messages: [...turns, { role: "user", content: question }] };
    if (model.includes("+")) body.retrieval = { return_passages: true };
    const stream = await called("v1/chat/completions", { method: "POST", body: JSON.stringify(body), signal });
    for await (const chunk of events(stream)) {
      if (chunk.error) throw new Error(chunk.error.message);
      const delta = chunk.choices?.[0]?.delta?.content ?? "";
      if (delta && first === null) first = performance.now() - started;
      answer += delta;
      text.textContent = answer;
      last = chunk;
    }
    conversations.set(model, [...turns, { role: "user", content: question }, { role: "assistant", content: answer }]);
    facts();
    for (const citation of last.citations ?? []) article.append(passage(citation));
  } catch (error) {
    facts(error.name === "AbortError" ? "Stopped." : error.message);
  }
}

function told(last, first, started) {
  const seconds = (milliseconds) => `${(milliseconds / 1000).toFixed(2)} s`;
  const parts = [last.model, `${seconds(performance.now() - started)} in all`];
  if (first !== null) parts.push(`${seconds(first)} to the first token`);
  if (last.retrieval?.took_ms) parts.push(`${Math.round(last.retrieval.took_ms)} ms of retrieval`);
  if (last.retrieval?.failed) parts.push(`without passages: ${last.retrieval.failed}`);
  return parts.filter(Boolean).join(" · ");
}

function passage(citation) {
  const details = made("details", citation.cited ? "cited" : "");
  const summary = made("summary", "", `[${citation.index}] ${citation.title || citation.source}`);
  const where = `${citation.citation} · score ${citation.score.toFixed(3)}${citation.cited ? " · cited" : ""}`;
  details.append(summary, made("div", "facts", where), made("p", "", citation.text ?? ""));
  return details;
}

async function askAll(event) {
  event?.preventDefault();
  const question = at("question").value.trim();
  const models = [at("first").value, at("second").value].filter(Boolean);
  if (!question || !models.length || asking) return;
  asking = new AbortController();
  at("stop").disabled = false;
  await Promise.all(models.map((model, number) => ask(model, question, columnOf(model, number), asking.signal)));
  asking = null;
  at("stop").disabled = true;
  at("question").value = "";
  at("question").focus();
}

function columnOf(model, number) {
  const id = `column-${number}`;
  let column = at(id);
  if (!column || column.dataset.model !== model) {
    const fresh = made("div");
    fresh.id = id;
    fresh.dataset.model = model;
    const answers = made("div");
    fresh.append(made("h2", "", model), answers);
    column ? column.replaceWith(fresh) : at("columns").append(fresh);
    column = fresh;
  }
  if (number === 0 && !at("second").value) at("column-1")?.remove();
  return column.lastElementChild;
}

function clear() {
  conversations.clear();
  at("columns").replaceChildren();
  at("question").focus();
}

function fill(select, names, empty) {
  const before = select.value;
  select.replaceChildren(...(empty ? [new Option(empty, "")] : []), ...names.map((name) => new Option(name, name)));
  if (names.includes(before)) select.value = before;
}

async function look() {
  sessionStorage.setItem("key", at("key").value);
  try {
    const { data } = await (await called("v1/models")).json();
    const names = data.map((model) => model.id).filter((name) => name !== "embedding");
    fill(at("first"), names);
    fill(at("second"), names, "no other");
    const collections = [...new Set(names.filter((name) => name.includes("+")).map((name) => name.split("+")[1]))];
    at("collections").replaceChildren(...collections.map((name) => made("li", "", name)));
    at("status").textContent = `${names.length} model names`;
    const { adapters } = await (await called("v1/adapters")).json();
    at("adapters").replaceChildren(...adapters.map(row));
    await lookAtReport();
  } catch (error) {
    at("status").textContent = error.message;
  }
}

function row(adapter) {
  const line = made("tr");
  const live = adapter.share === 100 ? "live" : adapter.share ? `${adapter.share} %` : "";
  for (const text of [`${adapter.name}@${adapter.version}`, live, adapter.created.slice(0, 10)]) {
    line.append(made("td", "", text));
  }
  return line;
}

async function lookAtReport() {
  try {
    const report = await (await called("v1/report")).json();
    const table = made("table");
    for (const cell of report.cells.filter((cell) => cell.slice === "overall")) {
      const { share, low, high, n } = cell.accuracy;
      const percent = (value) => `${Math.round(100 * value)} %`;
      const told = n ? `${percent(share)} (${percent(low)} to ${percent(high)})` : "no answers";
      const line = made("tr");
      // A report of an earlier version calls this arm `hybrid`.
      const arm = cell.arm === "hybrid" ? "tuned_retrieval" : cell.arm;
      line.append(made("th", "", arm), made("td", "", told));
      table.append(line);
    }
    const sentences = report.recommendation.sentences.map((sentence) => made("p", "facts", sentence));
    const made_ = made("p", "facts", `${report.run}, ${report.created.slice(0, 10)}`);
    at("report").replaceChildren(made("p", "", report.recommendation.headline), table, ...sentences, made_);
  } catch (error) {
    at("report").textContent = error.message;
  }
}

at("ask").addEventListener("submit", askAll);
at("clear").addEventListener("click", clear);
at("stop").addEventListener("click", () => asking?.abort());
at("key").addEventListener("change", look);
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) askAll();
  if (event.key === "Escape") asking?.abort();
});
at("key").value = sessionStorage.getItem("key") ?? "";
await look();
at("question").focus();
