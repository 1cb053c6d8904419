import type { Browser } from "playwright-core";
import { startDashboard } from "../../lib/dashboard/dashboard";
import { describeWithChromium, launchChromium } from "../support/chromium";
import { eventually } from "../support/eventually";
import { faultSuite } from "./support/fault-suite";

describeWithChromium()("the dashboard's page, when Postgres goes away", () => {
  const suite = faultSuite();
  let browser: Browser | undefined;
  beforeAll(async () => (browser = await launchChromium()));
  afterAll(async () => browser?.close());

  it.each(["fast", "kill -9"] as const)("shows the outage, stays open, and recovers (%s)", async (how) => {
    const [watching, storing] = [await suite.open(), await suite.open({ retryTimeoutMs: 30_000 })];
    await using dashboard = await startDashboard(watching, { port: 0 });
    const page = await browser?.newPage();
    if (page === undefined) throw new Error("The browser is there from beforeAll on.");
    const errors: string[] = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
    page.setDefaultTimeout(30_000);
    await page.goto(dashboard.url);
    await page.locator("#status", { hasText: "Listening" }).waitFor();
    await storing.initGroup(how, 2);
    await storing.completeGroupMember(how, "before", 1);
    const bar = page.getByRole("progressbar", { name: how });
    await eventually(async () => expect(await bar.getAttribute("aria-valuenow")).toBe("1"), { timeoutMs: 20_000 });

    await suite.server.stop(how);
    await page.locator("#status:not(:text('Listening'))").waitFor();
    await page.getByRole("heading", { name: "The database does not answer" }).waitFor();
    await page.getByText("Check that PostgreSQL runs").waitFor();
    const completed = storing.completeGroupMember(how, "after", 2);
    await suite.server.start();
    expect(await completed).toBe(2);
    await page
      .getByRole("region", { name: "Completed groups" })
      .getByRole("row", { name: `${how} 2 of 2` })
      .waitFor();
    await page.locator("#status", { hasText: "Listening" }).waitFor();
    await page.locator("#connection", { hasText: /^Live$/ }).waitFor();
    await page.locator("#problems:empty").waitFor({ state: "attached" });
    expect(errors).toEqual([]);
    await page.close();
    await Promise.all([watching.close(), storing.close()]);
  });
});
