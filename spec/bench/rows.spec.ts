import { readFileSync } from "node:fs";
import { join } from "node:path";
import { rows } from "../../bench/rows";
import { describeReferences } from "../../bench/table";

const repository = join(__dirname, "..", "..");
const references = rows.flatMap(({ name, reference }) => (reference === undefined ? [] : [{ name, reference }]));

describe("the rows of the bench", () => {
  it("have names of their own, by which a comparison finds them", () => {
    expect(new Set(rows.map(({ name }) => name)).size).toBe(rows.length);
  });

  it("have a reference if their target is a ratio", () => {
    const alone = rows.filter(({ reference }) => reference === undefined);
    expect(alone.filter(({ target }) => target?.of === "ratio")).toEqual([]);
  });

  it.each(references)("describe their reference and name code that exists: $name", ({ reference }) => {
    expect(reference.description).toMatch(/^[A-Z].*\.$/);
    const [file, name] = reference.code;
    const source = readFileSync(join(repository, file), "utf8");
    expect(source).toMatch(new RegExp(`(?:\\b(?:const|function) ${name}\\b|^ {2}${name}: async )`, "m"));
  });
});

describe("the explanation of the rows", () => {
  const explanation = describeReferences(rows).replace(/[\s│]+/g, " ");

  it.each(references)("says what the row is measured against, and where that code is: $name", ({ reference }) => {
    // Cells are wrapped, so that the words of neighbouring cells alternate.
    const words = [reference.name, reference.description, ...reference.code].join(" ").split(" ");
    for (const word of words) expect(explanation).toContain(word);
  });
});
