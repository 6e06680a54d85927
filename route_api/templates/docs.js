"use strict";

// In a file of its own: the page's Content-Security-Policy runs no script that stands in it.
const page = document.getElementById("swagger-ui");
const texts = JSON.parse(page.dataset.texts);
const base = new URL("..", new URL(page.dataset.document, location.href));
const root = base.pathname.endsWith("/v1/") ? new URL("..", base) : base; // A proxy may have put a path before ours.
const STORED = "route-api-sample";

// ------------------------------------------------------------ the examples

// The fields of requests that name something, and which id of the sample data they get.
const ID_OF = {
  batch: "batch",
  chunk_ids: "chunk_id",
  conversation_id: "conversation_id",
  doc_id: "doc_id",
  document_id: "doc_id",
  kb_id: "kb_id",
  message_id: "message_id",
  segment_id: "chunk_id",
};

function filled(example, sample) {
  return Object.fromEntries(
    Object.entries(example).map(([name, value]) => {
      if (!(name in ID_OF)) return [name, value];
      const id = sample[ID_OF[name]];
      return [name, Array.isArray(value) ? (id ? [id] : []) : id || ""];
    }),
  );
}

/** The OpenAPI document with the ids of the sample data in the examples of requests; without them the ids are empty. */
function withIds(plain, sample) {
  const filledIn = structuredClone(plain);
  for (const server of filledIn.servers) server.url = new URL(`.${server.url}`, root).pathname;
  for (const item of Object.values(filledIn.paths)) {
    for (const operation of [item, ...Object.values(item)]) {
      for (const parameter of operation.parameters || []) {
        if (!(parameter.name in ID_OF) || !parameter.required) continue;
        delete parameter.schema.example;
        delete parameter.schema.items?.example;
        delete parameter.example;
        const id = sample[ID_OF[parameter.name]];
        if (id) parameter.example = parameter.schema.type === "array" ? [id] : id;
      }
      for (const body of Object.values(operation.requestBody?.content || {})) {
        // Swagger UI fills a form from the fields of its schema.
        for (const [name, field] of Object.entries(body.schema?.properties || {})) {
          if (name in ID_OF) field.example = sample[ID_OF[name]] || "";
        }
        if (!body.example) continue;
        body.example = filled(body.example, sample);
        if (sample.model && operation.operationId === "user_set_tenant_info") Object.assign(body.example, sample.model);
        if (sample.new_name && operation.operationId === "kb_create") body.example.name = sample.new_name;
        // What knows a knowledge base asks it: the answer then shows its passages.
        if (sample.kb_id && body.example.message && /_db$|chat$/.test(operation.operationId)) {
          body.example.kb_id = sample.kb_id;
        }
      }
    }
  }
  return filledIn;
}

// --------------------------------------------------------- the sample data

const FILE = "葫芦庙.txt";
const FILE_TEXT =
  "姑苏城阊门外有个十里街，街内有个仁清巷，巷内有个古庙，因地方狭窄，人皆呼作葫芦庙。\n\n" +
  "庙旁住着一家乡宦，姓甄名费，字士隐。嫡妻封氏，情性贤淑，深明礼义。\n";

async function ask(path, body) {
  const headers = { Accept: "application/json", "Accept-Language": document.documentElement.lang };
  const key = window.ui.authSelectors.authorized().toJS().bearerAuth?.value;
  if (key) headers.Authorization = `Bearer ${key}`;
  if (!(body instanceof FormData)) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(body);
  }
  const answer = await fetch(new URL(path, base), { method: "POST", headers, body });
  const envelope = await answer.json();
  if (envelope.code !== 0) {
    throw Object.assign(new Error(answer.status === 401 ? texts.authorize : envelope.message), { code: envelope.error });
  }
  return envelope.data;
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function createSample() {
  const { kb_id } = await ask("kb/create", { name: `docs-${Date.now()}` });
  try {
    const form = new FormData();
    form.append("kb_id", kb_id);
    form.append("file", new Blob([FILE_TEXT], { type: "text/plain" }), FILE);
    const [{ id: doc_id, batch }] = await ask("document/upload", form);
    let chunks = [];
    for (let tries = 0; tries < 60 && !chunks.length; tries++) {
      await pause(500);
      ({ chunks } = await ask("chunk/list", { kb_id, doc_id }));
    }
    const turn = { user_id: "alice", kb_id, message: "葫芦庙在什么地方？", conversation_name: "docs" };
    const { conversation_id, message_id } = await ask("conversation/completion_db", turn);
    const [provider] = await ask("llm/my_llms", { model_type: "llm" }).catch(() => []);
    const model = provider && { provider: provider.provider, model: provider.models[0].model, model_type: "llm" };
    const new_name = `testApi-${Date.now()}`; // An earlier reader may have made testApi.
    return { kb_id, doc_id, batch, chunk_id: chunks[0]?.chunk_id, conversation_id, message_id, model, new_name };
  } catch (error) {
    await ask("kb/rm", { kb_id });
    throw error;
  }
}

async function removeSample(sample) {
  // The reader may have tried conversation/rm and kb/rm out.
  const unless = (gone) => (error) => {
    if (error.code !== gone) throw error;
  };
  const conversation = { user_id: "alice", conversation_id: sample.conversation_id };
  await ask("conversation/rm", conversation).catch(unless("conversation_not_found"));
  await ask("kb/rm", { kb_id: sample.kb_id }).catch(unless("kb_not_found"));
}

/** The sample data of this tab. A browser that forbids storage has none, and forgets it with the page. */
function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(STORED) || "{}");
  } catch {
    return {};
  }
}

function store(sample) {
  try {
    sessionStorage.setItem(STORED, JSON.stringify(sample));
  } catch {
    // The examples have its ids until the page is left.
  }
}

// ------------------------------------------------------------ the language

/** Swagger UI knows English only: its words are replaced where they stand alone in an element. */
function translateLabels(node) {
  const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode;
    const word = texts.labels[text.nodeValue.trim()];
    if (word && !text.parentElement.closest(".markdown, .microlight, pre, textarea")) text.nodeValue = text.nodeValue.replace(text.nodeValue.trim(), word);
  }
  for (const field of document.querySelectorAll("input[placeholder]")) {
    field.placeholder = texts.labels[field.placeholder] || field.placeholder;
  }
}

if (Object.keys(texts.labels).length) {
  new MutationObserver(() => translateLabels(page)).observe(page, {
    characterData: true,
    childList: true,
    subtree: true,
  });
}

// ------------------------------------------------------------------- start

async function start() {
  const plain = await (await fetch(page.dataset.document)).json();
  const status = document.getElementById("sample-status");
  const create = document.getElementById("create-sample");
  const remove = document.getElementById("remove-sample");
  let sample = stored();

  function show(words) {
    create.hidden = Boolean(sample.kb_id);
    remove.hidden = !create.hidden;
    status.textContent = words;
  }

  async function change(doing, done, act) {
    create.disabled = remove.disabled = true;
    status.textContent = doing;
    try {
      sample = await act();
      store(sample);
      window.ui.specActions.updateJsonSpec(withIds(plain, sample));
      show(done);
    } catch (error) {
      show(error.message);
    } finally {
      create.disabled = remove.disabled = false;
    }
  }

  create.addEventListener("click", () => change(texts.creating, texts.created, createSample));
  remove.addEventListener("click", () =>
    change(texts.removing, texts.removed, async () => {
      await removeSample(sample);
      return {};
    }),
  );
  window.ui = SwaggerUIBundle({
    domNode: page,
    spec: withIds(plain, sample),
    deepLinking: true,
    displayRequestDuration: true,
    docExpansion: "list",
    filter: true,
    defaultModelsExpandDepth: -1,
    validatorUrl: null, // no stranger is told of this server
  });
  show(sample.kb_id ? texts.created : texts.intro);
}

start();
