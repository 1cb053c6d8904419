import { runExample } from "./support/run-example";

const answers = (framework: string, result: string): string => `${framework}
  200 ${result}
  404 for a task that does not exist
  500 for a task that failed: The task failed.
  chunks: never polls
  group: 2 of 2
`;

describe("the example of frameworks", () => {
  it("answers the same over each", async () => {
    expect(await runExample("frameworks/main.ts")).toBe(
      ["Express", "Fastify", "Hono"].map((framework) => answers(framework, '{"pages": 12}')).join("") +
        answers("NestJS", '{"pages":12}'),
    );
  });
});
