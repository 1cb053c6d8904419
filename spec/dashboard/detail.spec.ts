import type { Page } from "playwright-core";
import { escapeIdentifier } from "pg";
import { eventually } from "../support/eventually";
import { describeWithChromium } from "../support/chromium";
import { dashboardSuite } from "./support/dashboard-page";

/** For what the page shows after a read of the lists, which comes late on a busy machine. */
const shown = { timeoutMs: 20_000 };

describeWithChromium()("the dashboard's pages about one task or group", () => {
  const suite = dashboardSuite("dashboard details");

  const factsOf = async (page: Page): Promise<Record<string, string>> => {
    const [names, values] = [page.locator("#detail dt"), page.locator("#detail dd")];
    const texts = await values.allTextContents();
    return Object.fromEntries((await names.allTextContents()).map((name, index) => [name, texts[index] ?? ""]));
  };

  it("show a result with its times, size and chunks, reached from the list", async () => {
    const { storing, complaints } = suite;
    for (const word of ["a", "b"]) await storing.emit("report/7 #1", { word });
    await storing.store("report/7 #1", { pages: 12, exact: 1 }, { ttlMs: 3_600_000 });
    const page = await suite.open((await suite.start({ showResults: true })).url);
    await page.locator("#results").getByRole("link", { name: "report/7 #1" }).click();
    await page.getByRole("heading", { name: "Task report/7 #1" }).waitFor();
    await page.getByText('{\n  "exact": 1,\n  "pages": 12\n}').waitFor();
    const facts = await factsOf(page);
    expect(facts).toMatchObject({
      State: "succeeded",
      Stored: expect.stringMatching(/\d\d:\d\d:\d\d$/) as string,
      Expires: expect.stringMatching(/, in 59 min$/) as string,
      Size: expect.stringMatching(/^\d\d B as stored$/) as string,
    });
    expect(await page.locator(".chunks li").allTextContents()).toEqual(['{"word": "b"}', '{"word": "a"}']);
    expect(await page.title()).toBe("report/7 #1 – kojin-postgres");
    await page.getByRole("link", { name: "← Overview" }).click();
    await page.getByRole("heading", { name: "Latest results" }).waitFor();
    expect(await page.title()).toBe("kojin-postgres");
    expect(complaints).toEqual([]);
  });

  it("show an error with its code, details, causes and stack", async () => {
    const { storing, database, complaints } = suite;
    const error = Object.assign(new RangeError("too far", { cause: new TypeError("<b>inner</b>") }), {
      code: "E_FAR",
      details: { limit: 3 },
    });
    await storing.fail("bad", error);
    const { url } = await suite.start({ showResults: true });
    const page = await suite.visit(`${url}#task=bad`);
    await page.locator(".error .error pre", { hasText: "<b>inner</b>" }).waitFor();
    const texts = await page.locator(".error").first().innerText();
    expect(texts).toMatch(
      /^RangeError \(E_FAR\)\s+too far\s+Details\s+\{\s+"limit": 3\s+\}\s+Caused by\s+TypeError\s+/,
    );
    // Other writers may store a stack.
    const results = `${escapeIdentifier(database.schema)}.kojin_results`;
    await database.sql(`update ${results} set error = error || '{"stack": "at far.rs:7"}' where task_id = 'bad'`);
    await page.getByText("at far.rs:7").waitFor();
    expect(complaints).toEqual([]);
  });

  it("hide values and errors unless results are shown", async () => {
    const { storing } = suite;
    await storing.emit("task", "s3cret");
    await storing.store("task", "s3cret");
    await storing.fail("other", new Error("s3cret"));
    await storing.initGroup("group", 2);
    await storing.completeGroupMember("group", "one", "s3cret");
    await storing.failGroupMember("group", "two", new Error("s3cret"));
    const { url } = await suite.start();
    const page = await suite.visit(`${url}#task=task`);
    await page.getByText("Hidden. Start the dashboard with --show-results").first().waitFor();
    for (const target of ["task?id=task", "task?id=other", "group?id=group", "search?id=t"])
      expect(await (await fetch(`${url}data/${target}`)).text()).not.toContain("s3cret");
    await page.goto(`${url}#group=group`);
    await page.getByRole("row", { name: /^two failed/ }).waitFor();
  });

  it("follow a running task to its result, and say that an unknown one is unknown", async () => {
    const { storing } = suite;
    const { url } = await suite.start({ showResults: true });
    const page = await suite.visit(`${url}#task=late`);
    await page.getByText("Nothing is stored for this id.").waitFor();
    await storing.emit("late", 1);
    await page.getByText("1 chunks.").waitFor();
    expect(await factsOf(page)).toEqual({ State: "running" });
    await storing.store("late", "done");
    await page.locator("pre", { hasText: '"done"' }).waitFor();
  });

  it("say that a large value is too large to show", async () => {
    await suite.storing.store("large", "x".repeat(20_000_000));
    const { url } = await suite.start({ showResults: true });
    const page = await suite.visit(`${url}#task=large`);
    await page.getByText(/^Too large to show: \d+ kB\.$/).waitFor();
  });

  it("show a group with its members by state, its progress and its claim", async () => {
    const { storing, complaints } = suite;
    await storing.initGroup("book", ["a", "b", "c", "d"]);
    await storing.completeGroupMember("book", "a", { words: 10 });
    await storing.failGroupMember("book", "b", new RangeError("no page"));
    const page = await suite.open((await suite.start({ showResults: true })).url);
    await page.locator("#groups").getByRole("link", { name: "book" }).click();
    await page.getByRole("heading", { name: "Group book" }).waitFor();
    const members = page.getByRole("table", { name: "Members" }).getByRole("row");
    await members.filter({ hasText: "RangeError: no page" }).waitFor();
    const idsOf = async (): Promise<string> =>
      (await page.locator("#detail td:first-child").allTextContents()).join("");
    expect(await idsOf()).toBe("abcd");
    await page.getByRole("img", { name: /^2 members finished, from / }).waitFor();
    for (const [state, ids] of Object.entries({ failed: "b", open: "cd", completed: "a", all: "abcd" })) {
      await page.getByLabel("Show").selectOption(state);
      await eventually(async () => expect(await idsOf()).toBe(ids), shown);
    }
    await storing.completeGroupMember("book", "c", 1);
    await storing.completeGroupMember("book", "d", 1);
    await eventually(
      async () => expect(await factsOf(page)).toMatchObject({ State: "done", Claim: "unclaimed" }),
      shown,
    );
    await storing.claimGroup("book", { leaseMs: 60_000 });
    await eventually(async () => expect((await factsOf(page))["Claim"]).toBe("leased"), { timeoutMs: 20_000 });
    expect(await factsOf(page)).toMatchObject({ Members: "4 of 4", Failed: "1" });
    expect(complaints).toEqual([]);
  });

  it("show the members of a large group page by page", async () => {
    const { storing } = suite;
    const ids = Array.from({ length: 250 }, (_, index) => `member ${1_000 + index}`);
    await storing.initGroup("large", ids);
    await storing.failGroupMember("large", "member 1240", new Error("no"));
    const page = await suite.visit(`${(await suite.start()).url}#group=large`);
    const firstRow = page.locator("#detail tbody tr").first();
    for (const first of ["member 1000", "member 1100", "member 1200"]) {
      await firstRow.filter({ hasText: first }).waitFor();
      const next = page.getByRole("button", { name: "Next page" });
      if (first === "member 1200") expect(await next.isVisible()).toBe(false);
      else await next.click();
    }
    await page.getByRole("button", { name: "First page" }).click();
    await firstRow.filter({ hasText: "member 1000" }).waitFor();
    await page.getByLabel("Show").selectOption("failed");
    await firstRow.filter({ hasText: "member 1240" }).waitFor();
  });

  it("find tasks and groups by an id and by its beginning", async () => {
    const { storing, complaints } = suite;
    await storing.store("mail-1", 1);
    await storing.fail("mail-2", new Error("no"));
    await storing.emit("mail-3", 1);
    await storing.initGroup("mails", 2);
    await storing.store("other%", 1);
    const page = await suite.open((await suite.start()).url);
    const idsOf = async (): Promise<string[]> => page.locator("#detail td:nth-child(2)").allTextContents();
    const search = page.getByRole("searchbox");
    for (const [text, ids] of [
      ["mail-", ["mail-1", "mail-2", "mail-3"]],
      ["mail-2", ["mail-2"]],
      ["mails", ["mails"]],
      ["other%", ["other%"]],
      ["%", []],
    ] as const) {
      await search.fill(text);
      await search.press("Enter");
      await page.getByRole("heading", { name: `Ids that begin with ${text}` }).waitFor();
      await eventually(async () => expect(await idsOf()).toEqual(ids), shown);
    }
    await page.getByText("No task or group has such an id.").waitFor();
    await page.goBack();
    await page.getByRole("link", { name: "other%" }).click();
    await page.getByRole("heading", { name: "Task other%" }).waitFor();
    expect(complaints).toEqual([]);
  });
});
