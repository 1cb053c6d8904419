import { eventually } from "../support/eventually";
import { describeWithChromium } from "../support/chromium";
import { isWatched } from "./support/is-watched";
import { dashboardSuite } from "./support/dashboard-page";

/** For what the page shows after a read of the lists, which comes late on a busy machine. */
const shown = { timeoutMs: 20_000 };

describeWithChromium()("the dashboard's page, after an interruption", () => {
  const suite = dashboardSuite("dashboard reconnect");

  it("says that it reconnects, and recovers when its server is back", async () => {
    const dashboard = await suite.start();
    const page = await suite.open(dashboard.url);
    await suite.storing.store("before", 1);
    await page.getByRole("row", { name: "before succeeded" }).waitFor();
    await page.locator("#connection", { hasText: /^Live$/ }).waitFor();
    expect(suite.complaints).toEqual([]);

    await dashboard.close();
    await page.locator("#connection", { hasText: /^Reconnecting…/ }).waitFor();
    // The last state stays visible.
    await page.getByRole("row", { name: "before succeeded" }).waitFor();
    await eventually(() => expect(isWatched(suite.watching)).toBe(false));
    // At least one attempt fails; the browser logs it.
    await eventually(() => expect(suite.complaints.join("\n")).toMatch(/ERR_CONNECTION_REFUSED/), {
      timeoutMs: 20_000,
    });

    await suite.start({ port: Number(new URL(dashboard.url).port) });
    await page.locator("#connection", { hasText: /^Live$/ }).waitFor();
    await suite.storing.initGroup("after", 2);
    await page.getByRole("progressbar", { name: "after" }).waitFor();
    await suite.storing.completeGroupMember("after", "member", 1);
    await eventually(
      async () =>
        expect(await page.getByRole("progressbar", { name: "after" }).getAttribute("aria-valuenow")).toBe("1"),
      shown,
    );
    await suite.storing.store("after", 1);
    await page.getByRole("row", { name: "after succeeded" }).waitFor();
    expect(await page.locator("#results tbody tr").count()).toBe(2);
    expect(suite.complaints.filter((complaint) => !complaint.includes("ERR_"))).toEqual([]);
  });

  it("shows that the listener was lost and is back", async () => {
    const { storing, database } = suite;
    await storing.initGroup("book", 3);
    const page = await suite.open((await suite.start()).url);
    await storing.completeGroupMember("book", "a", 1);
    const bar = page.getByRole("progressbar", { name: "book" });
    await eventually(async () => expect(await bar.getAttribute("aria-valuenow")).toBe("1"), shown);
    await database.terminateListeners();
    await storing.completeGroupMember("book", "b", 1);
    await storing.store("task", 1);
    await page.locator("#status-note", { hasText: "Connections lost so far: 1." }).waitFor();
    await page.locator("#status", { hasText: "Listening" }).waitFor();
    await eventually(async () => expect(await bar.getAttribute("aria-valuenow")).toBe("2"), shown);
    await page.getByRole("row", { name: "task succeeded" }).waitFor();
    await storing.completeGroupMember("book", "c", 1);
    await page.getByRole("region", { name: "Completed groups" }).getByRole("row", { name: "book 3 of 3" }).waitFor();
    expect(suite.complaints).toEqual([]);
  });
});
