// Writes docs/images/terminal.svg: commands of the built package on a temporary server, with the times they took.
//   npm run build && npx tsx tools/record-terminal.mjs
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { startEmbeddedPostgres } from "../lib/embedded/index.ts";
import { PostgresResultBackend } from "../lib/index.ts";

const root = join(import.meta.dirname, "..");
const commands = [
  ["kojin-postgres wait email-42 &"],
  ["kojin-postgres store email-42", `'{"sent": true}'`],
  ["kojin-postgres store email-43 --failed", `'"no such address"'`],
  ["kojin-postgres get email-43"],
  ["kojin-postgres list"],
].map((parts) => parts.join(" "));
/** For the reader, before each command. */
const pauseMs = 700;

const server = await startEmbeddedPostgres();
const lines = [];
let startedAt = 0;
try {
  const backend = await PostgresResultBackend.connect(server.url);
  await backend.migrate();
  startedAt = performance.now();
  let waiting;
  for (const command of commands) {
    await sleep(pauseMs);
    add(`$ ${command}`, "command");
    const ended = run(command.replace(/ &$/, ""));
    if (!command.endsWith("&")) await ended;
    else {
      waiting = ended;
      while ((await backend.inspect()).listeners === 0) await sleep(10);
      continue;
    }
    // What it prints belongs below the command that stores.
    await waiting;
  }
  await backend.close();
} finally {
  await server.stop();
}
writeFileSync(join(root, "docs", "images", "terminal.svg"), toSvg(lines));

function add(text, kind) {
  lines.push({ text, kind, atMs: Math.round(performance.now() - startedAt) });
}

async function run(command) {
  const program = `"${process.execPath}" dist/cli/main.js`;
  const child = spawn("sh", ["-c", `${command.replace(/^kojin-postgres/, program)} 2>&1`], {
    cwd: root,
    env: { ...process.env, DATABASE_URL: server.url },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const output = createInterface({ input: child.stdout });
  output.on("line", (text) => add(text, /^(Task .* failed|failed )/.test(text) ? "failed" : "output"));
  await Promise.all([once(output, "close"), once(child, "close")]);
}

function toSvg(shown) {
  const [lineHeight, margin] = [20, 16];
  const height = shown.length * lineHeight + 2 * margin;
  const width = Math.max(...shown.map(({ text }) => text.length)) * 8.5 + 2 * margin;
  const texts = shown.map(({ text, kind, atMs }, index) => {
    const place = `x="${margin}" y="${margin + 14 + index * lineHeight}"`;
    const escaped = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
    return `<text ${place} class="${kind}" style="animation-delay:${atMs}ms" xml:space="preserve">${escaped}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}">
<style>
text { font: 14px ui-monospace, Menlo, Consolas, monospace; fill: #c9d1d9 }
.command { fill: #79c0ff }
.failed { fill: #ff7b72 }
@media (prefers-reduced-motion: no-preference) { text { animation: appear 1ms both } }
@keyframes appear { from { opacity: 0 } }
</style>
<rect width="100%" height="100%" rx="8" fill="#0d1117"/>
${texts.join("\n")}
</svg>
`;
}
