import { codeOf, describeReferences } from "../../bench/explanation";
import { rows } from "../../bench/rows";

const references = rows.flatMap(({ name, reference }) => (reference === undefined ? [] : [{ name, reference }]));

describe("the rows of the bench", () => {
  it("have names of their own, by which a comparison finds them", () => {
    expect(new Set(rows.map(({ name }) => name)).size).toBe(rows.length);
  });

  it("have a reference if their target is a ratio", () => {
    const alone = rows.filter(({ reference }) => reference === undefined);
    expect(alone.filter(({ target }) => target?.of === "ratio")).toEqual([]);
  });

  it.each(references)("describe their reference: $name", ({ reference }) => {
    expect(reference.description).toMatch(/^[A-Z].*\.$/);
  });
});

describe("the explanation of the rows", () => {
  const explanation = describeReferences(rows);

  it.each(references)("says what the row is measured against, and shows that code: $name", ({ name, reference }) => {
    const place = reference.code.join(", ");
    expect(explanation).toContain(`${name}\n  against ${reference.name}\n  ${reference.description}\n  ${place}`);
    const code = codeOf(reference);
    expect(code.at(0)).toContain(reference.code[1]);
    expect(code.at(-1)).toMatch(/^}/);
    expect(code.length).toBeLessThan(60);
    for (const line of code) expect(explanation).toContain(line);
  });

  it("shows code that several rows have in common once", () => {
    expect(explanation.split("export const redis: Technique").length).toBe(2);
  });

  it("fails for code that does not exist", () => {
    const missing = { name: "", description: "", code: ["bench/rows/index.ts", "missing"] } as const;
    expect(() => codeOf(missing)).toThrow("bench/rows/index.ts has no missing.");
  });
});
