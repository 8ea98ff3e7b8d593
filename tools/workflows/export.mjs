// For `tools.host.browser`: builds workflows in the front end. The plan is {"workflows": {name: description.plan()}},
// the report {"exported": {name: {"workflow": as Export writes it, "prompt": as Export (API) does}}}.

import { fileURLToPath } from "node:url";

export default async function (page, { workflows }) {
  await page.addScriptTag({ path: fileURLToPath(new URL("in_page.js", import.meta.url)) });
  const exported = {};
  for (const [name, described] of Object.entries(workflows)) {
    exported[name] = await page.evaluate((each) => window.buildWorkflow(each), described).catch((error) => {
      throw new Error(`${name}: ${error.message}`);
    });
  }
  return { exported };
}
