import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { Telemetry } from "../../lib/telemetry/telemetry";
import { resolveOptions } from "../../lib/options";
import { messageOf } from "../support/processes";
import { specDatabase } from "../support/spec-database";

interface Told {
  readonly result: unknown;
  readonly logged: readonly string[];
  readonly loaded: number;
}

describe("@opentelemetry/api", () => {
  const database = specDatabase("telemetry absent");

  async function tellOf(taskId: string, telemetry: boolean, before: readonly string[]): Promise<Told> {
    const child = fork(join(__dirname, "fixtures", "asks-for-telemetry.ts"), [taskId, String(telemetry)], {
      execArgv: [...before, "--import", "tsx"],
      env: { ...process.env, DATABASE_URL: database.url, SPEC_SCHEMA: database.schema },
    });
    const exited = once(child, "exit");
    const told = await messageOf<Told>(child);
    const [code] = (await exited) as [number];
    expect(code).toBe(0);
    return told;
  }

  it("may be absent: nothing happens but a line in the log", async () => {
    const before = ["--import", join(__dirname, "fixtures", "without-api.mjs")];
    expect(await tellOf("absent", true, before)).toEqual({
      result: 1,
      logged: ["Telemetry is off: the package @opentelemetry/api is not installed."],
      loaded: 0,
    });
  });

  it("is loaded when it is asked for", async () => {
    const told = await tellOf("present", true, []);
    expect(told).toMatchObject({ result: 1, logged: [] });
    expect(told.loaded).toBeGreaterThan(0);
  });

  it("is not even loaded unless it is asked for", async () => {
    expect(await tellOf("unasked", false, [])).toEqual({ result: 1, logged: [], loaded: 0 });
  });

  it("stands behind one object, which does not exist while telemetry is off", () => {
    expect(Telemetry.create(resolveOptions())).toBeUndefined();
    expect(Telemetry.create(resolveOptions({ telemetry: false }))).toBeUndefined();
    expect(Telemetry.create(resolveOptions({ telemetry: { traces: false, metrics: false } }))).toBeUndefined();
  });
});
