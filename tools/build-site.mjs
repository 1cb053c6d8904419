// Builds the site of the documentation into site/, with each page as Markdown and an llms.txt:
//   npm run docs
// Fails if TypeDoc warns or a link leads nowhere.
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { build } from "vitepress";

const root = join(import.meta.dirname, "..");
const source = join(root, ".tmp", "site");
const out = join(root, "site");

rmSync(source, { recursive: true, force: true });
mkdirSync(join(source, ".vitepress"), { recursive: true });
for (const file of ["config.mjs", "slug.mjs"])
  cpSync(join(root, "tools", "vitepress", file), join(source, ".vitepress", file));
cpSync(join(root, "tools", "vitepress", "index.md"), join(source, "index.md"));
cpSync(join(root, "docs", "images"), join(source, "images"), { recursive: true });
const pages = readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md"));
for (const page of pages)
  writeFileSync(join(source, page), withOwnLinks(readFileSync(join(root, "docs", page), "utf8")));
const typedoc = join(dirname(createRequire(import.meta.url).resolve("typedoc/package.json")), "bin", "typedoc");
execFileSync(process.execPath, [typedoc, "--out", join(source, "reference")], { cwd: root, stdio: "inherit" });
nameModules(join(source, "reference"));

await build(source, { outDir: out });
for (const page of pages) cpSync(join(source, page), join(out, page));
writeFileSync(join(out, "llms.txt"), indexOfPages());

const broken = brokenLinks();
if (broken.length > 0) {
  console.error(broken.join("\n"));
  process.exit(1);
}
console.log(`${pages.length} pages and the reference of all public names are in site/.`);

/** TypeDoc names modules by their folders. Readers know the names that they import. */
function nameModules(reference) {
  for (const name of readdirSync(reference, { recursive: true }).filter((each) => each.endsWith(".md"))) {
    const text = readFileSync(join(reference, name), "utf8");
    writeFileSync(
      join(reference, name),
      text.replace(/(^# |\[)(?:lib|spec)(?:\/notifications)?\b/gm, "$1kojin-postgres"),
    );
  }
}

/** Links to files of the repository lead to copies of them, as text. */
function withOwnLinks(markdown) {
  return markdown.replace(/\]\(\.\.\/([^)#]+)(#[^)]*)?\)/g, (_, path, anchor = "") => {
    if (path === "README.md") return "](/)";
    const file = statSync(join(root, path)).isDirectory() ? readme(path) : path;
    const copy = join("source", `${file}.txt`);
    mkdirSync(dirname(join(source, "public", copy)), { recursive: true });
    cpSync(join(root, file), join(source, "public", copy));
    return `](/${copy}${anchor})`;
  });
}

/** For a link to a folder: its first file. */
function readme(folder) {
  const [first] = readdirSync(join(root, folder)).filter((name) => statSync(join(root, folder, name)).isFile());
  return join(folder, first);
}

function indexOfPages() {
  const entries = pages.map((page) => {
    const text = readFileSync(join(root, "docs", page), "utf8");
    const title = /^# (.*)$/m.exec(text)?.[1] ?? page;
    const summary = /^[A-Z`*[][^]*?(?=\n\n)/m.exec(text)?.[0] ?? "";
    return `- [${title}](${page}): ${summary.replaceAll("\n", " ").replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")}`;
  });
  return `# kojin-postgres\n\n> Await the result of a task from any process, through Postgres, without polling.\n\n## Pages\n\n${entries.join("\n")}\n`;
}

function brokenLinks() {
  const files = readdirSync(out, { recursive: true }).filter((name) => name.endsWith(".html"));
  const idsOf = new Map(
    files.map((file) => {
      const html = readFileSync(join(out, file), "utf8");
      return [file, new Set([...html.matchAll(/\sid="([^"]*)"/g)].map(([, id]) => id))];
    }),
  );
  return files.flatMap((file) => {
    const html = readFileSync(join(out, file), "utf8");
    const links = [...html.matchAll(/<a [^>]*?href="([^"]*)"/g)].map(([, link]) => link.replaceAll("&amp;", "&"));
    return [...new Set(links)]
      .filter((link) => isBroken(file, link))
      .map((link) => `site/${file}: ${link} leads nowhere`);
  });

  function isBroken(file, link) {
    const url = new URL(link, `http://site/${file}`);
    if (url.host !== "site") return false;
    const path = decodeURIComponent(url.pathname).slice(1);
    const target = path === "" || path.endsWith("/") ? `${path}index.html` : path;
    if (!existsSync(join(out, target))) return true;
    const anchor = decodeURIComponent(url.hash.slice(1));
    return anchor !== "" && target.endsWith(".html") && !idsOf.get(target)?.has(anchor);
  }
}
