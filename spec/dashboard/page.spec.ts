import { createServer } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { escapeIdentifier } from "pg";
import type { Locator, Page } from "playwright-core";
import { startDashboard } from "../../lib/dashboard/dashboard";
import { eventually } from "../support/eventually";
import { describeWithChromium } from "../support/chromium";
import { dashboardSuite } from "./support/dashboard-page";

/** Tries to read the dashboard from another page, and gives the outcomes. Leaves a frame. */
const attempts = (url: string): string => `(async () => {
  const url = ${JSON.stringify(url)};
  const load = (tag, src) => new Promise((resolve) => {
    const element = Object.assign(document.createElement(tag), { src });
    element.onload = () => resolve("loaded");
    element.onerror = () => resolve("refused");
    document.body.append(element);
  });
  const outcome = {
    fetch: await fetch(url + "events").then(String, () => "refused"),
    events: await new Promise((resolve) => {
      const events = new EventSource(url + "events");
      events.onopen = () => resolve("open");
      events.onerror = () => resolve("refused");
    }),
    image: await load("img", url + "icon.svg"),
    script: await load("script", url + "page.js"),
  };
  document.body.append(Object.assign(document.createElement("iframe"), { src: url }));
  return outcome;
})()`;

/** For what the page shows after a read of the lists, which comes late on a busy machine. */
const shown = { timeoutMs: 20_000 };

describeWithChromium()("the dashboard's page", () => {
  const suite = dashboardSuite("dashboard page");

  const rowOf = (page: Page, section: string, id: string): Locator =>
    page.getByRole("region", { name: section }).getByRole("row").filter({ hasText: id });
  const barOf = (page: Page, group: string): Locator => page.getByRole("progressbar", { name: group, exact: true });
  const widths = `(() => {
    const bar = document.querySelector("#groups .bar");
    const widthOf = (element) => element.getBoundingClientRect().width;
    return [...bar.children].map((part) => Math.round((100 * widthOf(part)) / widthOf(bar)));
  })()`;

  it("shows what was stored before it was opened, at once, with an empty console", async () => {
    const { storing, complaints } = suite;
    await storing.initGroup("book", 4, { deadlineMs: 3_600_000 });
    await storing.completeGroupMember("book", "page 1", 1);
    await storing.initGroup("mails", 1);
    await storing.completeGroupMember("mails", "mail", 1);
    await storing.store("good task", 1);
    await storing.fail("bad task", new Error("no"));
    const page = await suite.open((await suite.start()).url);
    await rowOf(page, "Latest results", "good task").getByText("succeeded").waitFor();
    await rowOf(page, "Latest results", "bad task").getByText("failed").waitFor();
    await rowOf(page, "Latest failures", "bad task").waitFor();
    expect(await page.locator("#failures tbody tr").count()).toBe(1);
    await rowOf(page, "Open groups", "book").getByText("1 of 4").first().waitFor();
    await rowOf(page, "Open groups", "book").getByText("in 59 min").waitFor();
    await rowOf(page, "Completed groups", "mails").getByText("unclaimed").waitFor();
    await page.locator("#identity", { hasText: `schema ${suite.database.schema} · PostgreSQL` }).waitFor();
    await page.locator("#expired", { hasText: "0" }).waitFor();
    await page.locator("#rate:not(:text-is('0'))").waitFor();
    await page.locator("#heartbeat:has-text('ms')").waitFor();
    expect(complaints).toEqual([]);
  });

  it("shows groups filling, failures as a red part, and a done group without alarm", async () => {
    const { storing, complaints } = suite;
    await storing.initGroup("book", 4);
    const page = await suite.open((await suite.start()).url);
    await barOf(page, "book").waitFor();
    await storing.completeGroupMember("book", "page 1", 1);
    await eventually(async () => expect(await barOf(page, "book").getAttribute("aria-valuenow")).toBe("1"), shown);
    await storing.failGroupMember("book", "page 2", new Error("no"));
    await eventually(async () => expect(await page.evaluate(widths)).toEqual([25, 25]), shown);
    expect(await barOf(page, "book").getAttribute("aria-valuetext")).toBe("2 of 4, 1 failed");
    await storing.completeGroupMember("book", "page 3", 1);
    await storing.completeGroupMember("book", "page 4", 1);
    const done = rowOf(page, "Completed groups", "book");
    await done.waitFor();
    expect(await done.locator(".bad").allTextContents()).toEqual(["1"]);
    await page.getByText("No open groups.").waitFor();
    expect(complaints).toEqual([]);
  });

  it("sorts open groups, and says what to do where there is nothing", async () => {
    const { storing, database } = suite;
    const page = await suite.open((await suite.start()).url);
    for (const text of ["No open groups.", "No completed groups.", "No failures.", "No results yet. They appear here"])
      await page.getByText(text).waitFor();
    const state = `${escapeIdentifier(database.schema)}.kojin_group_state`;
    for (const groupId of ["a", "b", "c"]) await storing.initGroup(groupId, 3);
    await storing.completeGroupMember("b", "1", 1);
    await storing.failGroupMember("c", "1", new Error("no"));
    await storing.failGroupMember("c", "2", new Error("no"));
    await database.sql(`update ${state} set created_at = now() - interval '3 hours' where group_id = 'b'`);
    await storing.completeGroupMember("b", "2", 1);
    const idsOf = async (): Promise<string> =>
      (await page.locator("#groups td:first-child").allTextContents()).join("");
    const orders = { age: "bac", id: "abc", failed: "cba", progress: "bca" };
    for (const [order, expected] of Object.entries(orders)) {
      await page.getByLabel("Sort by").selectOption(order);
      await eventually(async () => expect(await idsOf()).toBe(expected), shown);
    }
    await rowOf(page, "Open groups", "b").getByText("3 h").waitFor();
  });

  it("says that the tables are missing, and how to create them, and goes on by itself", async () => {
    const { database } = suite;
    const schema = `${database.schema} bare`;
    database.createSchema(schema);
    const bare = await database.open({ schema });
    await using dashboard = await startDashboard(bare, { port: 0 });
    const page = await suite.visit(dashboard.url);
    await page.getByRole("heading", { name: "The tables are missing or outdated" }).waitFor();
    await page.getByText(`kojin-postgres migrate --schema "${schema}"`).waitFor();
    // Nothing was counted, which is not the same as no results.
    await page
      .getByRole("img", { name: /^Results per second over the last hour\. Grey: 60 min not counted/ })
      .waitFor();
    expect(await page.getByText("No results yet.").count()).toBe(0);
    await bare.migrate();
    await page.locator("#problems:empty").waitFor({ state: "attached" });
    await page.getByText("No results yet.").waitFor();
    await page.close();
  });

  it("shows no value unless showResults is set", async () => {
    await suite.storing.store("task", { token: "s3cret" });
    await suite.storing.fail("other task", new RangeError("s3cret"));
    const [hidden, shown] = [await suite.start(), await suite.start({ showResults: true })];
    const pages = [await suite.open(hidden.url), await suite.open(shown.url)];
    const texts: string[] = [];
    for (const page of pages) {
      await page.getByRole("row", { name: " task succeeded" }).waitFor();
      await page.locator("#failures").getByRole("row", { name: "other task" }).waitFor();
      texts.push(await page.content());
    }
    expect(texts[0]).not.toMatch(/s3cret|RangeError/);
    expect(texts[1]).toMatch(/\{"token": "s3cret"\}/);
    expect(texts[1]).toMatch(/RangeError: s3cret/);
    expect(suite.complaints).toEqual([]);
  });

  it("shows an id as plain text, whatever it contains", async () => {
    const id = `<img src=x onerror="document.title='hacked'"><script>1</script>\u202Eesrever "'&`;
    await suite.storing.initGroup(id, 2);
    const page = await suite.open((await suite.start({ showResults: true })).url);
    await suite.storing.store(id, id);
    await page.locator("#results .id").first().waitFor();
    for (const shown of ["#groups td:first-child .id", "#results td:nth-child(2) .id"])
      expect(await page.locator(shown).first().textContent()).toBe(id);
    expect(await page.locator("main img, main script").count()).toBe(0);
    expect(await page.title()).toBe("kojin-postgres");
    expect(suite.complaints).toEqual([]);
  });

  it("reveals nothing to other pages in the same browser", async () => {
    const dashboard = await suite.start();
    const other = createServer((_request, response) => response.setHeader("Content-Type", "text/html").end("<p>"));
    other.listen(0, "127.0.0.1");
    await once(other, "listening");
    // As a page of the same machine, which browsers treat as the same site, and as one of another machine.
    const { port } = other.address() as AddressInfo;
    const outcomes: unknown[] = [];
    for (const host of ["127.0.0.1", "localhost"]) {
      const page = await suite.visit(`http://${host}:${port}/`);
      outcomes.push(await page.evaluate(attempts(dashboard.url)));
      await eventually(() => expect(page.frames()).toHaveLength(2));
      const frame = page.frames()[1];
      await frame?.waitForLoadState();
      expect(await frame?.locator("main").count()).toBe(0);
      await page.close();
    }
    expect(outcomes).toEqual(
      Array.from({ length: 2 }, () => ({ fetch: "refused", events: "refused", image: "refused", script: "refused" })),
    );
    other.close();
    other.closeAllConnections();
  });

  it("works with a token, removes it from the address, and says when access is denied", async () => {
    const dashboard = await suite.start({ token: "first-token-of-two" });
    const page = await suite.open(dashboard.url);
    expect(page.url()).toBe(new URL("/", dashboard.url).href);
    expect(await page.evaluate("document.cookie")).toBe("");
    const port = Number(new URL(dashboard.url).port);
    expect(suite.complaints).toEqual([]);
    await dashboard.close();
    await suite.start({ port, token: "second-token-of-two" });
    await page.getByText("Access denied.").waitFor();
  });
});
