import { Writable } from "node:stream";
import { pino } from "pino";
import type { Logger } from "kojin-postgres";
import { eventually } from "./support/eventually";
import { specDatabase } from "./support/spec-database";

/** The two lines a logger gets for a connection that is lost and restored. */
const expected = [
  ["warn", /^Not listening: .+\. Waits poll every second until the listener is back\.$/],
  ["info", /^Listening again\.$/],
] as const;

describe("the logger", () => {
  const database = specDatabase("logger");

  async function loseListener(taskId: string, logger: Logger): Promise<void> {
    const backend = await database.open({ logger });
    await backend.ready();
    const waited = backend.wait(taskId, 30_000);
    await database.terminateListeners();
    await eventually(() => expect(backend.stats()).toMatchObject({ status: "listening", reconnects: 1 }), {
      timeoutMs: 20_000,
    });
    await backend.store(taskId, 1);
    await waited;
    await backend.close();
  }

  it("may be pino, as it is, or a child of it", async () => {
    const lines: { level: number; msg: string; module?: string }[] = [];
    const stream = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        lines.push(JSON.parse(chunk.toString()) as (typeof lines)[number]);
        done();
      },
    });
    await loseListener("pino", pino(stream).child({ module: "results" }));
    expect(lines.map(({ level }) => pino.levels.labels[level])).toEqual(expected.map(([level]) => level));
    for (const [index, [, message]] of expected.entries()) expect(lines[index]?.msg).toMatch(message);
    expect(new Set(lines.map(({ module }) => module))).toEqual(new Set(["results"]));
  });

  it("may be console, as it is", async () => {
    const lines: [string, unknown[]][] = [];
    for (const level of ["info", "warn", "error"] as const)
      jest.spyOn(console, level).mockImplementation((...args: unknown[]) => void lines.push([level, args]));
    await loseListener("console", console);
    jest.restoreAllMocks();
    expect(lines.map(([level]) => level)).toEqual(expected.map(([level]) => level));
    for (const [index, [, message]] of expected.entries())
      expect(lines[index]?.[1]).toEqual([expect.stringMatching(message)]);
  });
});
