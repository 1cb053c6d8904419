import { readBlocks, slugOf } from "../../tools/docs/markdown";

const read = (...lines: string[]): ReturnType<typeof readBlocks> => readBlocks("docs/page.md", lines.join("\n"));

describe("readBlocks", () => {
  it("finds each block with its line, its key and the name in its first comment", () => {
    const { blocks, faults } = read("# A page", "```ts", "// worker.mts: works", "a", "```", "", "```sh", "b", "```");
    expect(faults).toEqual([]);
    expect(blocks).toMatchObject([
      { line: 2, language: "ts", key: "docs/page.md#a-page", name: "worker.mts", code: "// worker.mts: works\na" },
      { line: 7, language: "sh", key: "docs/page.md#a-page/2", name: undefined, code: "b" },
    ]);
  });

  it("joins a block that continues another, at its distance", () => {
    const { blocks } = read("```ts", "a", "```", "prose", "```ts continue", "b", "```");
    expect(blocks).toMatchObject([{ line: 1, code: "a\n\n\n\nb", fences: [1, 5] }]);
    expect(read("```ts continue", "a", "```").faults).toEqual([
      'docs/page.md:1: there is no "ts" block before it to continue',
    ]);
  });

  it("reads blocks in quotes and lists, and other fences within blocks", () => {
    expect(read("> ```sql", "> select 1;", "> ```").blocks).toMatchObject([{ code: "  select 1;" }]);
    expect(read("~~~sh", "```", "~~~").blocks).toMatchObject([{ code: "```" }]);
  });

  it("wants a reason for each block that is not run", () => {
    expect(read("<!-- not run: needs Docker -->", "", "```dockerfile", "```").faults).toEqual([]);
    expect(read("<!-- not run: -->", "```ts", "```").faults).toEqual([
      "docs/page.md:2: give a reason: <!-- not run: reason -->",
    ]);
    expect(read("```dockerfile", "```").faults).toEqual([expect.stringMatching(/^docs\/page\.md:1: a block marked/)]);
    expect(read("<!-- not run: elsewhere -->", "prose", "```ts", "```").blocks[0]?.notRun).toBeUndefined();
  });

  it("rejects blocks that never end and marks that mean nothing", () => {
    expect(read("```ts").faults).toEqual(["docs/page.md:1: the block never ends"]);
    expect(read("```ts twice", "```").faults).toEqual(['docs/page.md:1: only "continue" may follow "ts"']);
  });
});

describe("slugOf", () => {
  it.each([
    ["When to use `notify: 'deferred'`", "when-to-use-notify-deferred"],
    ["A [link](https://example.com) & more", "a-link--more"],
    ["node:test", "nodetest"],
  ])("%s", (heading, slug) => {
    expect(slugOf(heading)).toBe(slug);
  });
});
