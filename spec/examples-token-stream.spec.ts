import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { Subject } from "rxjs";
import { PostgresResultBackend } from "kojin-postgres";
import { answer } from "../examples/token-stream/model";
import { pickFreePort } from "../lib/embedded/server";
import { describeWithChromium, launchChromium } from "./support/chromium";

import { eventually } from "./support/eventually";
import { ownDatabase } from "./support/own-database";
import { runExample } from "./support/run-example";

const repository = join(__dirname, "..");

describe("the example of a stream of tokens", () => {
  it("runs to its end by itself, and kills web servers meanwhile", async () => {
    const output = await runExample("token-stream/main.ts", { TOKEN_MS: "25", PORT: String(await pickFreePort()) });
    expect(output).toMatch(/^The model has answered with 768 characters, past ([2-9]|\d\d+) web servers\.$/m);
  });
});

describeWithChromium()("the page of the stream of tokens", () => {
  const url = ownDatabase("token_stream");
  let backend: PostgresResultBackend;
  let browser: Browser;
  let server: ChildProcess | undefined;
  let port: number;

  const startServer = (): void => {
    server = spawn(process.execPath, ["--import", "tsx", join("examples", "token-stream", "server.ts")], {
      cwd: repository,
      env: { ...process.env, DATABASE_URL: url, PORT: String(port) },
      stdio: "inherit",
    });
  };
  const stopServer = async (): Promise<void> => {
    if (server === undefined) return;
    server.kill("SIGKILL");
    await once(server, "exit");
    server = undefined;
  };
  /** Opens the page in a browser window of its own, as soon as the server answers. */
  const open = async (taskId: string): Promise<Page> => {
    const page = await (await browser.newContext()).newPage();
    const address = `http://127.0.0.1:${port}/?${new URLSearchParams({ task: taskId }).toString()}`;
    await eventually(async () => page.goto(address), { timeoutMs: 30_000 });
    return page;
  };
  const shows = async (page: Page, text: string): Promise<void> =>
    eventually(async () => expect(await page.locator("#answer").textContent()).toBe(text), { timeoutMs: 30_000 });
  const stateIs = async (page: Page, state: string): Promise<void> =>
    page.locator("#state", { hasText: state }).waitFor({ timeout: 30_000 });

  beforeAll(async () => {
    backend = await PostgresResultBackend.connect(url);
    await backend.migrate();
    browser = await launchChromium();
    port = await pickFreePort();
  });
  afterAll(async () => {
    await browser.close();
    await stopServer();
    await backend.close();
  });

  it("shows each token once, past a restart of the web server and a reload of the page", async () => {
    const tokens = new Subject<string>();
    const queue: string[] = [];
    let hasEnded = false;
    const answering = answer(backend, "t", {
      async *[Symbol.asyncIterator]() {
        for (;;) {
          const token = queue.shift();
          if (token !== undefined) yield token;
          else if (hasEnded) return;
          else await new Promise<void>((resolve) => tokens.subscribe({ next: () => resolve(), complete: resolve }));
        }
      },
    });
    let text = "";
    const say = (...words: string[]): void => {
      for (const word of words) {
        text += `${word} `;
        queue.push(`${word} `);
      }
      tokens.next("");
    };
    startServer();
    const pages = [await open("t"), await open("t")] as const;
    const [staying, reloading] = pages;
    say("Before", "the", "restart.");
    for (const page of pages) await shows(page, text);

    await stopServer();
    for (const page of pages) await stateIs(page, "Reconnecting…");
    say("While", "it", "is", "down.");
    startServer();
    for (const page of pages) await shows(page, text);

    say("Before", "the", "reload.");
    await shows(reloading, text);
    await reloading.reload();
    await stateIs(reloading, "Reading…");
    say("After", "it.");
    for (const page of pages) await shows(page, text);
    // The page that was loaded again has received only the tokens that it did not have.
    expect(await reloading.locator("#received").textContent()).toBe("2");
    expect(await staying.locator("#received").textContent()).toBe("12");

    hasEnded = true;
    tokens.complete();
    expect(await answering).toBe(text);
    for (const page of pages) await stateIs(page, "Complete.");
    const late = await open("t");
    await stateIs(late, "Complete.");
    for (const page of [...pages, late]) await shows(page, text);
  });
});
