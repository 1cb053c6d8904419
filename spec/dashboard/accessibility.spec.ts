import type { Page } from "playwright-core";
import { describeWithChromium } from "../support/chromium";
import { dashboardSuite } from "./support/dashboard-page";

interface Contrast {
  readonly text: string;
  readonly ratio: number;
}

/** Measures the contrast of each visible text with its background (WCAG 2.2, "contrast ratio"). */
const contrasts = `(() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = (color) => {
    const [red, green, blue] = channels(color).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = (element) => {
    for (let each = element; each !== null; each = each.parentElement) {
      const color = getComputedStyle(each).backgroundColor;
      if (channels(color)[3] !== 0) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const own = (element) => [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join("");
  return [...document.querySelectorAll("body *")]
    .filter((element) => own(element) !== "" && element.getClientRects().length > 0 && element.closest("noscript") === null)
    .map((element) => {
      const both = [luminance(getComputedStyle(element).color), luminance(behind(element))].sort((a, b) => b - a);
      return { text: own(element), ratio: (both[0] + 0.05) / (both[1] + 0.05) };
    });
})()`;

describeWithChromium()("the accessibility of the dashboard's page", () => {
  const suite = dashboardSuite("dashboard for all");

  const focused = `(() => {
    const element = document.activeElement;
    return { id: element.id || element.className, outline: getComputedStyle(element).outlineStyle };
  })()`;

  async function tabOrder(page: Page, stops: number): Promise<unknown[]> {
    const found: unknown[] = [];
    for (let stop = 0; stop < stops; stop += 1) {
      await page.keyboard.press("Tab");
      found.push(await page.evaluate(focused));
    }
    return found;
  }

  it("lets the keyboard reach everything in page order, with a visible focus", async () => {
    const page = await suite.open((await suite.start()).url);
    const stops = ["skip", "home", "query", "pause", "sort", "failures", "results"];
    expect(await tabOrder(page, stops.length)).toEqual(stops.map((id) => ({ id, outline: "solid" })));
    await page.reload();
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    expect(await page.evaluate(focused)).toMatchObject({ id: "main" });
  });

  it("lets the keyboard pause the page, which then catches up", async () => {
    const page = await suite.open((await suite.start()).url);
    const watch = await suite.open((await suite.start()).url);
    const pause = page.getByRole("button", { name: "Pause" });
    await pause.focus();
    await page.keyboard.press("Space");
    await page.getByRole("button", { name: "Resume" }).waitFor();
    await page.locator("#connection", { hasText: /^Paused$/ }).waitFor();
    await suite.storing.store("meanwhile", 1);
    // Both pages receive the same states. The marker shows that the first one was received, too.
    await watch.getByRole("row", { name: "meanwhile" }).waitFor();
    await suite.storing.store("marker", 1);
    await watch.getByRole("row", { name: "marker" }).waitFor();
    expect(await page.getByRole("row", { name: "meanwhile" }).count()).toBe(0);
    await page.keyboard.press("Space");
    await page.getByRole("row", { name: "meanwhile" }).waitFor();
    await page.getByRole("button", { name: "Pause" }).waitFor();
    await page.locator("#connection", { hasText: /^Live$/ }).waitFor();
  });

  it("provides landmarks, headings and names", async () => {
    await suite.storing.initGroup("book", 4);
    await suite.storing.completeGroupMember("unsized", "a", 1);
    await suite.storing.completeGroupMember("book", "a", 1);
    const page = await suite.open((await suite.start()).url);
    await page.getByRole("banner").waitFor();
    await page.getByRole("main").waitFor();
    for (const name of ["Now", "Last hour", "Open groups", "Latest results", "Latest failures", "Completed groups"]) {
      await page.getByRole("heading", { name, level: 2 }).waitFor();
      expect(await page.getByRole("region", { name }).count()).toBeGreaterThan(0);
    }
    expect(await page.getByRole("progressbar").count()).toBe(2);
    expect(await page.getByRole("table", { name: "Open groups" }).ariaSnapshot()).toMatch(
      /- row "book 1 of 4 1 of 4 0 \d+ s none":\n[^]*- progressbar "book"[^]*- progressbar "unsized"/,
    );
    for (const name of ["Results per second", "Failures per second", "Wake-up latency"])
      await page.getByRole("img", { name: `${name} over the last hour.` }).waitFor();
    expect(await page.locator("html").getAttribute("lang")).toBe("en");
  });

  it("announces the connection and problems, but not each result", async () => {
    const page = await suite.open((await suite.start()).url);
    await page.locator("#connection", { hasText: /^Live$/ }).waitFor();
    await page.evaluate(`
      globalThis.spoken = 0;
      for (const region of document.querySelectorAll("[role=status], [role=alert], [role=log], [aria-live]"))
        new MutationObserver((changes) => (spoken += changes.length)).observe(region, { subtree: true, childList: true, characterData: true });
    `);
    expect(await page.locator("[role=status], [aria-live]").count()).toBe(2);
    await suite.storing.initGroup("book", 100);
    for (let index = 0; index < 100; index += 1) {
      await suite.storing.store(`task ${index}`, 1);
      await suite.storing.completeGroupMember("book", `task ${index}`, 1);
    }
    await page.getByRole("row", { name: "task 99" }).waitFor();
    expect(await page.evaluate("spoken")).toBe(0);
  });

  it.each([
    ["light", "reduce", "0s"],
    ["dark", "no-preference", "0.25s"],
  ] as const)(
    "follows the preference for %s, stays readable, and follows the preference for motion: %s",
    async (colorScheme, reducedMotion, motion) => {
      await suite.storing.initGroup("book", 2);
      await suite.storing.failGroupMember("book", "a", new Error("no"));
      const page = await suite.open((await suite.start({ showResults: true })).url, { colorScheme, reducedMotion });
      await suite.storing.store("good", 1);
      await suite.storing.fail("bad", new Error("no"));
      await page.getByRole("row", { name: "bad failed" }).waitFor();
      const ground = await page.evaluate<string>("getComputedStyle(document.body).backgroundColor");
      const brightness = Math.max(...(ground.match(/\d+/g) ?? []).map(Number));
      if (colorScheme === "dark") expect(brightness).toBeLessThan(64);
      else expect(brightness).toBeGreaterThan(192);
      expect(await page.evaluate(`getComputedStyle(document.body).getPropertyValue("--motion")`)).toBe(motion);
      for (const isPaused of [false, true]) {
        if (isPaused) await page.getByRole("button", { name: "Pause" }).click();
        const found = await page.evaluate<Contrast[]>(contrasts);
        expect(found.length).toBeGreaterThan(30);
        expect(found.filter(({ ratio }) => ratio < 4.5)).toEqual([]);
      }
      expect(suite.complaints).toEqual([]);
    },
  );

  it("fits a narrow window without scrolling sideways", async () => {
    const page = await suite.open((await suite.start()).url, { viewport: { width: 320, height: 600 } });
    await suite.storing.initGroup("g".repeat(500), 2);
    await suite.storing.store("t".repeat(500), 1);
    await page.locator("#results tbody tr", { hasText: "ttt" }).waitFor();
    await page.getByRole("progressbar").waitFor();
    // Cards are still rows of a table, with the titles of their columns.
    await page.getByRole("row", { name: /^Stored ?\d\d:\d\d:\d\d Task ?t/ }).waitFor();
    expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(320);
  });
});
