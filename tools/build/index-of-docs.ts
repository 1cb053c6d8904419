import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Returns the text of llms.txt (llmstxt.org): the pages of docs/, each with the first sentence of its prose. */
export function indexOfDocs(root: string): string {
  const { name, description } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Record<string, string>;
  const pages = readdirSync(join(root, "docs"))
    .filter((file) => file.endsWith(".md"))
    .sort();
  return [
    `# ${name}\n\n> ${description}\n`,
    "- [README](README.md): what it is, installation, quick start, comparison",
    ...pages.map((file) => `- ${lineOf(`docs/${file}`, readFileSync(join(root, "docs", file), "utf8"))}`),
    "",
  ].join("\n");
}

function lineOf(path: string, markdown: string): string {
  const title = /^# (.+)$/m.exec(markdown)?.[1] ?? path;
  const paragraphs = markdown.replace(/^```[^]*?^```$/gm, "").split(/\n{2,}/);
  const [prose = ""] = paragraphs.map((text) => text.trim()).filter((text) => /^[A-Z`].*\./s.test(text));
  const [sentence = ""] = /^.*?\.(?=\s|$)/s.exec(prose) ?? [];
  return `[${title}](${path}): ${sentence.replaceAll("\n", " ").replace(/\[([^\]]+)\]\([^)]+\)/g, "$1")}`;
}
