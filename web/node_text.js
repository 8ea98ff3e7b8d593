// Keeps the text of this pack's nodes after a run.
//
// A node's text comes as the host's "progress_text", and the front end shows it. Since 1.54.12 it takes it away again
// when the job ends; then the text goes into a widget of our own. Older front ends keep theirs, and nothing is added.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { ComfyWidgets } from "../../scripts/widgets.js";

const PREFIX = "Saeuron";
const OURS = "saeuron_text";
const THEIRS = "$$node-text-preview";
const AFTER = 100; // ms; the front end takes its own away in the same tick as it hears of the end

const texts = new Map(); // of the present job: execution id, such as "12" or, in a subgraph, "54:73" -> text
const cached = new Set(); // those of them that did not run in it
let workflow; // the one that was open when the job started; ids mean nothing in another

const openWorkflow = () => app.extensionManager?.workflow?.activeWorkflow?.path;

function nodeOf(id) {
  let graph = app.rootGraph ?? app.graph;
  let node;
  for (const part of String(id).split(":")) {
    node = graph?.getNodeById(part) ?? graph?.getNodeById(Number(part));
    graph = node?.subgraph;
  }
  return node?.type?.startsWith(PREFIX) || node?.comfyClass?.startsWith(PREFIX) ? node : undefined;
}

const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name);

function show(id) {
  const node = nodeOf(id);
  if (!node || widgetOf(node, THEIRS)) return;
  let widget = widgetOf(node, OURS);
  if (widget && cached.has(id)) return; // it may say more: what a run has added to it
  if (!widget) {
    widget = ComfyWidgets.STRING(node, OURS, ["STRING", { multiline: true }], app).widget;
    widget.label = " ";
    widget.serialize = false; // not in the workflow
    widget.options.serialize = false; // not in the prompt
    widget.options.read_only = true;
    if (widget.element) widget.element.readOnly = true;
    const [width, height] = node.computeSize();
    node.setSize([Math.max(width, node.size[0]), Math.max(height, node.size[1])]);
  }
  widget.value = texts.get(id);
  node.setDirtyCanvas?.(true, true);
}

function keep(id, text, ran) {
  if (!text || workflow !== openWorkflow() || !nodeOf(id)) return;
  texts.set(id, text);
  if (ran) cached.delete(id);
  else cached.add(id);
}

function begin() {
  texts.clear();
  cached.clear();
  workflow = openWorkflow();
}

function end() {
  setTimeout(() => workflow === openWorkflow() && [...texts.keys()].forEach(show), AFTER);
}

app.registerExtension({
  name: "saeuron.nodeText",
  setup() {
    api.addEventListener("execution_start", begin);
    api.addEventListener("progress_text", ({ detail }) => keep(String(detail?.nodeId), detail?.text, true));
    // What a cached node said comes with its output alone.
    api.addEventListener("executed", ({ detail }) => {
      const id = String(detail?.node);
      const said = detail?.output?.text;
      if (said && !texts.has(id)) keep(id, [].concat(said).join("\n"), false);
    });
    for (const how of ["execution_success", "execution_error", "execution_interrupted"]) api.addEventListener(how, end);
  },
});
