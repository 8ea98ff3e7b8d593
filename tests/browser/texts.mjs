// For `tools.host.browser`: what nodes say after a run, on the graph and in a subgraph, when they ran and when not.
//
// The plan: {"run": a workflow}. The report: for each look of nodes, what they say after each run, {node class: [text]}.

import { join } from "node:path";

export default async function (page, plan, folder) {
  const report = { version: await page.evaluate(() => window.__COMFYUI_FRONTEND_VERSION__ ?? "") };
  for (const [look, vue] of [["classic", false], ["nodes2", true]]) {
    await page.evaluate((on) => window.app.extensionManager.setting.set("Comfy.VueNodes.Enabled", on), vue);
    await page.evaluate((workflow) => window.app.loadGraphData(workflow), plan.run);
    await page.waitForTimeout(500);
    report[look] = { first: await runAnew(page), again: await run(page), saved: await page.evaluate(saved) };
    await page.screenshot({ path: join(folder, `texts_${report.version}_${look}.png`) });
    report[look].shown = await page.evaluate(shown);
    await page.evaluate(intoSubgraph);
    report[look].subgraph = await runAnew(page);
    report[look].subgraphAgain = await run(page);
  }
  return report;
}

// A run in which every node runs. The host does not say when it has forgotten: a run that is queued soon after may come
// first, and has it forget afterwards.
async function runAnew(page) {
  for (;;) {
    await page.evaluate(() => window.app.api.fetchApi("/free", {
      method: "POST", body: JSON.stringify({ free_memory: true }), headers: { "Content-Type": "application/json" },
    }));
    const said = await run(page);
    if (await page.evaluate(() => !window.saeuronCached)) return said;
  }
}

// Queues, waits for the end, and tells what every node says a second later.
async function run(page) {
  await page.evaluate(() => {
    window.saeuronEnded = false;
    window.saeuronCached = 0;
    const count = ({ detail }) => { window.saeuronCached = detail.nodes.length; };
    window.app.api.addEventListener("execution_cached", count, { once: true });
    const done = () => { window.saeuronEnded = true; };
    for (const how of ["execution_success", "execution_error"]) window.app.api.addEventListener(how, done, { once: true });
    return window.app.queuePrompt(0);
  });
  await page.waitForFunction(() => window.saeuronEnded);
  await page.waitForTimeout(1000);
  return page.evaluate(() => {
    const said = {};
    const visit = (graph) => graph.nodes.forEach((node) => {
      for (const widget of node.widgets ?? []) {
        if (["$$node-text-preview", "saeuron_text"].includes(widget.name)) (said[node.type] ??= []).push(widget.value);
      }
      if (node.subgraph) visit(node.subgraph);
    });
    visit(window.app.rootGraph ?? window.app.graph);
    return said;
  });
}

// All text that the page shows, that of text fields too.
function shown() {
  const fields = [...document.querySelectorAll("textarea")].map((field) => field.value);
  return [document.body.innerText, ...fields].join("\n");
}

// What would be saved and sent.
async function saved() {
  const { workflow, output } = await window.app.graphToPrompt();
  const theirs = window.app.graph.nodes.some((node) => node.widgets?.some((widget) => widget.name === "$$node-text-preview"));
  // A front end that shows the text itself saves it.
  return JSON.stringify([theirs ? [] : workflow.nodes.map((node) => node.widgets_values), output]);
}

function intoSubgraph() {
  const graph = window.app.canvas.graph;
  graph.convertToSubgraph(new Set(graph.nodes.filter((node) => node.type.startsWith("Saeuron"))));
}
