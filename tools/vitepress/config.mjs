// Configuration of VitePress, which build-site.mjs copies beside the pages.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { slugOf } from "./slug.mjs";

const folder = join(import.meta.dirname, "..");

/** Pages in the order of the navigation. Pages that do not exist are left out. */
const sections = {
  Start: ["guide", "api", "faq", "recipes", "testing"],
  Features: ["chunks", "groups", "transactions", "attach", "types", "operators", "http"],
  Environments: ["frameworks", "bundlers-and-runtimes", "serverless", "sql", "other-clients"],
  Tools: ["cli", "dashboard", "telemetry"],
  Operation: ["operations", "faults", "security", "performance", "scaling", "nats", "relay", "migrating"],
};

const sidebar = Object.entries(sections).map(([text, pages]) => ({
  text,
  items: pages
    .filter((page) => existsSync(join(folder, `${page}.md`)))
    .map((page) => ({ text: titleOf(page), link: `/${page}` })),
}));
sidebar.push({ text: "Reference", link: "/reference/", collapsed: true, items: referencePages() });

export default {
  title: "kojin-postgres",
  description: "Await the result of a task from any process, through the Postgres you already run.",
  markdown: { anchor: { slugify: slugOf }, toc: { slugify: slugOf } },
  // No time of an edit and no external font: the site works offline.
  themeConfig: {
    nav: [
      { text: "Guide", link: "/guide" },
      { text: "Recipes", link: "/recipes" },
      { text: "Reference", link: "/reference/" },
    ],
    sidebar,
    outline: [2, 3],
    search: { provider: "local" },
  },
  // Each page of the reference holds a whole module.
  vite: { build: { chunkSizeWarningLimit: 5_000 } },
};

function titleOf(page) {
  return /^# (.*)$/m.exec(readFileSync(join(folder, `${page}.md`), "utf8"))?.[1] ?? page;
}

/** The modules of the reference, by the names that readers import. */
function referencePages() {
  const pages = readdirSync(join(folder, "reference"), { recursive: true }).filter((name) => name.endsWith(".md"));
  return pages
    .map((page) => page.replace(/\.md$/, ""))
    .filter((page) => page !== "index")
    .map((page) => ({
      text: `kojin-postgres/${page.split("/").at(-1)}`.replace("/lib", ""),
      link: `/reference/${page}`,
    }))
    .sort((left, right) => left.text.localeCompare(right.text));
}
