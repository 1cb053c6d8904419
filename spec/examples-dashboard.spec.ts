import { runExample } from "./support/run-example";

describe("the example of a mounted dashboard", () => {
  it.each(["Express", "Fastify", "Hono", "NestJS"])("serves it in %s to those who may see it", async (framework) => {
    output ??= runExample("dashboard/main.ts");
    expect(await output).toContain(
      `${framework}: 403 for a visitor, 200 and "kojin-postgres" for an admin\n  the page shows report-7\n`,
    );
  });
});

let output: Promise<string> | undefined;
