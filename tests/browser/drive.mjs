// For `tools.host.browser`: uses the pack as a person would, and tells what was seen. Screenshots stay in the folder.
//
// The plan: {"workflows": descriptions to export, or null, "saved": {label: workflow saved earlier}, "templates": [names],
// "run": name of the template to run, "node": class of the node with the slider, "widget": the slider's name}.

import { join } from "node:path";

import exportWorkflows from "../../tools/workflows/export.mjs";

let page, plan, folder;

// What the front end's versions from 1.32.9 to 1.58.1 call things.
const DIALOG = ".p-dialog, [role=dialog]";
const RUN = '[data-testid="queue-button"] button, button[data-testid="queue-button"]';
const RUN_MODES = '[data-testid="queue-button"] .p-splitbutton-dropdown, [data-testid="queue-mode-menu-trigger"]';

export default async function (...given) {
  [page, plan, folder] = given;
  const report = { templates: {}, saved: {}, ...(plan.workflows ? await exportWorkflows(page, plan) : {}) };
  for (const [label, workflow] of Object.entries(plan.saved)) report.saved[label] = await openSaved(workflow);
  for (const name of plan.templates) report.templates[name] = await openTemplate(name);
  await openTemplate(plan.run);
  report.bypassed = await bypass();
  report.first = await queueThroughButton();
  await page.screenshot({ path: join(folder, "run.png") });
  report.slider = await dragSlider();
  report.second = await queueThroughButton();
  await page.screenshot({ path: join(folder, "slider.png") });
  await runOnChange();
  report.live = await recordRun(async () => { report.sliderLive = await dragSlider(); });
  report.help = await openHelp();
  await page.screenshot({ path: join(folder, "help.png") });
  return report;
}

// Presses Escape, and then the graph, until nothing is left of `what`: a press may come before it listens, or close a
// tooltip above it.
async function close(what) {
  const [rounds, pause] = [400, 500]; // ms; as patient as the page, and over at once where the press is taken
  const { width, height } = page.viewportSize();
  const presses = [
    () => page.keyboard.press("Escape"),
    () => page.mouse.click(width / 2, 0.95 * height), // the menu of front end 1.49.6 leaves Escape to others
  ];
  for (let round = 0; round < 2 * rounds && (await what.count()); round++) {
    await presses[round % 2]();
    await what.first().waitFor({ state: "detached", timeout: pause }).catch(() => {}); // pressed again
  }
  if (await what.count()) throw new Error("Neither Escape nor a press on the graph closes what lies over it.");
}

async function openTemplate(name) {
  await page.evaluate(() => window.app.extensionManager.command.execute("Comfy.BrowseTemplates"));
  const template = page.locator(DIALOG).locator(`[data-testid="template-workflow-${name}"]`);
  await page.locator(DIALOG).last().locator("input").first().fill(name);
  await template.click();
  await template.waitFor({ state: "detached" }); // with its dialog; one of missing models may be open already
  await page.waitForFunction(() => window.app.graph.nodes.length > 0);
  await page.waitForTimeout(500); // the view is fitted to the graph
  const seen = await page.evaluate(async (selector) => ({
    missing: window.app.graph.nodes.filter((node) => !(node.type in window.LiteGraph.registered_node_types)).map((node) => node.type),
    prompt: (await window.app.graphToPrompt()).output,
    dialogs: [...document.querySelectorAll(selector)].map((element) => element.textContent),
  }), DIALOG);
  await page.screenshot({ path: join(folder, `template_${name}.png`) });
  await close(page.locator(DIALOG));
  return seen;
}

// What would be sent to the server of a workflow that was saved earlier.
async function openSaved(workflow) {
  const prompt = await page.evaluate(async (saved) => {
    await window.app.loadGraphData(saved);
    return (await window.app.graphToPrompt()).output;
  }, workflow);
  await close(page.locator(DIALOG));
  return prompt;
}

// What would be sent if the node were bypassed, as with Ctrl+B.
function bypass() {
  return page.evaluate(async ({ node: type }) => {
    const node = window.app.graph.nodes.find((each) => each.type === type);
    node.mode = 4;
    const { output } = await window.app.graphToPrompt();
    node.mode = 0;
    return output;
  }, plan);
}

// Runs `act`, and tells which nodes ran and which were cached until the run that it started has ended.
async function recordRun(act) {
  await page.evaluate(() => {
    const api = window.app.api;
    const record = (window.saeuronRecord = { executing: [], cached: [], images: {}, ended: "", began: performance.now() });
    const stop = [];
    const on = (type, handle) => {
      const listener = (event) => handle(event.detail);
      api.addEventListener(type, listener);
      stop.push(() => api.removeEventListener(type, listener));
    };
    const end = (how) => () => {
      record.ended = how;
      record.seconds = (performance.now() - record.began) / 1000;
      stop.forEach((each) => each());
    };
    on("execution_cached", (detail) => record.cached.push(...detail.nodes));
    on("executing", (detail) => { const id = detail?.node ?? detail; if (id) record.executing.push(String(id)); });
    on("executed", (detail) => { if (detail.output?.images) record.images[detail.node] = detail.output.images; });
    on("execution_success", end("success"));
    on("execution_error", (detail) => { record.error = detail.exception_message; end("error")(); });
  });
  await act();
  await page.waitForFunction(() => window.saeuronRecord.ended);
  return page.evaluate(() => window.saeuronRecord);
}

async function queueThroughButton() {
  return recordRun(() => page.locator(RUN).first().click());
}

// Drags the slider to one quarter or three quarters of its width, whichever is further away.
async function dragSlider() {
  const place = await page.evaluate(async ({ node: type, widget: name }) => {
    const canvas = window.app.canvas;
    const node = window.app.graph.nodes.find((each) => each.type === type);
    canvas.ds.scale = 1;
    canvas.centerOnNode(node);
    canvas.draw(true, true);
    await new Promise((resolve) => setTimeout(resolve, 500));
    const widget = node.widgets.find((each) => each.name === name);
    const share = (widget.value - widget.options.min) / (widget.options.max - widget.options.min);
    const y = node.pos[1] + (widget.last_y ?? widget.y) + 10;
    const at = (part) => window.app.canvasPosToClientPos([node.pos[0] + 15 + part * (node.size[0] - 30), y]);
    return { before: widget.value, from: at(share), to: at(share > 0.5 ? 0.25 : 0.75) };
  }, plan);
  await page.mouse.move(...place.from);
  await page.mouse.down();
  await page.mouse.move(...place.to, { steps: 8 });
  await page.mouse.up();
  const after = await page.evaluate(({ node: type, widget: name }) => {
    const node = window.app.graph.nodes.find((each) => each.type === type);
    return node.widgets.find((each) => each.name === name).value;
  }, plan);
  return { before: place.before, after };
}

async function runOnChange() {
  await page.locator(RUN_MODES).first().click();
  await page.getByText(/On Change/).first().click();
  // In newer front ends the menu stays open, and takes the next press on the graph for one that closes it.
  await close(page.locator("[data-reka-menu-content]"));
}

async function openHelp() {
  await page.evaluate((type) => {
    const node = window.app.graph.nodes.find((each) => each.type === type);
    window.app.canvas.deselectAll?.();
    window.app.canvas.selectNode(node);
    window.app.canvas.centerOnNode(node);
  }, plan.node);
  await page.locator('[data-testid="info-button"]').click();
  const content = page.locator(".node-help-content");
  await content.locator("h2, table").first().waitFor();
  const pictures = await content.locator("img").evaluateAll((images) => Promise.all(images.map(async (image) => {
    await image.decode().catch(() => {}); // a picture that is not there keeps width 0
    return { source: image.getAttribute("src"), width: image.naturalWidth };
  })));
  return { text: await content.innerText(), pictures };
}
