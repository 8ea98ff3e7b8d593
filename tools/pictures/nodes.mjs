// For `tools.host.browser`: draws nodes with the real front end and keeps a picture of each, <class of the node>.png.
//
// The plan: {"examples": [{"workflow": a saved workflow, "run": whether to run it first, "nodes": [classes]}],
// "alone": [classes that no example has]}.

import { join } from "node:path";

const MARGIN = 4; // pixels around a node; the badge above it stays out

let page, folder;

export default async function (openPage, plan, pictures) {
  [page, folder] = [openPage, pictures];
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
  return {};
}

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
