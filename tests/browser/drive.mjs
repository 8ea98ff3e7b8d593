// Uses the pack in a real browser as a person would, and writes down what was seen.
//
//     node drive.mjs <address of ComfyUI> <path of Chromium> <folder for screenshots and report.json> <plan as JSON>
//
// The plan: {"templates": [names], "run": name of the template to run, "node": class of the node with the slider,
// "widget": the slider's name}. playwright-core is found through NODE_PATH.

import { createRequire } from "node:module";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

const { chromium } = createRequire(import.meta.url)("playwright-core");
const [address, executablePath, folder, planText] = process.argv.slice(2);
const plan = JSON.parse(planText);
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const PATIENCE = 240_000; // ms, for a busy machine; nothing waits this long otherwise

const report = { templates: {}, errors: [] };
const browser = await chromium.launch({ executablePath, args: FLAGS });
const page = await browser.newPage({ viewport: { width: 1600, height: 1000 } });
page.setDefaultTimeout(PATIENCE);
page.on("pageerror", (error) => report.errors.push(String(error)));

try {
  await page.goto(address);
  await page.waitForFunction(() => window.app?.graph && window.app?.extensionManager && window.LiteGraph);
  await page.waitForFunction((name) => name in window.LiteGraph.registered_node_types, plan.node);
  await closeDialogs();
  for (const name of plan.templates) report.templates[name] = await openTemplate(name);
  await openTemplate(plan.run);
  report.first = await queueThroughButton();
  await page.screenshot({ path: join(folder, "run.png") });
  report.slider = await dragSlider();
  report.second = await queueThroughButton();
  await page.screenshot({ path: join(folder, "slider.png") });
  await runOnChange();
  report.live = await recordRun(async () => { report.sliderLive = await dragSlider(); });
  report.help = await openHelp();
  await page.screenshot({ path: join(folder, "help.png") });
} catch (error) {
  report.failed = String(error.stack ?? error);
  await page.screenshot({ path: join(folder, "failed.png") });
}
writeFileSync(join(folder, "report.json"), JSON.stringify(report, null, 2));
await browser.close();

async function closeDialogs() {
  // A first start shows the template dialog and a banner.
  for (let round = 0; round < 5 && (await page.locator(".p-dialog").count()); round++) {
    await page.keyboard.press("Escape");
    await page.waitForTimeout(300);
  }
}

async function openTemplate(name) {
  await page.evaluate(() => window.app.extensionManager.command.execute("Comfy.BrowseTemplates"));
  const dialog = page.locator(".p-dialog").last();
  await dialog.locator("input").first().fill(name);
  await dialog.locator(`[data-testid="template-workflow-${name}"]`).click();
  await dialog.waitFor({ state: "hidden" });
  await page.waitForFunction(() => window.app.graph.nodes.length > 0);
  await page.waitForTimeout(500); // the view is fitted to the graph
  const seen = await page.evaluate(async () => ({
    missing: window.app.graph.nodes.filter((node) => !(node.type in window.LiteGraph.registered_node_types)).map((node) => node.type),
    prompt: (await window.app.graphToPrompt()).output,
    dialogs: [...document.querySelectorAll(".p-dialog")].map((element) => element.textContent),
  }));
  await page.screenshot({ path: join(folder, `template_${name}.png`) });
  await closeDialogs();
  return seen;
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
  return recordRun(() => page.locator('[data-testid="queue-button"] button').first().click());
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
  await page.locator('[data-testid="queue-button"] .p-splitbutton-dropdown').click();
  await page.getByText(/On Change/).first().click();
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
