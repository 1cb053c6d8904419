import { escapeIdentifier } from "pg";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import type { PostgresResultBackend } from "kojin-postgres";
import { type Dashboard, startDashboard } from "../../../lib/dashboard/dashboard";
import type { DashboardOptions } from "../../../lib/dashboard/dashboard-options";
import { type SpecDatabase, specDatabase } from "../../support/spec-database";
import { eventually } from "../../support/eventually";
import { launchChromium } from "../../support/chromium";
import { isWatched } from "./is-watched";

/** The fixtures of the page's specs. */
export interface DashboardSuite {
  readonly database: SpecDatabase;
  /** Warnings and errors in the consoles of pages, and failed requests. */
  readonly complaints: string[];
  /** Stands for another process. */
  readonly storing: PostgresResultBackend;
  readonly watching: PostgresResultBackend;
  /** Starts a dashboard on `watching`, closed after the spec. */
  start(options?: DashboardOptions): Promise<Dashboard>;
  /** Opens the dashboard's page, and waits until it shows the state. */
  open(url: string, options?: BrowserContextOptions): Promise<Page>;
  /** Opens any page. */
  visit(url: string, options?: BrowserContextOptions): Promise<Page>;
}

/** Provides a database, two backends per spec, and a browser. No subscription may be left after a spec. */
export function dashboardSuite(name: string): DashboardSuite {
  const complaints: string[] = [];
  const started: Dashboard[] = [];
  let browser: Browser | undefined;
  let backends: { storing: PostgresResultBackend; watching: PostgresResultBackend } | undefined;

  // Runs before the hooks of the database, which close the backends.
  afterEach(async () => {
    for (const context of browser?.contexts() ?? []) await context.close();
    // Before the dashboard closes: it must notice a closed page by itself.
    await eventually(() => expect(isWatched(suite.watching)).toBe(false));
    for (const dashboard of started.splice(0)) await dashboard.close();
    await database.sql(`truncate ${schema}.kojin_results, ${schema}.kojin_groups, ${schema}.kojin_group_state`);
  });
  const database = specDatabase(name);
  const schema = escapeIdentifier(database.schema);

  const suite: DashboardSuite = {
    database,
    complaints,
    get storing() {
      if (backends === undefined) throw new Error("The backends are there from beforeEach on.");
      return backends.storing;
    },
    get watching() {
      if (backends === undefined) throw new Error("The backends are there from beforeEach on.");
      return backends.watching;
    },
    start: async (options) => {
      const dashboard = await startDashboard(suite.watching, { port: 0, ...options });
      started.push(dashboard);
      return dashboard;
    },
    open: async (url, options) => {
      const page = await suite.visit(url, options);
      await page.locator("#status", { hasText: "Listening" }).waitFor();
      await page.locator("#problems:empty").waitFor({ state: "attached" });
      await page.locator("#groups :is(table, p)").waitFor();
      return page;
    },
    visit: async (url, options) => {
      const context = await browser?.newContext(options);
      const page = await context?.newPage();
      if (page === undefined) throw new Error("The browser is there from beforeAll on.");
      page.setDefaultTimeout(20_000);
      page.on("console", (message) => {
        if (["error", "warning"].includes(message.type())) complaints.push(message.text());
      });
      page.on("pageerror", (error) => complaints.push(String(error)));
      page.on("requestfailed", (request) => complaints.push(`${request.url()}: ${request.failure()?.errorText ?? ""}`));
      await page.goto(url);
      return page;
    },
  };

  beforeAll(async () => {
    browser = await launchChromium();
  });
  beforeEach(async () => {
    complaints.length = 0;
    backends = { storing: await database.open(), watching: await database.open() };
  });
  afterAll(async () => {
    await browser?.close();
  });
  return suite;
}
