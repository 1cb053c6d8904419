// Writes docs/images/dashboard-*.webp, showing a dashboard with data:
//   npx tsx tools/screenshot.mjs
// With a folder, writes more of them there, to look at.
import { mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { startEmbeddedPostgres } from "../lib/embedded/index.ts";
import { PostgresResultBackend } from "../lib/index.ts";
import { launchChromium } from "../spec/support/chromium.ts";

// Not imported: tsx would then hide the module's own folder, in which the files of the page are.
const { startDashboard } = createRequire(import.meta.url)("../lib/dashboard/dashboard.ts");

const isDraft = process.argv[2] !== undefined;
const folder = process.argv[2] ?? join(import.meta.dirname, "..", "docs", "images");
const maxBytes = 150_000;
const sizes = { wide: { width: 1280, height: 900 }, narrow: { width: 390, height: 844 } };
const quality = 0.35;

const server = await startEmbeddedPostgres();
const [watching, storing] = await Promise.all([1, 2].map(() => PostgresResultBackend.connect(server.url)));
await storing.migrate();
const dashboard = await startDashboard(watching, { port: 0, showResults: true });
const browser = await launchChromium();
try {
  mkdirSync(folder, { recursive: true });
  await work();
  const steady = setInterval(
    () => void storing.store(`email-${Math.round(performance.now() / 250)}`, { sent: true }).catch(() => undefined),
    250,
  );
  for (const [size, viewport] of Object.entries(sizes))
    for (const colorScheme of ["light", "dark"]) await capture(`${size}-${colorScheme}`, viewport, colorScheme);
  clearInterval(steady);
} finally {
  await browser.close();
  await dashboard.close();
  await Promise.all([watching.close(), storing.close()]);
  await server.stop();
}

const files = readdirSync(folder).filter((name) => name.startsWith("dashboard"));
const total = files.reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
console.log(`${files.join("\n")}\n${total} bytes`);
if (!isDraft && total > maxBytes) throw new Error(`The screenshots are to have ${maxBytes} bytes together.`);

async function capture(name, viewport, colorScheme) {
  const page = await browser.newPage({ viewport, colorScheme });
  await page.goto(dashboard.url);
  await page.locator("#latency-note:has-text('At most')").waitFor();
  await page.locator("#expired:not(:text('–'))").waitFor();
  await save(page, `dashboard-${name}`);
  // To look at, not for the docs.
  if (isDraft) {
    for (const [place, text] of [
      ["group=thumbnails+of+album+12", "members finished"],
      ["task=invoice-1020", "Caused by"],
      ["search=email", "email-1"],
    ]) {
      await page.goto(`${dashboard.url}#${place}`);
      await page.locator("#detail").getByText(text).first().waitFor();
      await save(page, `dashboard-${name}-${place.split("=", 1)[0]}`);
    }
    await page.goto(dashboard.url);
    await page.locator("#completed table").waitFor();
    await save(page, `dashboard-${name}-full`, { fullPage: true });
  }
  await page.close();
}

/** Saves what the page shows as WebP, which takes a third of the bytes of PNG. */
async function save(page, name, options) {
  const png = await page.screenshot(options);
  const helper = await browser.newPage();
  const webp = await helper.evaluate(
    async ([base64, quality]) => {
      const image = new Image();
      image.src = `data:image/png;base64,${base64}`;
      await image.decode();
      const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
      canvas.getContext("2d").drawImage(image, 0, 0);
      return canvas.toDataURL("image/webp", quality).split(",")[1];
    },
    [png.toString("base64"), quality],
  );
  await helper.close();
  writeFileSync(join(folder, `${name}.webp`), Buffer.from(webp, "base64"));
  if (isDraft) writeFileSync(join(folder, `${name}.png`), png);
}

/** Enough to fill the page, with times of the last hour. */
async function work() {
  await storing.initGroup("book-7", 240);
  await storing.initGroup("import 2025-06", 1_000);
  await storing.initGroup("thumbnails of album 12", 48);
  await storing.initGroup("welcome mails", 12);
  await storing.initGroup("reports of May", 30, { deadlineMs: 3_600_000 });
  for (let round = 0; round < 120; round += 1) {
    await Promise.all([
      ...Array.from({ length: 5 + Math.round(4 * Math.sin(round / 8)) }, (_, index) =>
        storing.store(`email-${1_000 + 10 * round + index}`, { sent: true }),
      ),
      storing.completeGroupMember("book-7", `page-${round}`, { words: 200 }),
      storing.completeGroupMember("import 2025-06", `row-${2 * round}`, true),
      storing.completeGroupMember("import 2025-06", `row-${2 * round + 1}`, true),
    ]);
    if (round % 20 === 0)
      await storing.fail(
        `invoice-${1_000 + round}`,
        Object.assign(new RangeError("no such customer", { cause: new Error("query returned no rows") }), {
          code: "E_CUSTOMER",
          details: { customer: 4711 },
        }),
      );
    if (round % 3 === 0) await storing.completeGroupMember("thumbnails of album 12", `image-${round}`, true);
    if (round % 30 === 10)
      await storing.failGroupMember("thumbnails of album 12", `image-${round}`, new Error("not an image"));
    if (round < 12) await storing.completeGroupMember("welcome mails", `mail-${round}`, true);
    await sleep(25);
  }
  await spread();
}

/** Moves the times of what is stored into the last hour, as if it had taken longer. */
async function spread() {
  const { Client } = await import("pg");
  const client = new Client({ connectionString: server.url });
  await client.connect();
  await client.query("set session_replication_role = replica");
  await client.query(`update kojin_results as r
    set stored_at = now() - interval '1 minute' * (60 * share + 2 * sin(30 * share)), expires_at = now() + interval '1 day' * (1 - share)
    from (select task_id, 1 - percent_rank() over (order by stored_at) as share from kojin_results) as n
    where n.task_id = r.task_id`);
  await client.query("update kojin_group_state set created_at = created_at - random() * interval '40 minutes'");
  await client.query(`update kojin_groups set stored_at = stored_at - interval '20 minutes' * (1 - rank) from
    (select group_id g, task_id t, percent_rank() over (partition by group_id order by finished_seq) as rank from kojin_groups) as n
    where n.g = group_id and n.t = task_id`);
  await client.end();
}
