// For `tools.host.browser`: what the front end says is missing of a workflow, in a dialog or, in newer ones, in a panel.
//
// The plan: {"run": a workflow, "missing": names of files that it has to tell of}. The report: {"told": its words}.

import { join } from "node:path";

export default async function (page, plan, folder) {
  const seeErrors = page.getByTestId("error-overlay-see-errors");
  let list = page.locator('.p-dialog, [data-testid="error-group-missing-model"]');
  for (const name of plan.missing) list = list.filter({ hasText: name });
  await page.evaluate((workflow) => window.app.loadGraphData(workflow), plan.run);
  await list.or(seeErrors).first().waitFor();
  if (await seeErrors.count()) await seeErrors.click();
  await list.waitFor();
  const version = await page.evaluate(() => window.__COMFYUI_FRONTEND_VERSION__ ?? "");
  await page.screenshot({ path: join(folder, `missing_${version}_${plan.missing.length}.png`) });
  return { told: await list.innerText() };
}
