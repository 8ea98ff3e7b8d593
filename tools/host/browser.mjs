// Opens ComfyUI's front end in Chromium and lets a module use it.
//
//     node browser.mjs <module> <address of ComfyUI> <path of Chromium> <folder>
//
// The folder has plan.json; what the module returns is written there as report.json, with the page's "errors".
//
// The module's default export is `async (page, plan, folder) => report`. playwright-core is found through NODE_PATH.

import { createRequire } from "node:module";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const { chromium } = createRequire(import.meta.url)("playwright-core");
const [module, address, executablePath, folder] = process.argv.slice(2);
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const PATIENCE = Number(process.env.PATIENCE ?? 400_000); // ms, for a busy machine; nothing waits this long otherwise

const { default: use } = await import(pathToFileURL(module));
const browser = await chromium.launch({ executablePath, args: FLAGS });
const page = await browser.newPage({ viewport: { width: 1600, height: 1100 } });
page.setDefaultTimeout(PATIENCE);
const errors = [];
page.on("pageerror", (error) => errors.push(String(error)));
let report = {};
try {
  // A first start shows the template dialog, sooner or later.
  await page.request.post(`${address}/api/settings`, { data: { "Comfy.TutorialCompleted": true } });
  await page.goto(address);
  await page.waitForFunction(() => window.app?.graph && window.app?.extensionManager && window.LiteGraph);
  await page.waitForFunction(() => "SaeuronUnlearn" in window.LiteGraph.registered_node_types);
  report = await use(page, JSON.parse(readFileSync(join(folder, "plan.json"))), folder);
} catch (error) {
  report.failed = String(error.stack ?? error);
  await page.screenshot({ path: join(folder, "failed.png") });
}
writeFileSync(join(folder, "report.json"), JSON.stringify({ ...report, errors }, null, 2));
await browser.close();
