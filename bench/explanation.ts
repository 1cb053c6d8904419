import { readFileSync } from "node:fs";
import type { Reference, Row } from "./row";

/** Describes what each row is measured against, with the code of the reference. Code of several rows appears once. */
export function describeReferences(rows: readonly Row[]): string {
  const shown = new Set<string>();
  const sections = rows.map(({ name, reference }) => {
    if (reference === undefined) return `${name}\n  against nothing; the figure counts by itself`;
    const place = reference.code.join(", ");
    const text = [name, `  against ${reference.name}`, `  ${reference.description}`, `  ${place}`];
    if (!shown.has(place)) text.push("", ...codeOf(reference).map((line) => `    ${line}`.trimEnd()));
    shown.add(place);
    return text.join("\n");
  });
  return sections.join("\n\n");
}

/** Reads the lines of a reference from its source: from its declaration to the brace that ends it. */
export function codeOf({ code: [file, name] }: Reference): string[] {
  const lines = readFileSync(file, "utf8").split("\n");
  const declaration = new RegExp(`^ *(?:export )?(?:async )?(?:(?:const|function) ${name}\\b|${name}: async )`);
  const first = lines.findIndex((line) => declaration.test(line));
  const [indentation = ""] = /^ */.exec(lines[first] ?? "") ?? [];
  const end = lines.findIndex((line, index) => index > first && line.startsWith(`${indentation}}`));
  if (first === -1 || end === -1) throw new Error(`${file} has no ${name}.`);
  return lines.slice(first, end + 1).map((line) => line.slice(indentation.length));
}
