// Builds dist/ from lib/ and spec/conformance/, declarations by the compiler and code by the bundler, and llms.txt from
// docs/.
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bundle } from "./build/bundle";
import { declare } from "./build/declarations";
import { indexOfDocs } from "./build/index-of-docs";

const root = join(__dirname, "..");
const output = join(root, "dist");

/** What users can import, by the name of its module in dist/. */
const entryPoints = {
  index: "lib/index.ts",
  "clients/index": "lib/clients/index.ts",
  "conformance/index": "spec/conformance/index.ts",
  "dashboard/index": "lib/dashboard/index.ts",
  "embedded/index": "lib/embedded/index.ts",
  "http/index": "lib/http/index.ts",
  "nats/index": "lib/nats/index.ts",
  "notifications/notifier": "lib/notifications/notifier.ts",
  "operators/index": "lib/operators/index.ts",
  "queues/index": "lib/queues/index.ts",
};
/** What the command line runs. The worker stands beside the module that starts it. */
const programs = { "cli/main": "lib/cli/main.ts", "cli/demo-worker": "lib/cli/commands/demo-worker.ts" };

async function main(): Promise<void> {
  rmSync(output, { recursive: true, force: true });
  declare(root, output, Object.keys(entryPoints));
  await bundle(root, output, { ...entryPoints, ...programs });
  writeFileSync(join(root, "llms.txt"), indexOfDocs(root));
}

void main();
