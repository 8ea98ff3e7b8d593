// Draws nodes with the real front end and keeps a picture of each: <class of the node>.png.
//
//     node nodes.mjs <address of ComfyUI> <path of Chromium> <folder for pictures and report.json> <plan as JSON>
//
// The plan: {"examples": [{"workflow": a saved workflow, "run": whether to run it first, "nodes": [classes]}],
// "alone": [classes that no example has]}.

import { createRequire } from "node:module";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

const { chromium } = createRequire(import.meta.url)("playwright-core");
const [address, executablePath, folder, planText] = process.argv.slice(2);
const plan = JSON.parse(planText);
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const MARGIN = 4; // pixels around a node; the badge above it stays out

const report = {};
const browser = await chromium.launch({ executablePath, args: FLAGS });
const page = await browser.newPage({ viewport: { width: 1400, height: 1100 } });
page.setDefaultTimeout(400_000);
try {
  // A first start shows the template dialog, sooner or later.
  await page.request.post(`${address}/api/settings`, { data: { "Comfy.TutorialCompleted": true } });
  await page.goto(address);
  await page.waitForFunction(() => window.app?.graph && window.app?.extensionManager && window.LiteGraph);
  await page.waitForFunction((name) => name in window.LiteGraph.registered_node_types, "SaeuronUnlearn");
  for (const { workflow, run, nodes } of plan.examples) {
    await page.evaluate((saved) => window.app.loadGraphData(saved), workflow);
    if (run) await runGraph();
    for (const type of nodes) await keep(type);
  }
  for (const type of plan.alone) {
    await page.evaluate((name) => {
      window.app.graph.clear();
      window.app.graph.add(window.LiteGraph.createNode(name));
    }, type);
    await keep(type);
  }
} catch (error) {
  report.failed = String(error.stack ?? error);
}
writeFileSync(join(folder, "report.json"), JSON.stringify(report));
await browser.close();

async function runGraph() {
  await page.evaluate(() => new Promise((resolve, reject) => {
    window.app.api.addEventListener("execution_success", resolve, { once: true });
    window.app.api.addEventListener("execution_error", ({ detail }) => reject(detail.exception_message), { once: true });
    window.app.queuePrompt(0);
  }));
}

async function keep(type) {
  const [x, y, width, height] = await page.evaluate(async (name) => {
    const { graph, canvas } = window.app;
    const node = graph.nodes.find((each) => each.type === name);
    [...(graph.groups ?? [])].forEach((group) => graph.remove(group));
    canvas.links_render_mode = window.LiteGraph.HIDDEN_LINK;
    canvas.ds.scale = 1;
    canvas.centerOnNode(node);
    canvas.draw(true, true);
    await new Promise((resolve) => setTimeout(resolve, 600)); // widgets that are part of the page follow
    const title = window.LiteGraph.NODE_TITLE_HEIGHT;
    const [left, top] = window.app.canvasPosToClientPos([node.pos[0], node.pos[1] - title]);
    return [left, top, node.size[0], node.size[1] + title];
  }, type);
  if (await page.locator(".p-dialog").count()) throw new Error(`A dialog lies over ${type}.`);
  const clip = { x: x - MARGIN, y: y - MARGIN, width: width + 2 * MARGIN, height: height + 2 * MARGIN };
  await page.screenshot({ path: join(folder, `${type}.png`), clip });
}
