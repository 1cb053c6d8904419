// Writes docs/images/dashboard.png, showing a dashboard with data:
//   npx tsx tools/screenshot.mjs
import { statSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { startEmbeddedPostgres } from "../lib/embedded/index.ts";
import { PostgresResultBackend } from "../lib/index.ts";
import { launchChromium } from "../spec/support/chromium.ts";

// Not imported: tsx would then hide the module's own folder, in which the files of the page are.
const { startDashboard } = createRequire(import.meta.url)("../lib/dashboard/dashboard.ts");

const file = join(import.meta.dirname, "..", "docs", "images", "dashboard.png");
const maxBytes = 200_000;

const server = await startEmbeddedPostgres();
const [watching, storing] = await Promise.all([1, 2].map(() => PostgresResultBackend.connect(server.url)));
await storing.migrate();
const dashboard = await startDashboard(watching, { port: 0 });
const browser = await launchChromium();
try {
  const page = await browser.newPage({ viewport: { width: 1100, height: 900 }, colorScheme: "light" });
  await page.goto(dashboard.url);
  await page.locator("#status", { hasText: "Listening" }).waitFor();
  await work();
  await page.locator("#heartbeat:has-text('ms')").waitFor();
  await page.screenshot({ path: file });
} finally {
  await browser.close();
  await dashboard.close();
  await Promise.all([watching.close(), storing.close()]);
  await server.stop();
}

const { size } = statSync(file);
console.log(`${file}: ${size} bytes`);
if (size > maxBytes) throw new Error(`A screenshot is to have ${maxBytes} bytes at the most.`);

/** Enough to fill the page within half a minute. */
async function work() {
  await storing.initGroup("book-7", 240);
  await storing.initGroup("import 2025-06", 1_000);
  await storing.initGroup("thumbnails of album 12", 48);
  await storing.initGroup("welcome mails", 12);
  for (let round = 0; round < 120; round += 1) {
    await Promise.all([
      ...Array.from({ length: 5 + Math.round(4 * Math.sin(round / 8)) }, (_, index) =>
        storing.store(`email-${1_000 + 10 * round + index}`, { sent: true }),
      ),
      storing.completeGroupMember("book-7", `page-${round}`, { words: 200 }),
      storing.completeGroupMember("import 2025-06", `row-${2 * round}`, true),
      storing.completeGroupMember("import 2025-06", `row-${2 * round + 1}`, true),
    ]);
    if (round % 40 === 20) await storing.fail(`invoice-${round}`, new Error("no such customer"));
    if (round % 3 === 0) await storing.completeGroupMember("thumbnails of album 12", `image-${round}`, true);
    if (round % 30 === 10) await storing.failGroupMember("thumbnails of album 12", `image-${round}`, new Error("no"));
    if (round < 12) await storing.completeGroupMember("welcome mails", `mail-${round}`, true);
    await sleep(250);
  }
}
